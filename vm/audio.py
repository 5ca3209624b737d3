# SPDX-License-Identifier: GPL-3.0-or-later
"""Tones as WAV files, and what is left of them at the far end: frequency, level, noise, gaps and clicks."""

from __future__ import annotations

import array
import cmath
import io
import math
import statistics
import struct
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RATE = 8000
HEADER = 44
WINDOW = 4096
FRAME = 160  # samples in 20 ms
LOBE = 3  # bins either side of the peak that a Hann window spreads a tone over
SILENCE = 0.1  # a frame below this part of the usual level is a gap
AMPLITUDE = 8000
EDGE = 15  # frames at either end in which a codec begins and a call ends
CLICK = 0.35  # of the tone's amplitude: a sample that far from what the two before it foretell


@dataclass(frozen=True, slots=True)
class Heard:
    """A recording, judged. frequency: Hz; snr: dB; seconds: from first to last sound; gap: seconds of silence in it.

    level: dB of the tone beside one as `write_tone` writes it; clicks: frames in which the wave breaks off its tone.
    """

    frequency: float
    snr: float
    seconds: float
    gap: float
    level: float = 0.0
    clicks: int = 0

    def is_tone(self, frequency: float, tolerance: float = 3.0, least_snr: float = 20.0) -> bool:
        """Is this a clear tone of that frequency?"""
        return abs(self.frequency - frequency) <= tolerance and self.snr >= least_snr


NOTHING = Heard(frequency=0.0, snr=-math.inf, seconds=0.0, gap=0.0, level=-math.inf, clicks=0)


def write_tone(path: Path, frequency: int, seconds: int, amplitude: int = AMPLITUDE) -> None:
    """Write a mono 16-bit WAV at 8 kHz with a sine of `frequency` Hz."""
    step = 2 * math.pi * frequency / RATE
    second = array.array("h", (round(amplitude * math.sin(step * n)) for n in range(RATE)))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(second.tobytes() * seconds)


def read(path: Path, channel: int = 0) -> array.array[int]:
    """One channel of a 16-bit WAV, at 8 kHz; ValueError for one whose rate is no multiple of that."""
    with wave.open(str(path), "rb") as file:
        return _samples(file, path, channel)


def read_growing(path: Path) -> array.array[int]:
    """As `read`, of a WAV that is still written: until that ends, its header, of 44 bytes, tells no length."""
    data = bytearray(path.read_bytes())
    if len(data) < HEADER:
        return array.array("h")
    for place in (4, HEADER - 4):
        struct.pack_into("<I", data, place, len(data) - place - 4)
    return _samples(wave.open(io.BytesIO(data)), path, 0)


def judge(samples: Sequence[int]) -> Heard:
    """Find the strongest frequency of a recording, where that does not break off; NOTHING without a second of sound."""
    levels = [_level(samples[n : n + FRAME]) for n in range(0, len(samples) - FRAME + 1, FRAME)]
    usual = statistics.median(levels) if levels else 0.0
    loud = [place for place, level in enumerate(levels) if level > max(usual * SILENCE, 1.0)]
    if not loud or (loud[-1] - loud[0]) * FRAME < RATE:
        return NOTHING
    frames = loud[-1] - loud[0] + 1
    frequency, snr = _strongest(samples, _steady(loud))
    first = loud[0] + EDGE
    middle = samples[first * FRAME : (loud[-1] + 1 - EDGE) * FRAME]
    amplitude = math.sqrt(2) * _level(middle)
    if not amplitude:
        return NOTHING
    level = 20 * math.log10(amplitude / AMPLITUDE)
    broken = _broken(middle, frequency, amplitude)
    if broken:
        whole = [place for place in loud if place - first not in broken]
        frequency, snr = max((frequency, snr), _strongest(samples, _steady(whole)), key=lambda found: found[1])
    return Heard(frequency, snr, frames * FRAME / RATE, (frames - len(loud)) * FRAME / RATE, level, len(broken))


def holds(samples: Sequence[int], *tones: float) -> bool:
    """Whether each of the tones is heard clearly and alone for a second somewhere in a recording."""
    pieces = [judge(samples[start : start + RATE + 2 * FRAME]) for start in range(0, len(samples) - RATE, RATE // 2)]
    return all(any(piece.is_tone(tone) for piece in pieces) for tone in tones)


def _samples(file: wave.Wave_read, path: Path, channel: int) -> array.array[int]:
    times, rest = divmod(file.getframerate(), RATE)
    if file.getsampwidth() != 2 or rest:
        raise ValueError(f"{path} is not a 16-bit WAV at a multiple of {RATE} Hz")
    return array.array("h", file.readframes(file.getnframes()))[channel :: times * file.getnchannels()]


def _broken(samples: Sequence[int], frequency: float, amplitude: float) -> set[int]:
    """The frames in which the wave breaks off its tone.

    A sine goes on as twice its last sample by the cosine of its step, less the one before (Goertzel).
    """
    twice, most = 2 * math.cos(2 * math.pi * frequency / RATE), CLICK * amplitude
    triples = zip(samples, samples[1:], samples[2:], strict=False)
    return {place // FRAME for place, (a, b, c) in enumerate(triples) if abs(c - twice * b + a) > most}


def _level(frame: Sequence[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in frame) / len(frame))


def _steady(loud: Sequence[int]) -> int:
    """The first sample of the unbroken run of loud frames nearest the middle that a window fits into."""
    needed = -(-WINDOW // FRAME)
    starts = [n for n in range(len(loud) - needed) if loud[n + needed] - loud[n] == needed]
    middle = len(loud) // 2
    return loud[min(starts, key=lambda n: abs(n - middle))] * FRAME if starts else loud[0] * FRAME


def _strongest(samples: Sequence[int], start: int) -> tuple[float, float]:
    """Frequency of the highest peak in Hz, between bins by its neighbours, and its power over all the rest in dB."""
    piece = samples[start : start + WINDOW]
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / WINDOW) for n in range(WINDOW)]
    spectrum = _fourier([sample * weight for sample, weight in zip(piece, hann, strict=False)])
    power = [abs(line) ** 2 for line in spectrum[: WINDOW // 2]]
    power[: LOBE + 1] = [0.0] * (LOBE + 1)
    peak = max(range(LOBE + 1, len(power) - LOBE - 1), key=power.__getitem__)
    near = range(peak - LOBE, peak + LOBE + 1)
    tone = sum(power[n] for n in near)
    centre = sum(n * power[n] for n in near) / tone
    rest = max(sum(power) - tone, 1e-9)
    return centre * RATE / WINDOW, 10 * math.log10(tone / rest)


def _fourier(values: Sequence[complex]) -> list[complex]:
    """The discrete Fourier transform by halves; the length is a power of two, short input counts as padded."""
    if len(values) < WINDOW:
        values = [*values, *[0.0] * (WINDOW - len(values))]
    return _halves(values)


def _halves(values: Sequence[complex]) -> list[complex]:
    count = len(values)
    if count == 1:
        return [values[0]]
    even, odd = _halves(values[::2]), _halves(values[1::2])
    turned = [cmath.exp(-2j * math.pi * n / count) * value for n, value in enumerate(odd)]
    sums = [left + right for left, right in zip(even, turned, strict=True)]
    return sums + [left - right for left, right in zip(even, turned, strict=True)]
