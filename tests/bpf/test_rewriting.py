# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet as it leaves: the expected frame is built anew, with checksums computed in full."""

import socket
import struct
import subprocess

import pytest

from tests.bpf import harness, model
from tests.bpf.cases import INDEX, OTHER_INTERFACE, Case, caller_flow, check, ids, packed, sent
from tests.bpf.packets import CALLEE, checksums_hold, frame, internet_checksum, rtp

ODD = rtp(body=b"odd")


def payload_for_checksum(wanted):
    """An RTP packet whose outgoing UDP checksum, before the rule of RFC 768, is `wanted`."""
    blank = sent(rtp(body=bytes(2)))
    udp = blank[34:40] + bytes(2) + blank[42:]
    pseudo = blank[26:34] + struct.pack("!HH", 17, len(udp))
    rest = 0xFFFF - internet_checksum(pseudo + udp)
    word = (0xFFFF - wanted - rest) % 0xFFFF
    return rtp(body=struct.pack("!H", word))


CASES = [
    Case("back out of the same interface", frame(), out=sent(), verdict=model.TX),
    Case("another interface", frame(), out=sent(), flow={"ifindex": OTHER_INTERFACE}, verdict=model.REDIRECT),
    Case("odd length", frame(ODD), out=sent(ODD)),
    Case("Ethernet padding", frame(ODD, trailer=b"\xee" * 9), out=sent(ODD, trailer=b"\xee" * 9)),
    Case("no UDP checksum stays none", frame(checksum=0), out=sent(checksum=0)),
    Case("checksum that comes out 0", frame(payload_for_checksum(0)), out=sent(payload_for_checksum(0))),
    Case("checksum that comes out 1", frame(payload_for_checksum(1)), out=sent(payload_for_checksum(1))),
    Case("checksum that comes out 0xfffe", frame(payload_for_checksum(0xFFFE)), out=sent(payload_for_checksum(0xFFFE))),
    Case("checksum zeroed by the flow", frame(), out=sent(checksum=0), flow={"flags": model.ZERO_CHECKSUM}),
    Case("none, zeroed by the flow", frame(checksum=0), out=sent(checksum=0), flow={"flags": model.ZERO_CHECKSUM}),
    Case("TTL 2, the lowest", frame(ttl=2), out=sent(ttl=1)),
    Case("TTL 255", frame(ttl=255), out=sent(ttl=254)),
    Case("DSCP kept", frame(tos=0xB8), out=sent(tos=0xB8)),
    Case("DSCP set", frame(), out=sent(tos=0xB8), flow={"dscp": 46}),
    Case("DSCP set, ECN kept", frame(tos=0x23), out=sent(tos=0xBB), flow={"dscp": 46}),
    Case("DSCP cleared", frame(tos=0xB9), out=sent(tos=1), flow={"dscp": 0}),
    Case("all ones", frame(rtp(body=b"\xff" * 160), tos=0xFF), out=sent(rtp(body=b"\xff" * 160), tos=0xFF)),
    Case(
        "target 255.255.255.255:65535",
        frame(),
        out=sent(to=("255.255.255.255", 65535)),
        flow={"target": packed(("255.255.255.255", 65535))},
    ),
    Case(
        "target is the source",
        frame(),
        out=sent(to=("192.0.2.10", 4000)),
        flow={"target": packed(("192.0.2.10", 4000))},
    ),
    Case(
        "learned target port of this generation",
        frame(),
        out=sent(to=(CALLEE[0], 6999)),
        flow={"override": (5, 6999)},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_leaves_as(relay, case):
    if "override" in case.flow:
        relay.flows[INDEX].track.target = 5 << 16 | socket.htons(6999)
    outcome = check(relay, case)
    assert checksums_hold(outcome.data)


def test_target_port_of_another_generation_counts_as_nothing(relay):
    relay.flows[INDEX].track.target = 4 << 16 | socket.htons(6999)
    check(relay, Case("", frame(), out=sent()))


@pytest.mark.parametrize("field", [24, 40], ids=["IP", "UDP"])
def test_wrong_checksum_stays_wrong(relay, field):
    broken = bytearray(frame())
    broken[field] ^= 0x40
    relay.put(INDEX, caller_flow())
    outcome = relay.run(bytes(broken))
    assert outcome.verdict == model.TX
    assert not checksums_hold(outcome.data)


def test_next_hop_from_the_kernel(relay):
    """A rule without interface leaves as an IP forwarder would send it."""
    with harness.network_namespace():
        ip("link set lo up")
        ip("link add hop0 type veth peer name hop1")
        ip("link set hop0 address 02:00:00:00:00:aa up")
        ip("link set hop1 up")
        ip("addr add 198.51.100.1/24 dev hop0")
        ip(f"neigh add {CALLEE[0]} lladdr 02:00:00:00:00:bb dev hop0")
        write("/proc/sys/net/ipv4/conf/lo/forwarding", "1")
        check(relay, Case("", frame(), out=sent(), flow={"ifindex": 0}, verdict=model.REDIRECT))


@pytest.mark.parametrize("forwarding", ["0", "1"], ids=["forwarding disabled", "no route"])
def test_no_next_hop(relay, forwarding):
    with harness.network_namespace():
        ip("link set lo up")
        write("/proc/sys/net/ipv4/conf/lo/forwarding", forwarding)
        check(relay, Case("", frame(), model.NO_NEXTHOP, flow={"ifindex": 0}))
    assert relay.flows[INDEX].track.packets == 0
    assert relay.ledgers[INDEX].tally.last_reason == model.NO_NEXTHOP


def ip(command):
    subprocess.run(["ip", *command.split()], check=True)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
