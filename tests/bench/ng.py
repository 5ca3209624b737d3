# SPDX-License-Identifier: GPL-3.0-or-later
"""The ng protocol: calls set up and taken down, against rtpengine-daemon in the same namespace and the same rounds.

What their packets cost is measured by tests/bench/relayed.py.

A call is an offer, an answer and a delete. What counts is the CPU time that the daemon's threads have used, by the
kernel's own account of them; the client's is its own. Each daemon has LIVE calls besides, set up before.
"""

import itertools
import os
import select
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ctl.ng.bencode import encode
from tests.bench import relayed
from tests.bench.figures import Figure
from vm import namespace
from vm.controller import Controller
from vm.lab import Lab
from vm.rtpengine import Rtpengine

LIVE = 1000
CALLS = 1500
ROUNDS = 5
WINDOW = 8
PACED_CALLS = 1000
PACE = 200
OURS = ("127.0.0.1", 2224)
THEIRS = ("127.0.0.1", 2223)
SDP = (
    "v=0\r\no=- {number} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    "a=ptime:20\r\n"
)
SETTINGS = '\n[ng]\nlisten = ["127.0.0.1:2224"]\ndelete_delay = 0\n'


def measure() -> Iterator[Figure]:
    with Lab("one") as lab:
        controller = Controller(lab, listen=None, more=SETTINGS, port_max=32001)
        controller.attach()
        controller.start()
        with Rtpengine(lab.relay, lab.directory / "rtpengine.log", lab.topology.relay_addresses) as reference:
            ours = Client(lab, OURS, controller.pid, "ours")
            theirs = Client(lab, THEIRS, reference.pid, "theirs")
            for client in (ours, theirs):
                client.set_up(LIVE)
            yield from _figures(ours, theirs)
    yield from relayed.measure()


def _figures(ours: "Client", theirs: "Client") -> Iterator[Figure]:
    rates: dict[Client, list[float]] = {ours: [], theirs: []}
    for _ in range(ROUNDS):
        for client, found in rates.items():
            found.append(client.rate(CALLS))
    mine, other = statistics.median(rates[ours]), statistics.median(rates[theirs])
    how = (
        f"offer, answer and delete beside {LIVE} live calls, {WINDOW} at once, median of {ROUNDS} x {CALLS} calls: "
        f"{mine:.0f} / {other:.0f} calls per CPU-second"
    )
    yield Figure("ng calls per CPU-second / rtpengine", mine / other, "x", ">=", 0.3, how)
    delays = [client.delays(PACED_CALLS, PACE) for client in (ours, theirs)]
    percentiles = [statistics.quantiles(each, n=100)[98] * 1000 for each in delays]
    how = (
        f"one request at a time, {PACE} calls a second, beside {LIVE} live calls; rtpengine {percentiles[1]:.2f} ms; "
        f"medians {statistics.median(delays[0]) * 1000:.2f} / {statistics.median(delays[1]) * 1000:.2f} ms"
    )
    yield Figure("ng delay of a reply, p99", percentiles[0], "ms", "<=", 5.0, how)


class Client:
    """A proxy: it asks one daemon from inside the relay's namespace."""

    def __init__(self, lab: Lab, address: tuple[str, int], pid: int, name: str) -> None:
        with namespace.entered(lab.relay):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(address)
        lab.own(self._socket)
        self._pid, self._name = pid, name
        self._ends = (lab.a.address, lab.b.address)
        self._numbers = itertools.count()

    def set_up(self, calls: int) -> None:
        """Calls that stay."""
        for number in self._some(calls):
            for request in requests(number, self._name, self._ends)[:2]:
                self._ask(request)

    def rate(self, calls: int) -> float:
        """Calls a CPU-second of the daemon, with WINDOW of them under way at once."""
        before = cpu_seconds(self._pid)
        waiting = {number: requests(number, self._name, self._ends) for number in self._some(calls)}
        order = iter(list(waiting))
        for number in itertools.islice(order, WINDOW):
            self._socket.send(waiting[number].pop(0))
        while waiting:
            number = int(self._reply().split(b"_", 1)[0])
            following = waiting[number]
            if not following:
                del waiting[number]
                number = next(order, -1)
                if number < 0:
                    continue
                following = waiting[number]
            self._socket.send(following.pop(0))
        return calls / (cpu_seconds(self._pid) - before)

    def delays(self, calls: int, pace: float) -> list[float]:
        """Seconds from each request to its reply, the calls begun at an even pace."""
        found = []
        began = time.perf_counter()
        for place, number in enumerate(self._some(calls)):
            time.sleep(max(0.0, began + place / pace - time.perf_counter()))
            for request in requests(number, self._name, self._ends):
                sent = time.perf_counter()
                self._ask(request)
                found.append(time.perf_counter() - sent)
        return found

    def _some(self, calls: int) -> Sequence[int]:
        return list(itertools.islice(self._numbers, calls))

    def _ask(self, request: bytes) -> None:
        self._socket.send(request)
        self._reply()

    def _reply(self) -> bytes:
        if not select.select([self._socket], [], [], 5.0)[0]:
            raise RuntimeError(f"{self._name}: no reply within 5 s")
        reply = self._socket.recv(1 << 17)
        if b"6:result2:ok" not in reply:
            raise RuntimeError(f"{self._name}: {reply[:200]!r}")
        return reply


def requests(number: int, name: str, ends: tuple[str, str]) -> list[bytes]:
    """Offer, answer and delete of one call of a proxy."""
    sides = [SDP.format(number=number, address=address, port=10000 + 2 * (number % 20000)) for address in ends]
    call = {"call-id": f"{number}@{name}", "from-tag": f"a{number}"}
    asked = {**call, "flags": ["trust-address"], "replace": ["origin", "session-connection"], "ICE": "remove"}
    offer = {"command": "offer", **asked, "sdp": sides[0], "received-from": ["IP4", ends[0]]}
    to = {"to-tag": f"b{number}"}
    answer = {"command": "answer", **asked, **to, "sdp": sides[1], "received-from": ["IP4", ends[1]]}
    delete = {"command": "delete", **call, **to}
    return [b"%d_%d " % (number, step) + encode(each) for step, each in enumerate((offer, answer, delete))]


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have run, by the scheduler's account in nanoseconds."""
    threads = (Path(f"/proc/{pid}/task") / each / "schedstat" for each in os.listdir(f"/proc/{pid}/task"))
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9
