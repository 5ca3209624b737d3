# SPDX-License-Identifier: GPL-3.0-or-later
"""What transcoding costs: each pair of codecs against the bare calls of their libraries, measured in turns."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from media.engine_build import LIBRARIES, SOURCES
from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
CALL_BYTES = 150_000
PACKETS_A_SECOND = 50
"""Of each direction."""
MEASURED = (("PCMA", 1, 61, 5000), ("G722", 2, 9, 500), ("G729", 3, 9, 300), ("opus/8000", 4, 9, 300))
MEASURED += (("opus/48000", 5, 7, 200), ("opus/48000/10", 6, 5, 150), ("opus/16000/10", 7, 5, 150))
"""Codec, its number in codecs.c, rounds, packets in a round."""


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder) / "codecs")
        for name, number, rounds, packets in MEASURED:
            yield from pair(program, name, number, rounds, packets)


def build(program: Path) -> Path:
    """The measuring program and the engine's sources, with the engine's options."""
    sources = [ROOT / "tests/bench/codecs.c", *(ROOT / "media" / name for name in SOURCES)]
    libraries = [f"-l{name}" for name in LIBRARIES]
    flags = ["-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
    subprocess.run(["gcc", *flags, "-o", program, *sources, *libraries], check=True, timeout=120)
    return program


class Directions(NamedTuple):
    """ns of a packet each way, together: in the bare codecs, in them with Opus decoded as wide as it was coded, and the
    engine's whole way; bytes of memory."""

    bare: float
    wide: float
    whole: float
    memory: float


def directions(program: Path, number: int) -> Directions:
    rounds, packets = next((rounds, packets) for _, each, rounds, packets in MEASURED if each == number)
    return directions_of(program, number, rounds, packets)


def directions_of(program: Path, number: int, rounds: int, packets: int) -> Directions:
    words = [program, rounds, packets, number, number]
    printed = subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True, timeout=300).stdout
    lines = [line.split() for line in printed.splitlines()]
    return Directions(*(sum(float(line[place]) for line in lines) for place in (2, 3, 4, 5)))


def pair(program: Path, name: str, number: int, rounds: int, packets: int) -> Iterator[Figure]:
    bare, _, whole, memory = directions_of(program, number, rounds, packets)
    how = f"jitter buffer to RTP, both directions: {whole:.0f} ns, the codecs alone {bare:.0f} ns; best of {rounds}"
    yield Figure(f"PCMU with {name}, of the bare codecs' calls", bare / whole, "", ">=", 0.8, how)
    yield Figure(f"PCMU with {name}, memory of a call", memory, "bytes", "<=", CALL_BYTES, "both directions' blocks")
