# SPDX-License-Identifier: GPL-3.0-or-later
"""INFO: pressed keys that travel as signalling, before the answer and after it, and what is not let through."""

from __future__ import annotations

import pytest

from sip.effects import Pressed, ServiceTarget, UserTarget
from sip.settings import Settings
from tests.sip.conftest import REALM, Peer
from tests.sip.talk import ANSWER, Talk, settle

KEY = b"Signal=5\r\nDuration=160\r\n"
RELAY = "application/dtmf-relay"


def press(peer, last, body=KEY, kind=RELAY, *extra):
    """An INFO in the dialog of `last`, as old phones send keys by it."""
    info = peer.within(last, "INFO", *extra)
    peer.say(info.with_body(body, kind) if body else info)


@pytest.mark.parametrize("by", ["a", "b"])
@pytest.mark.parametrize(("kind", "body"), [(RELAY, KEY), ("application/dtmf", b"5")])
def test_a_key_reaches_the_other_party(anna, bert, talk, by, kind, body):
    presser, other, last = (anna, bert, talk.ok) if by == "a" else (bert, anna, talk.out)
    press(presser, last, body, kind)
    (out,) = other.hears("INFO")
    assert (out.body, out.content_type) == (body, kind)
    presser.hears()
    other.reply(out, 200)
    presser.hears(200)


def ringing(anna, bert, *extra):
    """A call that rings, with early media; what each heard last."""
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 183, ANSWER, *extra)
    return anna.heard()[-1], out


def test_a_key_before_the_answer_reaches_the_callee(anna, bert):
    progress, _ = ringing(anna, bert)
    press(anna, progress)
    (out,) = bert.hears("INFO")
    assert (out.body, out.to.tag) == (KEY, "bert-tag")
    bert.reply(out, 200)
    anna.hears(200)


def test_a_key_before_the_answer_reaches_the_caller(anna, bert):
    progress, invite = ringing(anna, bert)
    press(bert, invite)
    (out,) = anna.hears("INFO")
    assert (out.from_.tag, out.to.tag) == (progress.to.tag, "anna")
    anna.reply(out, 200)
    bert.hears(200)


def test_of_several_branches_the_one_hears_it_that_speaks(world, anna, bert):
    second = Peer(world, "bert", "203.0.113.10")
    assert second.register(call_id="second").status == 200
    anna.invite("bert")
    (one,), (two,) = bert.hears("INVITE"), second.hears("INVITE")
    bert.reply(one, 183, ANSWER)
    second.reply(two, 183, ANSWER.replace(b"50000", b"50002"), tag="s")
    _, first, last = anna.heard()
    assert first.to.tag != last.to.tag
    press(anna, first)
    assert len(bert.hears("INFO")) == 1
    press(anna, last)
    assert second.hears("INFO")[0].to.tag == "s"


def test_between_two_targets_nobody_hears_it_and_the_call_goes_on(world, anna, bert):
    carl = Peer(world, "carl", "203.0.113.30")
    assert carl.register().status == 200
    world.routes["bert"] = (UserTarget("bert"), UserTarget("carl"))
    progress, out = ringing(anna, bert)
    bert.reply(out, 480)
    (second,) = carl.hears("INVITE")
    press(anna, progress)
    anna.hears(480)
    carl.reply(second, 200, ANSWER)
    assert anna.heard()[-1].status == 200


@pytest.mark.parametrize(("said", "told"), [(415, 415), (481, 480), (405, 415), (501, 415), (401, 403), (408, 504)])
def test_what_the_other_party_says_of_it(anna, bert, talk, said, told):
    press(anna, talk.ok)
    bert.reply(bert.hears("INFO")[0], said)
    anna.hears(told)


def test_a_party_that_does_not_answer_it_costs_nothing_but_time(world, anna, bert, talk):
    press(anna, talk.ok)
    world.pass_time(33)
    assert anna.heard()[-1].status == 504
    assert [view.state for view in world.core.calls()] == ["talking"]


@pytest.mark.parametrize(
    ("kind", "body", "key"),
    [
        (RELAY, KEY, ("5", 160.0)),
        (RELAY, b"Signal = *\r\n", ("*", None)),
        (RELAY, b"signal=d\nduration= 90", ("D", 90.0)),
        (RELAY, b"Signal=16\r\n", None),
        (RELAY, b"\xff", None),
        ("application/dtmf", b" #\r\n", ("#", None)),
        ("application/dtmf", b"55", None),
        ("application/dtmf", b"\xe9", None),
        ("application/media_control+xml", b"5", None),
    ],
)
def test_a_key_is_told_to_whoever_listens(world, anna, talk, kind, body, key):
    press(anna, talk.ok, body, kind)
    told = [(each.leg, each.digit, each.milliseconds) for each in world.effects(Pressed)]
    assert told == ([] if key is None else [("a", *key)])


def test_keys_that_are_blocked_reach_nobody_but_are_told(world, anna, bert, talk):
    world.core.block_digits(lambda call, leg: leg == "a" and call == world.core.calls()[0].id)
    press(anna, talk.ok)
    anna.hears(200)
    bert.hears()
    press(bert, talk.out)
    anna.hears("INFO")
    assert [each.leg for each in world.effects(Pressed)] == ["a", "b"]


def test_who_hears_us_presses_keys_for_us(world, anna):
    world.routes["sales"] = (ServiceTarget("sales@1"),)
    world.media = lambda effect: ANSWER
    invite = anna.invite("sales")
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="up"))
    press(anna, ok)
    anna.hears(200)
    assert [each.digit for each in world.effects(Pressed)] == ["5"]


def test_what_the_policy_does_not_name_is_refused_and_told(anna, bert, talk):
    press(anna, talk.ok, b"<secret/>", "application/x-inside+xml")
    (refusal,) = anna.hears(415)
    assert refusal.get("Accept") == "application/dtmf-relay, application/dtmf, application/media_control+xml"
    bert.hears()


def test_a_star_lets_all_through(world, anna, bert):
    world.settings = Settings(realm=REALM, secret=b"k" * 32, info=("*",))
    world.core = world.fresh_core()
    bert.register(call_id="anew")
    talk = Talk(world, anna, bert)
    press(anna, talk.ok, b"x", "application/x-inside+xml")
    bert.hears("INFO")


def test_a_package_that_nobody_asked_for(anna, bert, talk):
    press(anna, talk.ok, b"x", "text/plain", ("Info-Package", "conference"))
    (refusal,) = anna.hears(469)
    assert list(refusal.values("Recv-Info")) == [""]
    bert.hears()


def test_one_without_a_body_only_shows_that_somebody_is_there(world, anna, bert, talk):
    press(anna, talk.ok, b"")
    anna.hears(200)
    bert.hears()
    anna.say(anna.within(talk.ok, "BYE"))
    bert.reply(bert.hears("BYE")[0], 200)
    settle(world, 200, 16, "a")


def test_a_key_may_go_by_the_other_partys_media(world, anna, bert, talk):
    world.takes_keys = True
    press(anna, talk.ok)
    anna.hears(200)
    assert bert.heard() == []


@pytest.mark.parametrize("leg", ["a", "b"])
def test_a_key_that_was_heard_is_told_by_info(world, anna, bert, talk, leg):
    (call,) = world.core.calls()
    world.run(world.core.press(call.id, leg, "#", 120, world.now))
    hearer = anna if leg == "a" else bert
    (out,) = hearer.hears("INFO")
    assert (out.body, out.content_type) == (b"Signal=#\r\nDuration=120\r\n", RELAY)
    hearer.reply(out, 200)
    assert world.core.press("unknown", "a", "1", 100, world.now) == []
