# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.framing import Framer
from sip.parser import parse

ONE = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nContent-Length: 7\r\n\r\n\r\n\r\nabc"
TWO = b"OPTIONS sip:b SIP/2.0\r\nl \t:\r\n  0 \r\n\r\n"
STREAM = ONE + TWO + b"\r\n\r\n" + TWO + b"\r\n" + ONE + b"\r\n\r\n\r\n\r\n" + TWO
FRAMES = [ONE, TWO, b"", TWO, ONE, b"", b"", TWO]


def fed(pieces: list[bytes]) -> list[bytes]:
    framer = Framer()
    return [frame for piece in pieces for frame in framer.feed(piece)]


def test_at_once_and_byte_by_byte() -> None:
    assert fed([STREAM]) == FRAMES
    assert fed([STREAM[i : i + 1] for i in range(len(STREAM))]) == FRAMES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_messages(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert fed([STREAM[begin:end] for begin, end in pairwise(places)]) == FRAMES


def test_frames_are_messages(invite: Callable[..., bytes]) -> None:
    (frame,) = fed([invite()])
    assert parse(frame).to_bytes() == invite()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:a SIP/2.0\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 1 2\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nl:\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 65536\r\n\r\n", 513),
        (b"OPTIONS sip:a SIP/2.0\r\nl: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"x" * 65537, 513),
        (b"\r\r", 400),
        (b"\r\n\r\r", 400),
        (b"\r\n\rOPTIONS", 400),
        (b"\r\n\r\n\r" + b"\r" * 100_000, 400),
    ],
)
def test_a_stream_that_cannot_be_followed_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(ParseError) as refusal:
        list(Framer().feed(data))
    assert refusal.value.status == status


@pytest.mark.parametrize("beginning", [b"\r", b"\r\n", b"\r\n\r", b"\r\n\r\n\r"])
def test_half_a_ping_is_waited_for(beginning: bytes) -> None:
    framer = Framer()
    before = list(framer.feed(beginning))
    assert [*before, *framer.feed(b"\r\n\r\n"[len(beginning) % 4 :] + ONE)] == [b""] * (len(before) + 1) + [ONE]


def test_what_stood_before_a_broken_message_is_handed_out() -> None:
    frames = Framer().feed(ONE + TWO.replace(b"  0 ", b"  x "))
    assert next(frames) == ONE
    with pytest.raises(ParseError, match="400") as refusal:
        next(frames)
    assert refusal.value.partial is not None


def test_nothing_is_remembered_of_what_was_handed_out() -> None:
    framer = Framer()
    for _ in range(1000):
        assert list(framer.feed(ONE)) == [ONE]
    assert framer.waiting == 0


@pytest.mark.parametrize("value", [b" " * 60000, b"x" + b" " * 60000 + b"x", b"\r\n " * 20000])
def test_a_hostile_length_is_refused_in_linear_time(value: bytes) -> None:
    def cost() -> float:
        begun = time.process_time()
        with pytest.raises(ParseError):
            list(Framer().feed(b"OPTIONS sip:a SIP/2.0\r\nl:" + value + b"\r\n\r\n"))
        return time.process_time() - begun

    assert min(cost() for _ in range(3)) < 0.05
