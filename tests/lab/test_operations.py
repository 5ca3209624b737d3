# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does while phones talk: take the relay away and back, lose the engine, look at health."""

import json
import os
import signal
import time
from pathlib import Path

from vm.process import inside, run

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def wait_for_path(world, path):
    """Wait until every RTP flow is on that path; return how long it took."""
    began = time.monotonic()
    while {flow["path"] for flow in world.flows()} != {path}:
        assert time.monotonic() - began < 5, world.flows()
        time.sleep(0.05)
    return time.monotonic() - began


def fetch(world, page):
    return run(*inside(world.lab.relay, ["python3", "-c", FETCH, f"http://127.0.0.1:8080{page}"]))


def test_calls_outlive_the_relay_being_detached_and_attached_again(world):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(20)
    world.controller.detach()
    wait_for_path(world, "engine")
    assert all("XDP is not attached" in flow["reason"] for flow in world.flows())
    world.carried(50)
    world.controller.attach()
    wait_for_path(world, "kernel")
    world.carried(50)
    record = world.finish(world.alice, world.bob)
    assert min(each["packets"] for each in record["directions"]) >= 120  # all three parts of each direction


def test_an_engine_that_dies_is_replaced_and_its_calls_go_on(world):
    world = world(mode="off")
    world.connect(world.alice, world.bob)
    world.carried(20)
    os.kill(engine_of(world), signal.SIGKILL)
    time.sleep(1.5)
    world.carried(50)
    world.finish(world.alice, world.bob)


def test_health_and_metrics_tell_of_a_call(world):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(50)
    ready = json.loads(fetch(world, "/readyz"))
    assert {part["name"] for part in ready["components"]} >= {
        "signalling",
        "users",
        "database",
        "kernel relay",
        "engine",
    }
    assert all(part["ready"] for part in ready["components"])
    metrics = fetch(world, "/metrics").splitlines()
    assert "voxdp_calls 1.0" in metrics
    assert 'voxdp_rtp_flows{plane="xdp"} 4.0' in metrics
    assert "voxdp_registrations 2.0" in metrics
    assert any(line.startswith('voxdp_rtp_packets_total{direction="a",plane="xdp"}') for line in metrics)
    world.finish(world.alice, world.bob)
    metrics = fetch(world, "/metrics").splitlines()
    assert "voxdp_calls 0.0" in metrics
    assert 'voxdp_calls_total{cause="16",result="answered",trunk=""} 1.0' in metrics


def engine_of(world):
    """The engine's process id: the one process with the lab's engine socket in its command line."""
    path = str(world.lab.directory / "run" / "engine.sock").encode()
    (found,) = [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if path in words(entry)]
    return int(found.parent.name)


def words(entry):
    try:
        return entry.read_bytes().split(b"\0")
    except OSError:  # it has ended since
        return []
