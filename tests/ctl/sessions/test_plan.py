# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from ctl.network.addresses import refusal
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.flow_plan import FlowPlan, difference, pairs
from ctl.sessions.plan import plan_call
from ctl.sessions.reachable import check
from ctl.sessions.sides import Side
from ctl.sessions.streams import Codec, Direction, Stream, StreamRefused

PLANE = DataPlane({"192.0.2.1": "eth0", "198.51.100.1": "eth1"}, frozenset({"eth0", "eth1"}))
PCMU, G722, OPUS = Codec(0, "PCMU", 8000), Codec(9, "G722", 8000), Codec(96, "opus", 48000)
EVENT = Codec(101, "telephone-event", 8000)


def test_a_plain_call_is_four_pinned_flows_in_the_kernel() -> None:
    rtp_a, rtp_b, rtcp_a, rtcp_b = plan()
    assert rtp_a == FlowPlan(
        leg="a",
        stream=0,
        kind="rtp",
        local=("192.0.2.1", 30000),
        source=("192.0.2.10", 4000),
        egress=("198.51.100.1", 40000),
        target=("198.51.100.20", 5000),
        clock_rate=8000,
        path="kernel",
        dtmf_clock=8000,
    )
    assert (rtp_b.local, rtp_b.source) == (rtp_a.egress, (rtp_a.target[0], rtp_a.target[1]))
    assert (rtp_b.egress, rtp_b.target) == (rtp_a.local, ("192.0.2.10", 4000))
    assert (rtcp_a.local, rtcp_a.source, rtcp_a.egress, rtcp_a.target, rtcp_a.clock_rate) == (
        ("192.0.2.1", 30001),
        ("192.0.2.10", 4001),
        ("198.51.100.1", 40001),
        ("198.51.100.20", 5001),
        0,
    )
    assert rtcp_b.local == rtcp_a.egress


@pytest.mark.parametrize("private", ["10.1.2.3", "172.31.0.9", "192.168.1.5", "100.64.0.7"])
def test_a_private_address_behind_nat_learns_the_port_inside_the_signalling_address(private: str) -> None:
    rtp_a, rtp_b, rtcp_a, rtcp_b = plan(a=stream_a(address=private))
    assert (rtp_a.source, rtcp_a.source) == (("192.0.2.10", None), ("192.0.2.10", None))
    assert (rtp_b.target, rtcp_b.target) == (("192.0.2.10", 4000), ("192.0.2.10", 4001))


def test_a_private_address_that_signals_itself_is_pinned() -> None:
    assert plan(a=stream_a(address="10.1.2.3", signalling="10.1.2.3"))[0].source == ("10.1.2.3", 4000)


def test_a_public_address_other_than_the_signalling_one_is_pinned_as_described() -> None:
    assert plan(a=stream_a(address="203.0.113.5"))[0].source == ("203.0.113.5", 4000)


@pytest.mark.parametrize("a", ["sendrecv", "sendonly", "recvonly", "inactive"])
@pytest.mark.parametrize("b", ["sendrecv", "sendonly", "recvonly", "inactive"])
def test_rtp_follows_both_directions_and_rtcp_flows_on(a: Direction, b: Direction) -> None:
    rtp_a, rtp_b, *rtcp = plan(a=stream_a(direction=a), b=stream_b(direction=b))
    assert rtp_a.held is not (a in ("sendrecv", "sendonly") and b in ("sendrecv", "recvonly"))
    assert rtp_b.held is not (b in ("sendrecv", "sendonly") and a in ("sendrecv", "recvonly"))
    assert not any(flow.held for flow in rtcp)


@pytest.mark.parametrize("unspecified", ["0.0.0.0", "::"])
def test_hold_by_address_holds_everything_and_sends_nothing_there(unspecified: str) -> None:
    held = stream_a(address=unspecified)
    check(held, PLANE)
    flows = plan(a=held)
    assert all(flow.held for flow in flows)
    assert unspecified not in {flow.target[0] for flow in flows}


def test_a_stream_that_either_leg_refuses_has_no_flows_and_the_next_one_has() -> None:
    audio, video = side_a(), Side(stream_a(rtp_port=6000), ("192.0.2.1", 30002), "eth0")
    far = [Side(stream_b(rtp_port=0), ("198.51.100.1", 40000), "eth1"), side_b()]
    assert {flow.stream for flow in plan_call([audio, video], far, PLANE)} == {1}
    assert plan_call([None], [side_b()], PLANE) == ()


@pytest.mark.parametrize(("mux_a", "mux_b", "flows"), [(True, True, 2), (True, False, 4), (False, False, 4)])
def test_rtcp_is_multiplexed_only_where_both_say_so(mux_a: bool, mux_b: bool, flows: int) -> None:
    assert len(plan(a=stream_a(rtcp_mux=mux_a), b=stream_b(rtcp_mux=mux_b))) == flows


@pytest.mark.parametrize(
    ("a", "b", "rate"),
    [
        ((PCMU, OPUS), (OPUS,), 48000),
        ((G722, PCMU), (PCMU, G722), 8000),
        ((PCMU,), (OPUS,), 48000),
        ((), (), 0),
    ],
)
def test_the_clock_is_that_of_the_receivers_first_shared_codec(
    a: tuple[Codec, ...], b: tuple[Codec, ...], rate: int
) -> None:
    assert plan(a=stream_a(codecs=a), b=stream_b(codecs=b))[0].clock_rate == rate


def test_the_path_says_why_it_is_not_the_kernel() -> None:
    bare = replace(PLANE, attached=frozenset({"eth0"}))
    flows = plan(plane=bare)
    assert {(flow.path, flow.reason) for flow in flows} == {("engine", "XDP is not attached to eth1")}
    flows = plan(plane=replace(bare, attached=frozenset(), engine=False))
    assert {(flow.path, flow.reason) for flow in flows} == {
        ("none", "XDP is not attached to eth0 and eth1, and no engine runs")
    }


def test_the_interface_that_leads_to_the_peer_counts_too() -> None:
    flows = plan_call([replace(side_a(), interface="wg0")], [side_b()], PLANE)
    assert {flow.reason for flow in flows} == {"XDP is not attached to wg0"}


def test_a_difference_names_only_what_differs() -> None:
    before = plan()
    assert difference(before, before) == difference((), ())
    held = plan(a=stream_a(direction="sendonly"), b=stream_b(direction="recvonly"))
    assert [flow.kind for pair in difference(before, held).written for flow in pair] == ["rtp", "rtp"]
    assert difference(before, held).gone == ()
    assert difference((), before).written == tuple(pairs(before).values())
    assert difference(before, ()).gone == tuple(pairs(before).values())


def test_a_stream_on_other_ports_is_another_one() -> None:
    moved = plan_call([replace(side_a(), relay=("192.0.2.1", 31000))], [side_b()], PLANE)
    change = difference(plan(), moved)
    assert len(change.gone) == len(change.written) == 2


@pytest.mark.parametrize("profile", ["udptl", "TCP/MSRP", "RTP/SAVPX"])
def test_other_profiles_are_refused_by_name(profile: str) -> None:
    with pytest.raises(StreamRefused, match=f"audio over {profile} is not relayed; offer RTP/AVP or RTP/AVPF"):
        check(stream_a(protocol=profile), PLANE)


def test_a_stream_that_is_off_is_not_checked() -> None:
    check(stream_a(rtp_port=0, protocol="udptl", address="127.0.0.1"), PLANE)


DENIED = {
    "0.0.0.0/8": "an address of no host",
    "127.0.0.0/8": "a loopback address",
    "169.254.0.0/16": "a link-local address",
    "192.0.0.0/24": "an address of IETF protocols",
    "192.88.99.0/24": "a 6to4 relay address",
    "224.0.0.0/4": "a multicast address",
    "240.0.0.0/5": "a reserved address",
    "255.255.255.255/32": "the broadcast address",
    "198.51.100.1/32": "the relay's own address",
}
SPELLINGS = ["{v4}", "::ffff:{v4}", "::{v4}", "64:ff9b::{v4}", "2002:{high:x}:{low:x}::1", "::ffff:0:{v4}"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("network", "kind"), DENIED.items())
def test_media_to_special_addresses_is_refused_in_any_spelling(network: str, kind: str, spelling: str) -> None:
    inside = IPv4Network(network)
    for v4 in (inside[2 if inside.prefixlen < 32 else 0], inside[-1]):
        high, low = divmod(int(v4), 1 << 16)
        described = stream_a(address=spelling.format(v4=v4, high=high, low=low))
        with pytest.raises(StreamRefused, match=kind):
            check(described, PLANE)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("media.example.com", "is not an IP address"),
        ("0177.0.0.1", "is not an IP address"),
        ("2130706433", "is not an IP address"),
        ("", "is not an IP address"),
        ("fe80::1%eth0", "names a zone"),
        ("::1", "a loopback address"),
        ("fe80::1", "a link-local address"),
        ("ff02::1", "a multicast address"),
        ("fec0::1", "a reserved address"),
        ("2001:0:4136:e378::1", "a Teredo address"),
        ("100::1", "a reserved address"),
        ("::ffff:203.0.113.9", "in IPv6 spelling"),
    ],
)
def test_other_addresses_are_refused_with_their_reason(address: str, reason: str) -> None:
    with pytest.raises(StreamRefused, match=reason):
        check(stream_a(address=address), PLANE)


def test_the_signalling_address_of_a_leg_behind_nat_is_checked_too() -> None:
    with pytest.raises(StreamRefused, match=r"127\.0\.0\.1 is a loopback address"):
        check(stream_a(address="10.0.0.1", signalling="127.0.0.1"), PLANE)


def test_a_laboratory_may_allow_loopback_but_never_the_relay_itself() -> None:
    lab = (IPv4Network("127.0.0.0/8"),)
    assert refusal("127.0.0.5", ["127.0.0.1"], lab) is None
    assert refusal("127.0.0.1", ["127.0.0.1"], lab) == "127.0.0.1 is the relay's own address; media would loop"


def test_ordinary_addresses_are_welcome() -> None:
    for address in (
        "8.8.8.8",
        "10.0.0.1",
        "203.0.113.200",
        "223.255.255.254",
        "2001:db8::1",
        "2606:4700::1",
        "fd00::7",
    ):
        assert refusal(address, PLANE.interfaces) is None


def plan(a: Stream | None = None, b: Stream | None = None, plane: DataPlane = PLANE) -> tuple[FlowPlan, ...]:
    return plan_call([side_a(a)], [side_b(b)], plane)


def side_a(stream: Stream | None = None) -> Side:
    return Side(stream or stream_a(), ("192.0.2.1", 30000), "eth0")


def side_b(stream: Stream | None = None) -> Side:
    return Side(stream or stream_b(), ("198.51.100.1", 40000), "eth1")


def stream_a(**changes: Any) -> Stream:
    stream = Stream("audio", "RTP/AVP", "192.0.2.10", 4000, 4001, "192.0.2.10", codecs=(PCMU, EVENT))
    if "rtp_port" in changes:
        changes.setdefault("rtcp_port", changes["rtp_port"] + 1)
    return replace(stream, **changes)


def stream_b(**changes: Any) -> Stream:
    stream = Stream("audio", "RTP/AVP", "198.51.100.20", 5000, 5001, "198.51.100.20", codecs=(PCMU, EVENT))
    return replace(stream, **changes)
