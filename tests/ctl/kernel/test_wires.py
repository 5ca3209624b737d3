# SPDX-License-Identifier: GPL-3.0-or-later
"""Engine flows by AF_XDP: from wire to wire, from worker to worker, and by sockets where there is no wire."""

import errno
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from media._engine import lib
from pylibsrtp import Policy, Session

from ctl.host import ethtool
from ctl.kernel.flowrule import FlowStatistics
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.pins import Pins
from ctl.network.nexthop import NextHops
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.engine_io import EngineIo
from ctl.sessions.flow_plan import FlowPlan, Pair
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.programmer import Programmer
from media import opener_process
from media.client import EngineProcess
from media.engine import Engine
from media.flows import EngineFlow, EngineKeys, EngineWire
from media.wire_opener import OpenerSettings, WireWanted, ask_opener
from tests.ctl.kernel.wired import ALICE, ALICE6, BOB, BOB6, RELAY_A, RELAY_A6, RELAY_B, RELAY_B6, Wiring, rtp, udp
from tests.patience import PATIENCE
from vm import namespace

INTERFACES = ("east", "west")
SUITE = "AES_CM_128_HMAC_SHA1_80"
WAYS = {
    "ipv4": ((ALICE, RELAY_A), (BOB, RELAY_B)),
    "ipv6": ((ALICE6, RELAY_A6), (BOB6, RELAY_B6)),
    "ipv4 to ipv6": ((ALICE, RELAY_A), (BOB6, RELAY_B6)),
}
OPENER = """
import sys; from pathlib import Path; from media.wire_opener import OpenerSettings, main
sys.exit(main(OpenerSettings(Path(sys.argv[1]), ("east", "west"), 0, 0)))
"""


@dataclass
class Call:
    """SRTP from Alice, RTP from Bob. Each sends and hears at one port."""

    alice: socket.socket
    bob: socket.socket
    pair: Pair
    sealed: Session
    opened: Session
    sent: int = 0

    def exchange(self) -> None:
        """One packet each way, which arrives as it was meant."""
        self.send()
        assert self.bob.recv(2048) == rtp(self.sent)
        assert self.opened.unprotect(self.alice.recv(2048)) == rtp(self.sent)

    def send(self) -> None:
        self.sent += 1
        self.alice.sendto(self.sealed.protect(rtp(self.sent)), self.pair[0].local)
        self.bob.sendto(rtp(self.sent), self.pair[1].local)

    def heard(self) -> bool:
        """Whether Bob hears Alice's next packet soon."""
        self.send()
        return bool(select.select([self.bob], [], [], 0.1)[0]) and bool(self.bob.recv(2048))


class World:
    """A controller's carriers, an engine, and calls between Alice and Bob."""

    def __init__(self, wiring: Wiring, pins: Pins, process: EngineProcess, opener: Path) -> None:
        self.wiring, self.pins, self.process, self.opener = wiring, pins, process, opener
        self.hops = NextHops()
        self.table = FlowTable.open(pins.directory)
        self.kernel = KernelCarrier(self.table, self.hops)
        self.engine = EngineCarrier(process.client, self.kernel, self.hops)
        self.programmer = Programmer(self.hops, self.kernel, self.engine)
        self.hops.on_change = self.programmer.next_hops_changed
        self.calls: list[Call] = []

    def call(self, way: str = "ipv4") -> Call:
        """Another call, whose next hops are known."""
        (alice, relay_a), (bob, relay_b) = WAYS[way]
        port = 10000 + 4 * len(self.calls)
        with namespace.entered(self.wiring.a):
            at_alice = udp((alice, port))
        with namespace.entered(self.wiring.b):
            at_bob = udp((bob, port))
        for each in (at_alice, at_bob):
            each.settimeout(PATIENCE)
        keys = [EngineKeys(SUITE, random.Random(port + side).randbytes(30)) for side in range(2)]
        a, b = (relay_a, port), (relay_b, port + 2)
        pair = (
            FlowPlan("a", 0, "rtp", a, (alice, port), b, (bob, port), 8000, "engine", open=keys[0]),
            FlowPlan("b", 0, "rtp", b, (bob, port), a, (alice, port), 8000, "engine", seal=keys[1]),
        )
        self.programmer.apply(f"call {port}", pair)
        wait(lambda: self.engine.holds(pair) and all(flow.hop for flow in self.flows(pair)), self.follow_hops)
        sealed = Session(policy(keys[0].key, Policy.SSRC_ANY_OUTBOUND))
        self.calls.append(Call(at_alice, at_bob, pair, sealed, Session(policy(keys[1].key, Policy.SSRC_ANY_INBOUND))))
        return self.calls[-1]

    def follow_hops(self) -> None:
        if select.select([self.hops], [], [], 0)[0]:
            self.hops.drain()

    def flows(self, pair: Pair) -> list[EngineFlow]:
        return [each.flow for each in self.process.client.read([plan.local for plan in pair])]

    def counted(self, call: Call) -> list[FlowStatistics]:
        return [each for each in self.engine.read(call.pair) if each]

    def wires(self) -> tuple[EngineWire, ...]:
        return self.process.client.wires().wires

    def close(self) -> None:
        for call in self.calls:
            call.alice.close()
            call.bob.close()
        self.hops.close()
        self.table.close()
        self.process.stop()
        self.process.close()


def policy(key: bytes, kind: int) -> Policy:
    return Policy(key=key, ssrc_type=kind, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80)


def wait(condition: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE
        meanwhile()
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def make_world(wiring: Wiring, pins: Pins, state_dir: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(workers: int, python: str = sys.executable) -> World:
        process = EngineProcess.ensure(
            state_dir / "engine",
            python=python,
            arguments=["--workers", str(workers)],
            log=state_dir / "log",
            timeout=PATIENCE,
        )
        worlds.append(World(wiring, pins, process, state_dir / "xsk.sock"))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def wired(make_world: Callable[..., World]) -> World:
    """One worker, which has all wires."""
    return with_wires(make_world(1))


def with_wires(world: World) -> World:
    found = world.process.client.want_wires(world.pins.directory, INTERFACES, world.opener)
    assert found.trouble == ""
    assert {(wire.interface, wire.queue) for wire in found.wires} >= {("east", 0), ("west", 0)}
    return world


def test_a_call_goes_from_wire_to_wire_in_each_family(wired: World) -> None:
    for way in WAYS:
        call = wired.call(way)
        for _ in range(20):
            call.exchange()
        for counted in wired.counted(call):
            assert (counted.packets, counted.lost, counted.dropped, counted.rejected) == (20, 0, 0, 0)
            assert (counted.received_by, counted.sent_by) == ("af_xdp", "af_xdp"), way
    assert sum(wire.sent for wire in wired.wires()) == sum(wire.received for wire in wired.wires()) == 120


def test_what_is_no_packet_of_the_flow_is_dropped_and_counted_as_on_sockets(wired: World) -> None:
    call = wired.call()
    call.exchange()
    call.alice.sendto(b"nothing", call.pair[0].local)
    with namespace.entered(wired.wiring.a):
        stranger = udp((ALICE, 4999))
    stranger.sendto(call.sealed.protect(rtp(9)), call.pair[0].local)
    stranger.close()
    call.alice.sendto(rtp(10), call.pair[0].local)
    wait(lambda: wired.counted(call)[0].forged)
    (counted, _) = wired.counted(call)
    assert (counted.packets, counted.dropped, counted.rejected, counted.forged) == (1, 2, 1, 1)
    assert counted.rejected_source == (ALICE, 4999)
    call.exchange()


def test_workers_that_share_a_queue_each_get_their_own_flows(make_world: Callable[..., World]) -> None:
    queues = ethtool.settings("east").queues or 1
    world = with_wires(make_world(queues + 1))
    calls = [world.call() for _ in range(2 * (queues + 1))]
    for _ in range(10):
        for call in calls:
            call.exchange()
    for call in calls:
        for counted in world.counted(call):
            assert (counted.packets, counted.lost) == (10, 0)
            assert (counted.received_by, counted.sent_by) == ("af_xdp", "af_xdp")
    assert sum(wire.received for wire in world.wires()) == sum(wire.sent for wire in world.wires()) == 20 * len(calls)
    assert {wire.worker for wire in world.wires() if wire.received} == set(range(queues + 1))


def test_what_comes_to_another_worker_than_its_flows_is_handed_over(make_world: Callable[..., World]) -> None:
    """As where a card chooses the queue: here the relay does not know which worker has the flow."""
    world = with_wires(make_world((ethtool.settings("east").queues or 1) + 1))
    calls = [world.call() for _ in range(4)]
    for call in calls:
        world.kernel.hand_up(call.pair)
        for _ in range(10):
            call.exchange()
        assert [(counted.packets, counted.lost) for counted in world.counted(call)] == [(10, 0)] * 2
    first = [wire.received for wire in world.wires() if wire.worker == 0]
    assert sum(first) > 40


def test_a_killed_worker_loses_nothing_that_has_come_and_the_others_do_not_notice(
    make_world: Callable[..., World],
) -> None:
    """What comes while it is replaced waits in its rings, for its successor."""
    world = with_wires(make_world((ethtool.settings("east").queues or 1) + 1))
    calls = [world.call() for _ in range(4)]
    before = {(wire.interface, wire.queue, wire.worker) for wire in world.wires()}
    for call in calls:
        call.exchange()
    for victim in world.process.client.summary().processes:
        os.kill(victim, signal.SIGSTOP)
        for call in calls:
            call.send()
        os.kill(victim, signal.SIGKILL)
        for call in calls:
            assert call.bob.recv(2048) == rtp(call.sent)
            assert call.alice.recv(2048), "under another SSRC, where it was this call's worker"
    assert {(wire.interface, wire.queue, wire.worker) for wire in world.wires()} == before
    for call in calls:
        for counted in world.counted(call):
            assert (counted.lost, counted.received_by, counted.sent_by) == (0, "af_xdp", "af_xdp")


def test_what_waits_on_a_wire_when_a_call_leaves_the_engine_goes_on_its_way(wired: World) -> None:
    """Where a worker is late, as the kernel has taken the call over, or somebody else's packets are many."""
    call = wired.call()
    call.exchange()
    (worker,) = wired.process.client.summary().processes
    os.kill(worker, signal.SIGSTOP)
    for _ in range(100):
        call.send()
    closing = threading.Thread(target=wired.engine.leave, args=(call.pair,))
    closing.start()
    time.sleep(0.1)
    os.kill(worker, signal.SIGCONT)
    closing.join()
    assert [call.bob.recv(2048) for _ in range(100)] == [rtp(2 + number) for number in range(100)]
    assert len([call.alice.recv(2048) for _ in range(100)]) == 100


def test_one_that_may_open_none_asks_who_may_and_goes_by_sockets_meanwhile(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    powerless = tmp_path / "python"
    powerless.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-net_raw {sys.executable} "$@"\n')
    powerless.chmod(0o755)
    world = make_world(1, str(powerless))
    io = EngineIo("af_xdp", world.opener.parent)

    def look() -> str:
        io.look(world.process.client, world.process.pid, world.pins.directory, 1, INTERFACES)
        return io.trouble

    assert look().startswith("east, queue 0: the engine may not open AF_XDP sockets, and nobody does it for it; run:")
    call = world.call()
    call.exchange()
    assert [counted.received_by for counted in world.counted(call)] == ["sockets", "sockets"]
    refused = subprocess.run([powerless, "-c", OPENER, world.opener], capture_output=True, text=True, timeout=PATIENCE)
    assert refused.stderr == "voxdp xsk: AF_XDP sockets need CAP_NET_RAW; run voxdp xsk as root\n"
    opener = subprocess.Popen([sys.executable, "-c", OPENER, world.opener])
    try:
        wait(lambda: not look(), call.heard)
        memory = os.memfd_create("test")
        assert ask_opener(world.opener, WireWanted("south", 0), memory) == (-errno.EACCES, False)
        os.close(memory)
        again = subprocess.run(
            [sys.executable, "-c", OPENER, world.opener], capture_output=True, text=True, timeout=PATIENCE
        )
        assert again.stderr == f"voxdp xsk: {world.opener} is another's; end the voxdp xsk that runs already\n"
        wait(lambda: world.counted(call)[0].received_by == "af_xdp", call.heard)
    finally:
        opener.terminate()
        assert opener.wait(PATIENCE) == 0
    assert not world.opener.exists()
    wait(call.heard)
    assert look() == "", "the opener is not needed any more"


def test_who_opens_them_can_do_nothing_else_and_gives_way_to_another(wiring: Wiring, state_dir: Path) -> None:
    settings = OpenerSettings(state_dir / "xsk.sock", INTERFACES, 65534, 65534)
    memory = os.memfd_create("test")
    os.truncate(memory, lib.engine_wire_memory(1))
    with namespace.entered(wiring.relay):
        first, second = (opener_process.start(settings, state_dir / "xsk.log") for _ in range(2))
    try:
        assert not Path(f"/proc/{first}").exists()
        status = Path(f"/proc/{second}/status").read_text()
        (effective,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
        assert effective & ~(1 << 14) == 1 << 13
        descriptor, _ = ask_opener(settings.socket, WireWanted("east", 0), memory)
        assert descriptor >= 0
        os.close(descriptor)
    finally:
        os.close(memory)
        opener_process.stop(settings.socket)
    assert not settings.socket.exists()
    opener_process.stop(settings.socket)


def test_without_the_relay_there_is_one_clear_line(tmp_path: Path) -> None:
    engine = Engine(workers=1, flows=16)
    try:
        assert engine.wires() == ()
        engine.drop_wires()
    finally:
        engine.close()
    process = EngineProcess.ensure(tmp_path / "engine", timeout=PATIENCE)
    try:
        found = process.client.want_wires(tmp_path / "nowhere", ["east"], tmp_path / "none")
        assert found.wires == ()
        assert found.trouble == f"{tmp_path}/nowhere/wires: No such file or directory; run: voxdp attach"
        io = EngineIo("af_xdp", tmp_path)
        io.look(process.client, process.pid, tmp_path, None, ())
        assert "is not attached; run: voxdp attach" in io.trouble
        generic = EngineIo("auto", tmp_path, native=False)
        generic.look(process.client, process.pid, tmp_path, 1, INTERFACES)
        assert (generic.wires, generic.possible) == ((), False)
        assert generic.description.startswith("sockets: xdp.mode is generic")
    finally:
        process.stop()
        process.close()
