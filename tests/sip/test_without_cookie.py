# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of RFC 2543, whose branches say nothing, or that have none: all else tells their requests apart (§17.2.3)."""

from __future__ import annotations

import pytest

from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, settle

VIAS = ["", ";branch=1", ";branch=z9hG4bK"]
pytestmark = pytest.mark.parametrize("branch", VIAS)


@pytest.fixture
def invited(anna, bert, branch):
    """Anna's INVITE, and what Bert got of it."""
    via = f"SIP/2.0/UDP 192.0.2.7:5060{branch}"
    first = anna.request("INVITE", "sip:bert@example.org", sdp=ANSWER).replaced("Via", [via])
    anna.say(first)
    (challenge,) = anna.hears(407)
    anna.say(anna.beside(first, "ACK", to=str(challenge.to)))
    invite = anna.authorized(first, challenge).replaced("Via", [via])
    anna.say(invite)
    anna.hears(100)
    return invite, bert.hears("INVITE")[0]


def test_a_repetition_is_answered_again_and_makes_nothing(anna, bert, invited):
    invite, out = invited
    bert.reply(out, 180)
    anna.hears(180)
    for _ in range(3):
        anna.say(invite)
        anna.hears(180)
    bert.hears()


def test_an_ack_ends_the_repetitions_of_a_failure(world, anna, bert, invited):
    invite, out = invited
    bert.reply(out, 486)
    (failure,) = anna.hears(486)
    world.pass_time(0.6)
    anna.hears(486)
    anna.say(anna.beside(invite, "ACK", to=str(failure.to)))
    world.pass_time(30)
    anna.hears()
    settle(world, 486, 17, "b")


def test_an_ack_confirms_a_call_and_a_bye_ends_it(world, anna, bert, invited, branch):
    invite, out = invited
    bert.reply(out, 200, ANSWER)
    (ok,) = anna.hears(200)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to)))
    world.pass_time(30)
    anna.hears()
    via = f"SIP/2.0/UDP 192.0.2.7:5060{branch}"
    anna.say(anna.within(ok, "BYE").replaced("Via", [via]))
    anna.hears(200)
    settle(world, 200, 16, "a")


def test_another_number_is_another_call_though_all_else_is_equal(world, anna, bert, invited, branch):
    """As of a proxy that tries one number after another, or both at once (RFC 3261 §17.2.3)."""
    invite, out = invited
    carl = Peer(world, "carl", "203.0.113.30")
    assert carl.register().status == 200
    other = anna.request("INVITE", "sip:carl@example.org", sdp=ANSWER, call_id=invite.call_id)
    anna.say(other)
    other = anna.authorized(other, anna.hears(407)[0])
    other = other.replaced("Via", [str(invite.via)]).replaced("CSeq", [str(invite.cseq)])
    anna.say(other)
    anna.hears(100)
    (second,) = carl.hears("INVITE")
    bert.reply(out, 486)
    (failure,) = anna.hears(486)
    anna.say(anna.beside(invite, "ACK", to=str(failure.to)))
    anna.say(anna.beside(other, "CANCEL"))
    assert [answer.cseq.method for answer in anna.hears(200, 487)] == ["CANCEL", "INVITE"]
    carl.reply(second, 180)
    carl.hears("CANCEL")
    carl.reply(second, 487)
    world.pass_time(70)
    assert [end.status for end in world.ended()] == [486, 487]
    assert world.empty(), world.core.counts()


def test_a_cancel_finds_what_it_cancels(world, anna, bert, invited):
    invite, out = invited
    bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    assert [answer.cseq.method for answer in anna.hears(180, 200, 487)] == ["INVITE", "CANCEL", "INVITE"]
    bert.hears("CANCEL")
    settle(world, 487, 16, "a")


def test_another_method_or_number_is_another_request(world, anna, invited):
    invite, _ = invited
    for number in ("8", "9"):
        options = anna.request("OPTIONS", "sip:example.org", call_id=invite.call_id, cseq=number)
        anna.say(options.replaced("Via", [str(invite.via)]))
        anna.hears(200)
