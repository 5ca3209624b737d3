# SPDX-License-Identifier: GPL-3.0-or-later
"""Transcoded calls of a core: our engine beside rtpengine, the same sound into both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from media.stages import CodecSettings
from tests.bench import codecs
from tests.bench.carrying import PACKETS_PER_CALL, ROUNDS, Bench, in_turns
from tests.bench.figures import Figure
from tests.bench.lab import run
from tests.bench.userspace import Callee, ours, ours_wired, rtpengine

GOAL = 1.5


@dataclass(frozen=True)
class Codec:
    """What PCMU is transcoded to. number: in codecs.c; ticks: of the RTP clock in a packet; calls: that are
    half of what rtpengine can carry."""

    name: str
    number: int
    ticks: int
    calls: int
    ours: CodecSettings
    theirs: Callee


CODECS = (
    Codec("PCMA", 1, 160, 150, CodecSettings("PCMA", 8), Callee("PCMA", "PCMA/8000", 8)),
    Codec("G722", 2, 160, 80, CodecSettings("G722", 9), Callee("G722", "G722/8000", 9)),
    Codec("G729", 3, 160, 70, CodecSettings("G729", 18), Callee("G729", "G729/8000", 18)),
    Codec(
        "opus",
        6,
        960,
        16,
        CodecSettings("opus", 96, rate=48000, bitrate=48000, complexity=10),
        Callee("opus/48000/2/48000", "opus/48000/2", 96),
    ),
    Codec(
        "opus as voxdp codes it",
        4,
        960,
        22,
        CodecSettings("opus", 96, rate=8000, bitrate=24000),
        Callee("opus/48000/2/24000", "opus/48000/2", 96),
    ),
)
"""Opus twice: as rtpengine codes it, full band at 48 kbit/s with complexity 10, which its library takes by itself; and
each as it does by itself, which for us is no wider than PCMU."""


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield calls of a core of ours over theirs for each codec."""
    program = codecs.build(bench.folder / "codecs")
    for codec in CODECS:
        yield from compare(bench, codec, sounds(bench, program, codec))


def sounds(bench: Bench, program: object, codec: Codec) -> tuple[str, str]:
    """Five seconds of the same voice in PCMU and in the other codec, as voice.c takes them."""
    named = []
    for number, payload_type, ticks in ((0, 0, 160), (codec.number, codec.theirs.payload_type, codec.ticks)):
        path = bench.folder / f"sound-{number}"
        run(str(program), "dump", str(number), str(path))
        named.append(f"{payload_type}:{ticks}:{path}")
    return named[0], named[1]


def compare(bench: Bench, codec: Codec, said: tuple[str, str]) -> Iterator[Figure]:
    """Yield calls of a core by AF_XDP and by sockets, each over rtpengine's."""
    starts = {
        "af_xdp": partial(ours_wired, bench.outside, False, through=codec.ours),
        "sockets": partial(ours, through=codec.ours),
        "rtpengine": partial(rtpengine, callee=codec.theirs),
    }
    found = in_turns({name: partial(bench.carry, each, codec.calls, False, said) for name, each in starts.items()})
    alone = max(codecs.calls(bench.folder / "codecs", codec.number) for _ in range(ROUNDS))
    calls = {name: max(each.rate for each in outcomes) / PACKETS_PER_CALL for name, outcomes in found.items()}
    for io in ("af_xdp", "sockets"):
        how = f"calls of a core, packets in and out included: {calls[io]:.0f}, rtpengine {calls['rtpengine']:.0f}; "
        how += f"the bare codecs {alone:.0f}, which would be {alone / calls['rtpengine']:.2f} ×"
        name = f"PCMU with {codec.name} by {io} / rtpengine"
        yield Figure(name, calls[io] / calls["rtpengine"], "×", ">=", GOAL, how)
