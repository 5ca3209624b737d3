# SPDX-License-Identifier: GPL-3.0-or-later
"""Sounds that need no file: ringback and busy tone as in Europe (ITU-T E.180), and plain music for those who wait."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

_TONE = 425  # Hz
_LEVEL = 0.18  # of full scale: some -12 dBm0
_RAMP = 0.005  # seconds that a tone takes to rise and fall, so that nothing clicks
_CHORDS = ((220.0, 277.18, 329.63), (196.0, 246.94, 293.66), (174.61, 220.0, 261.63), (164.81, 207.65, 246.94))
_NOTE = 0.375


def ringback(rate: int) -> array[int]:
    """One second of tone, four of silence."""
    return _cadence(rate, 1.0, 4.0)


def busy(rate: int) -> array[int]:
    """Half a second of tone, half of silence."""
    return _cadence(rate, 0.5, 0.5)


def music(rate: int) -> array[int]:
    """Twelve seconds of broken chords that may begin again at any time."""
    levels = _levels(rate, _NOTE)
    fading = [level * math.exp(-2.5 * i / len(levels)) for i, level in enumerate(levels)]
    pcm = array("h")
    for low, middle, high in _CHORDS:
        notes = {note: _plucked(rate, note, fading) for note in (low, middle, high, 2 * low)}
        for note in (low, middle, high, 2 * low, high, middle, low, middle):
            pcm.extend(notes[note])
    return pcm


TONES: dict[str, Callable[[int], array[int]]] = {
    "tone/ringback": ringback,
    "tone/busy": busy,
    "tone/music": music,
}


def _cadence(rate: int, on: float, off: float) -> array[int]:
    turn = 2 * math.pi * _TONE
    pcm = array("h", [round(level * math.sin(turn * i / rate)) for i, level in enumerate(_levels(rate, on))])
    return pcm + array("h", bytes(2 * int(rate * off)))


def _plucked(rate: int, frequency: float, fading: list[float]) -> array[int]:
    turn = 2 * math.pi * frequency
    angles = (turn * i / rate for i in range(len(fading)))
    return array(
        "h",
        [
            round(level * (math.sin(angle) + 0.3 * math.sin(2 * angle)) / 1.3)
            for level, angle in zip(fading, angles, strict=True)
        ],
    )


def _levels(rate: int, seconds: float) -> list[float]:
    """How loud each sample of a tone is."""
    count, ramp = int(rate * seconds), int(rate * _RAMP)
    return [32767 * _LEVEL * min(1.0, (i + 1) / ramp, (count - i) / ramp) for i in range(count)]
