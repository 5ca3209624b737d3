# SPDX-License-Identifier: GPL-3.0-or-later
"""A call's media from description to wire: sessions, the attached relay, real routes and real packets."""

import json
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ctl import loader
from ctl.carriers import EngineCarrier, KernelCarrier
from ctl.flowtable import FlowTable
from ctl.nexthop import NextHops
from ctl.pins import Pins
from ctl.plan import DataPlane
from ctl.ports import Ports
from ctl.programmer import Programmer
from ctl.sessions import MediaSessions
from media.client import EngineProcess
from vm import namespace

ALICE, BOB = "192.0.2.10", "203.0.113.9"
RELAY_A, RELAY_B = "192.0.2.1", "198.51.100.1"
ROUTER, OTHER_ROUTER = "198.51.100.20", "198.18.0.20"
CABLES = (
    ("east", f"{RELAY_A}/24", "a-east", f"{ALICE}/24"),
    ("west", f"{RELAY_B}/24", "b-west", f"{ROUTER}/24"),
    ("south", "198.18.0.1/24", "b-south", f"{OTHER_ROUTER}/24"),
)
INTERVAL = 0.002
LIMIT = 0.2


class Wiring:
    """The relay's namespace, Alice's on its link, and Bob's, who is behind two routers."""

    def __init__(self) -> None:
        self.relay, self.a, self.b = (f"vxm-{letter}-{os.getpid()}" for letter in "rab")

    def build(self) -> None:
        for name in (self.relay, self.a, self.b):
            namespace.create(name)
        for near, address, far, far_address in CABLES:
            beyond = self.a if far.startswith("a") else self.b
            run("ip", "-n", self.relay, "link", "add", "name", near, "type", "veth",
                "peer", "name", far, "netns", beyond)  # fmt: skip
            for where, name, own in ((self.relay, near, address), (beyond, far, far_address)):
                run("ip", "-n", where, "address", "add", own, "dev", name)
                run("ip", "-n", where, "link", "set", name, "up")
            # Without gro the far end of a veth takes no redirected frames; with tx it leaves checksums undone.
            self.inside(beyond, "ethtool", "-K", far, "gro", "on", "tx", "off")
            self.inside(
                beyond, "sysctl", "-qw", f"net.ipv4.conf.{far}.rp_filter=0", f"net.ipv4.conf.{far}.arp_notify=1"
            )
        self.inside(self.b, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
        run("ip", "-n", self.b, "address", "add", f"{BOB}/32", "dev", "b-west")
        run("ip", "-n", self.relay, "route", "add", "203.0.113.0/24", "via", ROUTER)

    def inside(self, name: str, *command: str) -> None:
        run("nsenter", f"--net=/run/netns/{name}", *command)

    def remove(self) -> None:
        for name in (self.relay, self.a, self.b):
            namespace.remove(name)


class Relay:
    """What a controller process has; made anew, it is the next process."""

    def __init__(self, pins: Pins) -> None:
        self.hops = NextHops()
        self.table = FlowTable.open(pins.directory)
        self.programmer = Programmer(self.hops, KernelCarrier(self.table, self.hops))
        self.hops.on_change = self.programmer.next_hops_changed
        ports = Ports((RELAY_A, RELAY_B), 10000, 19999, random.Random(3).randrange)
        names = {address: self.hops.interface_of(address) or "" for address in (RELAY_A, RELAY_B)}
        plane = DataPlane(names, frozenset(cable[0] for cable in CABLES), engine=False)
        self.sessions = MediaSessions(ports, self.hops, self.programmer, plane)

    def close(self) -> None:
        self.hops.close()
        self.table.close()


class Stream:
    """RTP from Alice to Bob, a packet every INTERVAL seconds, until stopped."""

    def __init__(self, wiring: Wiring, port: int) -> None:
        with namespace.entered(wiring.a):
            self._sender = udp((ALICE, 4000))
        with namespace.entered(wiring.b):
            self.receiver = udp((BOB, 5000))
        self._target = (RELAY_A, port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        sequence = 0
        while not self._stop.wait(INTERVAL):
            sequence += 1
            self._sender.sendto(
                struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, 160 * sequence, 7) + bytes(160), self._target
            )

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._sender.close()
        self.receiver.close()


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
    loader.attach(loader.AttachSettings(bpffs, interfaces, (RELAY_A, RELAY_B), 10000, 19999, state_dir=state_dir))
    yield Pins(bpffs)
    loader.detach(bpffs, state_dir)


@pytest.fixture
def relay(pins: Pins) -> Iterator[Relay]:
    relay = Relay(pins)
    yield relay
    relay.close()


@pytest.fixture
def stream(wiring: Wiring, relay: Relay) -> Iterator[Stream]:
    relay.sessions.offer("call", "a", sdp(ALICE, 4000), ALICE, 0.0, toward=BOB)
    to_alice = relay.sessions.answer("call", "b", sdp(BOB, 5000), BOB, 0.0)
    stream = Stream(wiring, rtp_port(to_alice))
    try:
        assert follow(relay, stream, 5.0, lambda: True), "no packet reached Bob"
        yield stream
    finally:
        stream.stop()


def test_a_call_is_forwarded_and_counted(relay: Relay, stream: Stream) -> None:
    follow(relay, stream, 0.3, lambda: False)
    flow = next(flow for flow in relay.sessions.query("call") if (flow.leg, flow.kind) == ("a", "rtp"))
    assert flow.statistics is not None
    assert flow.statistics.packets > 50
    assert (flow.path, flow.statistics.lost, flow.codec) == ("kernel", 0, "PCMU")
    assert relay.sessions.delete("call", 0.0)[0].statistics is not None
    drain(stream.receiver)
    assert not follow(relay, stream, 0.2, lambda: True)


def test_media_follows_a_route_that_moves(wiring: Wiring, relay: Relay, stream: Stream) -> None:
    run("ip", "-n", wiring.relay, "route", "replace", "203.0.113.0/24", "via", OTHER_ROUTER)
    run("ip", "-n", wiring.b, "link", "set", "b-west", "address", "02:00:00:00:00:66")
    assert resumed(relay, stream) <= LIMIT


def test_media_follows_a_router_whose_ethernet_address_moves(wiring: Wiring, relay: Relay, stream: Stream) -> None:
    run("ip", "-n", wiring.b, "link", "set", "b-west", "address", "02:00:00:00:00:77")
    assert resumed(relay, stream) <= LIMIT


def test_a_restarted_controller_writes_nothing_and_media_goes_on(
    wiring: Wiring, pins: Pins, relay: Relay, stream: Stream
) -> None:
    state = json.loads(json.dumps(relay.sessions.snapshot("call")))
    generations = {index: relay.table.generation(index) for index in relay.table.active()}
    later = Relay(pins)
    try:
        assert later.sessions.restore("call", state) == 0
        assert later.programmer.reconcile({"call"}) == 0
        assert {index: later.table.generation(index) for index in later.table.active()} == generations
        assert follow(later, stream, 1.0, lambda: True)
        assert len(later.sessions.delete("call", 0.0)) == 4
        assert not later.table.active()
    finally:
        later.close()


def test_without_xdp_the_engine_carries_the_call(wiring: Wiring, state_dir: Path) -> None:
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log")
    hops = NextHops()
    plane = DataPlane({RELAY_A: "east", RELAY_B: "west"}, frozenset())
    ports = Ports((RELAY_A, RELAY_B), 10000, 19999, random.Random(3).randrange)
    programmer = Programmer(hops, None, EngineCarrier(process.client))
    sessions = MediaSessions(ports, hops, programmer, plane)
    sessions.offer("call", "a", sdp(ALICE, 4000), ALICE, 0.0, toward=BOB)
    stream = Stream(wiring, rtp_port(sessions.answer("call", "b", sdp(BOB, 5000), BOB, 0.0)))
    try:
        assert select.select([stream.receiver], [], [], 5.0)[0], "no packet reached Bob"
        flow = sessions.query("call")[0]
        assert (flow.path, flow.reason) == ("engine", "XDP is not attached to east and west")
        reports = sessions.delete("call", 0.0)
        assert reports[0].statistics is not None
        assert reports[0].statistics.packets > 0
        assert process.client.list() == ()
    finally:
        stream.stop()
        hops.close()
        process.stop()
        process.close()


def test_a_call_moves_to_the_engine_under_the_attached_relay(relay: Relay, stream: Stream, state_dir: Path) -> None:
    """Packets reach the engine's sockets through XDP, which passes on what is not its own."""
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log")
    try:
        kernel = KernelCarrier(relay.table, relay.hops)
        relay.programmer.use(kernel, EngineCarrier(process.client, kernel))
        kept = relay.sessions.data_plane
        relay.sessions.data_plane = replace(kept, attached=frozenset(), engine=True)
        assert relay.sessions.replan() == {}
        drain(stream.receiver)
        assert follow(relay, stream, 5.0, lambda: True), "no packet by way of the engine"
        assert {flow.path for flow in relay.sessions.query("call")} == {"engine"}
        relay.sessions.data_plane = kept
        assert relay.sessions.replan() == {}
        drain(stream.receiver)
        assert follow(relay, stream, 5.0, lambda: True), "no packet by way of the kernel"
        assert process.client.list() == ()
        reports = [each for each in relay.sessions.delete("call", 0.0) if (each.leg, each.kind) == ("a", "rtp")]
        assert [each.path for each in reports] == ["kernel", "engine", "kernel"]
        assert all(each.statistics and each.statistics.packets for each in reports)
    finally:
        process.stop()
        process.close()


def follow(relay: Relay, stream: Stream, seconds: float, enough: Callable[[], bool]) -> bool:
    """Do what a controller does until packets arrive and that is enough, or the time is over."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready = select.select([relay.hops, stream.receiver], [], [], left)[0]
        if relay.hops in ready:
            relay.hops.drain()
        if stream.receiver in ready:
            stream.receiver.recv(2048)
            if enough():
                return True
    return False


def resumed(relay: Relay, stream: Stream) -> float:
    """Seconds from now until a packet arrives that was sent by the new way: the old one is cut."""
    drain(stream.receiver)
    start = time.monotonic()
    assert follow(relay, stream, 5.0, lambda: True), "media did not resume"
    return time.monotonic() - start


def drain(receiver: socket.socket) -> None:
    while select.select([receiver], [], [], 0)[0]:
        receiver.recv(2048)


def udp(local: tuple[str, int]) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(local)
    return opened


def sdp(where: str, port: int) -> bytes:
    return f"v=0\r\no=- 1 1 IN IP4 {where}\r\ns=-\r\nc=IN IP4 {where}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n".encode()


def rtp_port(body: bytes) -> int:
    return int(body.decode().partition("m=audio ")[2].split()[0])


def run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
