# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers on loopback addresses of this room's own, packets they send, and engines between them."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from media.client import EngineClient, EngineProcess
from media.engine import Engine
from media.flows import EngineFlow, EngineStatistics, FlowKey
from tests.patience import PATIENCE

RELAY = "127.77.0.1"


def build_rtp(
    sequence: int = 0, *, timestamp: int | None = None, ssrc: int = 7, payload: bytes = b"\xff" * 160
) -> bytes:
    """A G.711 packet; the time stamp follows the sequence number unless given."""
    ticks = 160 * sequence if timestamp is None else timestamp
    return struct.pack(">BBHII", 0x80, 0, sequence & 0xFFFF, ticks & 0xFFFFFFFF, ssrc) + payload


def build_rtcp(ssrc: int = 7) -> bytes:
    """An empty receiver report."""
    return struct.pack(">BBHI", 0x80, 201, 1, ssrc)


class Peer:
    """A UDP socket of somebody who sends to the relay."""

    def __init__(self, address: str, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.socket.settimeout(PATIENCE)

    @property
    def name(self) -> FlowKey:
        address, port = self.socket.getsockname()
        return address, port

    def send(self, data: bytes, to: FlowKey) -> None:
        self.socket.sendto(data, to)

    def receive(self) -> tuple[bytes, FlowKey]:
        return self.socket.recvfrom(4096)

    def waiting(self) -> int:
        """How many packets wait; takes them."""
        self.socket.setblocking(False)
        count = 0
        try:
            while True:
                self.socket.recv(4096)
                count += 1
        except BlockingIOError:
            return count
        finally:
            self.socket.settimeout(PATIENCE)


@dataclass(frozen=True)
class Call:
    """Two peers, and the flows between them: what a sends arrives at `facing_a`, and leaves to b."""

    a: Peer
    b: Peer
    facing_a: EngineFlow
    facing_b: EngineFlow

    def learning(self) -> Call:
        """The port of a is not known beforehand."""
        return replace(
            self,
            facing_a=replace(self.facing_a, source_port=None),
            facing_b=replace(self.facing_b, target_port=0),
        )

    def of_kind(self, kind: str) -> Call:
        return replace(self, facing_a=replace(self.facing_a, kind=kind), facing_b=replace(self.facing_b, kind=kind))

    def open(self, engine: Engine | EngineClient) -> Call:
        engine.set_pair(self.facing_a, self.facing_b)
        return self


def seen(statistics: EngineStatistics) -> int:
    return statistics.packets + statistics.rejected + statistics.dropped


def read_one(engine: Engine | EngineClient, flow: EngineFlow) -> EngineStatistics:
    """The statistics of one flow."""
    (statistics,) = engine.read([flow.key])
    return statistics


def wait_settled(engine: Engine | EngineClient, flow: EngineFlow, packets: int) -> EngineStatistics:
    """The flow's statistics once that many packets have met their end."""
    until = time.monotonic() + PATIENCE
    while seen(statistics := read_one(engine, flow)) < packets:
        assert time.monotonic() < until, f"{seen(statistics)} of {packets} packets: {statistics}"
        time.sleep(0.001)
    return statistics


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(address: str, port: int = 0) -> Peer:
        peers.append(Peer(address, port))
        return peers[-1]

    yield make
    for peer in peers:
        peer.socket.close()


@pytest.fixture
def call(make_peer: Callable[..., Peer]) -> Call:
    """Not opened yet; both sources pinned."""
    a, b = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    facing_a = EngineFlow(RELAY, 30000, *a.name, *b.name, clock_rate=8000)
    facing_b = EngineFlow(RELAY, 30002, *b.name, *a.name, clock_rate=8000)
    return Call(a, b, facing_a, facing_b)


class SmallDisk:
    """A file system of half a megabyte."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def fill(self) -> None:
        """Leave no byte."""
        with open(self.directory / "ballast", "ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def empty(self) -> None:
        """Give back what was filled."""
        (self.directory / "ballast").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(directory)], check=True)
    yield SmallDisk(directory)
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(workers=1, flows=64)
    yield engine
    engine.close()


@pytest.fixture
def engine_process(tmp_path: Path) -> Iterator[Callable[..., EngineProcess]]:
    """Starts one, with further arguments."""
    processes: list[EngineProcess] = []

    def start(*arguments: str, python: str = sys.executable) -> EngineProcess:
        processes.append(
            EngineProcess.ensure(tmp_path / "engine", python=python, arguments=arguments, timeout=PATIENCE)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.stop()
        process.close()


@pytest.fixture
def process(engine_process: Callable[..., EngineProcess]) -> EngineProcess:
    return engine_process()


@pytest.fixture
def rtp() -> Callable[..., bytes]:
    return build_rtp


@pytest.fixture
def rtcp() -> Callable[..., bytes]:
    return build_rtcp


@pytest.fixture
def read() -> Callable[..., EngineStatistics]:
    return read_one


@pytest.fixture
def settled() -> Callable[..., EngineStatistics]:
    return wait_settled
