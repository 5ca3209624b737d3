# SPDX-License-Identifier: GPL-3.0-or-later
"""From IPv4 to IPv6 and back: headers, checksums, room and size."""

import subprocess

import pytest

from tests.bpf import harness, model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, TO_V6, Case, caller_flow, check, packed, sent, sent6
from tests.bpf.packets import CALLER, CALLER6, DESTINATION, checksums_hold, extension, frame, frame6, rtcp, rtp

ODD = rtp(body=b"odd")
LARGE = rtp(body=bytes(range(256)) * 4 + bytes(200))
DAMAGED = bytearray(frame())
DAMAGED[18] ^= 0x40
ATOMIC = {"fragment": 0x4000, "identity": 0}


def to6(text, packet, reason=model.FORWARDED, out=None, **flow):
    return Case(text, packet, reason, out, {**TO_V6, **flow})


def to4(text, packet, reason=model.FORWARDED, out=None, **flow):
    return Case(text, packet, reason, out, {**FROM_V6, **flow}, None, INDEX6)


TO_IPV6 = [
    to6("plain", frame(), out=sent6()),
    to6("odd length", frame(ODD), out=sent6(ODD)),
    to6("large", frame(LARGE), out=sent6(LARGE)),
    to6("Ethernet padding", frame(ODD, trailer=b"\xee" * 9), out=sent6(ODD, trailer=b"\xee" * 9)),
    to6("TTL becomes hop limit", frame(ttl=7), out=sent6(ttl=6)),
    to6("type of service becomes traffic class", frame(tos=0xB9), out=sent6(tos=0xB9)),
    to6("DSCP set, ECN kept", frame(tos=0x23), out=sent6(tos=0xBB), dscp=46),
    to6("do not fragment", frame(fragment=0x4000), out=sent6()),
    to6("no UDP checksum, so one is computed", frame(checksum=0), out=sent6()),
    to6("no UDP checksum, odd length", frame(ODD, checksum=0), out=sent6(ODD)),
    to6("no UDP checksum, large", frame(LARGE, checksum=0), out=sent6(LARGE)),
    to6("checksum zeroed by the flow is computed", frame(), out=sent6(), flags=model.ZERO_CHECKSUM),
    to6("partial checksum, computed anew", frame(checksum=0x1234), out=sent6(), flags=model.FULL_CHECKSUM),
    to6("learned port", frame(source=(CALLER[0], 4002)), out=sent6(), state=model.LEARNING),
    to6("RTCP", frame(rtcp()), out=sent6(rtcp()), flags=model.RTCP),
    to6("tagged on", frame(), out=sent6(vlans=(7,)), vlans=(7,)),
    to6("damaged IPv4 header", bytes(DAMAGED), model.BAD_CHECKSUM),
    to6("TTL 1", frame(ttl=1), model.TTL),
    to6("stranger", frame(source=("192.0.2.66", 4000)), model.WRONG_SOURCE),
    to6("no next hop", frame(), model.NO_NEXTHOP, ifindex=0),
]
TO_IPV4 = [
    to4("plain", frame6(), out=sent(**ATOMIC)),
    to4("odd length", frame6(ODD), out=sent(ODD, **ATOMIC)),
    to4("large", frame6(LARGE), out=sent(LARGE, **ATOMIC)),
    to4("Ethernet padding", frame6(ODD, trailer=b"\xee" * 9), out=sent(ODD, trailer=b"\xee" * 9, **ATOMIC)),
    to4("hop limit becomes TTL", frame6(ttl=7), out=sent(ttl=6, **ATOMIC)),
    to4("traffic class becomes type of service", frame6(tos=0xB9), out=sent(tos=0xB9, **ATOMIC)),
    to4("DSCP set, ECN kept", frame6(tos=0x23), out=sent(tos=0xBB, **ATOMIC), dscp=46),
    to4("flow label is lost", frame6(label=0xABCDE), out=sent(**ATOMIC)),
    to4("extension headers are left behind", frame6(extensions=((DESTINATION, extension(3)),)), out=sent(**ATOMIC)),
    to4("checksum zeroed by the flow", frame6(), out=sent(checksum=0, **ATOMIC), flags=model.ZERO_CHECKSUM),
    to4("partial checksum, anew", frame6(checksum=0x1234), out=sent(**ATOMIC), flags=model.FULL_CHECKSUM),
    to4("learned port", frame6(source=(CALLER6[0], 4002)), out=sent(**ATOMIC), state=model.LEARNING),
    to4("RTCP", frame6(rtcp()), out=sent(rtcp(), **ATOMIC), flags=model.RTCP),
    to4("tagged twice on", frame6(), out=sent(vlans=(7, 8), **ATOMIC), vlans=(7, 8)),
    to4("no UDP checksum", frame6(checksum=0), model.BAD_CHECKSUM),
    to4("hop limit 1", frame6(ttl=1), model.TTL),
    to4("stranger", frame6(source=("2001:db8:a::66", 4000)), model.WRONG_SOURCE),
]
CASES = TO_IPV6 + TO_IPV4


@pytest.mark.parametrize("case", CASES, ids=[f"to IPv{6 if case in TO_IPV6 else 4}: {case.text}" for case in CASES])
def test_crosses(relay, case):
    outcome = check(relay, case)
    if case.reason == model.FORWARDED:
        assert checksums_hold(outcome.data)


@pytest.mark.parametrize(
    ("index", "flow", "came", "left"),
    [(INDEX, TO_V6, frame, sent6), (INDEX6, FROM_V6, frame6, lambda packet: sent(packet, **ATOMIC))],
    ids=["to IPv6", "to IPv4"],
)
def test_a_stream_takes_the_express_way_to_the_same_end(relay, index, flow, came, left):
    relay.put(index, caller_flow(**flow))
    for sequence in range(5):
        packet = rtp(sequence, sequence * 160)
        assert relay.run(came(packet)).data == left(packet)
    track = relay.flows[index].track
    assert (track.packets, track.sequence, track.window, bool(track.express)) == (5, 4, 31, True)
    wrong = came(rtp(5, 800), checksum=0x1234)
    assert not checksums_hold(relay.run(wrong).data)


@pytest.mark.parametrize("first", [True, False], ids=["close way", "express way"])
def test_no_room_before_the_frame(relay, first):
    relay.put(INDEX, caller_flow(**TO_V6))
    if not first:
        relay.run(frame(rtp(1)))
    assert relay.run_cramped(frame(rtp(2))) == model.DROP
    assert relay.reasons()[model.HEADROOM][0] == 1
    assert relay.ledgers[INDEX].tally.last_reason == model.HEADROOM


def test_no_room_is_needed_where_headers_get_no_longer(relay):
    relay.put(INDEX, caller_flow())
    assert relay.run_cramped(frame()) == model.TX


def test_what_does_not_grow_is_not_measured(relay):
    """The interface it leaves by refuses it, if anybody: a packet of a size that came is of a size that may go."""
    payload = rtp(body=bytes(1500))
    with harness.network_namespace():
        subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)
        check(relay, Case("", frame(payload), out=sent(payload)))


@pytest.mark.parametrize(("body", "reason"), [(1440, model.FORWARDED), (1441, model.TOO_BIG)], ids=["fits", "does not"])
def test_growth_beyond_the_mtu(relay, body, reason):
    """40 and 8 bytes of headers, 12 of RTP: with 1,440 of audio just the 1,500 of the egress interface."""
    payload = rtp(body=bytes(body))
    with harness.network_namespace():
        subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)
        out = sent6(payload) if reason == model.FORWARDED else None
        check(relay, to6("", frame(payload), reason, out))


def test_the_longest_datagram_is_summed(relay):
    """As long as a frame on one page can be: the sum goes in several steps."""
    payload = rtp(body=bytes(range(250)) * 13)
    check(relay, to6("", frame(payload, checksum=0), model.FORWARDED, sent6(payload)))


def test_each_direction_of_a_crossing_call(relay):
    """What IPv4 learned is where IPv6 sends to."""
    relay.put(INDEX, caller_flow(**TO_V6, state=model.LEARNING, partner=3 * 65536 + 10002))
    back = {"source": packed(("2001:db8:b::20", 6000)), "egress": packed(("10.0.0.1", 10000)), "target": packed(CALLER)}
    relay.put(3 * 65536 + 10002, caller_flow(**back, partner=INDEX))
    assert relay.run(frame(source=(CALLER[0], 4444))).data == sent6()
    answer = relay.run(frame6(source=("2001:db8:b::20", 6000), to=("2001:db8:0:2::1", 10002)))
    assert answer.data == sent(source=("10.0.0.1", 10000), to=(CALLER[0], 4444), **ATOMIC)
