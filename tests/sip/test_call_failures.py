# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are refused, that nobody answers, or that have no way to go."""

from __future__ import annotations

import pytest

from sip.effects import Address, CloseMedia, OfferMedia, UriTarget, UserTarget
from tests.sip.talk import ANSWER, settle

MATRIX = [
    (302, 480, 31), (400, 400, 41), (401, 403, 21), (403, 403, 21), (404, 404, 1), (405, 500, 63), (406, 406, 79),
    (407, 403, 21), (408, 408, 102), (410, 410, 22), (413, 413, 127), (415, 488, 79), (420, 500, 127), (480, 480, 18),
    (481, 480, 41), (482, 482, 25), (483, 483, 25), (484, 484, 28), (485, 485, 1), (486, 486, 17), (487, 480, 16),
    (488, 488, 88), (491, 480, 41), (500, 500, 41), (501, 501, 79), (502, 502, 38), (503, 503, 41), (504, 504, 102),
    (423, 500, 127), (494, 500, 31), (505, 505, 127), (600, 600, 17), (603, 603, 21), (604, 604, 1), (606, 606, 88),
]  # fmt: skip


@pytest.mark.parametrize(("status", "told", "cause"), MATRIX)
def test_failures_reach_the_caller(world, anna, bert, status, told, cause):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, status)
    bert.hears("ACK")
    anna.hears(100, told)
    anna.say(anna.beside(invite, "ACK"))
    settle(world, told, cause, "b")


def test_failure_is_acked_every_time(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    for _ in range(3):
        bert.reply(out, 486)
    bert.hears("ACK", "ACK", "ACK")


def test_no_response_at_all(world, anna, bert):
    anna.invite("bert")
    since = world.now
    (first,) = bert.hears("INVITE")
    anna.hears(100)
    world.pass_time(32)
    assert [at for at, line in world.schedule(since) if line.startswith("INVITE")] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    anna.hears(408)
    settle(world, 408, 102, "server")
    assert first


def test_rings_too_long(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    anna.hears(100, 180)
    world.pass_time(180)
    (cancel,) = bert.hears("CANCEL")
    bert.reply(cancel, 200)
    bert.reply(out, 487)
    bert.hears("ACK")
    anna.hears(480)
    settle(world, 480, 19, "server")


def test_next_contact_is_tried(world, anna, bert):
    world.routes["carl"] = (UriTarget("sip:carl@203.0.113.50"), UserTarget("nobody"), UserTarget("bert"))
    anna.invite("carl")
    (out,) = world.sent(Address("203.0.113.50", 5060))
    bert.hears()
    world.receive(
        out.to_bytes().replace(b"INVITE sip:carl@203.0.113.50 SIP/2.0", b"SIP/2.0 503 Full", 1),
        Address("203.0.113.50", 5060),
    )
    (second,) = bert.hears("INVITE")
    assert second.call_id != out.call_id
    assert [effect.toward for effect in world.effects(OfferMedia)] == ["203.0.113.50", "203.0.113.9"]
    bert.reply(second, 486)
    world.sent(Address("203.0.113.50", 5060))
    anna.hears(100, 486)
    settle(world, 486, 17, "b")


@pytest.mark.parametrize(
    ("route", "status"),
    [
        ((404, "Not Found"), 404),
        ((UserTarget("carl"),), 480),
        ((UriTarget("sip:carl@198.51.100.1"),), 482),
        ((UriTarget("sip:carl@a-name.example"),), 480),
        ((), 480),
    ],
)
def test_no_way_to_go(world, anna, route, status):
    world.routes["carl"] = route
    anna.invite("carl")
    anna.hears(100, status)
    world.pass_time(70)
    assert [end.status for end in world.ended()] == [status]
    assert not world.effects(CloseMedia)
    assert world.empty()


@pytest.mark.parametrize("leg", ["a", "b"])
def test_media_refused(world, anna, bert, leg):
    world.media = lambda effect: (488, 'Bad "Address"') if effect.leg == leg else effect.sdp
    anna.invite("bert")
    if leg == "b":
        (out,) = bert.hears("INVITE")
        bert.reply(out, 200, ANSWER)
        bert.hears("ACK", "BYE")
    refused = anna.hears(100, 488)[1]
    assert (refused.reason, refused.get("Warning")) == ("Not Acceptable Here", '399 example.org "Bad \\"Address\\""')
    settle(world, 488, 88, "server")


def test_question_without_answer_ends_the_call(world, anna, bert):
    world.media = lambda effect: None
    anna.invite("bert")
    world.pass_time(20)
    assert anna.heard()[1].status == 504
    settle(world, 504, 102, "server")
