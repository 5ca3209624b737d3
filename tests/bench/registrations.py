# SPDX-License-Identifier: GPL-3.0-or-later
"""Registrations: what one costs, with a challenge each and as a refresh, and what ten thousand take up.

Beside ours, in the same rounds, a bare loop answers the same phones.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sip.digest import Challenge, authorization, ha1
from sip.message import Response
from sip.parser import parse
from tests.bench.figures import Figure, Yardstick
from tests.bench.processes import cpu_seconds
from tests.bench.registrar import PASSWORD, REALM, names

ROUNDS, COUNT = 5, 3000
USERS, REFRESHES, REFRESH_RATE = 10_000, 3330, 333
WINDOW = 32
START = """import sys
sys.modules["rich"] = None  # tools for tests bring it, and structlog would load it: no installation has it
from ctl.compiled.loader import load
load()
from tests.bench.registrar import main
main(*sys.argv[1:])
"""
BARE = "import sys; from tests.bench.bare import main; main(*sys.argv[2:])"
GOAL = 8000
LOOP = Yardstick("bare loop, a challenge each", 22_000)


def measure() -> Iterator[Figure]:
    yield from challenged()
    yield from repeated()
    with serving(USERS, "SHA-256") as server:
        yield memory(server)


def challenged() -> Iterator[Figure]:
    """Ours and the bare loop's in turns, each phone heard of for the first time."""
    everybody = names(ROUNDS * COUNT)
    ours: list[float] = []
    loop: list[float] = []
    with both(len(everybody)) as ends:
        for place in range(ROUNDS):
            for (server, client), costs in zip(ends, (ours, loop), strict=True):
                costs.append(first_time(server, client, [Phone(name) for name in everybody[place::ROUNDS]]))
    how = f"SHA-256; REGISTER, 401, REGISTER, 200; best of {ROUNDS} x {COUNT} new phones, {WINDOW} at once; CPU time"
    yield from _figures("registrations with a challenge each", ours, loop, how)


def repeated() -> Iterator[Figure]:
    """Ours and the bare loop's in turns, with one challenge for many; the loop also with a challenge each."""
    ours, loop, each = [], [], []
    phones, others = ([Phone(name) for name in names(USERS)] for _ in range(2))
    with both(USERS) as ((server, client), (bare, other)):
        introduce(client, phones)
        introduce(other, others)
        for _ in range(ROUNDS):
            ours.append(refresh(server, client, phones))
            each.append(first_time(bare, other, [Phone(name) for name in names(COUNT)]))
            loop.append(refresh(bare, other, others))
    how = f"SHA-256, one challenge for many; best of {ROUNDS} x {USERS}, {WINDOW} at once; CPU time; "
    how += f"the loop answers {1 / median(loop):.0f} of these"
    yield from _figures("registrations by digest", ours, each, how)


@contextmanager
def both(users: int) -> Iterator[tuple[End, End]]:
    """Ours and the bare loop, with a client of each."""
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(users, "SHA-256", program)) for program in (START, BARE)]
        ours, bare = ((server, stack.enter_context(connected(server))) for server in servers)
        yield ours, bare


def _figures(name: str, ours: Sequence[float], yard: Sequence[float], how: str) -> Iterator[Figure]:
    """ours, yard: CPU seconds of one registration, round by round."""
    ratio = median(theirs / mine for mine, theirs in zip(ours, yard, strict=True))
    yield from LOOP.figures(name, 1 / min(ours), GOAL, ratio, 1 / median(yard), how)


def memory(server: Server) -> Figure:
    """What registering everybody once, and then refreshing at the rate of a busy host, leaves resident."""
    idle = server.resident()
    phones = [Phone(name) for name in names(USERS)]
    with connected(server) as client:
        introduce(client, phones)
        granted(say(client, [phone.next() for phone in phones]))
        pace(client, phones[:REFRESHES])
    how = f"{USERS} users, a contact each, {REFRESHES} refreshed at {REFRESH_RATE}/s; {idle / 1e6:.0f} MB before"
    return Figure("memory of 10000 registrations", server.resident() / 1e6, "MB", "<=", 100, how)


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves registrations."""

    process: int
    port: int
    directory: Path

    def cpu(self) -> float:
        """Seconds of CPU, user and system, that it has taken."""
        return cpu_seconds(self.process)

    def resident(self) -> int:
        """Bytes of memory that it has."""
        lines = Path(f"/proc/{self.process}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


End = tuple[Server, socket.socket]
"""A server, and a client of it."""


@contextmanager
def serving(users: int, algorithm: str, program: str = START) -> Iterator[Server]:
    with TemporaryDirectory(prefix="voxdp-bench-") as directory:
        command = [sys.executable, "-c", program, directory, str(users), algorithm]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            port = process.stdout.readline()
            if not port:
                raise RuntimeError("the registrar did not start; its last words are above")
            yield Server(process.pid, int(port), Path(directory))
        finally:
            process.terminate()
            process.wait(10)


def first_time(server: Server, client: socket.socket, phones: Sequence[Phone]) -> float:
    """CPU seconds for one registration of a phone that was never there: REGISTER, 401, REGISTER, 200."""
    before = server.cpu()
    for place in range(0, len(phones), WINDOW):
        window = phones[place : place + WINDOW]
        introduce(client, window)
        granted(say(client, [phone.next() for phone in window]))
    return (server.cpu() - before) / len(phones)


class Phone:
    """One user's REGISTERs, ready to be sent."""

    def __init__(self, user: str, realm: str = REALM, password: str = PASSWORD, host: str = "127.0.0.1") -> None:
        self._user, self._realm, self._password, self._host = user, realm, password, host
        self._uri, self._count = f"sip:{realm}", 0
        self._challenge = Challenge("", "")
        self._secret = ""

    def hear(self, data: bytes) -> None:
        """Remember the challenge."""
        answer = parse(data)
        assert isinstance(answer, Response)
        challenge = Challenge.of(answer.www_authenticate[0])
        assert challenge
        self._challenge = challenge
        self._secret = ha1(challenge.algorithm, self._user, challenge.realm, self._password)

    def first(self) -> bytes:
        """Without credentials."""
        return self._register(1, "")

    def next(self) -> bytes:
        """With them, by the same nonce as ever."""
        self._count += 1
        value = authorization(
            self._challenge, "REGISTER", self._uri, self._user, ha1=self._secret, cnonce="c0ffee", nc=self._count
        )
        return self._register(self._count + 1, f"Authorization: {value}\r\n")

    def _register(self, number: int, extra: str) -> bytes:
        name, branch = f"<sip:{self._user}@{self._realm}>", f"z9hG4bK{self._user}-{number}"
        return (
            f"REGISTER {self._uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self._host}:5060;rport;branch={branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: {name};tag={self._user}\r\nTo: {name}\r\nCall-ID: {self._user}@{self._host}\r\n"
            f"CSeq: {number} REGISTER\r\nContact: <sip:{self._user}@{self._host}:5060>\r\nExpires: 600\r\n"
            f"User-Agent: bench\r\n{extra}Content-Length: 0\r\n\r\n"
        ).encode()


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", server.port))
        yield client


def introduce(client: socket.socket, phones: Sequence[Phone]) -> None:
    """Have each phone hear its challenge."""
    challenges = say(client, [phone.first() for phone in phones])
    for phone, challenge in zip(phones, challenges, strict=True):
        phone.hear(challenge)


def refresh(server: Server, client: socket.socket, phones: Sequence[Phone]) -> float:
    """CPU seconds for one refresh; every phone makes one."""
    requests = [phone.next() for phone in phones]
    before = server.cpu()
    granted(say(client, requests))
    return (server.cpu() - before) / len(requests)


def pace(client: socket.socket, phones: Sequence[Phone]) -> None:
    """One refresh of each at the rate of a busy host."""
    began = time.monotonic()
    for number, phone in enumerate(phones):
        time.sleep(max(0.0, began + number / REFRESH_RATE - time.monotonic()))
        granted(say(client, [phone.next()]))


def say(client: socket.socket, requests: Sequence[bytes]) -> list[bytes]:
    """The answers, in the order of the requests, so many of which are on their way at once."""
    answers: list[bytes] = []
    for place in range(0, len(requests), WINDOW):
        window = requests[place : place + WINDOW]
        for request in window:
            client.send(request)
        answers += [client.recv(65536) for _ in window]
    return answers


def granted(answers: Sequence[bytes]) -> None:
    refused = next((answer for answer in answers if not answer.startswith(b"SIP/2.0 200")), None)
    if refused:
        raise RuntimeError(f"a registration was refused: {refused[:60]!r}")
