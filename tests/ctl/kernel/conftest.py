# SPDX-License-Identifier: GPL-3.0-or-later
"""A private bpf file system, a network namespace with two cables, and the relay in it. Needs root."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ctl.kernel._libbpf import lib
from pyroute2 import IPRoute

import bpf
from ctl.kernel import loader
from ctl.kernel.flowrule import FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable, RelayConfig
from ctl.kernel.libbpf import BpfObject, Program
from ctl.kernel.pins import Pins
from tests.ctl.kernel.wired import CABLES, RELAYS, Relay, Wiring
from tests.patience import PATIENCE
from vm import namespace

ROOT = Path(__file__).resolve().parents[3]
OBJECTS = Path(bpf.__path__[0])
CONFIG = RelayConfig(lib.VOXDP_LAYOUT, ("192.0.2.1", "198.51.100.1"), 10000, 19999)
CALLER, CALLEE = ("203.0.113.5", 4000), ("203.0.113.9", 5000)
NOBODY = 65534


@dataclass(frozen=True)
class Cabled:
    """A namespace whose interfaces `left` and `right.0` are wired to two others in it, `a` and `b`."""

    name: str
    left: str = "left"
    right: str = "right.0"
    ends: tuple[str, str] = ("a", "b")


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    assert os.geteuid() == 0, "these tests load BPF programs: run them as root"
    for name in ("relay.bpf.o", "baseline.bpf.o", "steering.bpf.o"):
        assert (OBJECTS / name).exists(), f"bpf/{name} is missing; build it: scripts/setup"


@pytest.fixture
def bpffs() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="voxdp-bpffs-"))
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=0711", "bpf", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)
    directory.rmdir()


@pytest.fixture
def state_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="voxdp-state-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def cabled() -> Iterator[Cabled]:
    """The test's thread works in the namespace."""
    wired = Cabled(f"vxp-{os.getpid()}")
    namespace.create(wired.name)
    try:
        with namespace.entered(wired.name):
            with IPRoute() as netlink:
                for near, far in ((wired.left, "a"), (wired.right, "b")):
                    netlink.link("add", ifname=near, kind="veth", peer=far)
                    for name in (near, far):
                        netlink.link("set", ifname=name, state="up")
            yield wired
    finally:
        namespace.remove(wired.name)


@pytest.fixture
def quiet(cabled: Cabled) -> None:
    """No IPv6: its neighbour discovery would be counted by whoever counts packets."""
    for name in (cabled.left, cabled.right, *cabled.ends):
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


@pytest.fixture
def settings(bpffs: Path, state_dir: Path, cabled: Cabled) -> loader.AttachSettings:
    return loader.AttachSettings(
        bpffs,
        (cabled.left, cabled.right),
        CONFIG.addresses,
        CONFIG.port_min,
        CONFIG.port_max,
        state_dir=state_dir,
    )


@pytest.fixture
def attached(settings: loader.AttachSettings) -> Iterator[Pins]:
    loader.attach(settings)
    yield Pins(settings.bpffs)
    loader.detach(settings.bpffs, settings.state_dir)


@pytest.fixture
def wiring() -> Iterator[Wiring]:
    wiring = Wiring()
    try:
        wiring.build()
        with namespace.entered(wiring.relay):
            yield wiring
    finally:
        wiring.remove()


@pytest.fixture
def pins(wiring: Wiring, bpffs: Path, state_dir: Path) -> Iterator[Pins]:
    interfaces = tuple(cable[0] for cable in CABLES)
    loader.attach(loader.AttachSettings(bpffs, interfaces, RELAYS, 10000, 19999, state_dir=state_dir))
    yield Pins(bpffs)
    loader.detach(bpffs, state_dir)


@pytest.fixture
def relay(pins: Pins) -> Iterator[Relay]:
    relay = Relay(pins)
    yield relay
    relay.close()


@dataclass
class Loaded:
    """The relay loaded, attached to nothing."""

    program: Program
    table: FlowTable


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    sizes = dict.fromkeys(("flows", "ledgers"), len(CONFIG.addresses) * 65536)
    relay = BpfObject.open(OBJECTS / "relay.bpf.o", map_sizes=sizes, rodata=CONFIG.encode())
    relay.load()
    table = FlowTable(*map(relay.map, ("flows", "ledgers", "reasons")), CONFIG)
    yield Loaded(relay.program("relay"), table)
    table.close()
    relay.close()


@pytest.fixture
def baseline() -> Callable[[str], Program]:
    """Programs of bpf/baseline.bpf.c by name."""

    def load(name: str) -> Program:
        programs = BpfObject.open(OBJECTS / "baseline.bpf.o")
        programs.load()
        return programs.program(name)

    return load


@pytest.fixture
def pair() -> tuple[tuple[int, FlowRule], tuple[int, FlowRule]]:
    """Two directions of one stream: from CALLER, whose port is learned, and from CALLEE."""
    there, back = 10000, 65536 + 10002
    first = FlowRule(
        FlowState.LEARNING,
        (CALLER[0], 0),
        ("198.51.100.1", 10002),
        CALLEE,
        egress_mac=b"\2\0\0\0\0\1",
        target_mac=b"\2\0\0\0\0\2",
        ifindex=99,
        dscp=46,
        clock_rate=8000,
        partner=back,
    )
    second = replace(
        first,
        state=FlowState.PINNED,
        source=CALLEE,
        egress=("192.0.2.1", 10000),
        target=CALLER,
        dscp=None,
        partner=there,
    )
    return (there, first), (back, second)


@pytest.fixture
def rtp() -> Callable[..., bytes]:
    """Builds an Ethernet frame with one RTP packet of 20 ms of G.711, checksums right."""
    return build_rtp


def build_rtp(source: tuple[str, int], target: tuple[str, int], sequence: int = 1, first: int = 0x80) -> bytes:
    payload = struct.pack("!BBHII", first, 0, sequence, 160 * sequence, 0x11223344) + bytes(160)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    udp = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload
    pseudo = addresses + struct.pack("!HH", socket.IPPROTO_UDP, len(udp))
    udp = udp[:6] + internet_checksum(pseudo + udp) + udp[8:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    header = header[:10] + internet_checksum(header) + header[12:]
    return bytes(12) + b"\x08\x00" + header + udp


def internet_checksum(data: bytes) -> bytes:
    """RFC 1071, the plain way."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (0xFFFF - total).to_bytes(2, "big")


@pytest.fixture
def checksum() -> Callable[[bytes], bytes]:
    return internet_checksum


@pytest.fixture
def run_as() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a process of another user, who has no capabilities."""

    def run(uid: int, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        drop = "import os, sys; os.setgroups([]); uid = int(sys.argv[1]); os.setresgid(uid, uid, uid);"
        drop += "os.setresuid(uid, uid, uid);"
        command = [sys.executable, "-c", drop + code, str(uid), *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)

    return run
