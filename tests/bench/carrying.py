# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that talk through a relay, and what that costs the relay.

The peers are a program of ours on CPU 0, the relay runs on CPU 1. On a veth pair, whoever sends runs the receiver's
side too. So what arrives outside is counted and dropped before the network stack, as if the peers were other machines:
no relay pays for how they receive. One call's packets are let through, for what its callee hears to be looked at.
"""

import os
import struct
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
EMPTY = "-", "-"
"""G.711 of one value for ever."""
PACKETS_PER_CALL = 100
Start = Callable[[str, int, Path, int, bool], AbstractContextManager[Relay]]


class Heard(NamedTuple):
    """Packets of sound, bytes of their payloads, the byte that most of these begin with, and how many do."""

    packets: int
    bytes: int
    first: int
    alike: int


@dataclass(frozen=True)
class Outcome:
    """packets a relay sent on, by each CPU second.

    waited: part of the time in which the relay had something to do and no CPU to do it with. kernel: part of the CPU
    time that it used. heard: what one callee got.
    """

    rate: float
    load: float
    waited: float
    kernel: float
    heard: Heard


class TooFew(RuntimeError):
    """Packets were lost, as on a machine that has other things to do: no figure can be made of that."""


class Bench(Built):
    """Two namespaces and the peers' program, until `close`.

    sink: the program of bpf/baseline.bpf.c that ends what arrives outside.
    """

    def __init__(self, sink: str = "sink_but_one") -> None:
        super().__init__()
        self._sink_name = sink
        self.outside, self.relay = (f"vxeng-{os.getpid()}-{name}" for name in ("out", "relay"))
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="voxdp-bench-")))

    def carry(
        self, start: Start, calls: int, secured: bool, sounds: tuple[str, str] = EMPTY, seconds: float = SECONDS
    ) -> Outcome:
        """Let a relay carry that many calls for a while. sounds: what either side says, as voice.c has it."""
        with start(self.relay, RELAY_CPU, self.folder, calls, secured) as relay:
            before, received = relay.schedule(), self.received()
            heard = self._talk(relay, secured, seconds, sounds)
            after, arrived = relay.schedule(), self.received() - received
        used, waited = after.ran - before.ran, after.waited - before.waited
        expected = seconds * PACKETS_PER_CALL * calls
        if arrived < 0.95 * expected:
            raise TooFew(f"{relay.name}: {arrived} of {expected:.0f} packets arrived")
        kernel = (after.kernel - before.kernel) / used
        return Outcome(arrived / used, used / seconds, waited / seconds, kernel, heard)

    def memory(self, calls: int) -> int:
        """Bytes that the engine has with that many calls, RTP and RTCP, after a second of talk."""
        with ours(self.relay, RELAY_CPU, self.folder, calls, True) as relay:
            if calls:
                self._talk(relay, True, 1.0)
            return relay.memory()

    def _talk(self, relay: Relay, secured: bool, seconds: float, sounds: tuple[str, str] = EMPTY) -> Heard:
        suite = SUITE_NUMBER if secured else 0
        addresses = RELAY, RELAY, CALLER, CALLED
        words = [seconds, len(relay.ports), FIRST_PEER_PORT, *addresses, suite, MASTER.hex(), *sounds]
        ports = [port for pair in relay.ports for port in pair]
        with inside(self.outside), on_cpu(PEERS_CPU):
            _, heard = run(f"{self.folder}/voice", *map(str, [*words, *ports])).splitlines()
        return Heard(*map(int, heard.split()[1:]))

    def received(self) -> int:
        """Datagrams that came out of the relay."""
        return sum(struct.unpack("=Q", count)[0] for count in self._sink.map("received").lookup_percpu(bytes(4)))

    def delays(self) -> list[int]:
        """How many of those that `sink_timed` ended had been so many microseconds on their way."""
        with self._sink.map("delays").mmap(writable=False) as counts:
            return [packets for (packets,) in struct.iter_unpack("=Q", counts)]

    def compile(self, name: str) -> None:
        """Put a program of the peers' into `folder`, with the engine's SRTP."""
        sources = [ROOT / "media" / name for name in ("srtp.c", "srtp_setup.c", "srtp_history.c", "packet.c")]
        command = ["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
        command += ["-o", f"{self.folder}/{name}", ROOT / f"tests/bench/{name}.c", *sources, "-lcrypto"]
        subprocess.run(command, check=True)

    def _build(self) -> None:
        self.compile("voice")
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
        self._stack.enter_context(filtered(self.outside, PEER_LINK, self._sink.program(self._sink_name)))


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
