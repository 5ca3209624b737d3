# SPDX-License-Identifier: GPL-3.0-or-later
"""Relayed packets per CPU-second of calls that a proxy has set up, over everything that carries them.

Both ends of each call speak G.711 from sockets, at the pace of real calls, in namespaces of their own:

    a --- r-a  relay  r-b --- b

On veth whatever a packet sets off in the kernel runs in its sender's call, the other end's reception included. So a
relay is charged with the CPU time of its own processes while they talk, and with what the senders need more than over a
direct link, where what they send ends at the relay's interface. The processes have a CPU that the senders have not. All
ways are measured in turn in each round, medians count.

Beside the relay and the empty redirect a program is measured that redirects and does no more than read the clock and
touch as many lines of each flow: what of the difference is the machine's, for any relay that keeps statistics.
"""

import os
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ctl.kernel.libbpf import Link
from tests.bench.figures import Figure
from tests.bench.lab import Built, identity
from tests.bench.lab import inside as entered
from tests.bench.rig import baseline
from vm.controller import Controller
from vm.lab import Lab
from vm.process import inside, run
from vm.rtpengine import NgClient, Rtpengine

SIZES = (100, 1000)
ROUNDS = 9
SECONDS = 2.0
FIRST_PORT = 10000
SENDERS_CPU, RELAY_CPU = 0, 1
GOALS = {"empty": 0.85, "rtpengine": 7.0}
REDIRECTS = {"empty": "empty_redirect", "least": "least_redirect"}
NAMES = {"empty": "an empty XDP redirect", "rtpengine": "rtpengine, --num-threads=1"}
OURS = ("127.0.0.1", 2224)
SETTINGS = '\n[ng]\nlisten = ["127.0.0.1:2224"]\ndelete_delay = 0\n'
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
)
SOURCE = Path(__file__).with_name("paced.c")


@dataclass(frozen=True)
class Spent:
    """CPU seconds of the senders and of the relay's own processes, and what was sent and has arrived."""

    senders: float
    relay: float
    sent: int
    arrived: int


Ends = tuple[tuple[str, int], tuple[str, int]]
"""Where the caller and the callee of a call send to."""


def measure() -> Iterator[Figure]:
    """Yield, for each number of calls, the relay against the empty redirect and against rtpengine."""
    with Bench() as bench:
        theirs: list[float] = []
        for calls in SIZES:
            ways = ["direct", "empty", "voxdp", "least"]
            found = bench.compare(calls, ways if theirs else [*ways, "rtpengine"])
            lost = sum(each.sent - each.arrived for each in found["voxdp"])
            yield Figure(f"packets lost, {calls} calls", float(lost), "packets", "<=", 0, _sent(found["voxdp"]))
            costs = {way: _costs(found[way], found["direct"]) for way in found if way != "direct"}
            theirs = theirs or costs["rtpengine"]
            for way, other in (("empty", costs["empty"]), ("rtpengine", theirs)):
                yield _ratio(calls, way, costs["voxdp"], other)
            yield _bound(calls, costs["least"], costs["empty"], [each.relay / each.arrived for each in found["voxdp"]])


class TooBusy(RuntimeError):
    """Others have kept the machine so busy that a relay costs nothing beside them: no figure can be made of it."""


def _median(costs: Sequence[float], way: str) -> float:
    found = statistics.median(costs)
    if found <= 0:
        raise TooBusy(f"{way}: {found:.2f} us a packet beyond a direct link; measure on an idle machine")
    return found


def _costs(spent: Sequence[Spent], direct: Sequence[Spent]) -> list[float]:
    """Microseconds of a packet, of each round: what the relay used, and the senders beyond the direct link."""
    return [
        1e6 * (each.relay / each.arrived + each.senders / each.sent - base.senders / base.sent)
        for each, base in zip(spent, direct, strict=True)
    ]


def _ratio(calls: int, way: str, ours: Sequence[float], other: Sequence[float]) -> Figure:
    mine, theirs = _median(ours, "voxdp"), _median(other, NAMES[way])
    how = (
        f"{calls} calls, CPU of a packet beyond a direct link, median of {ROUNDS} x {SECONDS:g} s: "
        f"{mine:.2f} us, {NAMES[way]} {theirs:.2f} us{'' if way == 'empty' else f' (at {SIZES[0]} calls)'}"
    )
    name = "empty redirect" if way == "empty" else way
    return Figure(f"ng packets per CPU-second, {calls} / {name}", theirs / mine, "x", ">=", GOALS[way], how)


def _bound(calls: int, least: Sequence[float], empty: Sequence[float], processes: Sequence[float]) -> Figure:
    cost, other = _median(least, "the least redirect"), _median(empty, NAMES["empty"])
    own = 1e6 * statistics.median(processes)
    how = (
        f"{calls} calls: a redirect that reads the clock and touches two lines of each flow takes {cost:.2f} us, "
        f"an empty one {other:.2f} us; of what the relay takes, {own:.2f} us are its processes"
    )
    return Figure(f"ng least redirect, {calls} / empty redirect", other / cost, "x", ">=", GOALS["empty"], how, False)


def _sent(spent: Sequence[Spent]) -> str:
    return f"{sum(each.sent for each in spent)} sent, both ways, {ROUNDS} rounds; what arrived was counted outside"


class Bench(Built):
    """Two labs alike, one with voxdp, the other with what it is measured against."""

    def compare(self, calls: int, ways: Sequence[str]) -> dict[str, list[Spent]]:
        """Carry that many calls, each way in turn in each round."""
        carried: dict[str, Callable[[], Spent]] = {
            "direct": lambda: self._direct(calls),
            "empty": lambda: self._redirect(calls, REDIRECTS["empty"]),
            "least": lambda: self._redirect(calls, REDIRECTS["least"]),
            "voxdp": lambda: self._voxdp(calls),
            "rtpengine": lambda: self._rtpengine(calls),
        }
        found: dict[str, list[Spent]] = {way: [] for way in ways}
        self._calls += [_negotiate(self._client, self._mine, call) for call in range(len(self._calls), calls)]
        for _ in range(ROUNDS):
            for way, spent in found.items():
                spent.append(carried[way]())
        return found

    def _build(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="voxdp-bench-")))
        self._program = folder / "paced"
        run("gcc", "-O2", "-Wall", "-o", self._program, SOURCE)
        self._mine, self._other = (self._stack.enter_context(Lab("two")) for _ in range(2))
        controller = Controller(self._mine, listen=None, more=SETTINGS, port_max=32001)
        controller.attach()
        controller.start()
        self._pid = controller.pid
        self._sinks = {lab: Sink(lab) for lab in (self._mine, self._other)}
        for lab in self._sinks:
            _introduce(lab)
        self._client = NgClient(self._mine.relay, OURS)
        self._stack.callback(self._client.close)
        self._calls: list[Ends] = []

    def _voxdp(self, calls: int) -> Spent:
        pids = _tree(self._pid)
        for thread in _threads(pids):
            os.sched_setaffinity(int(thread.name), {RELAY_CPU})
        ends = (self._mine.a, self._mine.b)
        with self._sinks[self._mine].at([(each.namespace, each.interface) for each in ends]) as arrived:
            before = _cpu_seconds(pids)
            senders, sent = self._talk(self._mine, self._calls[:calls])
            return Spent(senders, _cpu_seconds(pids) - before, sent, arrived())

    def _rtpengine(self, calls: int) -> Spent:
        lab = self._other
        addresses = [f"{name}/{end.relay}" for name, end in (("a", lab.a), ("b", lab.b))]
        log = lab.directory / "rtpengine.log"
        with Rtpengine(lab.relay, log, addresses, "--num-threads=1") as daemon:
            os.sched_setaffinity(daemon.pid, {RELAY_CPU})
            ends = [_negotiate(daemon.client, lab, call) for call in range(calls)]
            with self._sinks[lab].at([(each.namespace, each.interface) for each in (lab.a, lab.b)]) as arrived:
                before = _cpu_seconds([daemon.pid])
                senders, sent = self._talk(lab, ends)
                return Spent(senders, _cpu_seconds([daemon.pid]) - before, sent, arrived())

    def _redirect(self, calls: int, name: str) -> Spent:
        """What comes in at one interface of the relay leaves at the other as it is, by a program of the baseline."""
        lab, ends = self._other, (self._other.a, self._other.b)
        near, far = lab.topology.relay_interfaces
        with ExitStack() as stack:
            for come, leave in ((near, far), (far, near)):
                program = baseline(1, ("0.0.0.0", 0), "0.0.0.0", identity(lab.relay, leave)[0])
                with entered(lab.relay):
                    link = Link.attach_xdp(program.program(name), identity(lab.relay, come)[0], "native")
                stack.callback(_destroy, link, lab.relay)
            arrived = stack.enter_context(self._sinks[lab].at([(each.namespace, each.interface) for each in ends]))
            senders, sent = self._talk(lab, self._calls[:calls])
            return Spent(senders, 0.0, sent, arrived())

    def _direct(self, calls: int) -> Spent:
        """What is sent ends at the relay's interface."""
        lab = self._other
        with self._sinks[lab].at([(lab.relay, name) for name in lab.topology.relay_interfaces]) as arrived:
            senders, sent = self._talk(lab, self._calls[:calls])
            return Spent(senders, 0.0, sent, arrived())

    def _talk(self, lab: Lab, calls: Sequence[Ends]) -> tuple[float, int]:
        """Let all ends speak; return the CPU seconds of both programs and what they have sent."""
        speaking = []
        for place, end in enumerate((lab.a, lab.b)):
            to = [each[place] for each in calls]
            words = [str(SECONDS), end.address, str(FIRST_PORT), to[0][0], *(str(port) for _, port in to)]
            command = inside(end.namespace, ["taskset", "-c", str(SENDERS_CPU), self._program, *words])
            speaking.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        used, sent = 0.0, 0
        for process in speaking:
            assert process.stdout is not None
            sent += int(process.stdout.read() or 0)
            process.stdout.close()
            _, process.returncode, usage = os.wait4(process.pid, 0)
            used += usage.ru_utime + usage.ru_stime
        if not sent:
            raise RuntimeError("the senders did not start: their message is above")
        return used, sent


class Sink:
    """Counts and drops the IPv4 that arrives at interfaces of a lab, before the network stack."""

    def __init__(self, lab: Lab) -> None:
        self._object = baseline(1, ("0.0.0.0", 0), "0.0.0.0")
        self._pin = lab.bpffs / "sink"
        self._object.program("sink_skb").pin(self._pin)

    @contextmanager
    def at(self, places: Sequence[tuple[str, str]]) -> Iterator[Callable[[], int]]:
        """Yield a function that returns how many have arrived since."""
        for space, interface in places:
            run(*inside(space, ["tc", "qdisc", "add", "dev", interface, "clsact"]))
            words = ["tc", "filter", "add", "dev", interface, "ingress", "protocol", "ip"]
            words += ["bpf", "da", "object-pinned", str(self._pin)]
            run(*inside(space, words))
        before = self._count()
        try:
            yield lambda: self._count() - before
        finally:
            for space, interface in places:
                run(*inside(space, ["tc", "qdisc", "del", "dev", interface, "clsact"]))

    def _count(self) -> int:
        counts = self._object.map("received").lookup_percpu(bytes(4))
        return sum(struct.unpack("=Q", count)[0] for count in counts)


def _introduce(lab: Lab) -> None:
    """Neighbours know each other for good: an empty redirect answers nobody's question."""
    for end, interface in zip((lab.a, lab.b), lab.topology.relay_interfaces, strict=True):
        for near, far, address in (
            ((end.namespace, end.interface), (lab.relay, interface), end.relay),
            ((lab.relay, interface), (end.namespace, end.interface), end.address),
        ):
            mac = identity(*far)[1].hex(":")
            words = ["neigh", "replace", address, "lladdr", mac, "nud", "permanent", "dev", near[1]]
            run("ip", "-n", near[0], *words)


def _negotiate(client: NgClient, lab: Lab, call: int) -> Ends:
    """Set one call up; return where its caller and its callee send to."""
    ends = (lab.a.address, lab.b.address)
    described = [SDP.format(address=address, port=FIRST_PORT + 2 * call) for address in ends]
    names = {"call_id": f"relayed-{call}", "from_tag": "a", "ICE": "remove", "replace": ["origin"]}
    offered = client.ask("offer", sdp=described[0], direction=["a", "b"], received_from=["IP4", ends[0]], **names)
    answered = client.ask("answer", sdp=described[1], to_tag="b", received_from=["IP4", ends[1]], **names)
    return _listens(answered), _listens(offered)


def _listens(reply: dict[str, str]) -> tuple[str, int]:
    if "sdp" not in reply:
        raise RuntimeError(f"no description in the reply: {reply}")
    words = {line[:2]: line.split() for line in reply["sdp"].splitlines()}
    return words["c="][-1], int(words["m="][1])


def _destroy(link: Link, space: str) -> None:
    with entered(space):
        link.destroy()


def _tree(pid: int) -> list[int]:
    """A process and all that it has started, but for the database, which has no part in this."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    relaying = (int(child) for child in children if "postgres" not in Path(f"/proc/{child}/comm").read_text())
    return [pid, *(each for child in relaying for each in _tree(child))]


def _cpu_seconds(pids: Sequence[int]) -> float:
    """What all threads of these have run, by the scheduler's account."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in _threads(pids)) / 1e9


def _threads(pids: Sequence[int]) -> list[Path]:
    return [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
