# SPDX-License-Identifier: GPL-3.0-or-later
"""What each leg is sent, and the flows that follow from an offer and its answer."""

from typing import Any

from ctl.kernel.flowrule import FlowState
from ctl.sessions.descriptions import Description
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, RELAY_B, VIDEO, World, address, m_lines, rtp_port, sdp


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


def test_no_source_is_promised_for_what_may_come_under_one_of_ours(world: World) -> None:
    named = "a=ssrc:7 cname:a\r\na=ssrc-group:FID 7 8\r\n"
    to_bob, _ = world.call(a=sdp(ALICE, AUDIO + named, VIDEO + named), b=sdp(BOB, AUDIO, VIDEO))
    audio, video = to_bob.split(b"m=")[1:]
    assert b"a=ssrc" not in audio
    assert video.count(b"a=ssrc") == 2


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
        [{"payload_type": 97, "name": "opus", "clock_rate": 48000}],
        [101],
        40.0,
    )


def test_of_several_fingerprints_the_strongest_counts() -> None:
    hashes = (("sha-1", 20), ("sha-256", 32), ("sha3-512", 64))
    lines = [f"a=fingerprint:{name} {':'.join(['AB'] * size)}\r\n" for name, size in hashes]
    for written in (lines, lines[::-1]):
        (stream,) = Description(sdp(ALICE, AUDIO + "".join(written))).streams(ALICE)
        assert stream.fingerprint == f"sha-256 {':'.join(['AB'] * 32)}"


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


def test_several_streams_are_never_bundled(world: World) -> None:
    group, mids = "a=group:LS 0 1\r\na=group:BUNDLE 0 1\r\n", ("a=mid:0\r\n", "a=mid:1\r\na=bundle-only\r\n")
    kinds = ("audio 4000", "video 4002")
    streams = [f"m={kind} RTP/AVP 0\r\n{mid}" for kind, mid in zip(kinds, mids, strict=True)]
    offer = sdp(ALICE, "".join(streams)).replace(b"m=audio", group.encode() + b"m=audio")
    to_bob = world.sessions.offer("call", "a", offer, ALICE, 0.0, toward=BOB)
    assert b"BUNDLE" not in to_bob
    assert b"bundle-only" not in to_bob
    assert to_bob.count(b"a=mid:") == 2
    assert b"a=group:LS 0 1\r\n" in to_bob
    alone = sdp(ALICE, streams[0]).replace(b"m=audio", b"a=group:BUNDLE 0\r\nm=audio")
    assert b"a=group:BUNDLE 0\r\n" in world.sessions.offer("other", "a", alone, ALICE, 0.0, toward=BOB)


def test_what_is_offered_for_a_bundle_alone_is_refused_without_it(world: World) -> None:
    """It has no port (RFC 8843 section 6); an answer that takes it all the same does not make it one."""
    group, audio = b"a=group:BUNDLE 0 1\r\nm=audio", "m=audio 4000 RTP/AVP 0\r\na=mid:0\r\n"
    offer = sdp(ALICE, audio, "m=video 0 RTP/AVP 96\r\na=mid:1\r\na=bundle-only\r\n").replace(b"m=audio", group)
    to_bob, to_alice = world.call(a=offer, b=sdp(BOB, audio, VIDEO))
    assert b"BUNDLE" not in to_bob
    assert b"bundle-only" not in to_bob
    assert [m_lines(each)[1] for each in (to_bob, to_alice)] == [b"m=video 0 RTP/AVP 96"] * 2


def test_video_is_relayed_like_audio(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    assert {(flow.stream, flow.kind) for flow in world.sessions.query("call")} == {
        (0, "rtp"), (0, "rtcp"), (1, "rtp"), (1, "rtcp"),
    }  # fmt: skip


def test_an_answer_cannot_bring_a_refused_stream_to_life(world: World) -> None:
    _, to_alice = world.call(a=sdp(ALICE, AUDIO, "m=video 0 RTP/AVP 96\r\n"), b=sdp(BOB, AUDIO, VIDEO))
    assert m_lines(to_alice)[1].startswith(b"m=video 0 ")


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


def test_a_thousand_calls_leave_nothing_behind(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, pairs=200)
    for number in range(1000):
        now = float(number)
        world.call(str(number), now=now)
        if number % 3 == 0:
            world.sessions.offer(str(number), "b", sdp(BOB, AUDIO, VIDEO), BOB, now, toward=ALICE)
        world.sessions.delete(str(number), now)
    assert (world.taken(), table.active(), world.sessions.calls()) == ((0, 0), [], frozenset())
