# SPDX-License-Identifier: GPL-3.0-or-later
"""Media sessions with everything below them played, and the descriptions that Alice and Bob send."""

import random
from typing import Any

from ctl.sessions.dataplane import DataPlane
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer

RELAY_A, RELAY_B = "192.0.2.1", "198.51.100.1"
ALICE, BOB = "192.0.2.10", "198.51.100.20"
PLANE = DataPlane({RELAY_A: "eth0", RELAY_B: "eth1"}, frozenset({"eth0", "eth1"}))
AUDIO = "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
VIDEO = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"


class World:
    """Sessions over stand-ins for the kernel, the routes and the engine."""

    def __init__(self, table: Any, hops: Any, engine: Any, pairs: int = 100, plane: DataPlane = PLANE) -> None:
        self.table, self.hops, self.engine, self.plane = table, hops, engine, plane
        self.last = 20000 + 2 * pairs - 1
        self.restart()

    def restart(self) -> None:
        """Forget everything but what a killed process leaves: the kernel and the engine."""
        self.ports = Ports(self.plane.interfaces, 20000, self.last, random.Random(5).randrange)
        kernel = KernelCarrier(self.table, self.hops)
        self.programmer = Programmer(self.hops, kernel, EngineCarrier(self.engine, kernel))
        self.sessions = MediaSessions(self.ports, self.hops, self.programmer, self.plane)

    def call(self, name: str = "call", a: bytes = b"", b: bytes = b"", now: float = 0.0) -> tuple[bytes, bytes]:
        """Offer from Alice, answer from Bob; return what each of them is sent: to Bob, to Alice."""
        to_bob = self.sessions.offer(name, "a", a or sdp(ALICE), ALICE, now, toward=BOB)
        return to_bob, self.sessions.answer(name, "b", b or sdp(BOB), BOB, now)

    def taken(self) -> tuple[int, int]:
        return self.ports.taken(RELAY_A), self.ports.taken(RELAY_B)


def refusal_of(world: World, name: str, now: float = 0.0) -> MediaRefused | None:
    try:
        world.call(name, now=now)
    except MediaRefused as refused:
        return refused
    return None


def sdp(where: str, *media: str) -> bytes:
    kind = "IP6" if ":" in where else "IP4"
    head = f"v=0\r\no=- 1 1 IN {kind} {where.partition('/')[0]}\r\ns=-\r\nc=IN {kind} {where}\r\nt=0 0\r\n"
    return (head + "".join(media or (AUDIO,))).encode()


def m_lines(body: bytes) -> list[bytes]:
    return [line for line in body.splitlines() if line.startswith(b"m=")]


def rtp_port(body: bytes) -> int:
    return int(m_lines(body)[0].split()[1])


def address(body: bytes) -> str:
    return next(line for line in body.decode().splitlines() if line.startswith("c=")).split()[-1]
