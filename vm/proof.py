# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo claims, found in evidence: captures at both phones, their recordings, the database's records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vm import audio, capture
from vm.audio import Heard
from vm.capture import Datagram
from vm.topology import Topology

LEAST_KERNEL_SHARE = 0.999


@dataclass(frozen=True, slots=True)
class Hearing:
    """One phone's ear in one call: who listened, the tone it should hear and what it heard."""

    listener: str
    tone: int
    heard: Heard

    @property
    def ok(self) -> bool:
        """The right tone, clear, at this end."""
        return self.heard.is_tone(self.tone)


@dataclass(frozen=True, slots=True)
class Result:
    """The demo's last line. rtp_packets: received by the phones; rtp_lost: sent while talking, never received."""

    calls: int
    answered: int
    audio_ok: bool
    rtp_packets: int
    kernel_packets: int
    rtp_lost: int
    controller_kills: int
    cdrs: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The line's keys and values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was recorded, once the calls are over. records: from `voxdp cdr list -j`."""

    topology: Topology
    at_a: Sequence[Datagram]
    at_b: Sequence[Datagram]
    hearings: Sequence[Hearing]
    records: Sequence[dict[str, Any]]
    placed: int
    kills: int

    def result(self, seconds: float) -> Result:
        """Add it all up."""
        return Result(
            calls=self.placed,
            answered=len(capture.talking(self.at_a)),
            audio_ok=len(self.hearings) == 2 * self.placed and all(each.ok for each in self.hearings),
            rtp_packets=self._received(),
            kernel_packets=sum(each["packets"] for each in self._directions() if each["path"] == "kernel"),
            rtp_lost=self._lost(),
            controller_kills=self.kills,
            cdrs=len(self.records),
            seconds=round(seconds, 1),
        )

    def strangers(self) -> set[str]:
        """Addresses beside the relay's that a phone exchanged media with."""
        return capture.strangers(self.at_a, self.topology.a) | capture.strangers(self.at_b, self.topology.b)

    def _directions(self) -> list[dict[str, Any]]:
        return [direction for record in self.records for direction in record["directions"]]

    def _received(self) -> int:
        ends = ((self.at_a, self.topology.a), (self.at_b, self.topology.b))
        return sum(packet.target[0] == end.address for seen, end in ends for packet in capture.rtp(seen))

    def _lost(self) -> int:
        """Lost while both phones were talking: before the answer and after the BYE no relay may forward."""
        spans = list(zip(capture.talking(self.at_a), capture.talking(self.at_b), strict=False))
        both = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in spans]
        a, b = self.topology.a, self.topology.b
        ways = ((self.at_a, self.at_b, a, b), (self.at_b, self.at_a, b, a))
        return sum(
            capture.passage(_within(sent, both), received, source, sink).lost for sent, received, source, sink in ways
        )


def _within(datagrams: Sequence[Datagram], spans: Sequence[tuple[float, float]]) -> list[Datagram]:
    return [each for each in datagrams if any(start <= each.time < end for start, end in spans)]


def listen(listener: str, tone: int, recordings: Sequence[Path]) -> list[Hearing]:
    """Judge every recording of one phone."""
    return [Hearing(listener, tone, audio.judge(audio.read(path))) for path in recordings]


def complaints(evidence: Evidence, result: Result) -> list[str]:
    """What is not as it must be, one line each; empty when the demo succeeded."""
    found = []
    if result.answered != result.calls:
        found.append(f"{result.answered} of {result.calls} calls were answered")
    found += [
        f"{each.listener} should hear {each.tone} Hz but heard {each.heard.frequency:.0f} Hz ({each.heard.snr:.0f} dB)"
        for each in evidence.hearings
        if not each.ok
    ]
    if len(evidence.hearings) != 2 * result.calls:
        found.append(f"{len(evidence.hearings)} recordings for {result.calls} calls")
    if result.kernel_packets < LEAST_KERNEL_SHARE * max(result.rtp_packets, 1):
        found.append(f"the kernel carried {result.kernel_packets} of {result.rtp_packets} RTP packets")
    if result.rtp_lost:
        found.append(f"the relay lost {result.rtp_lost} RTP packets")
    if evidence.strangers():
        found.append(f"media went past the relay: {', '.join(sorted(evidence.strangers()))}")
    if result.cdrs != result.calls:
        found.append(f"{result.cdrs} call records in the database for {result.calls} calls")
    return found
