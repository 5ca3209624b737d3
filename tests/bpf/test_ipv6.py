# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 that stays IPv6: what is passed, dropped and forwarded, and what becomes of extension headers."""

import pytest

from tests.bpf import model
from tests.bpf.cases import (
    FROM_V6,
    INDEX6,
    OTHER_INTERFACE,
    PARTNER6,
    TO_V6,
    Case,
    caller_flow,
    check,
    ids,
    packed,
    sent6,
)
from tests.bpf.packets import (
    CALLEE6,
    CALLER6,
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    NONE,
    ROUTING,
    checksums_hold,
    extension,
    frame6,
    rtcp,
    rtp,
)

FLOW = {**FROM_V6, **TO_V6}
ODD = rtp(body=b"odd")
ARRIVED = bytes([0, 4, 0]) + bytes(4)
UNDERWAY = bytes([0, 4, 1]) + bytes(4)
ALL = ((HOP_BY_HOP, extension()), (DESTINATION, extension(2)), (ROUTING, ARRIVED), (DESTINATION, extension(1)))
STRANGER = ("2001:db8:a::66", 4000)


def case(text, packet, reason=model.FORWARDED, out=None, verdict=None, **flow):
    return Case(text, packet, reason, out, {**FLOW, **flow}, verdict, INDEX6)


PASSED = [
    case("IPv6 header cut off", frame6()[:53], model.NOT_IP),
    case("Ethernet header alone", frame6()[:14], model.NOT_IP),
    case("version 4 under the EtherType of IPv6", frame6(version=4), model.NOT_IP),
    case("IPv6 under the EtherType of IPv4", frame6(ethertype=0x0800), model.NOT_IP),
    case("another host", frame6(to=("2001:db8:0:1::2", 10000)), model.NOT_OURS),
    case("address that differs in its first word", frame6(to=("2001:db9:0:1::1", 10000)), model.NOT_OURS),
    case("address that differs in its second word", frame6(to=("2001:db8:0:3::1", 10000)), model.NOT_OURS),
    case("address that differs in its third word", frame6(to=("2001:db8:0:1:1::1", 10000)), model.NOT_OURS),
    case("ICMPv6", frame6(protocol=58), model.NOT_UDP),
    case("TCP", frame6(protocol=6), model.NOT_UDP),
    case("no next header", frame6(protocol=NONE), model.NOT_UDP),
    case("ESP", frame6(protocol=50), model.NOT_UDP),
    case("TCP behind destination options", frame6(extensions=ALL[1:2], protocol=6), model.NOT_UDP),
    case("hop-by-hop options that are not first", frame6(extensions=(ALL[1], ALL[0])), model.NOT_UDP),
    case("first fragment", frame6(extensions=((FRAGMENT, bytes([0, 0, 1]) + bytes(4)),)), model.FRAGMENT),
    case("last fragment", frame6(extensions=((FRAGMENT, bytes([0, 0, 8]) + bytes(4)),)), model.FRAGMENT),
    case("atomic fragment", frame6(extensions=((FRAGMENT, bytes(7)),)), model.FRAGMENT),
    case("fragment behind options", frame6(extensions=(ALL[0], (FRAGMENT, bytes(7)))), model.FRAGMENT),
    case("routing header that leads on", frame6(extensions=((ROUTING, UNDERWAY),)), model.NOT_OURS),
    case("extension header cut off", frame6(extensions=ALL[:1])[:60], model.NOT_OURS),
    case("extension header beyond the frame", frame6(extensions=((0, b"\xff" + bytes(6)),)), model.NOT_OURS),
    case("UDP header cut off", frame6()[:61], model.NOT_OURS),
    case("port below the range", frame6(to=("2001:db8:0:1::1", 9999)), model.NOT_OURS),
    case("port above the range", frame6(to=("2001:db8:0:1::1", 11000)), model.NOT_OURS),
    case("flow of the engine", frame6(), model.TO_ENGINE, action=model.ENGINE),
]

DROPPED = [
    case("five extension headers", frame6(extensions=(*ALL, (DESTINATION, extension()))), model.EXTENSIONS),
    case("hop limit 0", frame6(ttl=0), model.TTL),
    case("hop limit 1", frame6(ttl=1), model.TTL),
    case("payload length beyond the frame", frame6(total=181, length=181), model.BAD_LENGTH),
    case("payload length 0, as a jumbogram has it", frame6(total=0), model.BAD_LENGTH),
    case("UDP length beyond the payload length", frame6(length=181), model.BAD_LENGTH),
    case("UDP length short of the payload length", frame6(length=179), model.BAD_LENGTH),
    case("UDP length 7", frame6(b"", length=7, total=7), model.BAD_LENGTH),
    case("UDP length that forgets an extension header", frame6(extensions=ALL[:1], total=180), model.BAD_LENGTH),
    case("source port 0", frame6(source=(CALLER6[0], 0)), model.BAD_SOURCE_PORT),
    case("no UDP checksum", frame6(checksum=0), model.BAD_CHECKSUM),
    case("never used port", frame6(to=("2001:db8:0:1::1", 10001)), model.UNKNOWN_PORT),
    case("same port of the other address", frame6(to=("2001:db8:0:2::1", 10000)), model.UNKNOWN_PORT),
    case("flow off", frame6(), model.SWITCHED_OFF, state=model.OFF),
    case("flow blocked", frame6(), model.BLOCKED, action=model.BLOCK),
    case("stranger", frame6(source=STRANGER), model.WRONG_SOURCE),
    case("stranger of the same interface identifier", frame6(source=("2001:db8:c::10", 4000)), model.WRONG_SOURCE),
    case("another port", frame6(source=(CALLER6[0], 4001)), model.WRONG_SOURCE),
    case("stranger to a learning flow", frame6(source=STRANGER), model.WRONG_SOURCE, state=model.LEARNING),
    case("no payload", frame6(b""), model.SHORT),
    case("STUN", frame6(bytes.fromhex("000100002112a442") + bytes(12)), model.BAD_VERSION),
    case("CSRC list beyond the payload", frame6(rtp(first=0x8F, body=bytes(59))), model.SHORT),
    case("RTP to an RTCP port", frame6(), model.BAD_RTCP, flags=model.RTCP),
    case("RTCP that is not multiplexed", frame6(rtcp()), model.NOT_MUXED),
    case("payload type that is not allowed", frame6(), model.BAD_PAYLOAD_TYPE, payload_types=frozenset({8})),
    case("no next hop", frame6(), model.NO_NEXTHOP, ifindex=0),
]

FORWARDED = [
    case("plain", frame6(), out=sent6()),
    case("another interface", frame6(), out=sent6(), verdict=model.REDIRECT, ifindex=OTHER_INTERFACE),
    case("odd length", frame6(ODD), out=sent6(ODD)),
    case("Ethernet padding", frame6(ODD, trailer=b"\xee" * 9), out=sent6(ODD, trailer=b"\xee" * 9)),
    case("hop limit 2, the lowest", frame6(ttl=2), out=sent6(ttl=1)),
    case("hop limit 255", frame6(ttl=255), out=sent6(ttl=254)),
    case("traffic class kept", frame6(tos=0xB9), out=sent6(tos=0xB9)),
    case("DSCP set, ECN kept", frame6(tos=0x23), out=sent6(tos=0xBB), dscp=46),
    case("DSCP cleared", frame6(tos=0xFF), out=sent6(tos=3), dscp=0),
    case("flow label kept", frame6(label=0xABCDE), out=sent6(label=0xABCDE)),
    case("flow label kept with another DSCP", frame6(label=0xFFFFF), out=sent6(label=0xFFFFF, tos=184), dscp=46),
    case("hop-by-hop options are left behind", frame6(extensions=ALL[:1]), out=sent6()),
    case("destination options are left behind", frame6(extensions=ALL[1:2]), out=sent6()),
    case("a routing header at its end is left behind", frame6(extensions=ALL[2:3]), out=sent6()),
    case("four extension headers", frame6(extensions=ALL), out=sent6()),
    case("checksum zeroed by the flow is computed", frame6(), out=sent6(), flags=model.ZERO_CHECKSUM),
    case("partial checksum, computed anew", frame6(checksum=0x1234), out=sent6(), flags=model.FULL_CHECKSUM),
    case("RTCP on its own port", frame6(rtcp()), out=sent6(rtcp()), flags=model.RTCP),
    case("multiplexed RTCP", frame6(rtcp()), out=sent6(rtcp()), flags=model.RTCP_MUX),
    case("learned port", frame6(source=(CALLER6[0], 4002)), out=sent6(), state=model.LEARNING),
    case("former source", frame6(source=STRANGER), out=sent6(), previous=packed(STRANGER)),
    case("allowed payload type", frame6(), out=sent6(), payload_types=frozenset({0})),
    case(
        "target is all ones",
        frame6(),
        out=sent6(to=("ffff:" * 7 + "ffff", 65535)),
        target=packed(("ffff:" * 7 + "ffff", 65535)),
    ),
]
CASES = PASSED + DROPPED + FORWARDED


@pytest.mark.parametrize("case", PASSED, ids=ids(PASSED))
def test_passed_untouched(relay, case):
    check(relay, case)


@pytest.mark.parametrize("case", DROPPED, ids=ids(DROPPED))
def test_dropped(relay, case):
    check(relay, case)
    assert relay.flows[INDEX6].track.packets == 0


@pytest.mark.parametrize("case", FORWARDED, ids=ids(FORWARDED))
def test_forwarded(relay, case):
    outcome = check(relay, case)
    assert checksums_hold(outcome.data)


def test_a_stream_takes_the_express_way_to_the_same_end(relay):
    """The first packet shows what is allowed; those that follow leave just as it did."""
    relay.put(INDEX6, caller_flow(**FLOW))
    for sequence in range(5):
        packet = rtp(sequence, sequence * 160)
        assert relay.run(frame6(packet)).data == sent6(packet)
    track = relay.flows[INDEX6].track
    assert (track.packets, track.bytes, track.sequence, bool(track.express)) == (5, 860, 4, True)


def test_a_rejected_source_is_told_with_its_address(relay):
    relay.put(INDEX6, caller_flow(**FLOW))
    relay.run(frame6(source=STRANGER))
    assert relay.events() == [("rejected", INDEX6, 5, (*packed(STRANGER), "wrong_source"))]


def test_both_sides_of_a_learning_pair(relay):
    back = {"source": packed(CALLEE6), "egress": packed(("2001:db8:0:1::1", 10000)), "target": packed(CALLER6)}
    relay.put(INDEX6, caller_flow(**FLOW, state=model.LEARNING, partner=PARTNER6))
    relay.put(PARTNER6, caller_flow(**back, partner=INDEX6))
    assert relay.run(frame6(source=(CALLER6[0], 4444))).verdict == model.TX
    answer = relay.run(frame6(source=CALLEE6, to=("2001:db8:0:2::1", 10002)))
    assert answer.data == sent6(source=("2001:db8:0:1::1", 10000), to=(CALLER6[0], 4444))
