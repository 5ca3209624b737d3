# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that talk through a relay, and what that costs the relay.

The peers are a program of ours on CPU 0, the relay runs on CPU 1. On a veth pair, whoever sends runs the receiver's
side too. So what arrives outside is counted and dropped before the network stack, as if the peers were other machines:
no relay pays for how they receive. One call's packets are let through and timed.
"""

import os
import struct
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.lab import Built, filtered, inside, on_cpu, run
from tests.bench.rig import baseline
from tests.bench.userspace import (
    CALLED,
    CALLER,
    FIRST_PEER_PORT,
    MASTER,
    PEER_LINK,
    RELAY,
    RELAY_LINK,
    SUITE_NUMBER,
    Relay,
    ours,
)

ROOT = Path(__file__).resolve().parents[2]
PEERS_CPU, RELAY_CPU = 0, 1
SECONDS = 2.5
ROUNDS = 3
STAMPED = "-", "-"
"""Packets that tell when they were sent."""
PACKETS_PER_CALL = 100
Start = Callable[[str, int, Path, int, bool], AbstractContextManager[Relay]]


@dataclass(frozen=True)
class Outcome:
    """packets a relay sent on, by each CPU second; the delays of one call in microseconds, and of the link without it.

    waited: part of the time in which the relay had something to do and no CPU to do it with. kernel: part of the CPU
    time that it used.
    """

    rate: float
    load: float
    delays: list[int]
    straight: list[int]
    waited: float
    kernel: float


class TooFew(RuntimeError):
    """Packets were lost, as on a machine that has other things to do: no figure can be made of that."""


class Bench(Built):
    """Two namespaces and the peers' program, until `close`. urgent: the peers go before all else on their CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.urgent = False
        self.outside, self.relay = (f"vxeng-{os.getpid()}-{name}" for name in ("out", "relay"))
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="voxdp-bench-")))

    def carry(self, start: Start, calls: int, secured: bool, sounds: tuple[str, str] = STAMPED) -> Outcome:
        """Let a relay carry that many calls for a while. sounds: what either side says, as voice.c has it."""
        with start(self.relay, RELAY_CPU, self.folder, calls, secured) as relay:
            before, received = relay.schedule(), self._received()
            delays = self._talk(relay, secured, sounds=sounds)
            after, arrived = relay.schedule(), self._received() - received
        used, waited = after.ran - before.ran, after.waited - before.waited
        expected = SECONDS * PACKETS_PER_CALL * calls
        if arrived < 0.95 * expected:
            raise TooFew(f"{relay.name}: {arrived} of {expected:.0f} packets arrived")
        through, straight = ([pair[way] for pair in delays] for way in (0, 1))
        kernel = (after.kernel - before.kernel) / used
        return Outcome(arrived / used, used / SECONDS, through, straight, waited / SECONDS, kernel)

    def memory(self, calls: int) -> int:
        """Bytes that the engine has with that many calls, RTP and RTCP, after a second of talk."""
        with ours(self.relay, RELAY_CPU, self.folder, calls, True) as relay:
            if calls:
                self._talk(relay, True, 1.0)
            return relay.memory()

    def _talk(
        self, relay: Relay, secured: bool, seconds: float | None = None, sounds: tuple[str, str] = STAMPED
    ) -> list[list[int]]:
        suite = SUITE_NUMBER if secured else 0
        addresses = RELAY, RELAY, CALLER, CALLED
        words = [seconds or SECONDS, len(relay.ports), FIRST_PEER_PORT, *addresses, suite, MASTER.hex(), *sounds]
        ports = [port for pair in relay.ports for port in pair]
        before = ("chrt", "--rr", "1") if self.urgent else ()
        with inside(self.outside), on_cpu(PEERS_CPU):
            told = run(*before, f"{self.folder}/voice", *map(str, [*words, *ports])).splitlines()[1:]
        return [list(map(int, line.split())) for line in told]

    def _received(self) -> int:
        """Datagrams that came out of the relay."""
        return sum(struct.unpack("=Q", count)[0] for count in self._sink.map("received").lookup_percpu(bytes(4)))

    def _build(self) -> None:
        sources = [ROOT / "media" / name for name in ("srtp.c", "srtp_setup.c", "srtp_history.c", "packet.c")]
        command = ["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
        command += ["-o", f"{self.folder}/voice", ROOT / "tests/bench/voice.c", *sources, "-lcrypto"]
        subprocess.run(command, check=True)
        for space in (self.outside, self.relay):
            run("ip", "netns", "add", space)
            self._stack.callback(run, "ip", "netns", "del", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        pair = ["link", "add", PEER_LINK, "type", "veth", "peer", "name", RELAY_LINK, "netns", self.relay]
        run("ip", "-n", self.outside, *pair)
        for space, name, *addresses in ((self.outside, PEER_LINK, CALLER, CALLED), (self.relay, RELAY_LINK, RELAY)):
            for address in addresses:
                run("ip", "-n", space, "address", "add", f"{address}/24", "dev", name)
            run("ip", "-n", space, "link", "set", name, "up")
        self._sink = baseline(1, (CALLER, FIRST_PEER_PORT), RELAY)
        self._stack.enter_context(filtered(self.outside, PEER_LINK, self._sink.program("sink_but_one")))


def in_turns(relays: dict[str, Callable[[], Outcome]], rounds: int = ROUNDS) -> dict[str, list[Outcome]]:
    """What each relay yields in so many rounds, turn by turn; those in which the machine had no time are left out."""
    found: dict[str, list[Outcome]] = {name: [] for name in relays}
    for _ in range(rounds):
        for name, carry in relays.items():
            try:
                found[name].append(carry())
            except TooFew as error:
                missed = error
    if not all(found.values()):
        raise missed
    return found
