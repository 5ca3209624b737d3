# SPDX-License-Identifier: GPL-3.0-or-later
"""Comfort noise (RFC 3389), voice activity, loss concealment and changes of length: all without a click."""

import itertools
import random
from array import array

import pytest

from tests.media.dsp import ffi, largest_step, level, lib, samples, sine, speech, tone_level


def made(payload: bytes, count: int) -> array:
    noise, pcm = ffi.new("struct noise *"), ffi.new("int16_t[]", count)
    lib.noise_open(noise, 7)
    assert lib.noise_update(noise, payload, len(payload)) == 0
    lib.noise_make(noise, pcm, count)
    return array("h", bytes(ffi.buffer(pcm)))


def described(pcm: array) -> bytes:
    payload = ffi.new("uint8_t[11]")
    lib.noise_describe(samples(pcm), len(pcm), payload)
    return bytes(ffi.buffer(payload))


def white(count: int, peak: int, seed: int = 1) -> array:
    dice = random.Random(seed)
    return array("h", (dice.randrange(-peak, peak + 1) for _ in range(count)))


@pytest.mark.parametrize("dbov", [30, 45, 60])
def test_noise_has_the_level_that_was_described(dbov):
    assert level(made(bytes([dbov]), 8000)) == pytest.approx(-dbov, abs=1.5)


def test_noise_has_the_spectrum_that_was_described():
    """Noise through a low-pass keeps being dull: lows over highs by as much, within a few dB."""
    dull, state = array("h"), 0.0
    for value in white(4000, 8000):
        state += 0.2 * (value - state)
        dull.append(round(state))
    again = made(described(dull), 4000)
    assert level(again) == pytest.approx(level(dull), abs=3)
    assert tilt(again) == pytest.approx(tilt(dull), abs=4)


def tilt(pcm: array) -> float:
    """dB of the differences under the sound itself."""
    return level(pcm) - level([b - a for a, b in itertools.pairwise(pcm)])


def test_hostile_descriptions_stay_bounded():
    dice = random.Random(3)
    for _ in range(200):
        assert level(made(dice.randbytes(dice.randrange(1, 40)), 800)) <= 0
    assert lib.noise_update(ffi.new("struct noise *"), b"", 0) == -1


def test_level_of_full_scale_and_of_silence():
    assert lib.noise_level(samples(array("h", [32767, -32767] * 80)), 160) == pytest.approx(0, abs=0.01)
    assert lib.noise_level(samples(array("h", [0] * 160)), 160) == -127


def test_talk_is_told_from_noise():
    talk = ffi.new("struct talk *")
    lib.talk_open(talk)
    hiss, voice = white(16000, 60), speech(8000, 1000)
    quiet = [lib.talk_heard(talk, level(hiss[i : i + 160]), 20) for i in range(0, 16000, 160)]
    loud = [lib.talk_heard(talk, level(voice[i : i + 160]), 20) for i in range(0, 8000, 160)]
    after = [lib.talk_heard(talk, level(hiss[i : i + 160]), 20) for i in range(0, 8000, 160)]
    assert sum(quiet) <= 2
    assert sum(loud) >= 45
    assert after[:5] == [1] * 5
    assert sum(after) <= 12


def concealment(rate: int) -> tuple[object, array]:
    plc, pcm = ffi.new("struct plc *"), sine(rate, 310, 100)
    lib.plc_open(plc, rate)
    lib.plc_good(plc, samples(pcm), len(pcm))
    return plc, pcm


@pytest.mark.parametrize("rate", [8000, 16000])
def test_concealment_goes_on_without_a_step(rate):
    plc, pcm = concealment(rate)
    filled = ffi.new("int16_t[]", rate // 50)
    lib.plc_fill(plc, filled, rate // 50)
    joined = pcm + array("h", bytes(ffi.buffer(filled)))
    assert largest_step(joined) < 1.3 * largest_step(pcm)
    assert tone_level(joined[-rate // 50 :], rate, 310) == pytest.approx(-15, abs=2.5)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("ms", [10, 40, 100])
def test_sound_comes_back_without_a_step(rate, ms):
    plc, pcm = concealment(rate)
    filled = ffi.new("int16_t[]", rate // 1000 * ms)
    lib.plc_fill(plc, filled, rate // 1000 * ms)
    back = sine(rate, 310, 40)
    handed = samples(back)
    lib.plc_good(plc, handed, len(back))
    joined = pcm + array("h", bytes(ffi.buffer(filled))) + back
    assert largest_step(joined) < 1.6 * largest_step(pcm)


def test_concealment_of_nothing_is_silence():
    plc, pcm = ffi.new("struct plc *"), ffi.new("int16_t[160]")
    lib.plc_open(plc, 8000)
    lib.plc_fill(plc, pcm, 160)
    assert set(pcm) == {0}


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("way", ["shorten", "lengthen"])
def test_a_change_of_length_keeps_pitch_and_makes_no_step(rate, way):
    pcm = sine(rate, 200, 20)
    room = ffi.new("int16_t[]", len(pcm) + rate // 100)
    ffi.memmove(room, pcm, 2 * len(pcm))
    count = getattr(lib, f"timescale_{way}")(room, len(pcm), rate)
    changed = array("h", bytes(ffi.buffer(room, 2 * count)))
    assert (count < len(pcm)) if way == "shorten" else (count > len(pcm))
    assert abs(count - len(pcm)) <= rate // 100
    assert largest_step(changed) < 1.2 * largest_step(pcm)
    assert tone_level(changed, rate, 200) == pytest.approx(-15, abs=1)


def test_what_does_not_repeat_itself_keeps_its_length():
    pcm = white(160, 8000)
    room = ffi.new("int16_t[240]")
    ffi.memmove(room, pcm, 320)
    assert lib.timescale_shorten(room, 160, 8000) == 160
    assert lib.timescale_lengthen(room, 160, 8000) == 160
    assert lib.timescale_shorten(room, 16, 8000) == 16


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (16000, 8000), (8000, 48000), (48000, 8000)])
def test_resampling_keeps_a_tone(source, target):
    resampler, pcm = ffi.new("struct resampler *"), sine(source, 1000, 500)
    assert lib.resampler_open(resampler, source, target) == 0
    result = ffi.new("int16_t[]", target)
    count = lib.resample(resampler, samples(pcm), len(pcm), result, target)
    lib.resampler_close(resampler)
    out = array("h", bytes(ffi.buffer(result, 2 * count)))
    assert count == pytest.approx(target // 2, abs=target // 500)
    middle = out[count // 4 : count // 4 + target // 10]
    assert tone_level(middle, target, 1000) == pytest.approx(-15, abs=0.3)
    assert level(middle) == pytest.approx(-15, abs=0.3)
