# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay does not carry, and what it has no room for."""

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from ctl.sessions.dataplane import DataPlane
from ctl.sessions.media_sessions import MediaRefused
from media.flows import EngineError
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, RELAY_A, RELAY_B, VIDEO, World, refusal_of, sdp


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
    "srtp": (AUDIO.replace("RTP/AVP", "RTP/SAVP"), ALICE, "RTP/SAVP without a suite or fingerprint"),
    "dtls": (AUDIO.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF"), ALICE, "UDP/TLS/RTP/SAVPF without a suite"),
    "other": ("m=application 4000 UDP/BFCP *\r\n", ALICE, "application over UDP/BFCP is not relayed"),
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


def test_a_laboratory_may_call_on_loopback(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, plane=replace(PLANE, allowed=(IPv4Network("127.0.0.0/8"),)))
    hops.here.add("127.0.0.5")
    world.call(a=sdp("127.0.0.5"))
    assert "127.0.0.5" in {flow.target[0] for flow in world.table.rules.values() if flow.target}


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
