# SPDX-License-Identifier: GPL-3.0-or-later
"""The attached relay between two parties with real routes, in both families, and a stream of RTP through it."""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable

from ctl.kernel.flowtable import FlowTable
from ctl.kernel.pins import Pins
from ctl.network.nexthop import NextHops
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.sessions.relay_choice import ANY, Facing
from tests.patience import PATIENCE, unhindered
from vm import namespace

ALICE, BOB = "192.0.2.10", "203.0.113.9"
ALICE6, BOB6 = "2001:db8:a::10", "2001:db8:ff::9"
RELAY_A, RELAY_B = "192.0.2.1", "198.51.100.1"
RELAY_A6, RELAY_B6 = "2001:db8:a::1", "2001:db8:b::1"
RELAYS = (RELAY_A, RELAY_B, RELAY_A6, RELAY_B6)
ROUTERS = {4: ("198.51.100.20", "198.18.0.20"), 6: ("2001:db8:b::20", "2001:db8:c::20")}
BEYOND = {4: "203.0.113.0/24", 6: "2001:db8:ff::/64"}
CABLES = (
    ("east", (f"{RELAY_A}/24", f"{RELAY_A6}/64"), "a-east", (f"{ALICE}/24", f"{ALICE6}/64")),
    ("west", (f"{RELAY_B}/24", f"{RELAY_B6}/64"), "b-west", (f"{ROUTERS[4][0]}/24", f"{ROUTERS[6][0]}/64")),
    ("south", ("198.18.0.1/24", "2001:db8:c::1/64"), "b-south", (f"{ROUTERS[4][1]}/24", f"{ROUTERS[6][1]}/64")),
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
            self.set(name, **{"ipv6.conf.default.accept_dad": 0, "ipv6.conf.default.keep_addr_on_down": 1})
        for near, addresses, far, far_addresses in CABLES:
            beyond = self.a if far.startswith("a") else self.b
            run("ip", "-n", self.relay, "link", "add", "name", near, "type", "veth",
                "peer", "name", far, "netns", beyond)  # fmt: skip
            for where, name, own in ((self.relay, near, addresses), (beyond, far, far_addresses)):
                for address in own:
                    run("ip", "-n", where, "address", "add", address, "dev", name)
                run("ip", "-n", where, "link", "set", name, "up")
            # Without gro the far end of a veth takes no redirected frames; with tx it leaves checksums undone.
            self.inside(beyond, "ethtool", "-K", far, "gro", "on", "tx", "off")
            told = {f"ipv4.conf.{far}.arp_notify": 1, f"ipv6.conf.{far}.ndisc_notify": 1}
            self.set(beyond, **{f"ipv4.conf.{far}.rp_filter": 0}, **told)
        self.set(self.b, **{"ipv4.conf.all.rp_filter": 0})
        for address in (f"{BOB}/32", f"{BOB6}/128"):
            run("ip", "-n", self.b, "address", "add", address, "dev", "b-west")
        for family in BEYOND:
            self.route(family, 0)

    def route(self, family: int, router: int) -> None:
        """Let Bob's network of a family be reached by one of the two routers."""
        run("ip", "-n", self.relay, "route", "replace", BEYOND[family], "via", ROUTERS[family][router])

    def inside(self, name: str, *command: str) -> None:
        run("nsenter", f"--net=/run/netns/{name}", *command)

    def set(self, name: str, **values: int) -> None:
        """Set sysctls below net."""
        self.inside(name, "sysctl", "-qw", *(f"net.{key}={value}" for key, value in values.items()))

    def remove(self) -> None:
        for name in (self.relay, self.a, self.b):
            namespace.remove(name)


class Relay:
    """What a controller process has; made anew, it is the next process."""

    def __init__(self, pins: Pins, hops: NextHops | None = None) -> None:
        self.hops = hops or NextHops()
        self.table = FlowTable.open(pins.directory)
        self.kernel = KernelCarrier(self.table, self.hops)
        self.programmer = Programmer(self.hops, self.kernel)
        self.hops.on_change = self.programmer.next_hops_changed
        ports = Ports(RELAYS, 10000, 19999, random.Random(3).randrange)
        names = {address: self.hops.interface_of(address) or "" for address in RELAYS}
        plane = DataPlane(names, frozenset(cable[0] for cable in CABLES), engine=False, police=3.0)
        self.sessions = MediaSessions(ports, self.hops, self.programmer, plane)

    def call(
        self, alice: str, bob: str, described: str = "", port: int = 4000, place: int = 0, here: Facing = ANY
    ) -> tuple[str, int]:
        """Set up a call; return where Alice sends to. described: her address in her description, if it is another.

        place: of several calls at once, which have ports of their own.
        """
        name = f"call{place or ''}"
        alices = sdp(described or alice, port + 2 * place)
        self.sessions.offer(name, "a", alices, alice, 0.0, toward=bob, here=here)
        to_alice = self.sessions.answer(name, "b", sdp(bob, 5000 + 2 * place), bob, 0.0)
        return address(to_alice), rtp_port(to_alice)

    def close(self) -> None:
        self.hops.close()
        self.table.close()


class Stream:
    """RTP from Alice to Bob, a packet every `interval` seconds, until stopped."""

    def __init__(
        self,
        wiring: Wiring,
        target: tuple[str, int],
        source: tuple[str, int] = (ALICE, 4000),
        bob: str = BOB,
        port: int = 5000,
    ) -> None:
        with namespace.entered(wiring.a):
            self._sender = udp(source)
        with namespace.entered(wiring.b):
            self.receiver = udp((bob, port))
        self.target = target
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.sent += 1
            self._sender.sendto(rtp(self.sent), self.target)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._sender.close()
        self.receiver.close()


def rtp(sequence: int) -> bytes:
    """20 ms of G.711 in silence."""
    return struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, 160 * sequence & 0xFFFFFFFF, 7) + bytes(160)


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
    start = unhindered()
    assert follow(relay, stream, PATIENCE, lambda: True), "media did not resume"
    return unhindered() - start


def drain(receiver: socket.socket) -> None:
    while select.select([receiver], [], [], 0)[0]:
        receiver.recv(2048)


def udp(local: tuple[str, int]) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(local)
    return opened


def sdp(where: str, port: int) -> bytes:
    kind = "IP6" if ":" in where else "IP4"
    head = f"v=0\r\no=- 1 1 IN {kind} {where}\r\ns=-\r\nc=IN {kind} {where}\r\nt=0 0\r\n"
    return f"{head}m=audio {port} RTP/AVP 0\r\na=ptime:10\r\n".encode()


def address(body: bytes) -> str:
    return body.decode().partition("c=IN IP")[2].split()[1]


def rtp_port(body: bytes) -> int:
    return int(body.decode().partition("m=audio ")[2].split()[0])


def run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
