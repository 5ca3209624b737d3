# SPDX-License-Identifier: GPL-3.0-or-later
"""Loss, order, duplicates, restarts and jitter of one stream."""

import time

import pytest

from tests.bpf import model
from tests.bpf.cases import INDEX, caller_flow
from tests.bpf.packets import frame, rtcp, rtp

STREAMS = [
    ("in order", [1, 2, 3, 4], {}),
    ("around the end of the numbers", [65534, 65535, 0, 1], {}),
    ("two lost", [1, 4], {"lost": 2}),
    ("one lost around the end", [65535, 1], {"lost": 1}),
    ("reordered, so not lost", [1, 3, 2, 4], {"reordered": 1}),
    ("reordered around the end", [65535, 1, 0], {"reordered": 1}),
    ("duplicate of the last", [1, 2, 2], {"duplicates": 1}),
    ("duplicate of an older one", [1, 2, 3, 1], {"duplicates": 1}),
    ("late twice", [1, 3, 2, 2], {"reordered": 1, "duplicates": 1}),
    ("before the first", [10, 9], {"reordered": 1}),
    ("63 back is in the window", [*range(1, 101), 37], {"duplicates": 1}),
    ("64 back begins anew", [*range(1, 101), 36], {"resets": 1}),
    ("long loss in a stream", [1, 2, 202], {"lost": 199}),
    ("longest loss", [1, 2, 3001], {"lost": 2998}),
    ("too far for loss", [1, 2, 3002], {"resets": 1}),
    ("half way round", [1, 2, 32770], {"resets": 1}),
    ("stray between two packets", [1, 2, 40000, 3, 4], {"resets": 2}),
    ("jump right after the first", [1, 101, 102], {"resets": 1}),
    ("window moves with a jump", [1, 2, 66, 3], {"lost": 62, "reordered": 1}),
]


def play(relay, sequences, ssrc=1):
    for sequence in sequences:
        assert relay.run(frame(rtp(sequence, sequence * 160, ssrc))).verdict == model.TX


@pytest.mark.parametrize(("text", "sequences", "expected"), STREAMS, ids=[stream[0] for stream in STREAMS])
def test_stream(relay, text, sequences, expected):
    relay.put(INDEX, caller_flow())
    play(relay, sequences)
    tally, track = relay.ledgers[INDEX].tally, relay.flows[INDEX].track
    counted = {name: getattr(tally, name) for name in ("lost", "reordered", "duplicates", "resets", "ssrc_changes")}
    assert {name: value for name, value in counted.items() if value} == expected
    assert track.packets == len(sequences)
    assert track.bytes == 172 * len(sequences)


def test_ssrc_change_begins_a_stream(relay):
    relay.put(INDEX, caller_flow())
    play(relay, [1, 2], ssrc=1)
    play(relay, [500, 501], ssrc=0xFEDCBA98)
    tally = relay.ledgers[INDEX].tally
    assert (tally.ssrc_changes, tally.lost, tally.resets) == (1, 0, 0)
    assert relay.flows[INDEX].track.ssrc == 0xFEDCBA98
    assert relay.events() == [("ssrc", INDEX, 5, 0xFEDCBA98)]


def test_last_seen_and_gap(relay):
    relay.put(INDEX, caller_flow())
    play(relay, [1])
    first = relay.flows[INDEX].track.last_seen
    time.sleep(0.02)
    play(relay, [2])
    track = relay.flows[INDEX].track
    assert first < track.last_seen <= time.monotonic_ns()
    assert track.largest_gap == (track.last_seen - first) // 1000 >= 20_000
    play(relay, [3])
    assert track.largest_gap >= 20_000


def test_type_of_service_and_payload_type(relay):
    relay.put(INDEX, caller_flow(dscp=0))
    relay.run(frame(rtp(payload_type=101, marker=False), tos=0xB9))
    track = relay.flows[INDEX].track
    assert (track.payload_type, track.tos) == (101, 0xB9)


def test_multiplexed_rtcp_takes_no_part(relay):
    relay.put(INDEX, caller_flow(flags=model.RTCP_MUX))
    play(relay, [1])
    before = model_fields(relay)
    relay.run(frame(rtcp()))
    assert model_fields(relay) == before
    assert relay.flows[INDEX].track.packets == 2
    play(relay, [2])
    assert relay.ledgers[INDEX].tally.lost == 0


def model_fields(relay):
    track = relay.flows[INDEX].track
    return track.window, track.sequence, track.ssrc, track.transit, track.jitter, track.payload_type


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 90000])
def test_jitter_follows_rfc_3550(relay, rate):
    """Against A.8 computed in seconds, from the arrival times that the kernel took."""
    relay.put(INDEX, caller_flow(clock=round(rate * 2**42 / 10**9)))
    jitter, before = 0.0, None
    for number in range(300):
        timestamp = number * rate // 50 + (number % 7) * rate // 500
        relay.run(frame(rtp(number, timestamp)))
        transit = relay.flows[INDEX].track.last_seen * rate / 1e9 - timestamp
        if before is not None:
            jitter += (abs(transit - before) - jitter) / 16
        before = transit
    assert relay.flows[INDEX].track.jitter / 16 == pytest.approx(jitter, abs=2, rel=0.01)


def test_no_jitter_without_a_clock(relay):
    relay.put(INDEX, caller_flow(clock=0))
    play(relay, [1, 2, 3])
    assert relay.flows[INDEX].track.jitter == 0


def test_new_time_line_is_no_jitter(relay):
    relay.put(INDEX, caller_flow())
    for number, timestamp in enumerate([0, 160, 0x80000000, 0x80000000 + 160]):
        relay.run(frame(rtp(number, timestamp)))
    assert relay.flows[INDEX].track.jitter < 16 * 160
