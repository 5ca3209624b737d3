# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes WAV files ready to be played: one file of plain samples for each rate that codecs want, see media/clip.h.

A process of its own reads them, `python -m media.clips`, for a file may be anybody's: one JSON object a line comes in,
{"source": path, or the name of a tone, "stem": where to}, and one goes out, {"stem": …, "ms": …} or {"stem": …,
"error": …}. What it makes is `stem.8000` and `stem.16000`, whole or not at all.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from array import array
from pathlib import Path

from media._engine import ffi, lib
from media.tones import TONES

RATES = (8000, 16000)
"""Hz of the sound of every codec, Opus among the wide ones."""

MAGIC = 0x50434C56
HEADER = struct.Struct("=IIII")
LONGEST = 1800
"""Seconds."""
MOST_BYTES = 256 << 20
_AT_ONCE = 4096
_REFUSALS = {
    lib.WAV_NO_RIFF: "it is no WAV file",
    lib.WAV_NO_FORMAT: "it says nothing of its format",
    lib.WAV_NOT_SUPPORTED: "its coding is none of 16-bit linear, A-law and µ-law; convert it: sox IN -b 16 OUT.wav",
    lib.WAV_NO_DATA: "there is no sound in it",
}


class ClipError(Exception):
    """The file cannot be made a clip; one line."""


def prepare(source: str, stem: Path) -> int:
    """Write the clips of a WAV file, or of a tone by its name; return how many milliseconds they last.

    Raises ClipError, OSError.
    """
    made = {rate: TONES[source](rate) for rate in RATES} if source in TONES else _read(Path(source))
    for rate, pcm in made.items():
        write(stem.with_name(f"{stem.name}.{rate}"), rate, pcm)
    return len(made[RATES[0]]) * 1000 // RATES[0]


def write(path: Path, rate: int, pcm: array[int]) -> None:
    """One clip, which is there as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(HEADER.pack(MAGIC, rate, len(pcm), 0) + pcm.tobytes())
    fresh.rename(path)


def _read(source: Path) -> dict[int, array[int]]:
    if source.stat().st_size > MOST_BYTES:
        raise ClipError(f"it is larger than {MOST_BYTES >> 20} MB")
    data = source.read_bytes()
    wav = ffi.new("struct wav *")
    held = ffi.from_buffer(data)
    status = lib.wav_read(held, len(data), wav)
    if status != lib.WAV_OK:
        raise ClipError(_REFUSALS[status])
    pcm = _samples(wav)
    if len(pcm) > wav.rate * LONGEST:
        raise ClipError(f"it is longer than {LONGEST // 60} minutes")
    return {rate: _resampled(pcm, wav.rate, rate) for rate in RATES}


def _samples(wav: object) -> array[int]:
    pcm, piece = array("h"), ffi.new("int16_t[]", _AT_ONCE)
    while count := lib.wav_samples(wav, len(pcm), piece, _AT_ONCE):
        pcm.frombytes(bytes(ffi.buffer(piece, 2 * count)))
    return pcm


def _resampled(pcm: array[int], rate: int, wanted: int) -> array[int]:
    """The same sound at another rate, silence behind it that drives out what the filter still holds."""
    resampler = ffi.new("struct resampler *")
    if lib.resampler_open(resampler, rate, wanted):
        raise ClipError("out of memory")
    result, room = array("h"), _AT_ONCE * wanted // rate + 64
    piece, wide = ffi.new("int16_t[]", room), len(pcm) * wanted // rate
    padded = pcm + array("h", bytes(2 * (rate // 50)))
    for start in range(0, len(padded), _AT_ONCE):
        some = padded[start : start + _AT_ONCE]
        count = lib.resample(resampler, ffi.cast("int16_t *", ffi.from_buffer(some)), len(some), piece, room)
        result.frombytes(bytes(ffi.buffer(piece, 2 * count)))
    lib.resampler_close(resampler)
    return result[: max(1, wide)]


def main() -> None:
    """Prepare what is asked for until nothing is any more."""
    lib.engine_harden()
    for line in sys.stdin:
        asked = json.loads(line)
        told = {"stem": asked["stem"]}
        try:
            told["ms"] = prepare(asked["source"], Path(asked["stem"]))
        except ClipError as error:
            told["error"] = str(error)
        except OSError as error:
            told["error"] = error.strerror or str(error)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
