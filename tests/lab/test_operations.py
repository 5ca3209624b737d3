# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does while phones talk: take the relay away and back, lose the engine, look at health."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from ctl.kernel.flowtable import FlowTable
from ctl.kernel.pins import Pins
from vm.controller import Controller
from vm.process import LabError, run, until


def wait_for_path(world, path):
    """Wait until every RTP flow is on that path."""
    until(lambda: {flow["path"] for flow in world.flows()} == {path})


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


@pytest.mark.parametrize("encryption", [("", ""), ("dtls_srtp", "")], ids=["rtp", "dtls"])
def test_an_engine_that_dies_is_replaced_and_its_calls_go_on(world, encryption):
    """Its counters begin at nothing; keys from DTLS are those that it had, for the phone will not shake hands again."""
    world = world(mode="off", encryption=encryption)
    world.connect(world.alice, world.bob)
    world.carried(100)
    former = engine_of(world)
    os.kill(former, signal.SIGKILL)
    until(lambda: (found := engines_of(world)) and former not in found)
    flows = world.carried(100)
    assert {flow["security"] for flow in flows} == {"secure" if encryption[0] else "plain"}
    world.finish(world.alice, world.bob)


def test_health_and_metrics_tell_of_a_call(world):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(50)
    ready = json.loads(world.controller.fetch("/readyz"))
    assert {part["name"] for part in ready["components"]} >= {
        "signalling",
        "users",
        "database",
        "kernel relay",
        "engine",
    }
    assert all(part["ready"] for part in ready["components"])
    metrics = world.controller.fetch("/metrics").splitlines()
    assert "voxdp_calls 1.0" in metrics
    assert 'voxdp_rtp_flows{plane="xdp"} 4.0' in metrics
    assert "voxdp_registrations 2.0" in metrics
    assert any(line.startswith('voxdp_rtp_packets_total{direction="a",plane="xdp"}') for line in metrics)
    world.finish(world.alice, world.bob)
    metrics = world.controller.fetch("/metrics").splitlines()
    assert "voxdp_calls 0.0" in metrics
    assert 'voxdp_calls_total{cause="16",result="answered",trunk=""} 1.0' in metrics


def test_a_user_without_any_right_serves_calls_on_the_kernel_path(world):
    """Only `voxdp attach` is root's; nobody runs all the rest and finds the next hops as well."""
    world = world(user="nobody")
    for pid in (world.controller.pid, *engines_of(world), postgres_of(world)):
        assert rights(pid) == {"Uid": 4 * ["65534"], "Gid": 4 * ["65534"], "Groups": [], "CapEff": [16 * "0"]}
    run("ip", "-n", world.lab.relay, "neigh", "flush", "all")
    world.connect(world.alice, world.bob)
    assert {flow["path"] for flow in world.carried(150)} == {"kernel"}
    assert engine_reason(world).startswith("AF_XDP on "), "what voxdp attach has left behind opens its sockets"
    assert targets(world) == {mac(world.lab.a), mac(world.lab.b)}
    record = world.finish(world.alice, world.bob)
    assert min(each["packets"] for each in record["directions"]) >= 150
    assert sorted(world.tones_heard()) == [(440, 440), (1000, 1000)]
    assert world.controller.stop() == 0


def test_nobodys_engine_keeps_processors_from_deep_sleep_for_the_calls_that_it_carries(world):
    """Only root may open the device, so that `voxdp attach` leaves behind who does. So long a bound disturbs none."""
    world = world(user="nobody", media="cpu_dma_latency = 100000", encryption=("dtls_srtp", ""))
    held = "voxdp_engine_cpu_latency_held 1.0"
    assert held not in world.controller.fetch("/metrics").splitlines()
    world.connect(world.alice, world.bob)
    world.carried(100)
    until(lambda: held in world.controller.fetch("/metrics").splitlines())
    assert engine_reason(world).endswith("; processors wake within 100000 µs")
    with Path("/dev/cpu_dma_latency").open("rb") as device:
        assert int.from_bytes(device.read(4), sys.byteorder) <= 100_000, "the host's bound"
    world.finish(world.alice, world.bob)


def test_what_a_user_may_not_open_is_named_with_its_remedy(two):
    run("umount", two.directory / "postgresql")  # what is there already, nobody may open
    controller = Controller(two, user="nobody")
    controller.attach()
    (pins,) = (two.bpffs / "voxdp").iterdir()
    remedies = {
        two.directory / "run": "run: chown 65534",
        two.directory / "state": "run: chown 65534",
        two.directory / "postgresql": "give it to user id 65534",
        pins: "run as the user that xdp.owner names",
    }
    for path, remedy in remedies.items():
        os.chown(path, 0, 0)
        with pytest.raises(LabError, match=f"ended with 1: voxdp: .*{path}.*{remedy}"):
            controller.start()
        os.chown(path, 65534, 65534)
    controller.start()


def engine_reason(world):
    """What health tells of the engine."""
    parts = json.loads(world.controller.fetch("/readyz"))["components"]
    return next(each["reason"] for each in parts if each["name"] == "engine")


def engine_of(world):
    """The engine's process id: of all its processes, the one that is no other's child."""
    found = engines_of(world)
    (first,) = [pid for pid in found if parent_of(pid) not in found]
    return first


def engines_of(world):
    """The engine and its workers: the processes with the lab's engine socket in their command line."""
    path = str(world.lab.directory / "run" / "engine.sock").encode()
    return {int(entry.parent.name) for entry in Path("/proc").glob("[0-9]*/cmdline") if path in words(entry)}


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def words(entry):
    try:
        return entry.read_bytes().split(b"\0")
    except OSError:  # it has ended since
        return []


def postgres_of(world):
    """The embedded PostgreSQL's process id."""
    return int((world.lab.directory / "postgresql/data/postmaster.pid").read_text().split()[0])


def rights(pid):
    """Who a process is to the kernel: user and group ids, further groups, effective capabilities."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {key.rstrip(":"): values for key, *values in lines if key in ("Uid:", "Gid:", "Groups:", "CapEff:")}


def targets(world):
    """The Ethernet addresses to which the kernel's flows send, as the controller wrote them."""
    table = FlowTable.open(Pins(world.lab.bpffs).directory)
    try:
        return {table.rule(index).target_mac.hex(":") for index in table.active()}
    finally:
        table.close()


def mac(endpoint):
    """The Ethernet address of an endpoint's interface."""
    (link,) = json.loads(run("ip", "-n", endpoint.namespace, "-j", "link", "show", "dev", endpoint.interface))
    return link["address"]
