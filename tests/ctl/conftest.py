# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the kernel's flow table, the routes and the engine, which only remember what they were told."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ctl.kernel.flowrule import Endpoint, FlowFlag, FlowRule, FlowState, FlowStatistics
from ctl.kernel.flowtable import FlowColumns
from ctl.network.nexthop import NextHop, NextHops, Route
from media.flows import EngineError, EngineFlow, EngineStatistics, FlowKey, redacted
from tests.ctl.routed import Network
from tests.ctl.world import World

RELAYS = ("192.0.2.1", "198.51.100.1", "2001:db8:a::1", "2001:db8:b::1")
COUNTS = [each for each in fields(FlowColumns) if each.name in ("packets", "lost")]


class FakeTable:
    def __init__(self) -> None:
        self.rules: dict[int, FlowRule] = {}
        self.counted: dict[int, FlowStatistics] = {}
        self.writes: list[tuple[Endpoint, bool]] = []
        self.offs: list[Endpoint] = []
        self.settled_flows: set[int] = set()

    def index(self, address: str, port: int) -> int:
        if address not in RELAYS:
            raise ValueError(f"{address} is no relay address")
        return RELAYS.index(address) * 65536 + port

    def local(self, index: int) -> Endpoint:
        return RELAYS[index // 65536], index % 65536

    def write_pair(self, first: tuple[int, FlowRule], second: tuple[int, FlowRule], *, fresh: bool = True) -> None:
        for index, rule in (first, second):
            self.rules[index] = rule
            self.writes.append((self.local(index), fresh))
            if fresh:
                self.counted.pop(index, None)

    def set_flags(self, index: int, flags: FlowFlag, clear: FlowFlag = FlowFlag.NONE) -> None:
        self.rules[index] = replace(self.rules[index], flags=self.rules[index].flags & ~clear | flags)

    def rule(self, index: int) -> FlowRule | None:
        return self.rules.get(index)

    def settled(self, index: int) -> bool:
        return index in self.settled_flows

    def at(self, local: Endpoint) -> FlowRule:
        return self.rules[self.index(*local)]

    def count(self, local: Endpoint, **counters: float) -> None:
        self.counted[self.index(*local)] = statistics(**counters)

    def off(self, index: int) -> None:
        if index in self.rules:
            self.rules[index] = replace(self.rules[index], state=FlowState.OFF)
        self.offs.append(self.local(index))

    def read(self, index: int) -> FlowStatistics:
        return self.counted.get(index, statistics())

    def read_many(self, indexes: Iterable[int]) -> list[FlowStatistics]:
        return [self.read(index) for index in indexes]

    def columns(self, indexes: Sequence[int]) -> FlowColumns:
        """Packets, losses and the times of the last packets; no test asks for another column."""
        counted = [self.read(index) for index in indexes]
        columns = {each.name: array("Q", [getattr(one, each.name) or 0 for one in counted]) for each in COUNTS}
        seen = array("Q", [round((each.last_seen or 0) * 1_000_000_000) for each in counted])
        nothing = {each.name: array("Q", bytes(8 * len(counted))) for each in fields(FlowColumns)}
        return FlowColumns(**{**nothing, **columns, "last_seen": seen})

    def active(self) -> list[int]:
        return [index for index, rule in self.rules.items() if rule.state]


class FakeHops:
    """192.0.2.0/24 and 2001:db8:a::/48 are behind eth0, all else behind eth1; addresses in `here` are this host's."""

    def __init__(self) -> None:
        self.macs = {"eth0": b"\x02\0\0\0\0\x10", "eth1": b"\x02\0\0\0\0\x20"}
        self.here: set[str] = set()
        self.unknown: set[str] = set()
        self.unroutable: set[str] = set()
        self.forgotten: list[tuple[str, str]] = []

    def route(self, target: str, source: str = "") -> Route | None:
        if target in self.unroutable:
            return None
        number = 0 if target.startswith(("192.0.2.", "2001:db8:a:")) else 1
        relay = RELAYS[number + 2 * (":" in target)]
        return Route(number + 1, f"eth{number}", target, relay, target not in self.here)

    def resolve(self, target: str, source: str = "") -> NextHop | None:
        route = self.route(target, source)
        if route is None or target in self.unknown:
            return None
        return NextHop(route.ifindex, route.interface, self.macs[route.interface], bytes(6), route.source_address)

    def forget(self, target: str, source: str = "") -> None:
        self.forgotten.append((target, source))


class FakeEngine:
    def __init__(self) -> None:
        self.flows: dict[FlowKey, EngineFlow] = {}
        self.partners: dict[FlowKey, FlowKey] = {}
        self.stages: dict[FlowKey, tuple[int, bytes]] = {}
        self.bound: set[FlowKey] = set()
        self.reports: dict[FlowKey, bytes] = {}
        self.requests = 0
        self.gone = False
        self.refusal: EngineError | None = None
        self.seen: float | None = None
        self.pairs: dict[FlowKey, tuple[str, FlowKey | None]] = {}

    def set_pair(self, a: EngineFlow, b: EngineFlow) -> int:
        self._request()
        if self.refusal:
            raise self.refusal
        self.flows |= {a.key: a, b.key: b}
        self.bound -= {a.key, b.key}
        self.partners |= {a.key: b.key, b.key: a.key}
        return 0

    def bind(self, keys: Sequence[FlowKey]) -> None:
        self._request()
        self.bound.update(keys)

    def unbind(self, keys: Sequence[FlowKey]) -> None:
        self._request()
        self.bound.difference_update(keys)

    def list_bound(self) -> tuple[FlowKey, ...]:
        return tuple(self.bound)

    def set_stage(self, key: FlowKey, kind: int, settings: bytes = b"") -> None:
        self._request()
        assert key in self.flows
        self.stages[key] = (kind, settings)

    def remove(self, keys: Sequence[FlowKey]) -> tuple[EngineStatistics, ...]:
        closed = {key for each in keys if each in self.flows for key in (each, self.partners[each])}
        counted = self.read([key for key in self.flows if key in closed])
        for key in closed:
            del self.flows[key]
        return counted

    def read(self, keys: Iterable[FlowKey]) -> tuple[EngineStatistics, ...]:
        self._request()
        found = (engine_statistics(self.flows[key], self.seen) for key in keys if key in self.flows)
        return tuple(self._paired(each) for each in found)

    def read_stage(self, key: FlowKey) -> bytes:
        self._request()
        return self.reports.get(key, b"")

    def list(self) -> tuple[FlowKey, ...]:
        return tuple(self.flows)

    def _paired(self, counted: EngineStatistics) -> EngineStatistics:
        state, selected = self.pairs.get(counted.key, ("checking" if counted.flow.ice else "off", None))
        return replace(counted, ice=state, selected=selected)

    def _request(self) -> None:
        self.requests += 1
        if self.gone:
            raise EngineError("gone", "no engine answers")


def statistics(**counters: float) -> FlowStatistics:
    """Counters of a flow that saw nothing, but for those given."""
    unknown = {"jitter_ms", "last_seen", "ssrc", "payload_type", "dscp", "rejected_source", "last_reason"}
    unknown |= {"learned_port", "learned_source"}
    blank = {each.name: None if each.name in unknown else 0 for each in fields(FlowStatistics)}
    named = {"mode": "off", "security": "plain", "suite": None, "received_by": None, "sent_by": None}
    return FlowStatistics(**{**blank, **named, **counters})


def engine_statistics(flow: EngineFlow, seen: float | None) -> EngineStatistics:
    """The counters of an engine flow that forwarded seven packets, the last of them when it was seen."""
    blank = {each.name: None for each in fields(EngineStatistics) if each.default is MISSING}
    zero = ("lost", "reordered", "duplicates", "resets", "ssrc_changes", "rejected", "dropped")
    return EngineStatistics(
        **{
            **blank,
            **dict.fromkeys(zero, 0),
            "flow": redacted(flow),
            "packets": 7,
            "bytes": 1204,
            "largest_gap": 0.02,
            "jitter": 0.001,
            "tos": 184,
            "last_seen": seen,
        }
    )


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Callable[[], Path]]:
    """Makes directories that other users can pass through, which pytest's own are not."""
    with ExitStack() as stack:

        def make() -> Path:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="voxdp-test-")))
            directory.chmod(0o755)
            return directory

        yield make


@pytest.fixture
def network() -> Iterator[Network]:
    assert os.geteuid() == 0, "network namespaces need root; run: sudo scripts/test"
    network = Network()
    try:
        network.build()
        yield network
    finally:
        network.close()


@pytest.fixture
def next_hops(network: Network) -> Iterator[NextHops]:
    found = network.next_hops()
    yield found
    found.close()


@pytest.fixture(params=["managed", "probed"])
def resolver(request: pytest.FixtureRequest, network: Network) -> Iterator[NextHops]:
    """With CAP_NET_ADMIN and, as a service user has it, without."""
    hops = network.next_hops(manage=request.param == "managed")
    yield hops
    hops.close()


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def hops() -> FakeHops:
    return FakeHops()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def world(table: FakeTable, hops: FakeHops, engine: FakeEngine) -> World:
    return World(table, hops, engine)
