# SPDX-License-Identifier: GPL-3.0-or-later
"""The jitter buffer: order and time restored, delay no longer than needed, and nothing that a peer sends breaks it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.dsp import MS, NUMBERS, Codec, aligned, block, ffi, lib

WAIT, FRAME, LOST, GAP, EMPTY = range(5)
SOUND, NOISE, EVENT = range(3)
START = 5_000_000_000


@dataclass(frozen=True)
class Sent:
    sequence: int
    timestamp: int
    payload: bytes
    kind: int = SOUND
    ssrc: int = 7


class Buffer:
    def __init__(self, slot: int = 640, clock: int = 8000) -> None:
        self._memory = block(lib.jitterbuffer_bytes(slot))
        self.handle = lib.jitterbuffer_open(aligned(self._memory), slot, clock)
        self.frame = ffi.new("struct jitterbuffer_frame *")

    def put(self, packet: Sent, now: int) -> None:
        payload = ffi.from_buffer(packet.payload)
        what = ffi.new("struct jitterbuffer_packet *")
        what.ssrc, what.timestamp = packet.ssrc & 0xFFFFFFFF, packet.timestamp & 0xFFFFFFFF
        what.sequence, what.length = packet.sequence & 0xFFFF, len(packet.payload)
        what.kind, what.payload = packet.kind, payload
        lib.jitterbuffer_put(self.handle, what, now)

    def get(self, now: int) -> tuple[int, bytes]:
        answer = lib.jitterbuffer_get(self.handle, now, self.frame)
        frame = self.frame
        taken = bytes(ffi.buffer(frame.payload, frame.length)) if answer == FRAME else b""
        if answer == FRAME:
            lib.jitterbuffer_advance(self.handle, 160)
        elif answer in (LOST, GAP):
            lib.jitterbuffer_advance(self.handle, frame.ticks)
        return answer, taken

    @property
    def counts(self) -> Any:
        return self.handle.counts

    @property
    def target(self) -> int:
        return self.handle.delay.target // 1000


def stream(count: int, first: int = 0, ticks: int = 0, ssrc: int = 7) -> list[Sent]:
    return [Sent(first + n, ticks + 160 * n, n.to_bytes(4, "big"), ssrc=ssrc) for n in range(count)]


def play(buffer: Buffer, arrivals: list[tuple[int, Sent]], until_ms: int) -> list[tuple[int, bytes]]:
    """Pull every 20 ms of a steady clock; arrivals in ms."""
    answers, waiting = [], sorted(enumerate(arrivals), key=lambda one: (one[1][0], one[0]))
    for at in range(0, until_ms, 20):
        while waiting and waiting[0][1][0] <= at:
            buffer.put(waiting.pop(0)[1][1], START + at * MS)
        answers.append(buffer.get(START + at * MS))
    return answers


def played(answers: list[tuple[int, bytes]]) -> list[int]:
    return [int.from_bytes(payload, "big") for answer, payload in answers if answer == FRAME]


def test_steady_packets_are_played_in_order_and_soon():
    buffer = Buffer()
    answers = play(buffer, [(20 * n, packet) for n, packet in enumerate(stream(50))], 1200)
    assert played(answers) == list(range(50))
    assert answers[0][0] == WAIT
    assert [answer for answer, _ in answers].index(FRAME) <= 2


def test_reordered_packets_are_put_in_order():
    buffer = Buffer()
    order = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]
    packets = stream(10)
    answers = play(buffer, [(20 * n, packets[place]) for n, place in enumerate(order)], 400)
    assert played(answers) == list(range(10))
    assert buffer.counts.late == buffer.counts.lost == 0


def test_a_lost_packet_is_told_with_its_time_and_its_successor():
    buffer = Buffer()
    answers = play(buffer, [(20 * n, packet) for n, packet in enumerate(stream(20)) if n != 7], 600)
    assert played(answers) == [n for n in range(20) if n != 7]
    assert [answer for answer, _ in answers].count(LOST) == 1
    assert buffer.counts.lost == 1


def test_duplicates_are_played_once():
    buffer = Buffer()
    arrivals = [(20 * n, packet) for n, packet in enumerate(stream(20)) for _ in range(2)]
    assert played(play(buffer, arrivals, 600)) == list(range(20))
    assert buffer.counts.duplicates == 20


def test_jitter_raises_the_delay_until_nearly_nothing_is_late():
    dice, buffer = random.Random(5), Buffer()
    arrivals = [(20 * n + dice.randrange(0, 80), packet) for n, packet in enumerate(stream(1500))]
    play(buffer, arrivals[:750], 750 * 20)
    late = buffer.counts.late + buffer.counts.lost
    buffer.counts.late = buffer.counts.lost = 0
    assert 50 <= buffer.target <= 100
    for n in range(750, 1500):
        due = [packet for at, packet in arrivals if 20 * (n - 1) < at <= 20 * n and packet.sequence >= 750]
        for packet in due:
            buffer.put(packet, START + 20 * n * MS)
        buffer.get(START + 20 * n * MS)
    assert buffer.counts.late + buffer.counts.lost <= 0.05 * 750
    assert late < 0.2 * 750


def test_the_delay_falls_again_when_jitter_ends():
    dice, buffer = random.Random(6), Buffer()
    arrivals = [(20 * n + (dice.randrange(0, 120) if n < 500 else 0), p) for n, p in enumerate(stream(2000))]
    play(buffer, arrivals[:500], 10_000)
    rough = buffer.target
    rest = [(at - 10_000, packet) for at, packet in arrivals[500:]]
    for at, packet in rest:
        buffer.put(packet, START + (10_000 + at) * MS)
        buffer.get(START + (10_000 + at) * MS)
    assert rough >= 80
    assert buffer.target <= 20


def test_never_more_than_200_ms_wait():
    """A second of sound that comes at once: what is too old for the bound is left out."""
    buffer = Buffer()
    for packet in stream(5):
        buffer.put(packet, START + packet.sequence * 20 * MS)
        buffer.get(START + packet.sequence * 20 * MS)
    for packet in stream(60)[5:]:
        buffer.put(packet, START + 1200 * MS)
    answer, payload = buffer.get(START + 1200 * MS)
    assert answer == FRAME
    assert int.from_bytes(payload, "big") >= 50
    assert buffer.counts.discarded >= 40


@pytest.mark.parametrize("name", NUMBERS)
def test_memory_is_bounded(name):
    assert lib.jitterbuffer_bytes(Codec(name).facts().slot) <= 32768


def test_a_payload_longer_than_a_slot_is_refused():
    buffer = Buffer(slot=122)
    buffer.put(Sent(1, 0, bytes(123)), START)
    assert (buffer.counts.refused, buffer.get(START + 500 * MS)[0]) == (1, WAIT)


def test_sequence_numbers_and_time_stamps_wrap():
    buffer = Buffer()
    packets = stream(100, first=65500, ticks=2**32 - 50 * 160)
    assert played(play(buffer, [(20 * n, packet) for n, packet in enumerate(packets)], 2300)) == list(range(100))
    assert buffer.counts.restarts == 0


def test_another_source_takes_over_with_its_second_packet():
    buffer = Buffer()
    first = [(20 * n, packet) for n, packet in enumerate(stream(20))]
    second = [(400 + 20 * n, packet) for n, packet in enumerate(stream(20, first=999, ticks=777_777, ssrc=8))]
    answers = play(buffer, first + second, 1000)
    assert played(answers)[-19:] == list(range(1, 20))
    assert (buffer.counts.restarts, buffer.counts.refused) == (1, 1)


def test_a_single_packet_of_another_source_changes_nothing():
    buffer = Buffer()
    arrivals = [(20 * n, packet) for n, packet in enumerate(stream(20))]
    arrivals.insert(10, (190, Sent(40_000, 0, b"evil", ssrc=66)))
    assert played(play(buffer, arrivals, 600)) == list(range(20))
    assert buffer.counts.refused == 1


def test_time_stamps_that_jump_are_survived():
    buffer = Buffer()
    packets = stream(20) + [Sent(20 + n, 10_000_000 + 160 * n, (20 + n).to_bytes(4, "big")) for n in range(20)]
    answers = play(buffer, [(20 * n, packet) for n, packet in enumerate(packets)], 1200)
    numbers = played(answers)
    assert numbers[-20:] == list(range(20, 40))
    assert len(numbers) >= 39, "what waits at the jump may be taken for too much"


def test_silence_left_out_is_a_gap_and_no_loss():
    buffer = Buffer()
    packets = stream(10) + [Sent(10 + n, 160 * (60 + n), (10 + n).to_bytes(4, "big")) for n in range(10)]
    arrivals = [(20 * n if n < 10 else 20 * (50 + n), packet) for n, packet in enumerate(packets)]
    answers = play(buffer, arrivals, 1800)
    assert played(answers) == list(range(20))
    assert (buffer.counts.lost, buffer.counts.late) == (0, 0)


def test_events_keep_their_place_and_are_not_played():
    buffer = Buffer()
    packets = stream(30)
    for place in range(10, 15):
        packets[place] = Sent(place, 1600, b"\x05\x0a\x00\xa0", kind=EVENT)
    answers = play(buffer, [(20 * n, packet) for n, packet in enumerate(packets)], 800)
    assert played(answers) == [n for n in range(30) if not 10 <= n < 15]
    assert buffer.counts.lost == 0


def test_a_stream_that_pauses_without_counting_on_resumes():
    buffer = Buffer()
    arrivals = [(20 * n if n < 20 else 3000 + 20 * n, packet) for n, packet in enumerate(stream(60))]
    assert played(play(buffer, arrivals, 5000))[-30:] == list(range(30, 60))


packet = st.builds(
    Sent,
    sequence=st.one_of(st.integers(0, 40), st.integers(65500, 65540), st.integers(0, 65535)),
    timestamp=st.one_of(st.integers(0, 50).map(lambda n: n * 160), st.integers(0, 2**32 - 1)),
    payload=st.binary(min_size=1, max_size=700),
    kind=st.sampled_from([SOUND, SOUND, SOUND, NOISE, EVENT]),
    ssrc=st.sampled_from([7, 7, 7, 8, 9]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), packet), max_size=120))
def test_whatever_comes_the_accounts_balance(steps):
    """Each packet is played, thrown away for a reason or still there; time never makes it hang or run away."""
    buffer, now, frames = Buffer(), START, 0
    for pause, one in steps:
        now += pause * MS
        buffer.put(one, now)
        answer, _ = buffer.get(now)
        frames += answer == FRAME
        assert answer != FRAME or buffer.frame.kind != EVENT
        if answer in (LOST, GAP):
            assert 0 < buffer.frame.ticks <= 60 * 8
    counts = buffer.counts
    assert counts.received == len(steps)
    assert frames + counts.late + counts.duplicates + counts.discarded + counts.refused <= len(steps)
    for _ in range(100):
        now += 60 * MS
        if buffer.get(now)[0] in (WAIT, EMPTY):
            return
    raise AssertionError("what waits is never played")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.floats(0, 0.3),
    st.floats(0, 0.2),
    st.integers(0, 60),
    st.randoms(),
)
def test_loss_disorder_and_repetition_keep_the_order(first, ticks, loss, again, jitter, dice):
    buffer, arrivals = Buffer(), []
    for n, one in enumerate(stream(150, first, ticks)):
        if dice.random() >= loss:
            arrivals.append((20 * n + dice.randrange(jitter + 1), one))
        if dice.random() < again:
            arrivals.append((20 * n + dice.randrange(jitter + 1), one))
    numbers = played(play(buffer, arrivals, 150 * 20 + 500))
    assert numbers == sorted(set(numbers))
    assert len(numbers) + buffer.counts.late + buffer.counts.discarded >= 0.9 * len({p.sequence for _, p in arrivals})
