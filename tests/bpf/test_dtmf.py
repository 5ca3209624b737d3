# SPDX-License-Identifier: GPL-3.0-or-later
"""Telephone events (RFC 4733): forwarded as any RTP, and told once each, whatever is lost or sent again."""

import struct

import pytest

from tests.bpf import model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, TO_V6, caller_flow, sent
from tests.bpf.packets import frame, frame6, rtp

TYPE, SSRC, VOLUME = 101, 1, 10
LONGEST = 0xFFFF


def event(digit, timestamp, duration, *, end=False, ssrc=SSRC, volume=VOLUME):
    """One packet of an event; its sequence number is of no account here."""
    body = struct.pack("!BBH", digit, volume | (0x80 if end else 0), duration)
    return rtp(1, timestamp, ssrc, payload_type=TYPE, body=body)


def audio(timestamp, ssrc=SSRC):
    return rtp(1, timestamp, ssrc)


def told(digit, timestamp, duration, ssrc=SSRC):
    return ("dtmf", INDEX, 5, (ssrc, digit, VOLUME, timestamp, duration))


ONE = [event(1, 1000, 160), event(1, 1000, 320), event(1, 1000, 480, end=True)]
TWO = [event(2, 3000, 160), event(2, 3000, 320, end=True)]
STREAMS = [
    ("one digit", ONE, [told(1, 1000, 480)]),
    ("its end three times", [*ONE, ONE[2], ONE[2]], [told(1, 1000, 480)]),
    ("all of it twice", [each for each in ONE for _ in range(2)], [told(1, 1000, 480)]),
    ("its end alone", ONE[2:], [told(1, 1000, 480)]),
    ("two digits", ONE + TWO, [told(1, 1000, 480), told(2, 3000, 320)]),
    ("the same digit twice", [*ONE, event(1, 3000, 320, end=True)], [told(1, 1000, 480), told(1, 3000, 320)]),
    ("end lost, next digit", ONE[:2] + TWO, [told(1, 1000, 320), told(2, 3000, 320)]),
    ("end lost, audio follows", [*ONE[:2], audio(4000)], [told(1, 1000, 320)]),
    ("audio beside the event", [ONE[0], audio(1160), ONE[1], audio(1320), ONE[2]], [told(1, 1000, 480)]),
    ("audio before the event", [audio(800), *ONE], [told(1, 1000, 480)]),
    (
        "late packet of a digit that was told",
        [*ONE, *TWO[:1], ONE[1], *TWO[1:]],
        [told(1, 1000, 480), told(2, 3000, 320)],
    ),
    ("late end, next digit begun", [*ONE[:2], TWO[0], ONE[2], TWO[1]], [told(1, 1000, 320), told(2, 3000, 320)]),
    ("still in progress", ONE[:2], []),
    (
        "another SSRC amid a digit",
        [ONE[0], event(5, 7, 160, end=True, ssrc=9)],
        [told(1, 1000, 160), told(5, 7, 160, 9)],
    ),
    ("audio of another SSRC", [ONE[0], audio(0, 9)], [told(1, 1000, 160)]),
    (
        "time stamps wrap",
        [event(3, 0xFFFFFFF0, 160), event(4, 300, 160, end=True)],
        [told(3, 0xFFFFFFF0, 160), told(4, 300, 160)],
    ),
    (
        "longer than its duration can say",
        [event(6, 0, LONGEST), event(6, LONGEST, 800), event(6, LONGEST, 960, end=True)],
        [told(6, LONGEST, 960)],
    ),
    (
        "another digit just where a segment would be",
        [event(6, 0, LONGEST), event(7, LONGEST, 960, end=True)],
        [told(6, 0, LONGEST), told(7, LONGEST, 960)],
    ),
    (
        "star, hash and A",
        [event(d, 5000 * d, 80, end=True) for d in (10, 11, 12)],
        [told(d, 5000 * d, 80) for d in (10, 11, 12)],
    ),
    ("cut off", [rtp(1, 1000, SSRC, payload_type=TYPE, body=b"\1\x8a")], []),
]


@pytest.mark.parametrize(("text", "stream", "expected"), STREAMS, ids=[stream[0] for stream in STREAMS])
def test_told(relay, text, stream, expected):
    relay.put(INDEX, caller_flow(dtmf_type=TYPE))
    for payload in stream:
        assert relay.run(frame(payload)).data == sent(payload)
    assert [each for each in relay.events() if each[0] == "dtmf"] == expected


def test_events_behind_csrcs_and_an_extension(relay):
    relay.put(INDEX, caller_flow(dtmf_type=TYPE))
    body = bytes(4) + struct.pack("!HH", 0xBEDE, 1) + bytes(4) + struct.pack("!BBH", 9, 0x8A, 400)
    relay.run(frame(rtp(1, 1000, SSRC, payload_type=TYPE, first=0x91, body=body)))
    assert relay.events() == [told(9, 1000, 400)]


def test_ipv6_tells_too(relay):
    relay.put(INDEX6, caller_flow(**FROM_V6, **TO_V6, dtmf_type=TYPE))
    relay.run(frame6(ONE[2]))
    assert relay.events() == [("dtmf", INDEX6, 5, (SSRC, 1, VOLUME, 1000, 480))]


def test_nothing_is_told_unasked(relay):
    relay.put(INDEX, caller_flow())
    relay.run(frame(ONE[2]))
    assert relay.events() == []


def test_audio_between_digits_takes_the_express_way(relay):
    """Only while a digit is open does audio go the way that finds its end."""
    relay.put(INDEX, caller_flow(dtmf_type=TYPE))
    ways = []
    for payload in (audio(160), ONE[0], audio(1160), ONE[2], audio(2000)):
        relay.run(frame(payload))
        ways.append(bool(relay.flows[INDEX].track.express))
    assert ways == [True, False, False, False, True]


def test_a_stranger_presses_no_digit(relay):
    relay.put(INDEX, caller_flow(dtmf_type=TYPE))
    assert relay.run(frame(ONE[2], source=("192.0.2.66", 4000))).verdict == model.DROP
    assert [each[0] for each in relay.events()] == ["rejected"]
