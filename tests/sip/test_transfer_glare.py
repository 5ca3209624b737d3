# SPDX-License-Identifier: GPL-3.0-or-later
"""A re-INVITE of our own, by which a transfer moves a party, meets one of the party: we try again (RFC 3261 §14.1)."""

from __future__ import annotations

import pytest

from sip.call_table import CallState
from tests.sip.talk import ANSWER, HOLD
from tests.sip.test_transfer import CARL, carl, consult, refer, replaces  # noqa: F401 (a fixture)


def waiting(anna, bert, carl, talk, by="a"):  # noqa: F811
    """A blind transfer whose target has answered; the re-INVITE that the moved party gets."""
    referrer, moved, last = (anna, bert, talk.ok) if by == "a" else (bert, anna, talk.out)
    refer(referrer, last)
    notified_after_202(referrer)
    carl.reply(carl.hears("INVITE")[0], 200, CARL)
    carl.hears("ACK")
    (invite,) = moved.hears("INVITE")
    moved.say(moved.within(talk.out if by == "a" else talk.ok, "INVITE", sdp=HOLD))
    (refused,) = moved.hears(491)
    moved.say(moved.beside(refused_invite(moved, refused), "ACK", to=str(refused.to)))
    moved.reply(invite, 491)
    moved.hears("ACK")
    return invite


def notified_after_202(peer):
    accepted, notify = peer.hears(202, "NOTIFY")
    assert accepted.cseq.method == "REFER"
    peer.reply(notify, 200)


def refused_invite(peer, response):
    """As much of the INVITE that `response` is for as its ACK needs."""
    invite = peer.request("INVITE", "sip:198.51.100.1", call_id=response.call_id, cseq=str(response.cseq.number))
    return invite.replaced("Via", [str(response.via)]).replaced("From", [str(response.from_)])


@pytest.mark.parametrize(("by", "least", "most"), [("a", 2.1, 4.0), ("b", 0.0, 2.0)])
def test_a_moved_party_that_changes_something_itself_is_moved_later(world, anna, bert, carl, talk, by, least, most):  # noqa: F811
    referrer, moved = (anna, bert) if by == "a" else (bert, anna)
    first = waiting(anna, bert, carl, talk, by)
    world.pass_time(least)
    before = len(moved.heard())
    world.pass_time(most - least + 0.01)
    again = next(message for message in moved.heard() if message.start_line.startswith("INVITE"))
    assert before == 0
    assert again.body == first.body
    assert again.cseq.number > first.cseq.number
    moved.reply(again, 200, ANSWER)
    assert moved.heard()[-1].method == "ACK"
    notify, bye = (message for message in referrer.heard() if message.start_line.startswith(("NOTIFY", "BYE")))
    assert (notify.body, bye.method) == (b"SIP/2.0 200 OK\r\n", "BYE")
    (call,) = [view for view in world.core.calls() if view.state != CallState.ENDED]
    assert (call.state, call.dialled) == (CallState.TALKING, "carl")


def test_one_who_never_has_time_is_not_moved(world, anna, bert, carl, talk):  # noqa: F811
    waiting(anna, bert, carl, talk)
    tries = 1
    while not carl.heard():
        world.pass_time(0.5)
        for message in bert.heard():
            if message.start_line.startswith("INVITE"):
                tries += 1
                bert.reply(message, 491)
    assert tries == 6
    assert {each.body for each in anna.heard()} == {b"SIP/2.0 491 Request Pending\r\n"}
    (call,) = [view for view in world.core.calls() if view.state != CallState.ENDED]
    assert (call.state, call.dialled) == (CallState.TALKING, "bert")


def test_a_target_that_leaves_meanwhile_gives_the_call_back(world, anna, bert, carl, talk):  # noqa: F811
    """Nothing of the dead transfer is offered any more."""
    waiting(anna, bert, carl, talk)
    refer_carl = world.core.calls()[-1]
    assert refer_carl.dialled == "carl"
    world.run(world.core.hang_up(refer_carl.id, world.now))
    carl.reply(carl.hears("BYE")[0], 200)
    anna.heard()
    for _ in range(20):
        world.pass_time(1)
        for message in bert.heard():
            if message.start_line.startswith("INVITE"):
                assert b"60000" not in message.body
                bert.reply(message, 200, ANSWER)
    (call,) = world.core.calls()
    assert (call.state, call.dialled) == (CallState.TALKING, "bert")
    anna.say(anna.within(talk.ok, "BYE"))
    bert.reply(bert.hears("BYE")[0], 200)
    world.pass_time(70)
    assert world.empty(), world.core.counts()


def test_a_party_that_hangs_up_meanwhile_is_invited_no_more(world, anna, bert, carl, talk):  # noqa: F811
    waiting(anna, bert, carl, talk)
    bert.say(bert.within(talk.out, "BYE"))
    bert.hears(200)
    world.pass_time(10)
    bert.hears()
    carl.reply(carl.heard()[0], 200)
    for message in anna.heard():
        if message.start_line.startswith(("BYE", "NOTIFY")):
            anna.reply(message, 200)
    world.pass_time(70)
    assert world.empty(), world.core.counts()


def test_the_target_of_an_attended_transfer_may_be_busy_with_itself(world, anna, bert, carl, talk):  # noqa: F811
    ok, _ = consult(world, anna, bert, carl)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")
    carl.reply(carl.hears("INVITE")[0], 491)
    world.pass_time(4.01)
    again = next(message for message in carl.heard() if message.start_line.startswith("INVITE"))
    carl.reply(again, 200, CARL)
    bert.reply(bert.hears("INVITE")[0], 200, ANSWER)
    bert.hears("ACK")
    (call,) = [view for view in world.core.calls() if view.state != CallState.ENDED]
    assert call.state == CallState.TALKING
