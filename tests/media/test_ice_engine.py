# SPDX-License-Identifier: GPL-3.0-or-later
"""ICE on the engine's own sockets: checks beside media, media only on the pair they select, and news of it."""

import os
import signal
import struct
import time
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from media.flow_json import flow_from_json, flow_to_json
from media.flows import EngineError
from media.ice import EngineIce, IceCandidate
from tests.media import stun_messages as stun
from tests.patience import PATIENCE

LITE = EngineIce("lite", "ours", "o" * 22, "theirs", "t" * 22)
PASSWORD = "o" * 22


def paired(call, ice=LITE):
    """The call with ICE toward a."""
    return replace(call, facing_a=replace(call.facing_a, ice=ice))


def check(peer, flow, **settings):
    """One check by a peer, and the answer to it, if there was one before long."""
    request = stun.check("ours:theirs", **settings)
    peer.send(request.pack(PASSWORD), flow.key)
    answer = stun.Message.parse(peer.receive()[0])
    assert answer.transaction == request.transaction
    return answer


def wait_events(engine, kind="ice"):
    """The events of a kind, once there is one."""
    until = time.monotonic() + PATIENCE
    while not (found := [event for event in engine.events() if event.type == kind]):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def test_media_passes_on_the_selected_pair_and_on_no_other(engine, call, rtp, make_peer, settled):
    call = paired(call).open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    call.b.send(rtp(0), call.facing_b.key)
    assert settled(engine, call.facing_a, 1).last_reason == "no-pair"
    assert settled(engine, call.facing_b, 1).last_reason == "no-nexthop"
    assert check(call.a, call.facing_a).mapped == call.a.name
    call.a.send(rtp(0), call.facing_a.key)
    assert call.b.receive() == (rtp(0), call.facing_b.key), "it was checked, and may be nominated any moment"
    assert check(call.a, call.facing_a, use=True).mapped == call.a.name
    call.a.send(rtp(1), call.facing_a.key)
    assert call.b.receive() == (rtp(1), call.facing_b.key)
    call.b.send(rtp(1), call.facing_b.key)
    assert call.a.receive() == (rtp(1), call.facing_a.key)
    moved = make_peer("127.77.1.9")
    moved.send(rtp(2), call.facing_a.key)
    assert settled(engine, call.facing_a, 4).rejected == 1
    check(moved, call.facing_a)
    check(moved, call.facing_a, use=True)
    moved.send(rtp(3), call.facing_a.key)
    assert call.b.receive() == (rtp(3), call.facing_b.key)
    call.b.send(rtp(2), call.facing_b.key)
    assert moved.receive() == (rtp(2), call.facing_a.key)
    (one,) = engine.read([call.facing_a.key])
    assert (one.ice, one.selected, one.checks, one.refused) == ("selected", moved.name, 4, 0)


def test_what_was_selected_is_told(engine, call):
    call = paired(call).open(engine)
    assert [event.kind for event in wait_events(engine)] == [1]
    check(call.a, call.facing_a, use=True)
    (event,) = wait_events(engine)
    address, port = IPv6Address(event.data[:16]).ipv4_mapped, struct.unpack("!H", event.data[16:])[0]
    assert (event.flow, event.kind, (str(address), port)) == (call.facing_a.key, 2, call.a.name)


def test_strangers_are_dropped_and_counted(engine, call, make_peer, settled):
    call = paired(call).open(engine)
    stranger = make_peer("127.77.9.9")
    for _ in range(20):
        stranger.send(stun.check("ours:theirs", use=True).pack("guessed"), call.facing_a.key)
    one = settled(engine, call.facing_a, 20)
    assert (one.last_reason, one.refused, one.selected, stranger.waiting()) == ("bad-stun", 20, None, 0)
    assert engine.summary().reasons["bad-stun"][0] == 20


def test_without_ice_a_check_is_no_media(engine, call, settled):
    call.open(engine)
    call.a.send(stun.check("ours:theirs").pack(PASSWORD), call.facing_a.key)
    assert settled(engine, call.facing_a, 1).last_reason == "bad-version"


def test_checks_are_answered_while_the_call_is_held(engine, call, rtp, settled):
    call = paired(call)
    call = replace(call, facing_a=replace(call.facing_a, held=True)).open(engine)
    assert check(call.a, call.facing_a, use=True).kind == stun.SUCCESS
    call.a.send(rtp(0), call.facing_a.key)
    assert settled(engine, call.facing_a, 1).last_reason == "off"


def test_the_pair_outlives_changes_and_the_worker(engine_process, call, rtp):
    client = engine_process("--workers", "1").client
    call = paired(call).open(client)
    check(call.a, call.facing_a, use=True)
    replace(call, facing_a=replace(call.facing_a, clock_rate=16000)).open(client)
    (worker,) = client.summary().processes
    os.kill(worker, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while client.summary().processes in ((worker,), (0,)):
        assert time.monotonic() < until
        time.sleep(0.01)
    call.b.send(rtp(0), call.facing_b.key)
    assert call.a.receive() == (rtp(0), call.facing_a.key)
    assert check(call.a, call.facing_a).kind == stun.SUCCESS
    assert client.read([call.facing_a.key])[0].selected == call.a.name


def test_without_ice_again_the_description_counts(engine, call, rtp, make_peer):
    paired(call).open(engine)
    moved = make_peer("127.77.1.9")
    check(moved, call.facing_a, use=True)
    call.open(engine)
    call.b.send(rtp(0), call.facing_b.key)
    assert call.a.receive() == (rtp(0), call.facing_a.key)
    assert engine.read([call.facing_a.key])[0].ice == "off"


def test_full_ice_checks_from_the_flow_s_own_socket(engine, call):
    host, port = call.a.name
    ice = replace(LITE, role="controlling", candidates=(IceCandidate(host, port, 200),), priority=300)
    call = paired(call, ice).open(engine)
    uses = []
    while True:
        data, source = call.a.receive()
        assert source == call.facing_a.key
        request = stun.Message.parse(data)
        assert request.attributes[stun.PRIORITY] == struct.pack("!I", 300)
        uses.append(stun.USE_CANDIDATE in request.attributes)
        value = stun.mapped_value(*source, request.transaction)
        call.a.send(stun.Message(stun.SUCCESS, request.transaction, {stun.MAPPED: value}).pack("t" * 22), source)
        if uses[-1]:
            break
    assert uses[0] is False
    until = time.monotonic() + PATIENCE
    while engine.read([call.facing_a.key])[0].selected != call.a.name:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_counters_begin_anew_where_that_is_asked_for(engine, call, rtp, settled):
    call.open(engine)
    call.a.send(rtp(0), call.facing_a.key)
    settled(engine, call.facing_a, 1)
    replace(call, facing_a=replace(call.facing_a, afresh=True)).open(engine)
    one, other = engine.read([call.facing_a.key, call.facing_b.key])
    assert (one.packets, other.packets, one.flow.afresh) == (0, 0, False)


def test_what_is_read_back_tells_no_secret(engine, call):
    ice = replace(LITE, candidates=(IceCandidate("192.0.2.9", 9, 9),), tiebreaker=2**63)
    call = paired(call, ice).open(engine)
    shown = engine.read([call.facing_a.key])[0].flow
    assert shown == engine.read([call.facing_a.key])[0].flow
    assert PASSWORD not in repr(flow_to_json(shown))
    assert "t" * 22 not in repr(flow_to_json(shown))
    call.open(engine)
    assert engine.read([call.facing_a.key])[0].flow == shown
    paired(call, replace(ice, peer_password="u" * 22)).open(engine)
    assert engine.read([call.facing_a.key])[0].flow != shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "other"},
        {"own_name": ""},
        {"peer_password": "x" * 257},
        {"own_name": "a\0b"},
        {"candidates": (IceCandidate("224.0.0.1", 9, 9),)},
        {"candidates": (IceCandidate("192.0.2.1", 9, 9),) * 25},
    ],
)
def test_what_cannot_be_is_refused(engine, call, wrong):
    with pytest.raises(EngineError) as refused:
        paired(call, replace(LITE, **wrong)).open(engine)
    assert refused.value.code == "bad-flow"


def test_the_message_carries_it_whole(call):
    ice = EngineIce("controlled", "a", "b", "c", "d", (IceCandidate("2001:db8::1", 9, 8),), 7, 6, complete=False)
    flow = replace(call.facing_a, ice=ice, afresh=True)
    assert flow_from_json(flow_to_json(flow)) == flow
    for candidate in (["192.0.2.1", 9], ["nowhere", 9, 9], ["192.0.2.1", 0, 9], "x"):
        with pytest.raises(EngineError):
            flow_from_json({**flow_to_json(flow), "ice": {**flow_to_json(flow)["ice"], "candidates": [candidate]}})
