# SPDX-License-Identifier: GPL-3.0-or-later
"""A direction through the codecs, from RTP to RTP: every pair, every packet time, loss, silence, digits, playing."""

from __future__ import annotations

import itertools
import random
import struct
from array import array
from dataclasses import replace

import pytest

from tests.media.dsp import (
    MS,
    NUMBERS,
    Codec,
    Rtp,
    Side,
    Transcoder,
    aligned,
    alignment,
    block,
    clip_file,
    ffi,
    heard,
    largest_step,
    level,
    lib,
    noise_ratio,
    packets,
    settings_of,
    sine,
    speech,
    timed,
    tone_level,
)

PCMU, PCMA, G722, G729 = (Side(Codec(name), events=101) for name in ("PCMU", "PCMA", "G722", "G729"))
OPUS = Side(Codec("opus", 8000, complexity=5), events=101)
WIDE = Side(Codec("opus", 16000), events=101)
FULL = Side(Codec("opus", 48000), events=101)
SIDES = {"PCMU": PCMU, "PCMA": PCMA, "G722": G722, "G729": G729, "opus/8000": OPUS, "opus/48000": FULL}
LEAST_RATIO = {"PCMU": 25, "PCMA": 25, "G722": 9, "G729": 2, "opus/8000": 4, "opus/48000": 4}
"""dB, segmental, of speech through the pair: that of the worse codec. docs/media.md has what was measured."""
RELAY, BLOCK = 0, 1
DIGIT, PLAYED = 1, 2


def through(source: Side, target: Side, pcm: array, **options) -> tuple[Transcoder, array]:
    transcoder = Transcoder(settings_of(source, target, **options))
    sent = transcoder.feed(timed(packets(source, pcm), source.codec.ptime))
    return transcoder, heard(target, sent)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(SIDES, 2)))
def test_every_pair_carries_speech(source, target):
    one, other = SIDES[source], SIDES[target]
    rate = min(one.codec.sound_rate, other.codec.sound_rate)
    _, out = through(one, other, speech(one.codec.sound_rate, 1200))
    reference = speech(8000, 1200)
    narrow = out if other.codec.sound_rate == 8000 else down(out, other.codec.sound_rate)
    lag = alignment(reference, narrow, 900)
    assert rate >= 8000
    assert noise_ratio(reference, narrow, lag) > min(LEAST_RATIO[source], LEAST_RATIO[target]) - 2


def down(pcm: array, rate: int) -> array:
    resampler = ffi.new("struct resampler *")
    assert lib.resampler_open(resampler, rate, 8000) == 0
    result = ffi.new("int16_t[]", len(pcm))
    count = lib.resample(resampler, ffi.cast("int16_t *", ffi.from_buffer(pcm)), len(pcm), result, len(pcm))
    lib.resampler_close(resampler)
    return array("h", bytes(ffi.buffer(result, 2 * count)))


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(SIDES, 2)))
def test_every_pair_keeps_a_tone_without_clicks(source, target):
    one, other = SIDES[source], SIDES[target]
    _, out = through(one, other, sine(one.codec.sound_rate, 440, 800))
    rate = other.codec.sound_rate
    middle = out[rate * 4 // 10 : rate * 7 // 10]
    assert tone_level(middle, rate, 440) == pytest.approx(-15, abs=1.5)
    assert largest_step(middle) < 2.2 * largest_step(sine(rate, 440, 100))


@pytest.mark.parametrize("source", [10, 20, 30, 60])
@pytest.mark.parametrize("target", [10, 20, 30, 40, 50, 60])
def test_packet_times_are_converted(source, target):
    one = Side(Codec("PCMU", ptime=source))
    transcoder, out = through(one, Side(Codec("PCMA", ptime=target)), sine(8000, 440, 1200))
    sent = [packet for _, packet in transcoder.sent]
    assert {len(packet.payload) for packet in sent} == {8 * target}
    assert {b.timestamp - a.timestamp for a, b in itertools.pairwise(sent)} == {8 * target}
    assert {b.sequence - a.sequence for a, b in itertools.pairwise(sent)} == {1}
    assert tone_level(out[3200:8000], 8000, 440) == pytest.approx(-15, abs=0.5)


PAIRS_IN_TURN = list(
    zip(
        itertools.permutations(SIDES, 2),
        itertools.cycle(itertools.product((10, 20, 30, 40, 60), repeat=2)),
        strict=False,
    )
)
"""Each ordered pair of codecs with one of the 25 pairs of packet times, so that each time is met on either side."""


@pytest.mark.parametrize(("pair", "times"), PAIRS_IN_TURN)
def test_every_pair_converts_packet_times(pair, times):
    """Opus has none of 30 ms: it is sent as 20. Nothing lacks, though several packets make one, or parts of several."""
    one, other = (
        replace(SIDES[name], codec=timed_codec(SIDES[name].codec, ms)) for name, ms in zip(pair, times, strict=True)
    )
    transcoder, out = through(one, other, sine(one.codec.sound_rate, 440, 1800))
    sent = [packet for _, packet in transcoder.sent]
    assert {b.sequence - a.sequence for a, b in itertools.pairwise(sent)} == {1}
    step = other.codec.clock * other.codec.ptime // 1000
    assert {b.timestamp - a.timestamp for a, b in itertools.pairwise(sent)} == {step}
    leaving = [at for at, _ in transcoder.sent]
    assert {b - a for a, b in itertools.pairwise(leaving)} == {other.codec.ptime * MS}
    rate = other.codec.sound_rate
    of_opus = 2.5 if "opus" in (one.codec.name, other.codec.name) else 1.5  # dB: its longer frames follow a tone worse
    assert tone_level(out[rate * 13 // 10 : rate * 16 // 10], rate, 440) == pytest.approx(-15, abs=of_opus)
    assert (transcoder.report().jitter.lost, transcoder.report().receiver.concealed) == (0, 0)


def timed_codec(codec: Codec, ms: int) -> Codec:
    return replace(codec, ptime=lib.codec_ptime(NUMBERS[codec.name], ms))


def test_packets_leave_in_even_time_and_the_first_is_marked():
    transcoder, _ = through(PCMU, PCMA, sine(8000, 440, 500))
    times = [at for at, _ in transcoder.sent]
    assert {b - a for a, b in itertools.pairwise(times)} == {20 * MS}
    assert [packet.marker for _, packet in transcoder.sent][:3] == [True, False, False]
    assert times[0] - 10**12 <= 30 * MS
    assert {packet.ssrc for _, packet in transcoder.sent} == {0x5EED}


@pytest.mark.parametrize("late_ms", [0, 1, 4, 7, 19])
def test_streams_leave_together_whenever_they_began(late_ms):
    """At whole steps of 5 ms."""
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    transcoder.now += late_ms * MS
    transcoder.feed(timed(packets(PCMU, sine(8000, 440, 500)), 20))
    assert len(transcoder.sent) > 20
    assert {at % (5 * MS) for at, _ in transcoder.sent} == {0}


def test_g711_passes_without_the_sound_between_unless_somebody_asks_for_it(tmp_path):
    """Then sample by sample, and the same comes out of it."""
    stream = timed(packets(PCMU, speech(8000, 1200)), 20)
    lost = [each for number, each in enumerate(stream) if number not in (20, 33, 34)]
    plain, heard_ = Transcoder(settings_of(PCMU, PCMA)), Transcoder(settings_of(PCMU, PCMA, listen=True))
    sent = [one.feed(lost) for one in (plain, heard_)]
    assert [packet.bytes() for packet in sent[0]] == [packet.bytes() for packet in sent[1]]
    one, other = (each.report() for each in (plain, heard_))
    counts = "played", "decoded", "concealed", "silent", "shortened", "lengthened"
    assert [getattr(one.receiver, name) for name in counts] == [getattr(other.receiver, name) for name in counts]
    assert (one.sender.packets, one.sender.bytes) == (other.sender.packets, other.sender.bytes)
    assert one.receiver.concealed > 0


def test_who_is_asked_before_its_time_sends_nothing_early():
    """As after each change of the settings: the pace stays."""
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    for at, packet in timed(packets(PCMU, sine(8000, 440, 500)), 20):
        transcoder.run(10**12 + at)
        transcoder.put(packet)
        transcoder.now += 7 * MS
        assert transcoder._tick() == transcoder.due or not transcoder.sent
    times = [at for at, _ in transcoder.sent]
    assert {b - a for a, b in itertools.pairwise(times)} == {20 * MS}


@pytest.mark.parametrize("pair", [(PCMU, PCMA), (G722, PCMU), (G729, PCMU), (OPUS, PCMU)], ids=str)
def test_lost_packets_are_concealed_and_counted(pair):
    source, target = pair
    dice = random.Random(8)
    transcoder = Transcoder(settings_of(source, target))
    stream = timed(packets(source, sine(source.codec.sound_rate, 300, 3000)), 20)
    out = heard(target, transcoder.feed([one for one in stream if dice.random() > 0.05]))
    report = transcoder.report()
    lost = len(stream) - report.receiver.played
    assert report.jitter.lost == pytest.approx(lost, abs=2)
    assert report.receiver.concealed >= 20 * (lost - 2)
    assert level(out[8000:20000]) == pytest.approx(-15, abs=2)
    assert largest_step(out[4000:20000]) < 2.5 * largest_step(sine(8000, 300, 100))


def test_opus_redundancy_is_used():
    source = Side(Codec("opus", 16000, fec=True, loss=25, bitrate=32000))
    transcoder = Transcoder(settings_of(source, Side(Codec("G722"))))
    stream = timed(packets(source, speech(16000, 3000)), 20)
    transcoder.feed([one for number, one in enumerate(stream) if number % 10 != 7])
    assert transcoder.report().receiver.recovered >= 5


def test_jitter_is_evened_out():
    dice = random.Random(9)
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    stream = sorted(
        ((at + dice.randrange(60) * MS, packet) for at, packet in timed(packets(PCMU, sine(8000, 250, 8000)), 20)),
        key=lambda one: one[0],
    )
    out = heard(PCMA, transcoder.feed(stream))
    report = transcoder.report()
    assert report.jitter.late + report.jitter.lost < 0.06 * len(stream)
    assert 40 <= report.target_ms <= 80
    assert {b - a for (a, _), (b, _) in itertools.pairwise(transcoder.sent)} == {20 * MS}
    assert largest_step(out[24000:56000]) < 2.5 * largest_step(sine(8000, 250, 100))


def test_the_delay_falls_after_a_stall():
    """Half a second late once: what piled up is played off by shortening, at most 200 ms of it."""
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    stream = timed(packets(PCMU, sine(8000, 250, 8000)), 20)
    late = [(max(at, 1400 * MS) if 1000 * MS <= at < 1400 * MS else at, packet) for at, packet in stream]
    transcoder.feed(late)
    report = transcoder.report()
    assert report.receiver.shortened > 0
    assert report.jitter.discarded + report.jitter.late > 0
    assert report.target_ms <= 100


def event_packets(
    digit: int, at: int, *, ms: int = 100, sequence: int = 0, timestamp: int = 0, payload_type: int = 101
):
    """RFC 4733: a report every 20 ms, the end three times."""
    reports = [(20 * n, 160 * n, False) for n in range(1, ms // 20 + 1)]
    reports += [(ms + 20 * n, 8 * ms, True) for n in range(3)]
    for number, (late, duration, end) in enumerate(reports):
        payload = bytes([digit, 0x8A if end else 0x0A]) + duration.to_bytes(2, "big")
        yield (at + late * MS, Rtp(sequence + number, timestamp, payload, payload_type, marker=not number))


def test_an_event_is_relayed_as_an_event():
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    stream = timed(packets(PCMU, sine(8000, 440, 200)), 20)
    stream += list(event_packets(5, 200 * MS, sequence=10, timestamp=1600))
    sent = transcoder.feed(stream)
    events = [packet for packet in sent if packet.payload_type == 101]
    assert transcoder.news == [(DIGIT, 5, 100, False)]
    assert [packet.marker for packet in events] == [True] + [False] * (len(events) - 1)
    assert len({packet.timestamp for packet in events}) == 1
    assert [packet.payload[0] for packet in events] == [5] * len(events)
    assert [packet.payload[1] >> 7 for packet in events][-3:] == [1, 1, 1]
    durations = [struct.unpack(">H", packet.payload[2:])[0] for packet in events]
    assert durations == sorted(durations)
    assert 640 <= durations[-1] <= 1280
    assert {b.sequence - a.sequence for a, b in itertools.pairwise(sent)} == {1}


def test_an_event_becomes_a_tone_where_the_other_leg_has_no_events():
    target = Side(Codec("PCMA"))
    transcoder = Transcoder(settings_of(PCMU, target))
    sent = transcoder.feed(list(event_packets(9, 0, ms=160)))
    out = heard(target, sent)
    detector = ffi.new("struct tone_detector *")
    lib.tone_detector_open(detector, 8000)
    digits = {
        lib.tone_detect(detector, ffi.cast("int16_t *", ffi.from_buffer(out)) + i, 80)
        for i in range(0, len(out) - 80, 80)
    }
    assert digits == {-1, 9}


def key_8(rate: int) -> array:
    """Its two tones for 200 ms, and 200 ms of nothing before and after."""
    tones = array("h", map(sum, zip(sine(rate, 852, 200, -18), sine(rate, 1336, 200, -18), strict=True)))
    nothing = array("h", [0] * (rate // 5))
    return nothing + tones + nothing


@pytest.mark.parametrize("source", [PCMU, G722], ids=str)
def test_a_tone_becomes_an_event_and_is_taken_out_of_the_sound(source):
    transcoder = Transcoder(settings_of(source, PCMA, listen=True))
    sent = transcoder.feed(timed(packets(source, key_8(source.codec.sound_rate)), 20))
    ((kind, digit, ms, in_band),) = transcoder.news
    assert (kind, digit, in_band) == (DIGIT, 8, True)
    assert 140 <= ms <= 220
    assert next(packet.payload[0] for packet in sent if packet.payload_type == 101) == 8
    assert milliseconds_of_tone(PCMA, sent) <= 60, "what was said before anybody could know it"


@pytest.mark.parametrize(("source", "target"), [("PCMU", "PCMA"), ("G722", "PCMU"), ("PCMA", "G722"), ("PCMU", "G729")])
def test_a_blocked_tone_is_told_and_hardly_heard_where_there_are_no_events(source, target):
    one, other = (replace(SIDES[name], events=None) for name in (source, target))
    pcm = key_8(one.codec.sound_rate)
    for blocked in (RELAY, BLOCK):
        transcoder = Transcoder(settings_of(one, other, listen=True, digits=blocked))
        sent = transcoder.feed(timed(packets(one, pcm), 20))
        assert [(kind, digit) for kind, digit, *_ in transcoder.news] == [(DIGIT, 8)]
        heard_ms = milliseconds_of_tone(other, sent)
        assert heard_ms <= 60 if blocked == BLOCK else heard_ms >= 140


def milliseconds_of_tone(side: Side, sent: list[Rtp]) -> int:
    """How long key 8 is heard, by pieces of 20 ms."""
    out, rate = heard(side, sent), side.codec.sound_rate
    pieces = [out[place : place + rate // 50] for place in range(0, len(out), rate // 50)]
    return 20 * sum(min(tone_level(piece, rate, 852), tone_level(piece, rate, 1336)) > -35 for piece in pieces)


def test_blocked_digits_are_told_and_not_passed_on():
    transcoder = Transcoder(settings_of(PCMU, PCMA, digits=BLOCK))
    stream = timed(packets(PCMU, sine(8000, 440, 200)), 20)
    sent = transcoder.feed(stream + list(event_packets(3, 200 * MS, sequence=10, timestamp=1600)))
    assert transcoder.news == [(DIGIT, 3, 100, False)]
    assert {packet.payload_type for packet in sent} == {8}


def test_digits_whose_end_is_lost_end_by_themselves():
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    transcoder.feed(list(event_packets(5, 0, ms=100))[:3], tail_ms=600)
    assert [(kind, digit) for kind, digit, *_ in transcoder.news] == [(DIGIT, 5)]
    assert transcoder.sent[-1][1].payload[1] >> 7 == 1


def test_digits_are_sent_on_demand_even_without_a_stream():
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    for digit in (1, 2):
        assert lib.transcoder_digit(transcoder.handle, ffi.new("struct dtmf_digit *", [digit, 10, 80])) == 0
    sent = transcoder.feed([], tail_ms=1000)
    assert [packet.payload[0] for packet in sent if packet.marker and packet.payload_type == 101] == [1, 2]


def test_a_clip_is_played_in_place_of_the_leg(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 500))
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    assert lib.transcoder_play(transcoder.handle, clip, 1, 0) == 0
    out = heard(PCMA, transcoder.feed(timed(packets(PCMU, sine(8000, 300, 1200)), 20)))
    assert tone_level(out[800:3200], 8000, 1000) == pytest.approx(-15, abs=0.5)
    assert tone_level(out[800:3200], 8000, 300) < -45
    assert tone_level(out[5600:8000], 8000, 300) == pytest.approx(-15, abs=0.5)
    assert transcoder.news == [(PLAYED, 0, 0, False)]


def test_a_clip_is_laid_over_the_leg(tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 1000, 500, -20))
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    lib.transcoder_play(transcoder.handle, clip, 0, 1)
    out = heard(PCMA, transcoder.feed(timed(packets(PCMU, sine(8000, 300, 1200, -20)), 20)))
    for frequency in (300, 1000):
        assert tone_level(out[3200:8000], 8000, frequency) == pytest.approx(-23, abs=0.7)


def test_a_clip_is_looped_without_a_stream_until_it_is_stopped(tmp_path):
    clip = clip_file(tmp_path / "clip", 16000, sine(16000, 500, 200))
    transcoder = Transcoder(settings_of(PCMU, G722))
    lib.transcoder_play(transcoder.handle, clip, 0, 0)
    sent = transcoder.feed([], tail_ms=2000)
    assert len(sent) >= 99
    middle = heard(G722, sent)[8000:24000]
    assert tone_level(middle, 16000, 500) == pytest.approx(-15, abs=0.5)
    assert largest_step(middle) < 1.5 * largest_step(sine(16000, 500, 100))
    lib.transcoder_stop(transcoder.handle)
    before = len(transcoder.sent)
    transcoder.feed([], tail_ms=500)
    assert len(transcoder.sent) == before


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", 22),
        (bytes(16), 22),
        (struct.pack("=IIII", 0x50434C56, 8000, 100, 0), 22),
        (struct.pack("=IIII", 0x50434C56, 16000, 1, 0) + b"\0\0", 33),
    ],
)
def test_what_is_no_clip_is_refused(tmp_path, content, error):
    (tmp_path / "clip").write_bytes(content)
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    assert lib.transcoder_play(transcoder.handle, str(tmp_path / "clip").encode(), 1, 0) == error
    assert lib.transcoder_play(transcoder.handle, str(tmp_path / "none").encode(), 1, 0) == 2


def test_a_muted_leg_is_not_heard():
    transcoder, out = through(PCMU, PCMA, sine(8000, 440, 400), mute=True)
    assert len(transcoder.sent) > 15
    assert level(out) < -70


def test_settings_that_need_no_new_codec_change_in_use():
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    assert lib.transcoder_change(transcoder.handle, settings_of(PCMU, PCMA, mute=True, digits=BLOCK)) == 0
    assert lib.transcoder_change(transcoder.handle, settings_of(PCMU, G722)) == -1
    assert lib.transcoder_change(transcoder.handle, settings_of(PCMU, Side(Codec("PCMA", ptime=30)))) == -1


def test_a_stream_that_ends_stops_the_packets_after_a_second():
    transcoder = Transcoder(settings_of(PCMU, PCMA))
    transcoder.feed(timed(packets(PCMU, sine(8000, 440, 200)), 20), tail_ms=3000)
    assert 55 <= len(transcoder.sent) <= 65
    transcoder.feed(timed(packets(PCMU, sine(8000, 440, 200), sequence=10, timestamp=8 * 3200), 20))
    resumed = transcoder.sent[-1][1]
    assert [packet.marker for _, packet in transcoder.sent].count(True) == 2
    assert resumed.timestamp - 1000 == pytest.approx(8 * 3400, abs=8 * 300)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations([*SIDES.values(), WIDE], 2)))
def test_memory_is_one_block_within_its_bound(source, target):
    settings = settings_of(source, target)
    assert 0 < lib.transcoder_bytes(settings) <= lib.TRANSCODER_BYTES_MOST
    both = lib.transcoder_bytes(settings) + lib.transcoder_bytes(settings_of(target, source))
    if (source.codec.name, target.codec.name) != ("opus", "opus"):
        assert both <= 150_000


@pytest.mark.parametrize(
    ("place", "value"),
    [("receiver.number", 9), ("sender.number", 200), ("receiver.rate", 11025), ("receiver.rate", 16000)],
)
def test_settings_that_fit_nothing_are_refused(place, value):
    settings = settings_of(PCMU, PCMA)
    part, name = place.split(".")
    setattr(getattr(settings, part), name, value)
    assert lib.transcoder_bytes(settings) == 0
    assert lib.transcoder_open(aligned(block(100_000)), settings, 0) == ffi.NULL


def test_random_packets_harm_nothing():
    dice, transcoder = random.Random(11), Transcoder(settings_of(Side(Codec("opus", 8000), 101, 13), PCMA, listen=True))
    for _ in range(3000):
        transcoder.run(transcoder.now + dice.randrange(30) * MS)
        length = dice.randrange(64)
        data = bytearray(dice.randbytes(length))
        if length > 12 and dice.random() < 0.9:
            data[:12] = Rtp(dice.randrange(300), dice.randrange(9) * 960, b"", dice.choice([96, 101, 13])).bytes()
        transcoder.put(bytes(data))
    assert transcoder.report().receiver.unknown > 0
