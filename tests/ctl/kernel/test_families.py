# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of RTP through the attached relay, in both families and across, while the network changes under them."""

import itertools
import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from ctl.kernel.pins import Pins
from ctl.network.links import Egress
from ctl.network.nexthop import NextHop, NextHops
from tests.ctl.kernel.wired import (
    ALICE,
    ALICE6,
    BOB,
    BOB6,
    LIMIT,
    ROUTERS,
    Relay,
    Stream,
    Wiring,
    drain,
    follow,
    resumed,
    rtp,
    run,
)
from tests.patience import PATIENCE
from vm import namespace

Begin = Callable[..., Stream]
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA, VLAN = 3, 263, 8, 100
PARTIES = {4: (ALICE, BOB), 6: (ALICE6, BOB6)}
CROSSINGS = [(ALICE, BOB), (ALICE6, BOB6), (ALICE, BOB6), (ALICE6, BOB)]


@pytest.fixture
def begin(wiring: Wiring, relay: Relay) -> Iterator[Begin]:
    """Sets up a call and starts its stream; it has arrived when this returns."""
    started: list[Stream] = []

    def make(alice: str, bob: str, described: str = "", port: int = 4000, through: Relay = relay) -> Stream:
        stream = Stream(wiring, through.call(alice, bob, described), (alice, port), bob)
        started.append(stream)
        assert follow(through, stream, 5.0, lambda: True), "no packet reached Bob"
        return stream

    yield make
    for stream in started:
        stream.stop()


@pytest.mark.parametrize(("alice", "bob"), CROSSINGS)
def test_a_call_is_forwarded_whatever_the_families(wiring, relay: Relay, begin: Begin, alice: str, bob: str) -> None:
    stream = begin(alice, bob)
    stream.receiver.settimeout(PATIENCE)
    data, source = stream.receiver.recvfrom(2048)
    assert data == rtp(struct.unpack_from("!H", data, 2)[0])
    arrived = itertools.count(1)
    assert follow(relay, stream, 10.0, lambda: next(arrived) > 60)
    there, back = (flow for flow in relay.sessions.query("call") if flow.kind == "rtp")
    assert source[:2] == (there.egress[0], there.egress[1])
    with namespace.entered(wiring.a), socket.socket(_family(alice), socket.SOCK_DGRAM) as listener:
        listener.bind((alice, 4001))
        listener.settimeout(PATIENCE)
        rtcp = struct.pack("!BBHI", 0x80, 201, 1, 7)
        with namespace.entered(wiring.b), socket.socket(_family(bob), socket.SOCK_DGRAM) as bobs:
            bobs.bind((bob, 5001))
            for _ in range(3):
                bobs.sendto(rtcp, (back.local[0], back.local[1] + 1))
        assert listener.recv(100) == rtcp
    final = next(each for each in relay.sessions.delete("call", 0.0) if (each.leg, each.kind) == ("a", "rtp"))
    assert final.statistics is not None
    assert final.statistics.packets > 50
    assert (final.path, final.statistics.lost) == ("kernel", 0)
    # the very first, before the neighbour was known, or one that came as the flow was taken off
    assert final.statistics.last_reason in (None, "no_nexthop", "off")
    drain(stream.receiver)
    assert not follow(relay, stream, 0.2, lambda: True)


@pytest.mark.parametrize(("alice", "bob"), CROSSINGS)
def test_checksums_that_a_neighbour_left_for_a_card_are_completed(wiring, begin: Begin, alice: str, bob: str) -> None:
    """Alice's end of the cable promises to do them, and hands the frames over undone."""
    wiring.inside(wiring.a, "ethtool", "-K", "a-east", "tx", "on")
    stream = begin(alice, bob)
    stream.receiver.settimeout(PATIENCE)
    for _ in range(20):
        data = stream.receiver.recv(2048)
        assert data == rtp(struct.unpack_from("!H", data, 2)[0])


@pytest.mark.parametrize(("alice", "described"), [(ALICE, "10.9.9.9"), (ALICE6, "fd00::9")])
def test_a_port_behind_nat_is_learned(relay: Relay, begin: Begin, alice: str, described: str) -> None:
    begin(alice, BOB, described=described, port=4321)
    there, back = (flow for flow in relay.sessions.query("call") if flow.kind == "rtp")
    assert (there.state, there.source, there.learned_port) == ("pinned", (alice, 4321), 4321)
    assert back.target[0] == alice


@pytest.mark.parametrize("family", [4, 6])
def test_media_follows_a_route_that_moves(wiring: Wiring, relay: Relay, begin: Begin, family: int) -> None:
    stream = begin(ALICE, PARTIES[family][1])
    wiring.route(family, 1)
    run("ip", "-n", wiring.b, "link", "set", "b-west", "address", "02:00:00:00:00:66")
    assert resumed(relay, stream) <= LIMIT


@pytest.mark.parametrize("family", [4, 6])
def test_media_follows_a_router_whose_ethernet_address_moves(wiring, relay: Relay, begin: Begin, family: int) -> None:
    stream = begin(ALICE, PARTIES[family][1])
    run("ip", "-n", wiring.b, "link", "set", "b-west", "address", "02:00:00:00:00:77")
    known(wiring, ROUTERS[family][0], "west", "02:00:00:00:00:77")
    assert resumed(relay, stream) <= LIMIT


@pytest.mark.parametrize("family", [4, 6])
def test_media_resumes_when_a_link_is_back(wiring: Wiring, relay: Relay, begin: Begin, family: int) -> None:
    stream = begin(ALICE, PARTIES[family][1])
    run("ip", "-n", wiring.relay, "link", "set", "west", "down")
    relay.hops.drain()
    drain(stream.receiver)
    assert not follow(relay, stream, 0.3, lambda: True), "packets arrive though the link is down"
    run("ip", "-n", wiring.relay, "link", "set", "west", "up")
    wiring.route(family, 0)
    assert resumed(relay, stream) <= LIMIT


@pytest.mark.parametrize("family", [4, 6])
def test_the_kernels_own_routes_serve_while_no_next_hop_is_known(
    wiring: Wiring, pins: Pins, begin: Begin, family: int
) -> None:
    mac = mac_of(wiring.b, "b-west")
    run("ip", "-n", wiring.relay, "neigh", "replace", ROUTERS[family][0], "lladdr", mac, "dev", "west")
    wiring.set(wiring.relay, **{"ipv4.conf.all.forwarding": 1, "ipv6.conf.all.forwarding": 1})
    blind = Relay(pins, Blind())
    try:
        begin(PARTIES[family][0], PARTIES[family][1], through=blind)
        rules = [rule for rule in map(blind.table.rule, blind.table.active()) if rule]
        assert {rule.ifindex for rule in rules} == {0}
        wiring.set(wiring.relay, **{"ipv4.conf.all.forwarding": 0, "ipv6.conf.all.forwarding": 0})
        before = blind.table.reasons()["no_nexthop"].packets
        time.sleep(0.1)
        assert blind.table.reasons()["no_nexthop"].packets > before
    finally:
        blind.close()


def test_frames_leave_with_the_tag_of_their_route_and_come_with_any(wiring: Wiring, pins: Pins, begin: Begin) -> None:
    """This kernel may have no VLAN devices, so the route is told to have one, and the frames are made by hand."""
    tagged = Relay(pins, Tagged())
    with namespace.entered(wiring.b):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        wire.bind(("b-west", 0))
        wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    with namespace.entered(wiring.a):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("a-east", 0))
    try:
        relay_address, port = tagged.call(ALICE, BOB)
        settle_hops(tagged)
        frame = tagged_frame(wiring, (ALICE, 4000), (relay_address, port), rtp(1))
        drain(wire)
        for _ in range(3):
            sender.send(frame)
        assert tag_on(wire, rtp(1)) == VLAN
    finally:
        wire.close()
        sender.close()
        tagged.close()


class Blind(NextHops):
    """Knows no next hop at all."""

    def resolve(self, target: str, source: str = "") -> NextHop | None:
        super().resolve(target, source)
        return None


class Tagged(NextHops):
    """As if `west` were a VLAN device above itself."""

    def __init__(self) -> None:
        super().__init__()
        west = socket.if_nametoindex("west")
        plain = self._links.egress
        self._links.egress = lambda index: (  # type: ignore[method-assign]
            Egress(west, "west", (VLAN,)) if index == west else plain(index)
        )


def tag_on(wire: socket.socket, payload: bytes) -> int | None:
    """The VLAN id of the first frame that ends in `payload`, as the kernel has taken it off."""
    wire.settimeout(PATIENCE)
    while True:
        data, ancillary, _, _ = wire.recvmsg(4096, 256)
        if data.endswith(payload):
            (auxiliary,) = (value for level, kind, value in ancillary if (level, kind) == (SOL_PACKET, PACKET_AUXDATA))
            return struct.unpack_from("=IIIHHHH", auxiliary)[5] & 0xFFF


def tagged_frame(wiring: Wiring, source: tuple[str, int], target: tuple[str, int], payload: bytes) -> bytes:
    macs = bytes.fromhex((mac_of(wiring.relay, "east") + mac_of(wiring.a, "a-east")).replace(":", ""))
    udp = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    header += socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    total = sum(struct.unpack("!10H", header))
    checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return macs + struct.pack("!HHH", 0x8100, 77, 0x0800) + header + udp


def settle_hops(relay: Relay) -> None:
    deadline = time.monotonic() + PATIENCE
    while relay.hops.resolve(BOB, "198.51.100.1") is None and time.monotonic() < deadline:
        time.sleep(0.01)
        relay.hops.drain()
    relay.hops.drain()


def known(wiring: Wiring, router: str, device: str, mac: str) -> None:
    """Wait until the kernel knows the router's Ethernet address: from then on the time counts."""
    deadline = time.monotonic() + PATIENCE
    shown = ("ip", "-n", wiring.relay, "neigh", "show", router, "dev", device)
    while mac not in subprocess.run(shown, capture_output=True, text=True, check=True).stdout:
        assert time.monotonic() < deadline, f"the kernel does not find {router}"
        time.sleep(0.005)


def mac_of(name: str, device: str) -> str:
    shown = subprocess.run(("ip", "-n", name, "-j", "link", "show", device), capture_output=True, check=True)
    return str(json.loads(shown.stdout)[0]["address"])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
