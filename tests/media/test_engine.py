# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay through real sockets: who gets through, where to, and what is counted."""

import resource
import socket
import struct
import time
from dataclasses import replace

import pytest

from media.engine import Engine
from media.flow_json import flow_from_json, flow_to_json
from media.flows import EngineError, EngineFlow
from tests.media.conftest import RELAY

IP_RECVTTL = 12  # linux/in.h; the socket module lacks it
BROADCAST = "127.255.255.255"  # a socket may not send there unless it asked to


def test_relays_both_ways_and_counts(engine, call, rtp, settled):
    call.open(engine)
    for i in range(10):
        call.a.send(rtp(i), call.facing_a.key)
        call.b.send(rtp(i, ssrc=8, payload=b"b" * 20), call.facing_b.key)
    for i in range(10):
        assert call.b.receive() == (rtp(i), call.facing_b.key)
        assert call.a.receive() == (rtp(i, ssrc=8, payload=b"b" * 20), call.facing_a.key)
    one, other = settled(engine, call.facing_a, 10), settled(engine, call.facing_b, 10)
    assert (one.packets, one.bytes, one.ssrc, one.payload_type) == (10, 1720, 7, 0)
    assert (other.packets, other.bytes, other.ssrc) == (10, 320, 8)
    assert (one.lost, one.duplicates, one.reordered, one.rejected, one.dropped) == (0, 0, 0, 0, 0)
    assert abs(one.last_seen - time.monotonic()) < 5
    assert engine.summary().reasons == {"forwarded": (20, 2040)}


def test_counts_loss_order_duplicates_and_restarts(engine, call, rtp, settled):
    call.open(engine)
    for i in [0, 1, 2, 6, 4, 4, 7]:
        call.a.send(rtp(i), call.facing_a.key)
    call.a.send(rtp(8, ssrc=99), call.facing_a.key)
    call.a.send(rtp(30000, ssrc=99), call.facing_a.key)
    s = settled(engine, call.facing_a, 9)
    assert (s.lost, s.reordered, s.duplicates, s.ssrc_changes, s.resets) == (2, 1, 1, 1, 1)
    assert (s.packets, call.b.waiting()) == (9, 9)
    last = struct.unpack_from("!I", rtp(30000, ssrc=99), 4)[0]
    assert s.sequence == 30000
    assert abs(s.timestamp - last) <= 8  # a tick is rounded away here and there


def test_jitter_is_that_of_rfc_3550(engine, call, rtp, settled):
    call.open(engine)
    arrivals, jitter, before = [], 0.0, None
    for i in range(20):
        call.a.send(rtp(i), call.facing_a.key)
        arrivals.append(settled(engine, call.facing_a, i + 1).last_seen)
        time.sleep(0.005 if i % 2 else 0.03)
    for i, arrival in enumerate(arrivals):
        transit = arrival - i * 0.02
        if before is not None:
            jitter += (abs(transit - before) - jitter) / 16
        before = transit
    assert settled(engine, call.facing_a, 20).jitter == pytest.approx(jitter, abs=0.0005)


def test_wrong_source_never_passes_and_is_counted(engine, call, rtp, make_peer, settled):
    call.open(engine)
    stranger, other_port = make_peer("127.77.9.9"), make_peer("127.77.1.1")
    for i in range(500):
        stranger.send(rtp(i), call.facing_a.key)
        other_port.send(rtp(i), call.facing_a.key)
        if i % 50 == 49:
            settled(engine, call.facing_a, 2 * (i + 1))
    s = settled(engine, call.facing_a, 1000)
    assert (s.rejected, s.packets, s.dropped, call.b.waiting()) == (1000, 0, 0, 0)
    assert s.rejected_source == other_port.name
    assert engine.summary().reasons["wrong-source"][0] == 1000


def test_learns_a_port_inside_the_address_once(engine, call, rtp, make_peer, settled):
    call = call.learning().open(engine)
    stranger, late = make_peer("127.77.9.9"), make_peer("127.77.1.1")
    stranger.send(rtp(0), call.facing_a.key)
    assert settled(engine, call.facing_a, 1).learned_port is None
    call.a.send(rtp(1), call.facing_a.key)
    assert settled(engine, call.facing_a, 2).learned_port == call.a.name[1]
    late.send(rtp(2), call.facing_a.key)
    s = settled(engine, call.facing_a, 3)
    assert (s.learned_port, s.rejected, s.packets) == (call.a.name[1], 2, 1)


def test_partner_sends_to_the_learned_port(engine, call, rtp, read, settled):
    call = call.learning().open(engine)
    call.b.send(rtp(0), call.facing_b.key)
    s = settled(engine, call.facing_b, 1)
    assert (s.dropped, s.last_reason) == (1, "no-nexthop")
    call.a.send(rtp(0), call.facing_a.key)
    settled(engine, call.facing_a, 1)
    call.b.send(rtp(1), call.facing_b.key)
    assert call.a.receive() == (rtp(1), call.facing_a.key)
    assert read(engine, call.facing_b).learned_target == call.a.name[1]


@pytest.mark.parametrize("junk", [b"", b"x", b"\x00" * 40, b"\x40" + b"\x00" * 40, b"\x8f" + b"\x00" * 40])
def test_junk_teaches_no_port(engine, call, junk, settled):
    call = call.learning().open(engine)
    call.a.send(junk, call.facing_a.key)
    s = settled(engine, call.facing_a, 1)
    assert (s.learned_port, s.dropped, s.packets) == (None, 1, 0)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\x80" * 7, "short"),
        (b"\x80\x00" + bytes(9), "short"),
        (b"\x81\x00" + bytes(13), "short"),
        (b"\x90\x00" + bytes(13), "short"),
        (b"\x90\x00" + bytes(10) + b"\xbe\xde\x00\x02" + bytes(7), "short"),
        (b"\x40\x00" + bytes(20), "bad-version"),
        (b"\x80\xc8\x00\x06" + bytes(20), "bad-rtcp"),
        (b"\x80\x00" + bytes(3000), "bad-length"),
    ],
)
def test_bad_packets_are_dropped_by_reason(engine, call, packet, reason, settled):
    call.open(engine)
    call.a.send(packet, call.facing_a.key)
    s = settled(engine, call.facing_a, 1)
    assert (s.dropped, s.last_reason, s.packets) == (1, reason, 0)


@pytest.mark.parametrize("packet", [b"\x8f\x60" + bytes(70), b"\x90\x00" + bytes(10) + b"\xbe\xde\x00\x02" + bytes(8)])
def test_contributing_sources_and_extensions_pass(engine, call, packet):
    call.open(engine)
    call.a.send(packet, call.facing_a.key)
    assert call.b.receive()[0] == packet


def test_rtcp_flow(engine, call, rtp, rtcp, settled):
    call = call.learning().of_kind("rtcp").open(engine)
    call.a.send(rtp(), call.facing_a.key)
    s = settled(engine, call.facing_a, 1)
    assert (s.last_reason, s.learned_port) == ("bad-rtcp", None)
    call.a.send(rtcp(), call.facing_a.key)
    assert call.b.receive() == (rtcp(), call.facing_b.key)
    s = settled(engine, call.facing_a, 2)
    assert (s.learned_port, s.packets, s.ssrc) == (call.a.name[1], 1, None)


def test_rtcp_beside_rtp_passes_but_teaches_nothing(engine, call, rtcp, settled):
    call = call.learning().open(engine)
    call.a.send(rtcp(), call.facing_a.key)
    assert call.b.receive()[0] == rtcp()
    s = settled(engine, call.facing_a, 1)
    assert (s.learned_port, s.packets, s.ssrc) == (None, 1, None)


def test_ttl_falls_and_ends_a_loop(engine, call, rtp, settled):
    call.open(engine)
    call.b.socket.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    call.a.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    call.a.send(rtp(), call.facing_a.key)
    _, control, _, _ = call.b.socket.recvmsg(2000, 100)
    assert int.from_bytes(control[0][2], "little") == 8
    call.a.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
    call.a.send(rtp(1), call.facing_a.key)
    assert settled(engine, call.facing_a, 2).last_reason == "ttl"


@pytest.mark.parametrize(("dscp", "leaves"), [(None, 0x28), (46, 0xB8), (0, 0)])
def test_dscp_is_kept_or_set(engine, call, rtp, dscp, leaves, settled):
    replace(call, facing_a=replace(call.facing_a, dscp=dscp)).open(engine)
    call.b.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    call.a.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
    call.a.send(rtp(), call.facing_a.key)
    _, control, _, _ = call.b.socket.recvmsg(2000, 100)
    assert control[0][2] == bytes([leaves])
    assert settled(engine, call.facing_a, 1).tos == 0x28


def test_hold_and_resume_keep_socket_and_statistics(engine, call, rtp, settled):
    call.open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    assert call.b.receive()[0] == rtp(0)
    replace(call, facing_a=replace(call.facing_a, held=True)).open(engine)
    call.a.send(rtp(1), call.facing_a.key)
    assert settled(engine, call.facing_a, 2).last_reason == "off"
    call.open(engine)
    call.a.send(rtp(2), call.facing_a.key)
    assert call.b.receive()[0] == rtp(2)
    assert settled(engine, call.facing_a, 3).packets == 2


def test_a_target_moves_mid_call(engine, call, rtp, make_peer, settled):
    call.open(engine)
    elsewhere = make_peer("127.77.3.1")
    address, port = elsewhere.name
    moved = replace(
        call,
        facing_a=replace(call.facing_a, target_address=address, target_port=port),
        facing_b=replace(call.facing_b, source_address=address, source_port=port),
    ).open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    assert elsewhere.receive() == (rtp(0), call.facing_b.key)
    elsewhere.send(rtp(0), call.facing_b.key)
    assert call.a.receive()[0] == rtp(0)
    call.b.send(rtp(1), call.facing_b.key)
    assert settled(engine, moved.facing_b, 2).rejected == 1


def test_an_update_keeps_what_was_learned_unless_the_leg_moves(engine, call, rtp, read, settled):
    call = call.learning().open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    settled(engine, call.facing_a, 1)
    replace(call, facing_a=replace(call.facing_a, dscp=46)).open(engine)
    assert read(engine, call.facing_a).learned_port == call.a.name[1]
    call.b.send(rtp(0), call.facing_b.key)
    assert call.a.receive()[0] == rtp(0)
    replace(call, facing_a=replace(call.facing_a, source_address="127.77.4.1")).open(engine)
    assert read(engine, call.facing_a).learned_port is None
    assert read(engine, call.facing_b).learned_target is None


def test_a_flow_reads_back_as_it_was_set(engine, call, read):
    nowhere = replace(call.facing_a, target_address="0.0.0.0", target_port=0, kind="rtcp", held=True)
    engine.set_pair(nowhere, replace(call.facing_b, dscp=46, source_port=None))
    assert read(engine, call.facing_a).flow == nowhere
    assert read(engine, call.facing_b).flow == replace(call.facing_b, dscp=46, source_port=None)


def test_removal_closes_both_sockets_and_tells_the_last(engine, call, rtp, make_peer, settled):
    call.open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    settled(engine, call.facing_a, 1)
    last = engine.remove(call.facing_a.key)
    assert [(s.key, s.packets) for s in last] == [(call.facing_a.key, 1), (call.facing_b.key, 0)]
    assert engine.remove(call.facing_b.key) == ()
    assert engine.read([call.facing_a.key]) == ()
    assert engine.list(0, 10)[0] == []
    make_peer(*call.facing_a.key)
    make_peer(*call.facing_b.key)


def test_a_removed_flow_may_come_back_clean(engine, call, rtp, read, settled):
    call.open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    settled(engine, call.facing_a, 1)
    engine.remove(call.facing_a.key)
    call.open(engine)
    s = read(engine, call.facing_a)
    assert (s.packets, s.ssrc, s.last_seen) == (0, None, None)


def refusal_code(engine, one, other):
    with pytest.raises(EngineError) as caught:
        engine.set_pair(one, other)
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_port_in_use(engine, call, make_peer, read):
    make_peer(*call.facing_b.key)
    assert refusal_code(engine, call.facing_a, call.facing_b) == "port-in-use"
    assert engine.list(0, 10)[0] == []
    make_peer(*call.facing_a.key)  # all or nothing: it was let go


def test_address_not_ours(engine, call):
    away = replace(call.facing_a, local_address="192.0.2.1")
    assert refusal_code(engine, away, call.facing_b) == "address-not-ours"


@pytest.mark.parametrize(
    "change",
    [
        {"local_address": "0.0.0.0"},
        {"local_address": "224.0.0.1"},
        {"source_address": "0.0.0.0"},
        {"source_address": "255.255.255.255"},
        {"target_address": "239.1.1.1"},
        {"dscp": 64},
    ],
)
def test_no_endpoint(engine, call, change):
    assert refusal_code(engine, replace(call.facing_a, **change), call.facing_b) == "bad-flow"


def test_bad_pairs(engine, call):
    call.open(engine)
    third = replace(call.facing_b, local_port=30004)
    assert refusal_code(engine, call.facing_a, third) == "bad-pair"
    assert refusal_code(engine, third, call.facing_a) == "bad-pair"
    assert refusal_code(engine, third, third) == "bad-pair"
    assert refusal_code(engine, call.facing_a, call.facing_a) == "bad-pair"


def test_full(call):
    engine = Engine(workers=1, flows=2)
    try:
        call.open(engine)
        one, other = replace(call.facing_a, local_port=30004), replace(call.facing_b, local_port=30006)
        assert refusal_code(engine, one, other) == "full"
    finally:
        engine.close()


def test_open_files_run_out(engine, call, read):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), limits[1]))
    try:
        assert refusal_code(engine, call.facing_a, call.facing_b) == "no-files"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        lowest.close()
    call.open(engine)
    assert read(engine, call.facing_a).packets == 0


@pytest.mark.parametrize(("workers", "flows"), [(0, 2), (65, 2), (1, 0), (1, 10**9)])
def test_an_impossible_engine_is_refused(workers, flows):
    with pytest.raises(EngineError, match=r"workers|flows"):
        Engine(workers, flows)


def test_what_the_host_refuses_to_send_is_a_drop(engine, call, rtp, settled):
    replace(call, facing_a=replace(call.facing_a, target_address=BROADCAST)).open(engine)
    for i in range(3):
        call.a.send(rtp(i), call.facing_a.key)
    s = settled(engine, call.facing_a, 3)
    assert (s.packets, s.bytes, s.dropped, s.last_reason) == (0, 0, 3, "no-nexthop")


def test_a_flow_is_copied_to_another_flow_at_its_address(engine, call, rtp, rtcp, make_peer, settled):
    """Whoever listens in gets what comes in, once more and from the other flow; RTCP goes to the partner alone."""
    listener, nobody = make_peer("127.77.5.5"), make_peer("127.77.6.6")
    told = replace(call.facing_a, copies=((RELAY, 30020),))
    engine.set_pair(told, call.facing_b)
    assert flow_from_json(flow_to_json(told)) == told
    inside = EngineFlow(RELAY, 30020, RELAY, told.local_port, *listener.name)
    engine.set_pair(inside, EngineFlow(RELAY, 30022, *listener.name, nobody.name[0], 0))
    for i in range(5):
        call.a.send(rtp(i), told.key)
        assert call.b.receive() == (rtp(i), call.facing_b.key)
        assert listener.receive() == (rtp(i), (RELAY, 30022))
    call.a.send(rtcp(), told.key)
    assert call.b.receive()[0] == rtcp()
    nobody.send(rtp(9), inside.key)
    assert settled(engine, inside, 6).rejected == 1
    assert listener.waiting() == 0
    engine.set_pair(call.facing_a, call.facing_b)
    call.a.send(rtp(6), told.key)
    assert call.b.receive()[0] == rtp(6)
    assert listener.waiting() == 0


def test_rtp_goes_back_to_its_sender_under_another_ssrc_and_rtcp_nowhere(engine, call, rtp, rtcp, settled):
    """Both at once, each from the port that it sends to; what is learned of a sender counts for that too."""
    told = replace(call.facing_a, echo=True, source_port=None, mux=True)
    assert flow_from_json(flow_to_json(told)) == told
    engine.set_pair(told, replace(call.facing_b, echo=True))
    for i in range(5):
        call.a.send(rtp(i), told.key)
        assert call.a.receive() == (rtp(i, ssrc=7 ^ 0xFFFFFFFF), told.key)
    call.b.send(rtp(1, ssrc=8), call.facing_b.key)
    assert call.b.receive() == (rtp(1, ssrc=8 ^ 0xFFFFFFFF), call.facing_b.key)
    call.a.send(rtcp(), told.key)
    s = settled(engine, told, 6)
    assert (s.packets, s.dropped, s.ssrc, s.last_reason) == (5, 1, 7, "off")
    assert (call.a.waiting(), call.b.waiting()) == (0, 0)


def test_who_hears_himself_does_not_hear_the_other(engine, call, rtp, settled):
    engine.set_pair(replace(call.facing_a, echo=True), replace(call.facing_b, held=True))
    call.b.send(rtp(0, ssrc=8), call.facing_b.key)
    assert settled(engine, call.facing_b, 1).dropped == 1
    call.a.send(rtp(1), call.facing_a.key)
    assert call.a.receive()[1] == call.facing_a.key
    assert (call.a.waiting(), call.b.waiting()) == (0, 0)


def test_no_more_copies_than_a_flow_can_have(engine, call):
    with pytest.raises(EngineError, match="at most 4 copies"):
        engine.set_pair(replace(call.facing_a, copies=((RELAY, 30020),) * 5), call.facing_b)
