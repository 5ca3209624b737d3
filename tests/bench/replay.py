# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.bench.replay call|register|ng [--profile]`: one exchange after the other through the controller.

Everything is what `voxdp run` composes, flows in the kernel included, but for sockets and PostgreSQL: messages are
handed to the conductor, and what it would send is what the peers then answer. So what is measured is our own work
alone, the same in each round: CPU time, and function calls, which no other load on the machine changes.
With --profile also which files and functions they are in.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import itertools
import pstats
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from ctl.config import load
from ctl.logs import configure_logging
from ctl.ng.framing import split
from ctl.ng.server import Answers
from ctl.seat import collect_rarely
from ctl.service import Service
from provisioning.snapshot import Account, Snapshot
from sip.digest import Challenge, authorization, ha1
from sip.effects import Address, Send
from sip.message import Response
from sip.parser import parse
from tests.bench.calls import MORE
from tests.bench.ng import SETTINGS, requests
from tests.bench.registrations import Phone
from vm import namespace
from vm.controller import DOMAIN, Controller
from vm.lab import Lab

WARM, COUNT, PROFILED = 50, 1000, 100
PASSWORD = "secret"
SHOWN = 40
ROOT = f"{Path(__file__).parents[2]}/"
SDP = (
    "v=0\r\no=alice 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP {2}\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
)

Exchange = Callable[[], float]
"""Does one; returns the CPU seconds that were spent inside of us."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replay", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=sorted(EXCHANGES))
    parser.add_argument("--profile", action="store_true", help="say which files and functions it is")
    options = parser.parse_args()
    with Lab("two") as lab:
        more = MORE.format(address=lab.b.address) + SETTINGS
        controller = Controller(lab, more=more, port_max=32_767)
        controller.attach()
        log = (lab.directory / "replay.log").open("w", buffering=1)
        with namespace.entered(lab.relay), log, redirect_stderr(log):
            asyncio.run(replay(lab, controller, options.what, options.profile))


async def replay(lab: Lab, controller: Controller, what: str, profile: bool) -> None:
    config = load(controller.config)
    configure_logging(config)
    service = Service(config)
    keeper: Any = service.storage.keeper
    keeper._current = Snapshot.of(DOMAIN, [account(name) for name in ("alice", *phones())], [lab.a.relay])
    keeper._loaded.set()
    service.events.outbox._wanted = {}  # nobody has asked for any, which PostgreSQL would have told
    await service.storage.journal.open()
    await service.trunks.look()
    exchange = EXCHANGES[what](lab, service)
    collect_rarely()
    try:
        await repeat(exchange, WARM)
        costs = await repeat(exchange, COUNT)
        calls, profiled = await counted(exchange)
        usual, quiet = (1e6 * each for each in (statistics.median(costs), statistics.quantiles(costs, n=20)[0]))
        print(f"{what}: {calls:.0f} function calls; {COUNT} times, median {usual:.0f} us, quietest 5 % {quiet:.0f} us")
        if profile:
            show(profiled)
    finally:
        service.conductor.close()
        await service.records.close()
        await service.storage.journal.close()
        service.carriers.close()


async def repeat(exchange: Exchange, count: int) -> list[float]:
    """The costs; what waits for the disk gets its turn in between."""
    costs = []
    for _ in range(count):
        costs.append(exchange())
        await asyncio.sleep(0)
    return costs


async def counted(exchange: Exchange) -> tuple[float, pstats.Stats]:
    """Function calls of one exchange, those into C included, and where they were made."""
    TIMER.profile = profile = cProfile.Profile(time.thread_time)
    await repeat(exchange, PROFILED)
    TIMER.profile = None
    stats: Any = pstats.Stats(profile)
    return stats.total_calls / PROFILED, stats


def show(stats: Any) -> None:
    """Microseconds of each exchange, as slow as they are under a profiler: by file, then by function."""
    files: dict[str, list[float]] = {}
    functions = []
    for (file, line, name), (_, calls, own, whole, _) in stats.stats.items():
        place = file.removeprefix(ROOT).rpartition("site-packages/")[2]
        found = files.setdefault(place, [0.0, 0.0])
        found[0] += own * 1e6 / PROFILED
        found[1] += calls / PROFILED
        functions.append((whole * 1e6 / PROFILED, own * 1e6 / PROFILED, calls / PROFILED, f"{place}:{line} {name}"))
    for place, (own, calls) in sorted(files.items(), key=lambda each: -each[1][0])[:SHOWN]:
        print(f"{own:8.1f} us {calls:8.1f} calls  {place}")
    for title, column in (("own", 1), ("with all that they call", 0)):
        print(f"\nby {title}:")
        for whole, own, calls, where in sorted(functions, key=lambda each: -each[column])[: 3 * SHOWN]:
            print(f"{own:8.1f} own {whole:8.1f} whole {calls:7.2f} calls  {where}")


class Timer:
    """Adds up the CPU time of this thread while it is inside of `with`."""

    def __init__(self) -> None:
        self.spent, self._began = 0.0, 0.0
        self.profile: cProfile.Profile | None = None

    def take(self) -> float:
        """What was spent since the last time."""
        spent, self.spent = self.spent, 0.0
        return spent

    def __enter__(self) -> None:
        self._began = time.thread_time()
        if self.profile:
            self.profile.enable()

    def __exit__(self, *_: object) -> None:
        if self.profile:
            self.profile.disable()
        self.spent += time.thread_time() - self._began


TIMER = Timer()


class Wire:
    """In place of the transports: keeps what is sent."""

    def __init__(self, service: Service) -> None:
        self._conductor = service.conductor
        self._sent: list[Send] = []
        transport: Any = self
        service.transport = transport

    def send(self, effect: Send) -> None:
        self._sent.append(effect)

    def say(self, data: bytes, source: Address, local: Address) -> list[bytes]:
        """Hand one message in; return what goes out upon it, and not what timers have sent meanwhile."""
        self._sent.clear()
        with TIMER:
            self._conductor.received(data, source, local)
        return [effect.data for effect in self._sent]


def calls(lab: Lab, service: Service) -> Exchange:
    """A phone proves its password and calls by a trunk, which answers; the phone hangs up. Sixteen messages."""
    wire, numbers = Wire(service), itertools.count()
    alice, carrier = Address(lab.a.address, 5060), Address(lab.b.address, 5060)
    here, there = Address(lab.a.relay, 5060), Address(lab.b.relay, 5060)

    def exchange() -> float:
        number = next(numbers)
        offer = SDP.format(alice.host, 6000 + 2 * (number % 20000), "0 8 101")
        caller = Caller(alice.host, here.host, number)
        (challenge,) = wire.say(caller.request("INVITE", 1, offer), alice, here)
        wire.say(caller.request("ACK", 1, ack=challenge), alice, here)
        _, invite = wire.say(caller.request("INVITE", 2, offer, caller.proof(challenge)), alice, here)
        wire.say(answer(invite, "180 Ringing", carrier.host), carrier, there)
        accept = SDP.format(carrier.host, 6000 + 2 * (number % 20000), "0 101")
        success = ok(wire.say(answer(invite, "200 OK", carrier.host, accept), carrier, there))
        wire.say(caller.request("ACK", 2, ack=success), alice, here)
        bye = wire.say(caller.request("BYE", 3, ack=success), alice, here)
        ok(bye)
        wire.say(answer(next(each for each in bye if each.startswith(b"BYE ")), "200 OK", carrier.host), carrier, there)
        return TIMER.take()

    return exchange


class Caller:
    """The messages of one call, as SIPp with tests/bench/caller.xml has them."""

    def __init__(self, host: str, relay: str, number: int) -> None:
        self._host, self._relay, self._number = host, relay, number

    def request(self, method: str, cseq: int, sdp: str = "", proof: str = "", ack: bytes = b"") -> bytes:
        """ack: the response that it acknowledges, or whose dialog it is in."""
        to, branch, uri = f"<sip:0301@{DOMAIN}>", f"z9hG4bK-{self._number}-{method}-{cseq}", f"0301@{self._relay}:5060"
        if ack:
            response = parse(ack)
            assert isinstance(response, Response)
            to = str(response.to)
            branch = response.via.branch or "" if response.status >= 300 else branch
            uri = str(response.contacts[0].uri)[4:] if response.contacts else uri
        kind = f"Contact: <sip:alice@{self._host}:5060;transport=UDP>\r\n" if sdp else ""
        kind += proof + ("Content-Type: application/sdp\r\n" if sdp else "")
        return (
            f"{method} sip:{uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self._host}:5060;branch={branch};rport\r\n"
            f"From: <sip:alice@{DOMAIN}>;tag={self._number}\r\nTo: {to}\r\nCall-ID: {self._number}-1@{self._host}\r\n"
            f"CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{kind}Content-Length: {len(sdp)}\r\n\r\n{sdp}"
        ).encode()

    def proof(self, challenged: bytes) -> str:
        """The header that answers a 407."""
        response = parse(challenged)
        assert isinstance(response, Response)
        challenge = Challenge.of(response.proxy_authenticate[0])
        assert challenge
        secret = ha1(challenge.algorithm, "alice", challenge.realm, PASSWORD)
        uri = f"sip:0301@{self._relay}:5060"
        value = authorization(challenge, "INVITE", uri, "alice", ha1=secret, cnonce="c0ffee", nc=1)
        return f"Proxy-Authorization: {value}\r\n"


def answer(request: bytes, status: str, host: str, sdp: str = "") -> bytes:
    """What a SIPp that is called answers."""
    lines = request.decode().partition("\r\n\r\n")[0].split("\r\n")
    echoed = [line for line in lines if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))]
    to = next(line for line in lines if line.startswith("To:"))
    echoed.append(to if ";tag=" in to else f"{to};tag=callee")
    head = "\r\n".join([f"SIP/2.0 {status}", *echoed, f"Contact: <sip:{host}:5060;transport=UDP>"])
    kind = "Content-Type: application/sdp\r\n" if sdp else ""
    return f"{head}\r\n{kind}Content-Length: {len(sdp)}\r\n\r\n{sdp}".encode()


def ok(sent: Sequence[bytes]) -> bytes:
    """The 200 among what was sent."""
    return next(each for each in sent if each.startswith(b"SIP/2.0 200 "))


def registrations(lab: Lab, service: Service) -> Exchange:
    """A phone that was never there: REGISTER, 401, REGISTER, 200."""
    wire, names = Wire(service), itertools.cycle(phones())
    source, here = Address(lab.a.address, 5060), Address(lab.a.relay, 5060)

    def exchange() -> float:
        phone = Phone(next(names), DOMAIN, PASSWORD)
        phone.hear(wire.say(phone.first(), source, here)[0])
        ok(wire.say(phone.next(), source, here))
        return TIMER.take()

    return exchange


def proxied(lab: Lab, service: Service) -> Exchange:
    """A proxy's offer, answer and delete."""
    answers, numbers = Answers(service.ng.relay), itertools.count()
    ends = lab.a.address, lab.b.address

    def exchange() -> float:
        for request in requests(next(numbers), "replay", ends):
            with TIMER:
                reply = answers.answer(split(request), "127.0.0.1")
            assert b"6:result2:ok" in reply, reply
        return TIMER.take()

    return exchange


EXCHANGES = {"call": calls, "register": registrations, "ng": proxied}


def phones() -> Iterator[str]:
    return (f"user{number}" for number in range(WARM + COUNT + PROFILED))


def account(name: str) -> Account:
    return Account(DOMAIN, name, True, *(ha1(each, name, DOMAIN, PASSWORD) for each in ("MD5", "SHA-256")))


if __name__ == "__main__":
    main()
