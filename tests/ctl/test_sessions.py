# SPDX-License-Identifier: GPL-3.0-or-later
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from ctl.carriers import EngineCarrier, KernelCarrier
from ctl.flowrule import FlowState
from ctl.plan import DataPlane
from ctl.ports import Ports
from ctl.programmer import Programmer
from ctl.sessions import MediaRefused, MediaSessions
from media.flows import EngineError

RELAY_A, RELAY_B = "192.0.2.1", "198.51.100.1"
ALICE, BOB = "192.0.2.10", "198.51.100.20"
PLANE = DataPlane({RELAY_A: "eth0", RELAY_B: "eth1"}, frozenset({"eth0", "eth1"}))
AUDIO = "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
VIDEO = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"


class World:
    """Sessions over stand-ins for the kernel, the routes and the engine."""

    def __init__(self, table: Any, hops: Any, engine: Any, pairs: int = 100, plane: DataPlane = PLANE) -> None:
        self.table, self.hops, self.engine, self.plane = table, hops, engine, plane
        self.last = 20000 + 2 * pairs - 1
        self.restart()

    def restart(self) -> None:
        """Forget everything but what a killed process leaves: the kernel and the engine."""
        self.ports = Ports((RELAY_A, RELAY_B), 20000, self.last, random.Random(5).randrange)
        kernel = KernelCarrier(self.table, self.hops)
        self.programmer = Programmer(self.hops, kernel, EngineCarrier(self.engine, kernel))
        self.sessions = MediaSessions(self.ports, self.hops, self.programmer, self.plane)

    def call(self, name: str = "call", a: bytes = b"", b: bytes = b"", now: float = 0.0) -> tuple[bytes, bytes]:
        """Offer from Alice, answer from Bob; return what each of them is sent: to Bob, to Alice."""
        to_bob = self.sessions.offer(name, "a", a or sdp(ALICE), ALICE, now, toward=BOB)
        return to_bob, self.sessions.answer(name, "b", b or sdp(BOB), BOB, now)

    def taken(self) -> tuple[int, int]:
        return self.ports.taken(RELAY_A), self.ports.taken(RELAY_B)


@pytest.fixture
def world(table: Any, hops: Any, engine: Any) -> World:
    return World(table, hops, engine)


def test_each_leg_is_sent_the_relay_address_that_faces_it(world: World) -> None:
    to_bob, to_alice = world.call()
    port_b, port_a = rtp_port(to_bob), rtp_port(to_alice)
    assert to_bob == sdp(ALICE).replace(b" 4000 ", b" %d " % port_b).replace(ALICE.encode(), RELAY_B.encode())
    assert to_alice == sdp(BOB).replace(b" 4000 ", b" %d " % port_a).replace(BOB.encode(), RELAY_A.encode())
    rule = world.table.at((RELAY_A, port_a))
    assert (rule.source, rule.egress, rule.target) == ((ALICE, 4000), (RELAY_B, port_b), (BOB, 4000))
    assert {flow.path for flow in world.sessions.query("call")} == {"kernel"}


def test_nothing_is_programmed_before_the_answer(world: World) -> None:
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    assert (world.table.writes, world.taken()) == ([], (1, 1))
    assert world.sessions.query("call") == []


def test_an_offer_may_come_from_the_second_leg(world: World) -> None:
    """A late offer: Bob's 200 has it, Alice's ACK the answer."""
    to_alice = world.sessions.offer("call", "b", sdp(BOB), BOB, 0.0, toward=ALICE)
    to_bob = world.sessions.answer("call", "a", sdp(ALICE), ALICE, 0.0)
    assert (address(to_alice), address(to_bob)) == (RELAY_A, RELAY_B)
    assert world.table.at((RELAY_A, rtp_port(to_alice))).target == (BOB, 4000)


def test_only_addresses_ports_and_ice_change(world: World) -> None:
    described = (
        b"v=0\r\no=- 7 8 IN IP4 192.0.2.10\r\ns=a talk\r\nc=IN IP4 192.0.2.10\r\nb=AS:64\r\nt=0 0\r\n"
        b"a=ice-lite\r\na=X-own: kept \r\nm=audio 4000 RTP/AVPF 0 96\r\nc=IN IP4 192.0.2.11\r\n"
        b"a=rtpmap:96 opus/48000/2\r\n"
        b"a=fmtp:96 useinbandfec=1\r\na=rtcp:4005 IN IP4 192.0.2.10\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789\r\n"
        b"a=candidate:1 1 UDP 1 192.0.2.10 4000 typ host\r\na=end-of-candidates\r\na=sendrecv\r\n"
    )
    to_bob, _ = world.call(a=described, b=sdp(BOB, AUDIO.replace("AVP", "AVPF")))
    port = rtp_port(to_bob)
    assert to_bob == (
        b"v=0\r\no=- 7 8 IN IP4 198.51.100.1\r\ns=a talk\r\nc=IN IP4 198.51.100.1\r\nb=AS:64\r\nt=0 0\r\n"
        b"a=X-own: kept \r\nm=audio %d RTP/AVPF 0 96\r\nc=IN IP4 198.51.100.1\r\na=rtpmap:96 opus/48000/2\r\n"
        b"a=fmtp:96 useinbandfec=1\r\na=rtcp:%d IN IP4 198.51.100.1\r\na=sendrecv\r\n" % (port, port + 1)
    )
    sources = {(flow.kind, flow.source) for flow in world.sessions.query("call") if flow.leg == "a"}
    assert sources == {("rtp", ("192.0.2.11", 4000)), ("rtcp", ("192.0.2.11", 4005))}


def test_rtcp_on_the_rtp_port_stays_there(world: World) -> None:
    mux = AUDIO + "a=rtcp:4000\r\na=rtcp-mux\r\n"
    to_bob, _ = world.call(a=sdp(ALICE, mux), b=sdp(BOB, AUDIO + "a=rtcp-mux\r\n"))
    assert b"a=rtcp:%d\r\n" % rtp_port(to_bob) in to_bob
    assert [flow.kind for flow in world.sessions.query("call")] == ["rtp", "rtp"]


def test_codecs_events_and_ptime_are_read(world: World) -> None:
    world.call(
        a=sdp(
            ALICE,
            "m=audio 4000 RTP/AVP 97 101\r\na=rtpmap:97 opus/48000/2\r\n"
            "a=rtpmap:101 telephone-event/48000\r\na=ptime:40\r\n",
        )
    )
    stream = world.sessions.snapshot("call")["proposed"]["streams"]["a"][0]
    assert (stream["codecs"], stream["telephone_events"], stream["ptime"]) == (
        ({"payload_type": 97, "name": "opus", "clock_rate": 48000},),
        (101,),
        40.0,
    )


def test_the_codec_is_the_one_last_seen(world: World) -> None:
    both = "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    _, to_alice = world.call(a=sdp(ALICE, both), b=sdp(BOB, both))
    local = (RELAY_A, rtp_port(to_alice))

    def codec() -> str:
        return next(flow.codec for flow in world.sessions.query("call") if flow.local == local)

    assert codec() == "PCMA"
    world.table.count(local, payload_type=0)
    assert codec() == "PCMU"
    world.table.count(local, payload_type=101)
    assert codec() == "PCMA"
    assert {flow.codec for flow in world.sessions.query("call") if flow.kind == "rtcp"} == {""}
    world.table.writes.clear()
    world.call(a=sdp(ALICE, AUDIO), b=sdp(BOB, AUDIO))
    assert (codec(), world.table.writes) == ("PCMU", [])


def test_a_leg_behind_nat_learns_inside_its_signalling_address(world: World) -> None:
    _, to_alice = world.call(a=sdp("10.0.0.7"))
    rule = world.table.at((RELAY_A, rtp_port(to_alice)))
    assert (rule.state, rule.source[0]) == (FlowState.LEARNING, ALICE)


def test_several_streams_have_a_pair_each_and_refused_ones_none(world: World) -> None:
    to_bob, to_alice = world.call(
        a=sdp(ALICE, AUDIO, VIDEO, "m=audio 0 RTP/AVP 8\r\n"),
        b=sdp(BOB, AUDIO, "m=video 0 RTP/AVP 96\r\n", "m=audio 0 RTP/AVP 8\r\n"),
    )
    assert [line.split()[1] != b"0" for line in m_lines(to_bob)] == [True, True, False]
    assert [line.split()[1] != b"0" for line in m_lines(to_alice)] == [True, False, False]
    assert {flow.stream for flow in world.sessions.query("call")} == {0}


def test_video_is_relayed_like_audio(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    assert {(flow.stream, flow.kind) for flow in world.sessions.query("call")} == {
        (0, "rtp"), (0, "rtcp"), (1, "rtp"), (1, "rtcp"),
    }  # fmt: skip


def test_an_answer_cannot_bring_a_refused_stream_to_life(world: World) -> None:
    _, to_alice = world.call(a=sdp(ALICE, AUDIO, "m=video 0 RTP/AVP 96\r\n"), b=sdp(BOB, AUDIO, VIDEO))
    assert m_lines(to_alice)[1].startswith(b"m=video 0 ")


def test_hold_and_resume_keep_ports_and_touch_only_rtp(world: World) -> None:
    first = world.call()
    world.table.writes.clear()
    again = world.call(a=sdp(ALICE, AUDIO + "a=sendonly\r\n"), b=sdp(BOB, AUDIO + "a=recvonly\r\n"))
    assert tuple(map(rtp_port, again)) == tuple(map(rtp_port, first))
    states = {(flow.leg, flow.kind): flow.state for flow in world.sessions.query("call")}
    assert states == {("a", "rtp"): "pinned", ("b", "rtp"): "held", ("a", "rtcp"): "pinned", ("b", "rtcp"): "pinned"}
    assert (world.table.writes, world.table.offs) == ([], [(RELAY_B, rtp_port(first[0]))])
    world.call()
    assert {flow.state for flow in world.sessions.query("call")} == {"pinned"}
    assert [fresh for _, fresh in world.table.writes] == [False, False]


def test_hold_by_address_is_passed_on_and_nothing_is_sent_there(world: World) -> None:
    world.call()
    to_bob, _ = world.call(a=sdp("0.0.0.0"))
    assert b"c=IN IP4 0.0.0.0\r\n" in to_bob
    assert b"o=- 1 1 IN IP4 198.51.100.1\r\n" in to_bob
    assert {flow.state for flow in world.sessions.query("call")} == {"held"}
    world.call()
    assert {flow.state for flow in world.sessions.query("call")} == {"pinned"}


def test_a_change_of_codec_or_address_changes_the_flows_in_place(world: World) -> None:
    _, to_alice = world.call()
    world.call(a=sdp("192.0.2.99", "m=audio 6000 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n"))
    rule = world.table.at((RELAY_A, rtp_port(to_alice)))
    assert rule.source == ("192.0.2.99", 6000)
    assert [flow.local[1] for flow in world.sessions.query("call")][:1] == [rtp_port(to_alice)]


def test_the_same_again_writes_nothing(world: World) -> None:
    world.call()
    world.table.writes.clear()
    world.call()
    assert world.table.writes == []


def test_a_failed_offer_leaves_the_old_flows_alone(world: World) -> None:
    world.call()
    before, rules = world.sessions.snapshot("call")["proposed"], dict(world.table.rules)
    world.table.writes.clear()
    world.sessions.offer("call", "a", sdp("192.0.2.99", AUDIO, VIDEO), ALICE, 1.0, toward=BOB)
    assert world.taken() == (2, 2)
    world.sessions.rollback("call", 2.0)
    assert (world.table.writes, world.table.rules, world.taken()) == ([], rules, (1, 1))
    assert world.sessions.snapshot("call")["agreed"] == before
    assert world.ports.free(RELAY_A, 61.9) == 98
    assert world.ports.free(RELAY_A, 62.0) == 99


def test_an_early_answer_that_comes_to_nothing_is_undone(world: World) -> None:
    world.call()
    rules = dict(world.table.rules)
    world.call(a=sdp("192.0.2.99"))
    world.sessions.rollback("call", 1.0)
    assert world.table.rules == rules
    world.sessions.rollback("call", 1.0)
    world.sessions.rollback("unknown", 1.0)


def test_an_offer_can_be_answered_twice_early_and_finally(world: World) -> None:
    to_bob, early = world.call(b=sdp("198.51.100.77"))
    final = world.sessions.answer("call", "b", sdp(BOB), BOB, 1.0)
    assert rtp_port(early) == rtp_port(final)
    assert world.table.at((RELAY_A, rtp_port(final))).target == (BOB, 4000)
    assert world.table.at((RELAY_B, rtp_port(to_bob))).source == (BOB, 4000)


def test_an_offer_that_replaces_an_unanswered_one_leaks_no_port(world: World) -> None:
    for _ in range(5):
        world.sessions.offer("call", "a", sdp(ALICE, AUDIO, VIDEO), ALICE, 0.0, toward=BOB)
    assert world.taken() == (2, 2)


def test_the_next_target_may_be_behind_another_relay_address(world: World) -> None:
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward="192.0.2.50")
    to_bob = world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    assert (address(to_bob), world.taken()) == (RELAY_B, (1, 1))


def test_a_stream_that_ends_gives_its_ports_back_with_the_next_offer(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    gone = "m=video 0 RTP/AVP 96\r\n"
    world.call(a=sdp(ALICE, AUDIO, gone), b=sdp(BOB, AUDIO, gone))
    assert {flow.stream for flow in world.sessions.query("call")} == {0}
    world.call(a=sdp(ALICE, AUDIO, gone), b=sdp(BOB, AUDIO, gone))
    assert world.taken() == (1, 1)
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    assert {flow.stream for flow in world.sessions.query("call")} == {0, 1}


def test_the_end_reports_both_directions_and_rests_the_ports(world: World) -> None:
    _, to_alice = world.call()
    world.table.count((RELAY_A, rtp_port(to_alice)), packets=500, lost=2)
    reports = world.sessions.delete("call", 10.0)
    seen = {(report.leg, report.kind): report.statistics for report in reports}
    assert set(seen) == {("a", "rtp"), ("b", "rtp"), ("a", "rtcp"), ("b", "rtcp")}
    counted = seen["a", "rtp"]
    assert counted is not None
    assert (counted.packets, counted.lost) == (500, 2)
    assert (world.table.active(), world.taken()) == ([], (0, 0))
    assert (world.ports.free(RELAY_A, 69.9), world.ports.free(RELAY_A, 70.0)) == (99, 100)
    assert world.sessions.delete("call", 11.0) == ()
    assert world.sessions.calls() == frozenset()


def test_the_range_may_run_out(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, pairs=20)
    outcomes = [refusal_of(world, f"call {number}") for number in range(100)]
    assert outcomes[:20] == [None] * 20
    assert {outcome and outcome.status for outcome in outcomes[20:]} == {503}
    assert "no free media port on" in str(outcomes[20])
    for number in range(20):
        world.sessions.delete(f"call {number}", 100.0)
    assert refusal_of(world, "early", 159.0)
    assert refusal_of(world, "late", 160.0) is None


def test_an_offer_that_finds_only_half_its_ports_keeps_none(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, pairs=1)
    world.ports.take(RELAY_B, 0.0)
    assert refusal_of(world, "call")
    assert (world.ports.free(RELAY_A, 0.0), world.sessions.calls()) == (1, frozenset())


REFUSED = {
    "srtp": (AUDIO.replace("RTP/AVP", "RTP/SAVP"), ALICE, "audio over RTP/SAVP is not relayed"),
    "dtls": (AUDIO.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF"), ALICE, "UDP/TLS/RTP/SAVPF is not relayed"),
    "fax": ("m=image 4000 udptl t38\r\n", ALICE, "image over udptl is not relayed"),
    "own": (AUDIO, RELAY_B, "the relay's own address"),
    "loopback": (AUDIO, "127.0.0.1", "a loopback address"),
    "link-local": (AUDIO, "169.254.1.1", "a link-local address"),
    "multicast": (AUDIO, "239.1.1.1/127", "a multicast address"),
    "broadcast": (AUDIO, "255.255.255.255", "the broadcast address"),
    "name": (AUDIO, "media.example.com", "is not an IP address"),
    "no port for rtcp": (AUDIO.replace("4000", "65535"), ALICE, "leaves no port for RTCP"),
    "this host": (AUDIO, "203.0.113.66", "this host's own"),
    "no route": (AUDIO, "203.0.113.77", "there is no route to"),
}


@pytest.mark.parametrize(("media", "where", "reason"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("leg", ["a", "b"])
def test_what_is_refused_with_488(world: World, leg: str, media: str, where: str, reason: str) -> None:
    world.hops.here.add("203.0.113.66")
    world.hops.unroutable.add("203.0.113.77")
    bad = sdp(where, media)
    with pytest.raises(MediaRefused, match=reason) as refused:
        world.call(**{leg: bad})
    assert refused.value.status == 488
    assert refused.value.reason == str(refused.value)
    assert world.table.writes == []


def test_an_ipv6_description_is_refused(world: World) -> None:
    with pytest.raises(MediaRefused, match="is IPv6, which the relay does not carry"):
        world.call(a=sdp(ALICE).replace(b"c=IN IP4 192.0.2.10", b"c=IN IP6 2001:db8::1"))


def test_a_laboratory_may_call_on_loopback(table: Any, hops: Any, engine: Any) -> None:
    from ipaddress import IPv4Network

    world = World(table, hops, engine, plane=replace(PLANE, allowed=(IPv4Network("127.0.0.0/8"),)))
    hops.here.add("127.0.0.5")
    world.call(a=sdp("127.0.0.5"))


def test_what_is_no_description_is_refused_with_400(world: World) -> None:
    for body in (b"", b"hello", sdp(ALICE).replace(b"o=- 1", b"o=1"), sdp(ALICE).replace(b"c=IN IP4", b"c=ATM")):
        with pytest.raises(MediaRefused, match="session description") as refused:
            world.call(a=body or b"v=1\r\n")
        assert refused.value.status == 400
    assert world.taken() == (0, 0)


def test_no_address_for_a_live_stream_is_refused(world: World) -> None:
    with pytest.raises(MediaRefused, match=r"audio has no connection address \(c= line\)"):
        world.call(a=sdp(ALICE).replace(b"c=IN IP4 192.0.2.10\r\n", b""))


def test_answers_that_do_not_fit(world: World) -> None:
    with pytest.raises(MediaRefused, match="an answer without an offer"):
        world.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    with pytest.raises(MediaRefused, match="an answer without an offer"):
        world.sessions.answer("call", "a", sdp(ALICE), ALICE, 0.0)
    with pytest.raises(MediaRefused, match="the answer has 2 m-lines, the offer 1"):
        world.sessions.answer("call", "b", sdp(BOB, AUDIO, VIDEO), BOB, 0.0)
    world.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)


def test_m_lines_never_become_fewer(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    with pytest.raises(MediaRefused, match="the offer has 1 m-lines where there were 2"):
        world.call()


def test_a_refused_change_leaves_the_call_as_it_was(world: World) -> None:
    world.call()
    world.table.writes.clear()
    with pytest.raises(MediaRefused):
        world.call(a=sdp(ALICE, AUDIO.replace("AVP", "SAVP")))
    assert (world.table.writes, world.taken()) == ([], (1, 1))
    assert {flow.state for flow in world.sessions.query("call")} == {"pinned"}


def test_without_xdp_the_engine_carries_the_call_and_says_why(world: World) -> None:
    world.sessions.data_plane = replace(PLANE, attached=frozenset({"eth0"}))
    _, to_alice = world.call()
    assert world.engine.flows[RELAY_A, rtp_port(to_alice)].target_address == BOB
    assert {(flow.path, flow.reason) for flow in world.sessions.query("call")} == {
        ("engine", "XDP is not attached to eth1")
    }


def test_where_nothing_can_carry_it_the_call_gets_503(world: World) -> None:
    world.sessions.data_plane = replace(PLANE, attached=frozenset(), engine=False)
    with pytest.raises(MediaRefused, match="XDP is not attached to eth0 and eth1, and no engine runs") as refused:
        world.call()
    assert refused.value.status == 503
    world.engine.refusal = EngineError("full", "the engine has as many flows as it may; raise --flows")
    world.sessions.data_plane = replace(PLANE, attached=frozenset())
    with pytest.raises(MediaRefused, match="raise --flows"):
        world.call("other")
    assert world.sessions.delete("other", 0.0) == ()


def test_without_relay_addresses_the_call_gets_503(world: World) -> None:
    world.sessions.data_plane = DataPlane({}, frozenset())
    with pytest.raises(MediaRefused, match=r"no relay address is configured; set media\.addresses"):
        world.call()


def test_a_restart_in_the_middle_of_a_call_is_not_noticed(world: World) -> None:
    sent = world.call(a=sdp("10.0.0.7", AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    state = json.loads(json.dumps(world.sessions.snapshot("call")))
    world.table.writes.clear()
    world.restart()
    assert world.sessions.restore("call", state) == 0
    assert world.programmer.reconcile(world.sessions.calls()) == 0
    assert (world.table.writes, world.table.offs, world.taken()) == ([], [], (2, 2))
    assert world.call(a=sdp("10.0.0.7", AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO)) == sent
    assert world.table.writes == []
    assert len(world.sessions.delete("call", 0.0)) == 8


def test_a_restart_between_offer_and_answer(world: World) -> None:
    world.call()
    to_bob = world.sessions.offer("call", "b", sdp("198.51.100.99"), BOB, 0.0, toward=ALICE)
    state = json.loads(json.dumps(world.sessions.snapshot("call")))
    world.table.writes.clear()
    world.restart()
    assert world.sessions.restore("call", state) == 0
    world.sessions.answer("call", "a", sdp(ALICE), ALICE, 0.0)
    assert world.table.at((RELAY_A, rtp_port(to_bob))).target == ("198.51.100.99", 4000)


def test_a_restart_on_a_host_that_lost_xdp_moves_the_call_to_the_engine(world: World) -> None:
    world.call()
    state = world.sessions.snapshot("call")
    world.plane = replace(PLANE, attached=frozenset())
    world.restart()
    assert world.sessions.restore("call", state) == 2
    assert len(world.engine.flows) == 4


def test_calls_move_to_the_engine_and_back_while_they_last(world: World) -> None:
    _, to_alice = world.call()
    world.table.writes.clear()
    assert (world.sessions.replan(), world.table.writes) == ({}, [])
    world.table.count((RELAY_A, rtp_port(to_alice)), packets=5)
    world.sessions.data_plane = replace(PLANE, attached=frozenset())
    assert world.sessions.replan() == {}
    assert {flow.path for flow in world.sessions.query("call")} == {"engine"}
    world.sessions.data_plane = PLANE
    assert world.sessions.replan() == {}
    assert ({flow.path for flow in world.sessions.query("call")}, world.engine.flows) == ({"kernel"}, {})
    counted = [
        (report.path, report.statistics and report.statistics.packets)
        for report in world.sessions.delete("call", 0.0)
        if (report.leg, report.kind) == ("a", "rtp")
    ]
    assert counted == [("kernel", 5), ("engine", 7), ("kernel", 0)]


def test_calls_that_nothing_can_carry_are_named_and_left_alone(world: World) -> None:
    world.call()
    world.sessions.data_plane = replace(PLANE, attached=frozenset({"eth0"}), engine=False)
    assert world.sessions.replan() == {"call": "XDP is not attached to eth1, and no engine runs"}
    assert {flow.path for flow in world.sessions.query("call")} == {"kernel"}


def test_a_route_that_leaves_by_a_bare_interface_moves_the_call(world: World) -> None:
    world.call()
    old = world.hops.route
    world.hops.route = lambda target, source="": replace(old(target, source), interface="wg0")
    assert world.sessions.replan() == {}
    assert {flow.reason for flow in world.sessions.query("call")} == {"XDP is not attached to wg0"}


def test_ports_that_are_not_free_cannot_be_restored(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    state = world.sessions.snapshot("call")
    world.restart()
    world.ports.restore(RELAY_B, state["proposed"]["ports"]["b"][1])
    with pytest.raises(ValueError, match="is not free"):
        world.sessions.restore("call", state)
    assert (world.taken(), world.sessions.calls()) == ((0, 1), frozenset())


def test_a_call_without_media_has_nothing_to_keep(world: World) -> None:
    assert world.sessions.snapshot("call") == {}
    assert world.sessions.restore("call", {}) == 0
    assert world.sessions.calls() == frozenset()


def test_a_thousand_calls_leave_nothing_behind(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, pairs=200)
    for number in range(1000):
        now = float(number)
        world.call(str(number), now=now)
        if number % 3 == 0:
            world.sessions.offer(str(number), "b", sdp(BOB, AUDIO, VIDEO), BOB, now, toward=ALICE)
        world.sessions.delete(str(number), now)
    assert (world.taken(), table.active(), world.sessions.calls()) == ((0, 0), [], frozenset())


def refusal_of(world: World, name: str, now: float = 0.0) -> MediaRefused | None:
    try:
        world.call(name, now=now)
    except MediaRefused as refused:
        return refused
    return None


def sdp(where: str, *media: str) -> bytes:
    head = f"v=0\r\no=- 1 1 IN IP4 {where.partition('/')[0]}\r\ns=-\r\nc=IN IP4 {where}\r\nt=0 0\r\n"
    return (head + "".join(media or (AUDIO,))).encode()


def m_lines(body: bytes) -> list[bytes]:
    return [line for line in body.splitlines() if line.startswith(b"m=")]


def rtp_port(body: bytes) -> int:
    return int(m_lines(body)[0].split()[1])


def address(body: bytes) -> str:
    return next(line for line in body.decode().splitlines() if line.startswith("c=")).split()[-1]
