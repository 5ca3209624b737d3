# SPDX-License-Identifier: GPL-3.0-or-later
"""Session timers (RFC 4028): each leg by itself, whoever refreshes, and the end of a call whose peer has vanished."""

from __future__ import annotations

import pytest

from sip.call_table import CallState
from tests.sip.talk import ANSWER, HOLD, settle

ABLE = ("Supported", "timer")
UPDATES = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE")


def talking(world, anna, bert, asked=(), granted=()):
    """A call up; what Anna heard and what Bert heard. asked: in the caller's INVITE, granted: in the callee's 2xx."""
    invite = anna.invite("bert", HOLD, *asked)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER, *granted)
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="talk"))
    bert.hears("ACK")
    return ok, out


def expires(interval, refresher=""):
    return ABLE, ("Session-Expires", f"{interval}{';refresher=' + refresher if refresher else ''}")


@pytest.mark.parametrize(
    ("asked", "granted", "required"),
    [
        ((), "1800;refresher=uas", False),
        ((ABLE,), "1800;refresher=uac", True),
        (expires(600), "600;refresher=uac", True),
        (expires(600, "uas"), "600;refresher=uas", False),
        (expires(7200), "1800;refresher=uac", True),
        ((*expires(3600), ("Min-SE", "2000")), "2000;refresher=uac", True),
        (expires(600)[1:], "600;refresher=uas", False),
        (expires(600, "uac")[1:], "600;refresher=uas", False),
    ],
)
def test_what_a_caller_is_granted(world, anna, bert, asked, granted, required):
    ok, _ = talking(world, anna, bert, asked)
    assert ok.get("Session-Expires") == granted
    assert ("timer" in ok.require) is required


def test_interval_too_small_is_refused_with_ours(world, anna, bert):
    request = anna.request("INVITE", "sip:bert@example.org", *expires(30), sdp=HOLD)
    anna.say(request)
    anna.say(anna.authorized(request, anna.hears(407)[0]))
    assert anna.hears(422)[0].get("Min-SE") == "90"
    assert not world.core.calls()


def test_too_small_in_a_change_too(world, anna, bert):
    ok, _ = talking(world, anna, bert)
    anna.say(anna.within(ok, "UPDATE", *expires(30)))
    assert anna.hears(422)[0].get("Min-SE") == "90"
    assert world.core.calls()[0].state == CallState.TALKING


def test_callee_that_finds_ours_too_small_is_asked_again(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    assert (out.get("Session-Expires"), out.get("Min-SE")) == ("1800", "90")
    bert.reply(out, 422, b"", ("Min-SE", "3600"))
    _, again = bert.hears("ACK", "INVITE")
    assert (again.get("Session-Expires"), again.get("Min-SE")) == ("3600", "3600")
    assert (again.call_id, again.cseq.number) == (out.call_id, out.cseq.number + 1)
    bert.reply(again, 200, ANSWER, *expires(3600, "uas"))
    assert bert.hears("ACK")[0].cseq.number == again.cseq.number


def test_callee_that_is_never_content(world, anna, bert):
    anna.invite("bert")
    for number in range(1, 4):
        bert.reply(bert.heard()[-1], 422, b"", ("Min-SE", str(3600 * number)))
    assert anna.heard()[-1].status == 500
    settle(world, 500, 31, "b")


def test_we_refresh_alone_where_the_peer_cannot(world, anna, bert):
    ok, _ = talking(world, anna, bert, expires(1800, "uac"), (UPDATES,))
    world.pass_time(899.9)
    bert.hears()
    world.pass_time(0.2)
    (refresh,) = bert.hears("UPDATE")
    assert (refresh.get("Session-Expires"), refresh.body) == ("1800;refresher=uac", b"")
    bert.reply(refresh, 200)
    anna.say(anna.within(ok, "UPDATE", *expires(1800, "uac")))
    world.pass_time(900)
    bert.hears("UPDATE")


def test_peer_without_update_is_refreshed_by_the_same_description(world, anna, bert):
    ok, _ = talking(world, anna, bert, (), expires(4000, "uas"))
    world.pass_time(900.1)
    (refresh,) = anna.hears("INVITE")
    assert (refresh.body, refresh.get("Session-Expires")) == (ok.body, "1800;refresher=uac")
    anna.reply(refresh, 200, HOLD)
    anna.hears("ACK")
    assert world.core.calls()[0].state == CallState.TALKING
    world.pass_time(900.1)
    anna.hears("INVITE")


def test_peer_that_refreshes_keeps_the_call(world, anna, bert):
    ok, _ = talking(world, anna, bert, expires(90), (*expires(1800, "uas"),))
    for _ in range(4):
        world.pass_time(50)
        anna.say(anna.within(ok, "UPDATE", *expires(90, "uac")))
        assert anna.hears(200)[0].get("Session-Expires") == "90;refresher=uac"
    assert not world.ended()


def test_peer_that_does_not_refresh_is_hung_up(world, anna, bert):
    talking(world, anna, bert, expires(90), (*expires(1800, "uas"),))
    world.pass_time(59.9)
    anna.hears()
    world.pass_time(0.2)
    assert anna.hears("BYE")[0].get("Reason") == "Q.850;cause=102"
    assert bert.hears("BYE")[0].get("Reason") == "Q.850;cause=102"
    settle(world, 200, 102, "server")


@pytest.mark.parametrize("status", [None, 408, 481])
def test_refresh_that_finds_nobody_ends_the_call(world, anna, bert, status):
    talking(world, anna, bert, expires(1800, "uac"), (UPDATES,))
    world.pass_time(900.1)
    (refresh,) = bert.hears("UPDATE")
    if status:
        bert.reply(refresh, status)
    else:
        world.pass_time(32)
    assert [message.method for message in anna.heard() if message.method == "BYE"]
    settle(world, 200, 102, "server")


def test_refresh_that_meets_another_exchange_is_tried_again(world, anna, bert):
    talking(world, anna, bert, expires(1800, "uac"), (UPDATES,))
    world.pass_time(900.1)
    bert.reply(bert.hears("UPDATE")[0], 491)
    since = world.now
    world.pass_time(5)
    (at,) = [at for at, line in world.schedule(since) if line.startswith("UPDATE")][:1]
    assert 2.1 <= at <= 4.0
    bert.reply(bert.heard()[0], 405)
    assert bert.hears("INVITE")
    assert not world.ended()


def test_change_during_a_refresh_waits(world, anna, bert):
    ok, _ = talking(world, anna, bert, expires(1800, "uac"))
    world.pass_time(900.1)
    (refresh,) = bert.hears("INVITE")
    anna.say(anna.within(ok, "INVITE", sdp=HOLD))
    anna.hears(491)
    bert.reply(refresh, 200, ANSWER)
    bert.hears("ACK")
    anna.say(anna.within(ok, "INVITE", sdp=HOLD))
    anna.hears(100)
    bert.hears("INVITE")


def test_both_legs_have_their_own(world, anna, bert):
    ok, _ = talking(world, anna, bert, expires(200), (*expires(1000, "uas"),))
    assert ok.get("Session-Expires") == "200;refresher=uac"
    world.pass_time(100)
    anna.say(anna.within(ok, "UPDATE", *expires(200, "uac")))
    anna.hears(200)
    bert.hears()
