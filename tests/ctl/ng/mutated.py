# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutated requests to a relay: `python -m tests.ctl.ng.mutated --count 10000000`, 10^5 of them among the tests.

Nothing may escape, every reply must be readable, and no request may take longer than a few milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ctl.ng.bencode import decode, encode
from ctl.ng.errors import Dropped
from ctl.ng.framing import Message, split
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.ng.server import Answers
from tests.ctl.conftest import FakeEngine, FakeHops, FakeTable
from tests.ctl.world import ALICE, BOB, World, sdp

SLOW_SECONDS = 0.05
TOKENS = (b"e", b"i", b"l", b"d", b":", b"0", b"9" * 25, b"-1", b"\0", b"\xff", b"{", b"}", b'"', b"\\", b" ", b"ee")


SHORT = (
    *("query", "delete", "list", "statistics", "block media", "unblock media", "silence media", "block DTMF"),
    *("play media", "stop media", "play DTMF", "subscribe request", "unsubscribe", "connect"),
)


@dataclass
class Outcome:
    requests: int = 0
    dropped: int = 0
    errors: int = 0
    slowest: float = 0.0


def seeds() -> list[bytes]:
    offer: dict[str, Any] = {
        "command": "offer",
        "call-id": "c",
        "from-tag": "a",
        "via-branch": "1",
        "sdp": sdp(
            ALICE, "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp-mux\r\n"
        ).decode(),
        "flags": ["trust-address", "loop-protect", "codec-strip-PCMA", "replace-origin"],
        "replace": ["origin", "session-connection"],
        "received-from": ["IP4", ALICE],
        "ICE": "remove",
        "TOS": 184,
    }
    answer = {**offer, "command": "answer", "to-tag": "b", "sdp": sdp(BOB).decode()}
    fax = {**offer, "call-id": "f", "sdp": sdp(ALICE, "m=image 4000 udptl t38\r\na=T38FaxVersion:0\r\n").decode()}
    words = {"codec": {"mask": ["all"], "transcode": ["G729", "opus/48000/2"]}, "rtcp-mux": ["demux", "accept"]}
    short = [{"command": name, "call-id": "c", "from-tag": "a"} for name in SHORT]
    heard = {"call-id": "c", "to-tag": "rec", "flags": ["all", "siprec", "RTP/AVP"], "from-tags": ["a"]}
    copies = [{"command": "subscribe request", **heard}, {"command": "subscribe answer", **heard, "sdp": answer["sdp"]}]
    joined = {"command": "connect", "call-id": "c", "from-tag": "a", "to-tag": "b", "to-call-id": "f"}
    overheard = {**joined, "flags": ["directional"]}
    coding = {"set": ["opus/48000/2/32000"], "transcode": ["opus/48000/2/64000", "PCMA/8000/1"]}
    packed = {**offer, "call-id": "p", "codec": coding, "ptime": 40, "ptime-reverse": "30", "generate RTCP": "on"}
    repacked = {**answer, "call-id": "p", "sdp": sdp(BOB, "m=audio 4000 RTP/AVP 8\r\na=ptime:60\r\n").decode()}
    sound = {"codec": "PCMA", "payload type": 8, "clock rate": 8000, "channels": 1}
    pair = {
        "input": sound,
        "output": {**sound, "codec": "opus", "payload type": 96, "clock rate": 48000, "channels": 2},
    }
    place = {"family": "IP4", "address": BOB, "port": 4000}
    medium = {"type": "audio", "id": "1", "codec": [pair], "destination": place}
    transformed = {"command": "transform", "call-id": "t", "from-tag": "x", "media": [medium]}
    others = [{**offer, "command": "publish", "from-tag": "p"}, joined, transformed]
    video = "m=audio 4000 RTP/AVP 0\r\nm=vid 4002 RTP/AVP 96\r\na=extmap:1 urn:x\r\n"
    changes = {"add": ["x:1"], "remove": "sendrecv", "substitute": [["rtcp", "y"]]}
    amended = {
        **offer,
        "call-id": "m",
        "sdp": sdp(ALICE, video).decode(),
        "sdp-attr": {"audio": changes, "none": changes},
        "sdp-media-remove": ["other", "video"],
        "extmap": {"strip": ["urn:x"]},
    }
    documents = [
        offer,
        amended,
        {**answer, "call-id": "m"},
        answer,
        fax,
        {**offer, **words},
        packed,
        repacked,
        overheard,
        *copies,
        *others,
        *short,
        {"command": "ping"},
    ]
    return [encode(each) for each in documents] + [json.dumps(each).encode() for each in documents]


def mutants(count: int, seed: int) -> Iterator[bytes]:
    dice, known = random.Random(seed), seeds()
    for number in range(count):
        data = bytearray(dice.choice(known))
        for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
            _mutate(data, dice, known)
        yield b"%d " % number + bytes(data)


def _mutate(data: bytearray, dice: random.Random, known: list[bytes]) -> None:
    place = dice.randrange(len(data) + 1)
    match dice.randrange(6):
        case 0 if data:
            data[place % len(data)] = dice.randrange(256)
        case 1:
            data[place:place] = dice.choice(TOKENS)
        case 2:
            del data[place : place + dice.randrange(1, 30)]
        case 3:
            data[place:place] = data[place : place + dice.randrange(1, 200)]
        case 4:
            other = dice.choice(known)
            data[place:] = other[dice.randrange(len(other)) :]
        case _:
            data[place:place] = b"%d" % dice.choice((0, 1, 255, 65535, 65536, 2**31, 2**64))


def answers_of(world: World) -> Answers:
    """A minute passes between any two requests, so that ports come out of their quarantine."""
    steady = itertools.count(0.0, 60.0).__next__
    return Answers(Relay(world.sessions, steady, b"secret", limits=Limits(delete_delay=0)))


def run(answers: Answers, count: int, seed: int = 1) -> Outcome:
    """Raises whatever escapes from the relay, with the request in a note."""
    outcome = Outcome()
    for datagram in mutants(count, seed):
        began = time.thread_time()
        try:
            message = split(datagram)
            reply = answers.answer(message, "127.0.0.1")
            document = split(reply).document
            found = json.loads(document) if message.encoding == "json" else decode(document)
        except Dropped:
            outcome.dropped += 1
            continue
        except Exception as error:
            error.add_note(repr(datagram))
            raise
        outcome.requests += 1
        outcome.errors += found["result"] == "error"
        if str(found.get("error-reason", "")).startswith("Internal error"):
            raise AssertionError(f"{found} for {datagram!r}")
        took = time.thread_time() - began
        if took > SLOW_SECONDS:
            took = min(took, again(answers, message))
        outcome.slowest = max(outcome.slowest, took)
    return outcome


def again(answers: Answers, message: Message) -> float:
    """How long the same takes once more: what was slow but once was somebody else's doing."""
    began = time.thread_time()
    answers.answer(replace(message, cookie=b"again-" + message.cookie), "127.0.0.1")
    return time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    world = World(FakeTable(), FakeHops(), FakeEngine())
    print(run(answers_of(world), asked.count, asked.seed))


if __name__ == "__main__":
    main()
