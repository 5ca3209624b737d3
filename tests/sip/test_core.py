# SPDX-License-Identifier: GPL-3.0-or-later
"""The front desk: who is let in, and what all others are told."""

from __future__ import annotations

ANSWER = b"v=0\r\nm=audio 50000 RTP/AVP 8\r\n"


def test_basic_call(world, anna, bert):
    invite = anna.invite("bert")
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    assert b"a=via-a" in out.body
    bert.reply(out, 180)
    anna.hears(180)
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    assert ok.body == ANSWER + b"a=via-b\r\n"
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="ack1"))
    world.pass_time(10)
    assert not world.wire
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    (bye,) = bert.hears("BYE")
    bert.reply(bye, 200)
    (end,) = world.ended()
    assert (end.status, end.cause, end.ended_by) == (200, 16, "a")
    world.pass_time(40)
    assert world.empty(), world.core.counts()
