# SPDX-License-Identifier: GPL-3.0-or-later
import math
import random
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
    with pytest.raises(ValueError, match="not a mono 16-bit WAV"):
        audio.read(tmp_path / "stereo.wav")
