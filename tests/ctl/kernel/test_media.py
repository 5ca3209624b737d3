# SPDX-License-Identifier: GPL-3.0-or-later
"""A call's media from description to wire: sessions, the attached relay, real routes and real packets."""

import itertools
import json
import random
import select
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ctl.kernel.pins import Pins
from ctl.network.nexthop import NextHops
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from media.client import EngineProcess
from tests.ctl.kernel.wired import (
    ALICE,
    BOB,
    RELAY_A,
    RELAY_B,
    Relay,
    Stream,
    Wiring,
    drain,
    follow,
    rtp_port,
    sdp,
)
from tests.patience import PATIENCE


@pytest.fixture
def stream(wiring: Wiring, relay: Relay) -> Iterator[Stream]:
    stream = Stream(wiring, relay.call(ALICE, BOB))
    try:
        assert follow(relay, stream, 5.0, lambda: True), "no packet reached Bob"
        yield stream
    finally:
        stream.stop()


def test_a_call_is_forwarded_and_counted(relay: Relay, stream: Stream) -> None:
    arrived = itertools.count(1)
    assert follow(relay, stream, 10.0, lambda: next(arrived) > 60)
    flow = next(flow for flow in relay.sessions.query("call") if (flow.leg, flow.kind) == ("a", "rtp"))
    assert flow.statistics is not None
    assert flow.statistics.packets > 50
    assert (flow.path, flow.statistics.lost, flow.codec) == ("kernel", 0, "PCMU")
    assert relay.sessions.delete("call", 0.0)[0].statistics is not None
    drain(stream.receiver)
    assert not follow(relay, stream, 0.2, lambda: True)


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
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log", timeout=PATIENCE)
    hops = NextHops()
    plane = DataPlane({RELAY_A: "east", RELAY_B: "west"}, frozenset())
    ports = Ports((RELAY_A, RELAY_B), 10000, 19999, random.Random(3).randrange)
    programmer = Programmer(hops, None, EngineCarrier(process.client))
    sessions = MediaSessions(ports, hops, programmer, plane)
    sessions.offer("call", "a", sdp(ALICE, 4000), ALICE, 0.0, toward=BOB)
    stream = Stream(wiring, (RELAY_A, rtp_port(sessions.answer("call", "b", sdp(BOB, 5000), BOB, 0.0))))
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
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log", timeout=PATIENCE)
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
