# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe itself: two phones that call each other directly, so that a failure elsewhere is not theirs."""

import pytest

from vm import audio, capture
from vm.baresip import Account, Baresip
from vm.capture import Capture
from vm.process import LabError

TONES = {"alice": 440, "bob": 1000}


@pytest.fixture
def phones(one):
    """Two phones without a server."""
    return [
        Baresip(one, endpoint, Account(user, endpoint.address), TONES[user])
        for user, endpoint in (("alice", one.a), ("bob", one.b))
    ]


def talk(caller, called):
    caller.dial(f"sip:{called.account.user}@{called.account.domain}")
    caller.established()
    called.established()
    for phone, tone in ((caller, TONES[called.account.user]), (called, TONES[caller.account.user])):
        assert phone.hears(tone, seconds=1.5).is_tone(tone)


def test_a_direct_call_carries_a_tone_each_way(one, phones):
    alice, bob = phones
    wires = [Capture(one, one.a), Capture(one, one.b)]
    talk(alice, bob)
    alice.hangup()
    assert alice.closed() == "Connection reset by user"
    assert bob.closed() == "Connection reset by peer"
    at_a, at_b = (wire.stop() for wire in wires)
    assert audio.judge(audio.read(bob.heard()[0])).is_tone(440)
    assert audio.judge(audio.read(alice.heard()[0])).is_tone(1000)
    assert capture.strangers(at_a, one.a) == {one.b.address}
    assert len(capture.talking(at_a)) == len(capture.talking(at_b)) == 1
    there, back = capture.passage(at_a, at_b, one.a, one.b), capture.passage(at_b, at_a, one.b, one.a)
    assert min(there.sent, back.sent) > 60
    assert there.lost == back.lost == 0


def test_keys_and_hold_reach_the_other_phone(phones):
    alice, bob = phones
    talk(alice, bob)
    alice.dtmf("5")
    assert bob.wait("CALL_DTMF_START")["param"] == "5"
    for change in (alice.hold, alice.resume):
        change()
        assert bob.wait("CALL_REMOTE_SDP")["param"] == "offer"
        assert alice.wait("CALL_REMOTE_SDP")["param"] == "answer"
    bob.hangup()
    alice.closed()


def test_a_call_to_nobody_is_told(phones):
    alice, _ = phones
    alice.dial(f"sip:bob@{alice.endpoint.relay}")
    with pytest.raises(LabError, match="alice: no CALL_ESTABLISHED within 1 s"):
        alice.established(1)
