# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole calls between real phones: what the demo shows, and what it does not."""

import struct
import time

import pytest

from vm import capture, namespace
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN
from vm.process import PATIENCE, LabError
from vm.topology import add_address

BOTH = [(1000, 1000), (440, 440)]


def assert_relayed(world, path):
    at_a, at_b = world.seen()
    assert capture.strangers(at_a, world.lab.a) == capture.strangers(at_b, world.lab.b) == set()
    (near,), (far,) = capture.talking(at_a), capture.talking(at_b)
    began, ended = max(near[0], far[0]), min(near[1], far[1])  # who hangs up is cut off before the other hears of it
    for sent, received, source, sink in (
        (at_a, at_b, world.lab.a, world.lab.b),
        (at_b, at_a, world.lab.b, world.lab.a),
    ):
        talking = [each for each in sent if began <= each.time < ended]
        passage = capture.passage(talking, received, source, sink)
        assert passage.sent > 80
        assert passage.lost == 0, f"{path} lost {passage.lost} of {passage.sent}"


@pytest.mark.parametrize(
    ("shape", "mode", "path"),
    [("two", "native", "kernel"), ("one", "native", "kernel"), ("two", "generic", "kernel"), ("two", "off", "engine")],
)
def test_a_call_is_heard_both_ways(world, shape, mode, path):
    world = world(shape, mode)
    world.connect(world.alice, world.bob)
    flows = world.carried_more(100)
    assert {flow["path"] for flow in flows} == {path}
    world.talked()
    assert all(flow["reason"] for flow in flows) == (path == "engine")
    record = world.finish(world.bob, world.alice)
    assert world.tones_heard() == BOTH
    assert {each["path"] for each in record["directions"]} == {path}
    assert (record["caller"], record["dialled"], record["ended_by"]) == ("alice", "bob", "b")
    assert_relayed(world, path)


@pytest.mark.parametrize("first", ["alice", "bob"])
def test_a_killed_controller_comes_back_knowing_its_call(world, first):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(50)
    world.controller.kill()
    world.controller.start()
    flows = world.carried_more(100)
    assert {flow["path"] for flow in flows} == {"kernel"}
    world.talked()
    phones = [world.alice, world.bob]
    if first == "bob":
        phones.reverse()
    record = world.finish(*phones)
    assert record["ended_by"] == ("a" if first == "alice" else "b")
    assert world.tones_heard() == BOTH
    assert_relayed(world, "kernel")


def test_a_stranger_is_neither_heard_nor_learned(world):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(20)
    (flow,) = [flow for flow in world.flows() if flow["local"]["address"] == world.lab.a.relay]
    add_address(world.lab.a, "198.18.1.66")
    relay = (flow["local"]["address"], flow["local"]["port"])
    for source in (("198.18.1.66", 10000), (world.lab.a.address, 9999)):
        with namespace.datagram_socket(world.lab.a.namespace, source) as stranger:
            for number in range(100):
                stranger.sendto(struct.pack("!BBHII", 0x80, 0, number, 160 * number, 0xBAD) + bytes(160), relay)
    rejected(world, flow, 200)
    world.carried_more(100)
    after = rejected(world, flow, 200)
    assert after["source"] == flow["source"]
    world.talked()
    world.finish(world.alice, world.bob)
    assert world.tones_heard() == BOTH
    _, at_b = world.seen()
    assert 0xBAD not in {packet.packet[0] for packet in capture.rtp(at_b)}


def rejected(world, flow, count):
    """The flow as it is once it has rejected so many packets, no fewer and no more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (after,) = [each for each in world.flows() if each["id"] == flow["id"]]
        if after["rejected"] >= count:
            assert after["rejected"] == count
            return after
        assert time.monotonic() < deadline, after
        time.sleep(0.1)


def test_hold_and_resume_pass_through(world):
    world = world()
    world.connect(world.alice, world.bob)
    world.carried(20)
    world.alice.hold()
    assert world.bob.wait("CALL_REMOTE_SDP")["param"] == "offer"
    world.alice.wait("CALL_REMOTE_SDP")
    world.alice.resume()
    assert world.bob.wait("CALL_REMOTE_SDP")["param"] == "offer"
    world.alice.wait("CALL_REMOTE_SDP")
    world.carried_more(50)
    world.alice.dtmf("5")
    assert world.bob.wait("CALL_DTMF_START")["param"] == "5"
    world.finish(world.alice, world.bob)


def test_who_may_not_call_is_told(world):
    world = world()
    carol = Baresip(world.lab, world.lab.a, Account("carol", DOMAIN, "guess", world.lab.a.relay), 700, slot=1)
    with pytest.raises(LabError, match="no registration"):
        carol.registered(2)
    world.alice.dial(f"sip:nobody@{DOMAIN}")
    assert "404" in world.alice.closed()
