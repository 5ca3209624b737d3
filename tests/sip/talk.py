# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that is up, and its end: where the tests of calls begin and stop."""

from __future__ import annotations

ANSWER = b"v=0\r\nm=audio 50000 RTP/AVP 8\r\n"
HOLD = b"v=0\r\nm=audio 40000 RTP/AVP 8\r\na=sendonly\r\n"


class Talk:
    """A call of Anna to Bert that was answered and acknowledged."""

    def __init__(self, world, anna, bert, **fields):
        self.invite = anna.invite("bert", **fields)
        anna.hears(100)
        (self.out,) = bert.hears("INVITE")
        bert.reply(self.out, 200, ANSWER)
        (self.ack,) = bert.hears("ACK")
        (self.ok,) = anna.hears(200)
        anna.say(anna.beside(self.invite, "ACK", to=str(self.ok.to), branch="talk"))
        world.log.clear()


def settle(world, status, cause, by):
    """Every trace of the call goes, and one record says how it ended."""
    world.pass_time(70)
    assert [(end.status, end.cause, end.ended_by) for end in world.ended()] == [(status, cause, by)]
    assert world.empty(), world.core.counts()
