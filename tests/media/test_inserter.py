# SPDX-License-Identifier: GPL-3.0-or-later
"""What is put into a stream that passes, and taken out: the listener's numbers, times and sound, packet by packet."""

from __future__ import annotations

import itertools
import random
import struct
from array import array
from pathlib import Path

import pytest

from tests.media.dsp import (
    MS,
    NO_TYPE,
    NUMBERS,
    Codec,
    Inserter,
    Rtp,
    Side,
    clip_file,
    ffi,
    heard,
    lib,
    packets,
    sine,
    timed,
    tone_level,
)

PCMU = Side(Codec("PCMU"), events=101)
DIGIT, PLAYED = 1, 2
LEG, OWN = 7, 0x5EED


def settings(side: Side = PCMU, *, event_rate: int = 0, **flags: bool):
    made = ffi.new("struct inserter_settings *")
    sender = made.sender
    side.codec.fill(sender.codec)
    sender.number, sender.payload_type, sender.ptime = NUMBERS[side.codec.name], side.payload_type, side.codec.ptime
    sender.event_type = NO_TYPE if side.events is None else side.events
    sender.noise_type, sender.event_rate = NO_TYPE, event_rate
    sender.ssrc, sender.sequence, sender.timestamp = OWN, 100, 1000
    for name, value in flags.items():
        setattr(made, name, value)
    return made


def speech(ms: int, side: Side = PCMU, frequency: float = 300) -> list[tuple[int, Rtp]]:
    stream = packets(side, sine(side.codec.sound_rate, frequency, ms), sequence=5000, timestamp=70000, ssrc=LEG)
    return timed(stream, side.codec.ptime)


def play_into(inserter: Inserter, arrivals, clip: bytes, at_ms: int, times: int = 1) -> list[Rtp]:
    """A clip begins that long after the stream."""
    start = inserter.now
    for at, packet in arrivals:
        if inserter.now < start + at_ms * MS <= start + at:
            inserter.run(start + at_ms * MS)
            inserter.play(clip, times)
        inserter.run(start + at)
        inserter.put(packet)
    inserter.run(inserter.now + 300 * MS)
    return [packet for _, packet in inserter.sent]


def gaps(inserter: Inserter) -> list[float]:
    """Milliseconds between packets that left."""
    return [(b - a) / MS for (a, _), (b, _) in itertools.pairwise(inserter.sent)]


def steps(sent: list[Rtp]) -> set[tuple[int, int]]:
    """How sequence number and time stamp go on."""
    return {(b.sequence - a.sequence, b.timestamp - a.timestamp) for a, b in itertools.pairwise(sent)}


def test_without_anything_to_do_packets_pass_untouched():
    inserter = Inserter(settings())
    arrivals = speech(200)
    assert inserter.feed(arrivals) == [packet for _, packet in arrivals]
    assert inserter.due == 2**64 - 1


@pytest.mark.parametrize("ptime", [10, 20, 30, 60])
def test_a_clip_rides_in_the_legs_stream_which_goes_on_without_a_jump(tmp_path, ptime):
    side = Side(Codec("PCMU", ptime=ptime), events=101)
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 600))
    inserter = Inserter(settings())
    sent = play_into(inserter, speech(1800, side), clip, 600)
    assert {packet.ssrc for packet in sent} == {LEG}
    assert steps(sent) == {(1, 8 * ptime)}
    assert not any(packet.marker for packet in sent)
    assert max(gaps(inserter)) <= ptime + 5
    out = heard(PCMU, sent)
    assert tone_level(out[:4000], 8000, 300) == pytest.approx(-15, abs=0.5)
    assert tone_level(out[6000:9000], 8000, 1000) == pytest.approx(-15, abs=0.5)
    assert tone_level(out[6000:9000], 8000, 300) < -40
    assert tone_level(out[11000:], 8000, 300) == pytest.approx(-15, abs=0.5)
    assert [kind for kind, *_ in inserter.news] == [PLAYED]


def test_jitter_of_the_leg_makes_no_gap_beyond_sixty_milliseconds(tmp_path):
    dice = random.Random(3)
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 400))
    for _ in range(30):
        arrivals = sorted((at + dice.randrange(0, 15) * MS, packet) for at, packet in speech(1500))
        inserter = Inserter(settings())
        sent = play_into(inserter, arrivals, clip, 300 + dice.randrange(0, 20))
        assert max(gaps(inserter)) <= 60
        assert len({packet.sequence for packet in sent}) == len(sent)
        assert {packet.ssrc for packet in sent} == {LEG}


@pytest.mark.parametrize("drift", [-400, 400])
def test_the_pace_follows_a_leg_whose_clock_is_another(tmp_path, drift):
    """Parts in a million; a minute of music drifts by a packet at most."""
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 200))
    inserter = Inserter(settings())
    arrivals = [(at + at * drift // 1_000_000, packet) for at, packet in speech(60_000)]
    start = inserter.now
    for at, packet in arrivals:
        inserter.run(start + at)
        inserter.put(packet)
        if packet.sequence == 5010:
            inserter.play(clip, 0)
    ahead = inserter.sent[-1][1].sequence - arrivals[-1][1].sequence
    assert -2 <= ahead <= 1
    inserter.stop()
    after = len(inserter.sent)
    for number in range(1, 10):
        inserter.run(start + arrivals[-1][0] + number * 20 * MS)
        inserter.put(Rtp(arrivals[-1][1].sequence + number, arrivals[-1][1].timestamp + 160 * number, b"\xff" * 160, 0))
    assert {b.sequence - a.sequence for (_, a), (_, b) in itertools.pairwise(inserter.sent[after - 1 :])} <= {1, 2}


def told_to_stop(clip: bytes, ms: int, jitter: int = 0) -> tuple[Inserter, list[Rtp]]:
    """Music is stopped so long after the stream began; what the listener gets where the kernel takes over at once."""
    dice = random.Random(ms)
    inserter, direct = Inserter(settings()), []
    start, stopped = inserter.now, False
    for at, packet in sorted((at + dice.randrange(jitter + 1) * MS, packet) for at, packet in speech(800)):
        if not stopped and at >= ms * MS:
            inserter.run(start + ms * MS)
            inserter.stop()
            inserter.due, stopped = inserter.now, True
        inserter.run(start + at)
        if stopped and not lib.inserter_rides(inserter.handle):
            direct.append(packet)
            continue
        inserter.put(packet)
        if packet.sequence == 5003:
            inserter.play(clip, 0)
    return inserter, [packet for _, packet in inserter.sent] + direct


@pytest.mark.parametrize("ms", range(300, 342))
def test_whoever_carries_on_after_it_neither_repeats_a_number_nor_leaves_one_out(tmp_path, ms):
    """At whatever moment it ends: what is put in comes a little before or after what it takes the place of."""
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 600))
    _, got = told_to_stop(clip, ms)
    assert [packet.sequence for packet in got] == list(range(5000, 5040))
    assert steps(got) == {(1, 160)}
    _, got = told_to_stop(clip, ms, jitter=15)
    assert [packet.sequence for packet in got] == list(range(5000, 5040))


def test_what_was_overtaken_does_not_come_by_a_number_that_is_used_up(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 100))
    inserter = Inserter(settings())
    arrivals = speech(400)
    late = arrivals[8]
    sent = play_into(inserter, arrivals[:8] + arrivals[9:13] + [(arrivals[12][0], late[1])] + arrivals[13:], clip, 120)
    numbers = [packet.sequence for packet in sent]
    assert len(numbers) == len(set(numbers))
    assert lib.inserter_rides(inserter.handle) == 0


def test_one_clip_after_the_other_takes_numbers_of_its_own(tmp_path):
    """Though the leg has not come to those yet that the first has used up."""
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 100))
    inserter = Inserter(settings())
    start = inserter.now
    for at, packet in speech(800):
        for _ in range(20):
            if 5010 < packet.sequence < 5030 and not inserter.handle.clip.map:
                inserter.play(clip)
            inserter.run(min(inserter.now + MS, start + at))
        inserter.run(start + at)
        inserter.put(packet)
    sent = [packet for _, packet in inserter.sent]
    assert steps(sent) == {(1, 160)}
    assert len(inserter.news) >= 3


def test_a_leg_that_is_silent_rides_on_until_it_has_passed_what_was_used_up(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 1000))
    inserter = Inserter(settings())
    stream = speech(2000)
    play_into(inserter, stream[:20], clip, 200)
    inserter.run(inserter.now + 1000 * MS)
    used = max(packet.sequence for _, packet in inserter.sent if packet.ssrc == LEG)
    assert used > stream[19][1].sequence
    assert lib.inserter_rides(inserter.handle)
    before = len(inserter.sent)
    for _, packet in stream[20:]:
        inserter.put(packet)
        assert bool(lib.inserter_rides(inserter.handle)) == (packet.sequence < used)
    assert [packet.sequence for _, packet in inserter.sent[before:]] == list(range(used + 1, 5100))


def test_to_one_whose_leg_is_silent_a_clip_goes_under_another_name(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 300))
    inserter = Inserter(settings())
    inserter.play(clip)
    sent = inserter.feed([], tail_ms=600)
    assert {packet.ssrc for packet in sent} == {OWN}
    assert [packet.marker for packet in sent][:2] == [True, False]
    assert steps(sent) == {(1, 160)}
    begun = (inserter.sent[0][0] - 10**12) / MS
    assert begun <= 90
    first = Rtp(5000, 70000, b"\xff" * 160, 0, LEG)
    inserter.put(first)
    assert inserter.sent[-1][1] == Rtp(5000, 70000, b"\xff" * 160, 0, LEG, marker=True)
    inserter.put(Rtp(5001, 70160, b"\xff" * 160, 0, LEG))
    assert not inserter.sent[-1][1].marker


@pytest.mark.parametrize(("pause", "left_out"), [(150, False), (300, True)])
def test_after_a_pause_of_ours_what_a_listener_may_still_wait_for_is_sent_at_once(tmp_path, pause, left_out):
    """As what passes is, which has waited in a socket meanwhile; what is too late would only delay the rest."""
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 300))
    inserter = Inserter(settings())
    inserter.play(clip, 0)
    inserter.feed([], tail_ms=300)
    inserter.now += pause * MS
    inserter.run(inserter.now + 200 * MS)
    sent = [packet for _, packet in inserter.sent]
    jumps = steps(sent) - {(1, 160)}
    assert bool(jumps) == left_out
    assert all(numbers * 160 == ticks for numbers, ticks in jumps)
    assert sent[-1].sequence - sent[0].sequence == pytest.approx((200 + pause + 200) / 20, abs=2)


def test_the_other_name_goes_on_where_it_ended(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 100))
    inserter = Inserter(settings())
    inserter.play(clip)
    inserter.feed([], tail_ms=500)
    inserter.play(clip)
    sent = inserter.feed([], tail_ms=500)
    assert [packet.sequence for packet in sent] == list(range(100, 110))
    times = [at for at, _ in inserter.sent]
    assert sent[5].timestamp - sent[4].timestamp == pytest.approx((times[5] - times[4]) / MS * 8, abs=16)


def test_a_leg_that_falls_silent_is_left_and_comes_back(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 1000))
    inserter = Inserter(settings())
    stream = speech(2000)
    before, after = stream[:20], [(at + 1200 * MS, packet) for at, packet in stream[20:40]]
    sent = play_into(inserter, before + after, clip, 300)
    names = [name for name, _ in itertools.groupby(packet.ssrc for packet in sent)]
    assert names == [LEG, OWN, LEG]
    assert max(gaps(inserter)[:60]) <= 25
    own = [packet for packet in sent if packet.ssrc == OWN]
    assert own[0].marker
    assert steps(own) == {(1, 160)}
    leg = [packet.sequence for packet in sent if packet.ssrc == LEG]
    assert len(set(leg)) == len(leg)
    assert leg == sorted(leg)


def test_where_the_name_is_encrypted_by_the_leg_itself_it_is_never_used(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 300))
    inserter = Inserter(settings(own=True))
    arrivals = speech(1000)
    sent = play_into(inserter, arrivals, clip, 300)
    theirs = {packet.sequence: packet.payload for _, packet in arrivals}
    assert {packet.ssrc for packet in sent} == {LEG, OWN}
    assert all(theirs[packet.sequence] == packet.payload for packet in sent if packet.ssrc == LEG)


def test_a_held_leg_is_not_heard_but_music_is(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 100))
    inserter = Inserter(settings(deaf=True))
    assert inserter.feed(speech(100)) == []
    inserter.play(clip, 0)
    sent = inserter.feed([], tail_ms=1000)
    assert tone_level(heard(PCMU, sent), 8000, 1000) == pytest.approx(-15, abs=0.5)


def test_a_clip_begins_later_on_demand(tmp_path):
    sound = sine(8000, 1000, 300) + sine(8000, 2000, 300)
    clip = clip_file(tmp_path / "clip", 8000, sound)
    inserter = Inserter(settings())
    inserter.play(clip, start_ms=300)
    out = heard(PCMU, inserter.feed([], tail_ms=600))
    assert len(out) == 2400
    assert tone_level(out, 8000, 2000) == pytest.approx(-15, abs=0.5)


def test_silence_takes_the_place_of_what_is_said_packet_by_packet():
    inserter = Inserter(settings(mute=True))
    arrivals = speech(400)
    sent = inserter.feed(arrivals)
    assert [(p.sequence, p.timestamp, p.ssrc) for p in sent] == [(p.sequence, p.timestamp, p.ssrc) for _, p in arrivals]
    assert set(heard(PCMU, sent)) == {0}


def event(sequence: int, digit: int, ticks: int, *, end: bool = False, at: int = 70800) -> Rtp:
    payload = bytes([digit, (128 if end else 0) | 10]) + struct.pack(">H", ticks)
    return Rtp(sequence, at, payload, 101, LEG, marker=ticks <= 160)


def digit_in_speech(digit: int = 5) -> list[tuple[int, Rtp]]:
    stream = speech(400)
    for place, (ticks, end) in enumerate([(160, False), (320, False), (480, True), (480, True), (480, True)], start=5):
        stream[place] = (stream[place][0], event(5000 + place, digit, ticks, end=end))
    return stream


def test_a_digit_is_told_and_passes():
    inserter = Inserter(settings())
    arrivals = digit_in_speech()
    assert inserter.feed(arrivals) == [packet for _, packet in arrivals]
    assert inserter.news == [(DIGIT, 5, 60, False)]


def test_a_blocked_digit_is_told_and_becomes_silence():
    inserter = Inserter(settings(block=True))
    sent = inserter.feed(digit_in_speech())
    assert inserter.news == [(DIGIT, 5, 60, False)]
    assert {packet.payload_type for packet in sent} == {0}
    assert steps(sent) == {(1, 160)}
    assert set(heard(PCMU, sent[5:10])) == {0}


def covered(inserter, mode: int, digit: int = 0) -> Inserter:
    cover = inserter.cover
    inserter.block, cover.digit, cover.frequency, cover.volume = mode, digit, 1000, 10
    return Inserter(inserter)


@pytest.mark.parametrize("mode", [2, 3])
def test_a_digit_becomes_another_one_packet_for_packet(mode):
    arrivals = digit_in_speech()
    inserter = covered(settings(), mode, 9)
    sent = inserter.feed(arrivals)
    assert inserter.news == [(DIGIT, 5, 60, False)]
    events = [packet.payload for packet in sent if packet.payload_type == 101]
    assert [each[1:] for each in events] == [p.payload[1:] for _, p in arrivals if p.payload_type == 101]
    assert len({each[0] for each in events}) == 1
    assert mode == 3 or events[0][0] == 9
    assert [packet for packet in sent if packet.payload_type == 0] == [p for _, p in arrivals if p.payload_type == 0]


def test_other_digits_are_as_random_as_they_are_many():
    inserter = covered(settings(), 3)
    got = set()
    for number in range(64):
        packet = Rtp(number, 1600 * number, bytes([5, 10, 1, 64]), 101, LEG)
        got |= {sent.payload[0] for sent in inserter.feed([(0, packet)])}
    assert got == set(range(16))


def test_a_digit_becomes_a_tone_that_is_none():
    inserter = covered(settings(), 4)
    sent = inserter.feed(digit_in_speech())
    assert {packet.payload_type for packet in sent} == {0}
    assert steps(sent) == {(1, 160)}
    assert tone_level(heard(PCMU, sent[5:9]), 8000, 1000) == pytest.approx(-16.2, abs=0.5)
    assert tone_level(heard(PCMU, sent[10:]), 8000, 1000) < -30


def test_how_digits_are_covered_changes_at_any_time():
    inserter = Inserter(settings())
    changed = settings(block=2)
    changed.cover.digit = 7
    assert lib.inserter_change(inserter.handle, changed) == 0
    assert 7 in {packet.payload[0] for packet in inserter.feed(digit_in_speech()) if packet.payload_type == 101}


def test_what_is_encrypted_is_no_digit_and_is_dropped_where_digits_are_blocked():
    inserter = Inserter(settings(own=True, block=True))
    arrivals = digit_in_speech()
    sent = inserter.feed(arrivals)
    assert inserter.news == []
    assert sent == [packet for _, packet in arrivals if packet.payload_type != 101]


def test_digits_are_sent_within_the_legs_stream():
    inserter = Inserter(settings())
    start = inserter.now
    for at, packet in speech(1500):
        inserter.run(start + at)
        inserter.put(packet)
        if packet.sequence == 5010:
            inserter.dial(4, 100)
            inserter.dial(2, 100, pause=80)
    sent = [packet for _, packet in inserter.sent]
    events = [packet for packet in sent if packet.payload_type == 101]
    assert [packet.payload[0] for packet in events if packet.marker] == [4, 2]
    ends = [struct.unpack(">H", packet.payload[2:])[0] for packet in events if packet.payload[1] & 128]
    assert set(ends) == {800}
    assert {b.sequence - a.sequence for a, b in itertools.pairwise(sent)} == {1}
    assert {packet.ssrc for packet in sent} == {LEG}
    assert max(gaps(inserter)) <= 25
    pairs = itertools.pairwise(packet for packet in sent if packet.payload_type == 0)
    assert all(0 < b.timestamp - a.timestamp == 160 * (b.sequence - a.sequence) for a, b in pairs)


def test_digits_become_tones_where_there_are_no_events():
    inserter = Inserter(settings(Side(Codec("PCMU"))))
    inserter.dial(5, 100)
    out = heard(PCMU, inserter.feed([], tail_ms=400))
    assert tone_level(out[:640], 8000, 770) == pytest.approx(-16, abs=2)
    assert tone_level(out[:640], 8000, 1336) == pytest.approx(-16, abs=2)


def test_events_of_8_khz_beside_opus_last_as_long_as_they_should():
    opus = Side(Codec("opus", 16000), events=97)
    inserter = Inserter(settings(opus, event_rate=8000))
    inserter.dial(5, 100)
    sent = inserter.feed([], tail_ms=400)
    assert {struct.unpack(">H", p.payload[2:])[0] for p in sent if p.payload[1] & 128} == {800}
    inserter.put(Rtp(1, 48000, bytes([7, 128 | 10]) + struct.pack(">H", 1280), 97, LEG))
    assert inserter.news == [(DIGIT, 7, 160, False)]


@pytest.mark.parametrize("name", ["PCMA", "G722", "G729", "opus"])
def test_every_codec_can_be_played_to(tmp_path: Path, name: str):
    side = Side(Codec(name, 16000 if name == "opus" else 0))
    rate = side.codec.sound_rate
    clip = clip_file(tmp_path / "clip", rate, sine(rate, 600, 800))
    inserter = Inserter(settings(side))
    inserter.play(clip)
    out: array[int] = heard(side, inserter.feed([], tail_ms=1200))
    assert tone_level(out[rate // 4 : rate // 2], rate, 600) == pytest.approx(-15, abs=2)


@pytest.mark.parametrize("bad", [{"number": 9}, {"event_rate": 10}, {"ptime": 0}])
def test_what_no_codec_is_gets_no_memory(bad):
    wanted = settings()
    for name, value in bad.items():
        setattr(wanted.sender, name, value)
    assert (lib.inserter_bytes(wanted) == 0) == ("ptime" not in bad)


def test_what_is_no_rtp_is_dropped():
    inserter = Inserter(settings())
    inserter.put(b"\x80")
    inserter.put(bytes(40))
    assert inserter.sent == []
