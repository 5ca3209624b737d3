# SPDX-License-Identifier: GPL-3.0-or-later
"""Transcoded calls of a core: our engine beside rtpengine, the same sound into both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from media.stages import CodecSettings
from tests.bench import codecs
from tests.bench.carrying import PACKETS_PER_CALL, ROUNDS, Bench, Heard, in_turns
from tests.bench.figures import Figure
from tests.bench.lab import run
from tests.bench.userspace import Callee, ours, ours_wired, rtpengine

GOAL = 1.5


@dataclass(frozen=True)
class Codec:
    """What PCMU is transcoded to. number: in codecs.c; ticks: of the RTP clock in a packet; calls: that are
    half of what rtpengine can carry; alike: both must be seen to code it in the same way; decides: whether a miss is
    one."""

    name: str
    number: int
    ticks: int
    calls: int
    ours: CodecSettings
    theirs: Callee
    alike: bool = False
    decides: bool = True


AS_RTPENGINE = 6
"""In codecs.c: Opus at the rate and with the complexity that rtpengine always has."""
ALIKE_PACKETS, ALIKE_RATES = 0.85, 1.1
"""Of what is coded alike: the least part of the packets that are of the same configuration, the coder's first frames
not being, and the most by which bit rates differ."""
THEIRS = Callee("opus/48000/1/24000", "opus/48000/1", 96)
CODECS = (
    Codec("PCMA", 1, 160, 150, CodecSettings("PCMA", 8), Callee("PCMA", "PCMA/8000", 8)),
    Codec("G722", 2, 160, 80, CodecSettings("G722", 9), Callee("G722", "G722/8000", 9)),
    Codec("G729", 3, 160, 70, CodecSettings("G729", 18), Callee("G729", "G729/8000", 18)),
    Codec(
        "opus",
        7,
        960,
        16,
        CodecSettings("opus", 96, rate=16000, bitrate=24000, complexity=10),
        THEIRS,
        alike=True,
    ),
    Codec(
        "opus by way of 48 kHz",
        AS_RTPENGINE,
        960,
        16,
        CodecSettings("opus", 96, rate=48000, bitrate=24000, complexity=10),
        THEIRS,
        alike=True,
        decides=False,
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
"""Opus alike: SILK in wide band, mono as PCMU is, of 24 kbit/s at most, with complexity 10, which rtpengine's library
takes by itself. rtpengine has it from sound of 48 kHz, whatever it is asked for; libopus brings that down to the 16 kHz
that wide band is, and these are what we hand it. Beside it the same of 48 kHz. And each as it does by itself,
which is stereo for rtpengine and no wider than PCMU for us. Told of 48 kbit/s, rtpengine shares them out to two
channels, and codes less of the band in each than a coder of one channel does."""


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield calls of a core of ours over theirs for each codec."""
    program = codecs.build(bench.folder / "codecs")
    for codec in CODECS:
        yield from compare(bench, codec, sounds(bench, program, codec))


def sounds(bench: Bench, program: Path, codec: Codec) -> tuple[str, str]:
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
    calls = {name: max(each.rate for each in outcomes) / PACKETS_PER_CALL for name, outcomes in found.items()}
    alone, theirs = libraries(bench.folder / "codecs", codec)
    told = coded(codec, {name: outcomes[-1].heard for name, outcomes in found.items()})
    for io in ("af_xdp", "sockets"):
        how = f"calls of a core, packets in and out included: {calls[io]:.0f}, rtpengine {calls['rtpengine']:.0f}; "
        how += f"the bare codecs {alone:.0f}, {calls[io] / alone:.0%} of our time, with nothing beside them "
        how += f"{alone / calls['rtpengine']:.2f} ×"
        if codec.alike:
            how += f"; as rtpengine calls them {theirs:.0f}, {calls['rtpengine'] / theirs:.0%} of its time"
        name = f"PCMU with {codec.name} by {io} / rtpengine"
        yield Figure(name, calls[io] / calls["rtpengine"], "×", ">=", GOAL, how + told, codec.decides)


def libraries(program: Path, codec: Codec) -> tuple[float, float]:
    """Calls whose bare coding takes a core, as we do it, and as rtpengine does what is alike."""
    numbers = codec.number, AS_RTPENGINE if codec.alike else codec.number
    turns = [[codecs.directions(program, number) for number in numbers] for _ in range(ROUNDS)]
    best = min(ours_.bare for ours_, _ in turns), min(theirs.wide for _, theirs in turns)
    alone, others = (1e9 / codecs.PACKETS_A_SECOND / each for each in best)
    return alone, others


def coded(codec: Codec, heard: dict[str, Heard]) -> str:
    """How each has coded Opus, by its packets; RuntimeError where that differs and should not."""
    if codec.ours.name != "opus":
        return ""
    ways = {name: configuration(each.first) for name, each in heard.items()}
    rates = {
        name: each.bytes * 8 * codecs.PACKETS_A_SECOND / max(1, each.packets) / 1000 for name, each in heard.items()
    }
    told = "".join(f"; {name} sends {way}, {rates[name]:.1f} kbit/s" for name, way in ways.items())
    if codec.alike and not (
        len(set(ways.values())) == 1
        and max(rates.values()) <= ALIKE_RATES * min(rates.values())
        and all(each.alike >= ALIKE_PACKETS * each.packets for each in heard.values())
    ):
        parts = {name: f"{each.alike} of {each.packets}" for name, each in heard.items()}
        raise RuntimeError(f"{codec.name} is not coded alike{told}; packets of that kind: {parts}")
    return told


def configuration(first: int) -> str:
    """What the first byte of a packet says: RFC 6716 §3.1."""
    number, channels = first >> 3, "stereo" if first & 4 else "mono"
    if number < 12:
        return f"SILK in {('narrow', 'medium', 'wide')[number // 4]} band, {channels}"
    if number < 16:
        return f"SILK and CELT in {('super-wide', 'full')[number % 4 // 2]} band, {channels}"
    return f"CELT in {('narrow', 'wide', 'super-wide', 'full')[number // 4 % 4]} band, {channels}"
