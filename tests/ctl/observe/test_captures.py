# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows carry the flag of a capture, and that none keeps it, however the capture ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ctl.exits import UNREACHABLE
from ctl.kernel.flowrule import FlowFlag
from ctl.observe.captures import FLOWS_AT_ONCE, Captures, endpoint
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.terminal.client import CommandError, hold
from ctl.verbs.control import ControlError, ControlServer
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, RELAY_B, VIDEO, rtp_port, sdp
from tests.patience import PATIENCE

HELD = "import sys, time; from pathlib import Path; from ctl.terminal.client import hold\n"
HELD += "with hold(Path(sys.argv[1]), 'capture', {}, 10): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def kernel(world):
    return world.programmer._kernel


@pytest.fixture
def captures(world, kernel):
    carriers = SimpleNamespace(kernel=kernel, interfaces={RELAY_A: "eth0", RELAY_B: "eth1"})
    return Captures(world.programmer, carriers)


def flagged(world):
    """The flows that are copied."""
    return {world.table.local(index) for index, rule in world.table.rules.items() if rule.flags & FlowFlag.CAPTURE}


def locals_of(world, call="call"):
    return {view.local for view in world.sessions.query(call)}


def test_a_call_is_captured_until_it_is_released(world, captures):
    world.call()
    world.call("other")
    held = captures.start(["call"], [])
    assert flagged(world) == locals_of(world)
    assert len(held.result["flows"]) == 4
    first = next(flow for flow in held.result["flows"] if (flow["leg"], flow["kind"]) == ("a", "rtp"))
    assert (first["ingress"], first["egress"], first["call"]) == ("eth0", "eth1", "call")
    held.release()
    assert flagged(world) == set()
    held.release()


def test_one_flow_is_captured(world, captures):
    _, to_alice = world.call()
    local = (RELAY_A, rtp_port(to_alice))
    held = captures.start([], [local])
    assert flagged(world) == {local}
    held.release()
    assert flagged(world) == set()


def test_a_second_capture_is_refused_and_does_not_end_the_first(world, captures):
    world.call()
    held = captures.start(["call"], [])
    with pytest.raises(ControlError, match="another capture is under way"):
        captures.start(["call"], [])
    assert flagged(world)
    held.release()
    captures.start(["call"], []).release()


def test_a_flag_outlives_a_change_of_its_flow(world, captures):
    world.call()
    held = captures.start(["call"], [])
    world.sessions.offer("call", "a", sdp("192.0.2.77"), ALICE, 1.0, toward=BOB)
    world.sessions.answer("call", "b", sdp(BOB), BOB, 1.0)
    assert flagged(world) == locals_of(world)
    assert world.programmer.next_hops_changed({ALICE, BOB}) == 0
    held.release()
    assert flagged(world) == set()
    assert world.programmer.next_hops_changed({ALICE, BOB}) == 0


def test_what_a_call_gets_later_is_captured_too(world, captures):
    world.call()
    held = captures.start(["call"], [])
    world.sessions.offer("call", "a", sdp(ALICE, AUDIO, VIDEO), ALICE, 1.0, toward=BOB)
    world.sessions.answer("call", "b", sdp(BOB, AUDIO, VIDEO), BOB, 1.0)
    captures.look()
    assert len(flagged(world)) == 8
    held.release()
    assert flagged(world) == set()


def test_the_end_of_a_call_is_the_end_of_its_capture(world, captures):
    world.call()
    held = captures.start(["call"], [])
    captures.look()
    assert not held.over.is_set()
    world.sessions.delete("call", 2.0)
    captures.look()
    assert held.over.is_set()
    held.release()
    world.call("next")
    assert not {local for local in flagged(world) if local in locals_of(world, "next")}


def test_a_relay_that_is_attached_anew_is_told_again(world, captures):
    world.call()
    held = captures.start(["call"], [])
    captures._carriers.kernel = KernelCarrier(world.table, world.hops)
    for local in locals_of(world):
        world.table.set_flags(world.table.index(*local), FlowFlag.NONE, FlowFlag.CAPTURE)
    captures.look()
    assert flagged(world) == locals_of(world)
    held.release()
    assert flagged(world) == set()


def test_the_end_of_the_controller_ends_a_capture(world, captures):
    captures.close()
    world.call()
    held = captures.start(["call"], [])
    captures.close()
    assert flagged(world) == set()
    assert held.over.is_set()


def test_what_cannot_be_captured_is_refused(world, captures, hops):
    for number in range(FLOWS_AT_ONCE // 4 + 1):
        world.call(str(number))
    with pytest.raises(ControlError, match="68 flows are more than 64 at once"):
        captures.start([str(number) for number in range(17)], [])
    captures._carriers.kernel = None
    with pytest.raises(ControlError, match="tcpdump -ni any udp"):
        captures.start(["0"], [])
    assert flagged(world) == set()


@pytest.mark.parametrize("text", ["", "192.0.2.1", "192.0.2.1:", ":5", "192.0.2.1:x"])
def test_what_is_no_flow_is_not_found(text):
    with pytest.raises(ControlError, match="no flow"):
        endpoint(text)


def test_an_endpoint_of_either_family():
    assert endpoint("192.0.2.1:20000") == ("192.0.2.1", 20000)
    assert endpoint("[2001:db8::1]:20000") == ("2001:db8::1", 20000)


@pytest.fixture
async def served(world, captures, tmp_path):
    world.call()
    server = ControlServer(tmp_path / "control.sock", {"capture": lambda arguments: captures.start(["call"], [])})
    await server.start()
    yield tmp_path
    await server.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_command_leaves_no_flag(world, served, number):
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HELD, str(served), stdout=subprocess.PIPE, cwd=os.getcwd()
    )
    assert await asyncio.wait_for(command.stdout.readline(), PATIENCE) == b"held\n"
    assert flagged(world)
    command.send_signal(number)
    await command.wait()
    await unflagged(world)


async def test_the_command_learns_of_the_end(world, served, captures):
    def held():
        with hold(served, "capture", {}, 10) as (found, connection):
            connection.settimeout(PATIENCE)
            return json.dumps(found), connection.recv(1)

    command = asyncio.create_task(asyncio.to_thread(held))
    while not flagged(world):
        await asyncio.sleep(0.01)
    captures.close()
    found, rest = await command
    assert (len(json.loads(found)["flows"]), rest) == (4, b"")


async def test_a_refusal_is_one_line(world, served, captures):
    captures.start(["call"], [])

    def held():
        with hold(served, "capture", {}, 10):
            raise AssertionError("must not be held")

    with pytest.raises(CommandError, match="another capture is under way"):
        await asyncio.to_thread(held)


def test_without_a_controller(tmp_path):
    with pytest.raises(CommandError) as error, hold(tmp_path, "capture", {}, 1):
        pass
    assert error.value.code == UNREACHABLE


async def unflagged(world):
    async with asyncio.timeout(PATIENCE):
        while flagged(world):
            await asyncio.sleep(0.01)
