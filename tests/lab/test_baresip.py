# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe itself: two phones that call each other directly, so that a failure elsewhere is not theirs."""

import pytest

from vm import audio, capture
from vm.baresip import Account, Baresip
from vm.capture import Capture
from vm.process import LabError


@pytest.fixture
def phones(one):
    """Two phones without a server."""
    return [
        Baresip(one, endpoint, Account(user, endpoint.address), tone)
        for user, endpoint, tone in (("alice", one.a, 440), ("bob", one.b, 1000))
    ]


def talk(caller, called, seconds_of_audio=1.5):
    caller.dial(f"sip:{called.account.user}@{called.account.domain}")
    caller.established()
    called.established()
    caller.process.wait_for("audio", lambda text: "incoming rtp" in text)
    with pytest.raises(LabError, match="no CALL_CLOSED"):
        called.wait("CALL_CLOSED", seconds_of_audio)


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
    talk(alice, bob, 0.2)
    alice.dtmf("5")
    assert bob.wait("CALL_DTMF_START")["param"] == "5"
    alice.hold()
    assert bob.wait("CALL_REMOTE_SDP")["param"] == "offer"
    alice.resume()
    assert bob.wait("CALL_REMOTE_SDP")["param"] == "offer"
    bob.hangup()
    alice.closed()


def test_a_call_to_nobody_is_told(phones):
    alice, _ = phones
    alice.dial(f"sip:bob@{alice.endpoint.relay}")
    with pytest.raises(LabError, match="alice: no CALL_ESTABLISHED within 1 s"):
        alice.established(1)
