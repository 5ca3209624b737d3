# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a call, damaged in every way: the core answers or drops them, and never stumbles."""

from __future__ import annotations

import random

import pytest

from sip.errors import ParseError
from sip.parser import parse
from tests.sip.talk import ANSWER

SPLICES = [
    b"", b"\r\n", b"\r\n ", b"\x00", b"\xff\xfe", b'"', b"<", b">", b";", b",", b"%00", b"*", b":", b"@", b"sip:",
    b"tel:+1", b"sips:x@y", b"[::1]", b"[::g]", b"99999999999999999999", b"-1", b"z9hG4bK", b";tag=", b";lr",
    b"\r\nRecord-Route: <sip:1.2.3.4>", b"\r\nRecord-Route: <tel:5>", b"\r\nRecord-Route: <sip:x;lr>, <http://y>",
    b"\r\nContact: <http://x>", b"\r\nRequire: x", b"\r\nReason: Q.850;cause=99999", b"\r\nMax-Forwards: 0",
    b"\r\nContent-Type: multipart/mixed", b"\r\nContent-Type: text/x", b"\r\nExpires: x", b" ", b"\t",
]  # fmt: skip


def spoil(data: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 2, 5))):
        place = dice.randrange(len(data) + 1)
        kind = dice.random()
        if kind < 0.4:
            data = data[:place] + bytes([dice.randrange(256)]) + data[place + 1 :]
        elif kind < 0.7:
            data = data[:place] + dice.choice(SPLICES) + data[place + dice.choice((0, 0, 3, 20)) :]
        elif kind < 0.85:
            end = data.find(b"\r\n", place)
            data = data[: max(end, 0)] + dice.choice(SPLICES) + data[max(end, 0) :]
        else:
            lines = data.split(b"\r\n")
            lines[dice.randrange(len(lines))] = lines[dice.randrange(len(lines))]
            data = b"\r\n".join(lines)
    return data


@pytest.mark.parametrize("seed", range(8))
def test_damaged_messages_end_nobody_elses_call(world, anna, bert, seed):
    dice = random.Random(seed)
    for number in range(60):
        play(world, anna, bert, number, dice)
    world.now += 400
    world.pass_time(0)
    world.pass_time(400)
    for call in world.core.calls():
        world.run(world.core.hang_up(call.id, world.now))
    world.pass_time(400)
    assert world.empty(), world.core.counts()
    ended = [end.call for end in world.ended()]
    assert len(ended) == len(set(ended))


def play(world, anna, bert, number, dice):
    """One call, each of whose messages comes damaged before it comes whole, or now and then not at all."""

    def say(peer, message):
        for _ in range(3):
            world.receive(spoil(message.to_bytes(), dice), peer.address)
        forget_echoes(world)
        if dice.random() < 0.95:
            peer.say(message)

    request = anna.request("INVITE", "sip:bert@example.org", sdp=ANSWER, call_id=f"c{seed_of(dice)}-{number}")
    anna.say(request)
    challenges = [m for m in anna.heard() if getattr(m, "status", 0) == 407 and m.call_id == request.call_id]
    invite = anna.authorized(request, challenges[-1])
    say(anna, invite)
    out = [m for m in bert.heard() if getattr(m, "method", "") == "INVITE"]
    if not out:
        return
    for status, sdp in ((180, b""), (200, ANSWER)):
        answer = answer_to(bert, out[-1], status, sdp)
        say(bert, answer)
    ok = [m for m in anna.heard() if getattr(m, "status", 0) == 200 and m.call_id == request.call_id]
    if not ok or not ok[-1].contacts:
        return
    say(anna, anna.beside(invite, "ACK", to=str(ok[-1].to), branch=f"ack{number}"))
    for method, sdp in (("INVITE", ANSWER), ("UPDATE", ANSWER), ("INFO", b""), ("BYE", b"")):
        say(anna, anna.within(ok[-1], method, sdp=sdp))
        for far in bert.heard():
            if getattr(far, "method", "ACK") != "ACK":
                say(bert, answer_to(bert, far, 200, ANSWER if far.method == "INVITE" else b""))
        world.pass_time(dice.choice((0.0, 0.1, 3.0)))


def forget_echoes(world):
    """What cannot be read of that which we send is only what a refusal has to repeat of a damaged request."""
    for entry in tuple(world.wire):
        try:
            parse(entry[1].data)
        except ParseError:
            assert entry[1].data[8:9] in b"45"
            world.wire.remove(entry)


def answer_to(peer, request, status, sdp):
    kept = []
    peer.say, said = kept.append, peer.say
    try:
        peer.reply(request, status, sdp)
    finally:
        peer.say = said
    return kept[0]


def seed_of(dice):
    return dice.getrandbits(16)
