# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody takes the relay off an interface under a live call."""

import json
import time
from contextlib import suppress

import pytest

from ctl.kernel.pins import Pins
from vm.process import PATIENCE, LabError, inside, run


def relay_links(world):
    """Ids of the kernel's links that hold the relay, by interface; without one whose pin is being replaced."""
    found = {}
    for name, path in Pins(world.lab.bpffs).links().items():
        with suppress(LabError):
            found[name] = str(json.loads(run("bpftool", "-j", "link", "show", "pinned", path))["id"])
    return found


TOLD = 5.0
"""Seconds: it looks once in each, and a slow host takes its time to do so."""


def until(what, limit):
    """Wait until it is so; return the seconds."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < limit, what
        time.sleep(0.02)
    return time.monotonic() - began


def paths(world):
    return {flow["path"] for flow in world.flows()}


def metric(world):
    lines = world.controller.fetch("/metrics").splitlines()
    return {line for line in lines if line.startswith("voxdp_xdp_attached{")}


@pytest.mark.alone
def test_without_rights_a_detached_relay_is_told_at_once_and_taken_up_when_it_is_back(world):
    world = world(user="nobody")
    world.connect(world.alice, world.bob)
    world.carried(20)
    run(*inside(world.lab.relay, ["bpftool", "link", "detach", "id", relay_links(world)["r-a"]]))
    until(lambda: paths(world) == {"engine"}, TOLD)
    assert "does not carry this interface" in world.controller.log()
    assert metric(world) == {
        'voxdp_xdp_attached{interface="r-a"} 0.0',
        'voxdp_xdp_attached{interface="r-b"} 1.0',
    }
    parts = json.loads(world.controller.fetch("/readyz"))["components"]
    (relay,) = [each for each in parts if each["name"] == "kernel relay"]
    assert relay["ready"] is False
    assert relay["reason"] == "r-a: not attached"
    world.carried(60)
    world.controller.attach()
    until(lambda: paths(world) == {"kernel"}, PATIENCE)
    world.carried(60)
    record = world.finish(world.alice, world.bob)
    assert min(each["packets"] for each in record["directions"]) >= 140  # all three parts of each direction
    assert sorted(world.tones_heard()) == [(440, 440), (1000, 1000)]


def test_with_rights_it_is_attached_again_by_itself(world):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(20)
    for interface in ("r-a", "r-b"):
        with pytest.raises(LabError, match="active BPF XDP link"):
            run("ip", "-n", world.lab.relay, "link", "set", "dev", interface, "xdp", "off")
    for _ in range(3):
        world.controller.attach()
    assert paths(world) == {"kernel"}
    assert "data plane changed" not in world.controller.log(), "an upgrade moved the calls"
    before = relay_links(world)
    for link in before.values():
        run(*inside(world.lab.relay, ["bpftool", "link", "detach", "id", link]))
    until(lambda: relay_links(world).keys() == before.keys() and before != relay_links(world), PATIENCE)
    until(lambda: paths(world) == {"kernel"}, PATIENCE)
    world.carried(60)
    world.finish(world.alice, world.bob)
