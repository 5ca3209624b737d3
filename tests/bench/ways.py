# SPDX-License-Identifier: GPL-3.0-or-later
"""What IPv6, a change of family, policing and recording cost on top of the IPv4 relay, under BPF_PROG_TEST_RUN."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

from ctl.kernel.copies import CopyReader
from ctl.kernel.flowrule import POLICE_MAX, Endpoint, FlowFlag
from ctl.kernel.libbpf import Program
from tests.bench.cost import INGRESS, timed
from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, Relay, baseline, frame, rule

ROUNDS = 15
REPEAT = 500_000
MIRRORED = 15_000
"""At once: so many copies of a packet the ring holds."""
POLICED = 100_000
"""At once: so few that the bucket is full again for the next round."""
AT_ONCE = {"mirror": MIRRORED, "policed": POLICED}
CALLER, RELAY = ("192.0.2.10", 4000), ("10.0.0.1", FIRST_PORT)
CALLER6, RELAY6 = ("2001:db8:a::10", 4000), ("2001:db8:1::1", FIRST_PORT)
V4, V6 = (RELAY[0], CALLER, RELAY), (RELAY6[0], CALLER6, RELAY6)
Way = tuple[str, Endpoint, Endpoint]
"""A relay address, who sends to it, and what of it."""


def measure() -> Iterator[Figure]:
    """Nanoseconds more than IPv4; the goals are those of a packet on a busy host."""
    relays = {"ipv4": towards(V4, V4), "ipv6": towards(V6, V6), "crossing": crossing()}
    relays |= {"mirror": mirroring(), "policed": policed()}
    packets = {name: frame(*(V6 if name in ("ipv6", "crossing") else V4)[1:]) for name in relays}
    runs: dict[str, Callable[[], float]] = {
        name: Measured(relay, packets[name], AT_ONCE.get(name, REPEAT)).nanoseconds for name, relay in relays.items()
    }
    rounds = [{name: run() for name, run in runs.items()} for _ in range(ROUNDS)]
    best = {name: min(each[name] for each in rounds) for name in runs}
    yield more(best, "ipv6", "IPv6 relay", 15)
    yield more(best, "crossing", "v4 to v6 and back, mean", 30)
    yield more(best, "policed", "RTP policed", 15)
    yield more(best, "mirror", "RTP mirrored", 150)


def more(best: dict[str, float], name: str, text: str, goal: float) -> Figure:
    how = f"test_run, wrapper included, best of {ROUNDS}: {best[name]:.1f} - {best['ipv4']:.1f} ns"
    return Figure(f"{text}, over the IPv4 relay", best[name] - best["ipv4"], "ns", "<=", goal, how)


class Measured:
    """One relay behind the wrapper that makes of each packet the next of its flow."""

    def __init__(self, relay: Relay, packet: bytes, repeat: int) -> None:
        self._relay, self._packet, self._repeat = relay, packet, repeat
        self._programs = baseline(1, CALLER, RELAY[0])
        self._programs.map("next").update(bytes(4), struct.pack("=I", relay.program.fd))
        self._follow: Program = self._programs.program("follow")
        self._reader = CopyReader(relay.object.map("mirror"))

    def nanoseconds(self) -> float:
        self._reader.read(2 * MIRRORED)
        return (
            timed(self._follow, self._packet, 1 + self._repeat) - timed(self._follow, self._packet, 1)
        ) / self._repeat


def towards(come: Way, leave: Way, flags: FlowFlag = FlowFlag.NONE) -> Relay:
    """What comes out is what came in, or what `leave` names, but for hop limit and DSCP."""
    relay = Relay(come[0])
    relay.table.write(relay.table.index(*come[2]), rule(come[1], leave[1], leave[2], INGRESS, bytes(12), flags))
    return relay


def crossing() -> Relay:
    """Two flows, each of which makes the other's packets."""
    relay = Relay(V4[0], V6[0])
    for come, leave in ((V4, V6), (V6, V4)):
        relay.table.write(relay.table.index(*come[2]), rule(come[1], leave[1], leave[2], INGRESS, bytes(12)))
    return relay


def mirroring() -> Relay:
    return towards(V4, V4, FlowFlag.MIRROR)


def policed() -> Relay:
    """At the highest rate that a rule can have, and as many at once as a test run has packets."""
    relay = Relay(V4[0])
    limited = replace(rule(V4[1], V4[1], V4[2], INGRESS, bytes(12)), police=(POLICE_MAX, POLICE_MAX))
    relay.table.write(relay.table.index(*V4[2]), limited)
    return relay
