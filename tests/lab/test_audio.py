# SPDX-License-Identifier: GPL-3.0-or-later
import math
import random
import struct
import wave

import pytest

from vm import audio


def tone(frequency, seconds, amplitude=8000):
    return [
        round(amplitude * math.sin(2 * math.pi * frequency * n / audio.RATE)) for n in range(int(seconds * audio.RATE))
    ]


@pytest.mark.parametrize("frequency", [200, 440, 1000, 1234, 3300])
def test_finds_the_frequency_of_a_written_tone(tmp_path, frequency):
    audio.write_tone(tmp_path / "tone.wav", frequency, 2)
    heard = audio.judge(audio.read(tmp_path / "tone.wav"))
    assert heard.frequency == pytest.approx(frequency, abs=0.5)
    assert heard.snr > 40
    assert heard.seconds == pytest.approx(2, abs=0.03)
    assert heard.gap == 0
    assert heard.level == pytest.approx(0, abs=0.1)
    assert heard.clicks == 0


def test_noise_lowers_the_ratio():
    noise = random.Random(7)
    samples = [value + round(noise.gauss(0, 1800)) for value in tone(440, 2)]
    heard = audio.judge(samples)
    assert heard.frequency == pytest.approx(440, abs=2)
    assert 5 < heard.snr < 15
    assert not heard.is_tone(440)


def test_of_two_tones_the_stronger_wins():
    samples = [a + b for a, b in zip(tone(440, 2), tone(1000, 2, 800), strict=True)]
    assert audio.judge(samples).frequency == pytest.approx(440, abs=0.5)


def test_a_gap_is_measured_and_does_not_spoil_the_tone():
    heard = audio.judge(tone(440, 1) + [0] * (audio.RATE // 2) + tone(440, 1))
    assert heard.gap == pytest.approx(0.5, abs=0.03)
    assert heard.is_tone(440)


def test_a_break_is_counted_and_does_not_spoil_the_tone():
    """As a phone makes one whose buffer runs over: 20 ms are missing, and no silence tells where."""
    whole = tone(440, 5)
    for at in (17_000, 18_000, 19_000):
        heard = audio.judge(whole[:at] + whole[at + 160 :])
        assert heard.clicks == 1
        assert heard.is_tone(440, tolerance=0.5, least_snr=40)


def test_what_is_heard_one_after_the_other_is_found():
    samples = tone(440, 1.5) + [0] * 3000 + tone(1000, 1.5) + tone(700, 0.4)
    assert audio.holds(samples, 440, 1000)
    assert not audio.holds(samples, 440, 700)
    assert audio.holds(tone(440, 1.25) + [0] * 4400 + tone(440, 1.5), 440), (
        "one of the pieces is silent but for its ends"
    )


def test_silence_around_the_sound_is_no_gap():
    heard = audio.judge([0] * 4000 + tone(440, 2) + [0] * 4000)
    assert heard.gap == 0
    assert heard.seconds == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("samples", [[], [0] * 16000, tone(440, 0.3)])
def test_less_than_a_second_of_sound_is_nothing(samples):
    assert audio.judge(samples) == audio.NOTHING
    assert not audio.NOTHING.is_tone(440)


def test_refuses_another_format(tmp_path):
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(bytes(400))
    with pytest.raises(ValueError, match="not a 16-bit WAV at a multiple of 8000"):
        audio.read(tmp_path / "stereo.wav")


def test_reads_one_channel_of_any_rate_that_is_a_multiple(tmp_path):
    sound = tone(440, 1)
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setparams((2, 2, 48000, 0, "NONE", ""))
        file.writeframes(b"".join(struct.pack("=hh", value, 0) * 6 for value in sound))
    assert list(audio.read(tmp_path / "stereo.wav")) == sound


def test_reads_what_is_still_written(tmp_path):
    """Libsndfile writes sizes when it closes a file."""
    audio.write_tone(tmp_path / "tone.wav", 440, 2)
    whole = (tmp_path / "tone.wav").read_bytes()
    growing = tmp_path / "growing.wav"
    growing.write_bytes(whole[:4] + struct.pack("<I", 8) + whole[8:40] + bytes(4) + whole[44:24045])
    assert list(audio.read_growing(growing)) == list(audio.read(tmp_path / "tone.wav"))[:12000]
    growing.write_bytes(whole[:20])
    assert not audio.read_growing(growing)


def test_level_and_clicks_are_heard():
    assert audio.judge(tone(440, 2, 4000)).level == pytest.approx(-6.02, abs=0.1)
    steady = tone(440, 2)
    for broken in (
        steady[:8000] + steady[8005:],  # a quarter of a period is missing
        [*steady[:8003], 0, *steady[8004:]],
        steady[:4000] + [-value for value in steady[4000:]],
    ):
        assert 1 <= audio.judge(broken).clicks <= 2
