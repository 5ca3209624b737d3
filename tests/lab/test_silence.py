# SPDX-License-Identifier: GPL-3.0-or-later
"""Phones whose power is cut in the middle of a call, beside those that live and those that are on hold."""

import time

import pytest

from vm.process import PATIENCE

TIMEOUT = 4


@pytest.mark.parametrize(("mode", "path"), [("native", "kernel"), ("off", "engine")])
def test_a_call_of_dead_phones_is_ended_and_one_of_living_phones_is_not(world, mode, path):
    world = world(mode=mode, timeout=TIMEOUT)
    world.connect(world.alice, world.bob)
    assert {flow["path"] for flow in world.carried(100)} == {path}
    time.sleep(TIMEOUT + 2)  # two phones that live
    (call,) = world.controller.ask("call", "list")
    assert call["state"] == "talking"
    living = time.monotonic()
    kill(world.alice, world.bob)
    (record,) = world.controller.until("records", "cdr", "list", count=1)
    assert time.monotonic() - living > TIMEOUT - 1
    assert (record["call"], record["sip_status"], record["q850_cause"]) == (call["id"], 200, 102)
    assert (record["ended_by"], record["reason"]) == ("server", "Media Timeout")
    assert min(each["packets"] for each in record["directions"]) >= 100
    assert world.controller.until("flows", "flow", "list", count=0) == []
    assert [line for line in world.controller.log().splitlines() if call["id"] in line and "silent_seconds=" in line]
    wait_for_figure(world, "voxdp_ports_used", 0.0)
    assert figure(world, "voxdp_rtp_silent_sessions_total") == 1.0
    carol, dave = world.phone("carol", world.lab.a), world.phone("dave", world.lab.b)
    for phone in (carol, dave):
        phone.registered()
    began = time.monotonic()
    world.connect(carol, dave)
    world.carried(50 * (TIMEOUT + 3))
    assert time.monotonic() - began > TIMEOUT
    carol.hangup()
    dave.closed()
    causes = [each["q850_cause"] for each in world.controller.until("records", "cdr", "list", count=2)]
    assert causes == [16, 102]


def test_a_call_on_hold_is_not_ended_though_nothing_comes_any_more(world):
    """Both hold, and then both die, so that not even RTCP is left; the operator ends the call."""
    world = world(timeout=TIMEOUT)
    world.connect(world.alice, world.bob)
    world.carried(20)
    for phone, other in ((world.alice, world.bob), (world.bob, world.alice)):
        phone.hold()
        assert other.wait("CALL_REMOTE_SDP")["param"] == "offer"
        phone.wait("CALL_REMOTE_SDP")
    call = wait_for_hold(world)
    kill(world.alice, world.bob)
    before = {flow["id"]: flow["packets"] for flow in all_flows(world)}
    time.sleep(2 * TIMEOUT)
    assert world.controller.ask("call", "list")[0]["state"] == call["state"]
    assert {flow["id"]: flow["packets"] for flow in all_flows(world)} == before
    world.controller.command("call", "hangup", call["id"])
    (record,) = world.controller.until("records", "cdr", "list", count=1)
    assert (record["q850_cause"], record["reason"]) == (16, "Hung Up")


def kill(*phones):
    """End them at once."""
    for phone in phones:
        phone.kill()


def all_flows(world):
    return world.flows("rtp") + world.flows("rtcp")


def wait_for_hold(world):
    """The call, once media and signalling are both at rest: a phone tells of an answer before it acknowledges."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (call,) = world.controller.ask("call", "list")
        flows = world.flows("rtp")
        if call["state"] == "talking" and {flow["state"] for flow in flows} == {"held"}:
            return call
        assert time.monotonic() < deadline, (call, flows)
        time.sleep(0.1)


def wait_for_figure(world, name, wanted):
    deadline = time.monotonic() + PATIENCE
    while (found := figure(world, name)) != wanted:
        assert time.monotonic() < deadline, f"{name} is {found}"
        time.sleep(0.2)


def figure(world, name):
    """A metric without labels, as a scrape tells it."""
    (line,) = [line for line in world.controller.fetch("/metrics").splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])
