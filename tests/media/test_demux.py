# SPDX-License-Identifier: GPL-3.0-or-later
"""A leg with RTCP beside RTP, and another with a port for it; flows of which the engine looks at nothing."""

import random
from dataclasses import replace

import pytest

from media.flows import EngineFlow, EngineKeys
from tests.media.conftest import RELAY

SUITE = "AES_CM_128_HMAC_SHA1_80"
KEYS = [EngineKeys(SUITE, random.Random(number).randbytes(30)) for number in range(2)]
CALLER, NEAR = (RELAY, 30012), (RELAY, 30000)


@pytest.fixture
def control(make_peer):
    """The callee's port for RTCP."""
    return make_peer("127.77.2.1")


def apart(engine, call, control, **secured):
    """The caller multiplexes, by the flow at NEAR; what is above it has the callee's RTCP."""
    a, b = call.facing_a, call.facing_b
    source = (a.source_address, a.source_port)
    engine.set_pair(replace(a, mux=True, demux=True, open=secured.get("open")), replace(b, seal=secured.get("seal")))
    above = EngineFlow(RELAY, a.local_port + 1, *source, *control.name, kind="rtcp")
    other = EngineFlow(RELAY, b.local_port + 1, *control.name, *source, kind="rtcp")
    engine.set_pair(above, other)
    return above, other


def test_rtcp_changes_ports_both_ways(engine, call, control, rtp, rtcp, settled):
    above, other = apart(engine, call, control)
    call.a.send(rtcp(), call.facing_a.key)
    assert control.receive() == (rtcp(), other.key)
    control.send(rtcp(), other.key)
    assert call.a.receive() == (rtcp(), call.facing_a.key)
    call.a.send(rtp(0), call.facing_a.key)
    assert call.b.receive() == (rtp(0), call.facing_b.key)
    counted = [settled(engine, flow, 1).packets for flow in (call.facing_a, above, other)]
    assert counted == [1, 1, 1]


def test_the_leg_that_multiplexes_has_one_key_for_both(engine, call, control, rtp, rtcp):
    """The caller speaks SRTP here by a further pair of flows, which seals for it."""
    engine.set_pair(
        EngineFlow(RELAY, 30010, *call.a.name, *NEAR, mux=True, seal=KEYS[0]),
        EngineFlow(*CALLER, *NEAR, *call.a.name, mux=True, open=KEYS[1]),
    )
    a, b = call.facing_a, call.facing_b
    inner = replace(
        call,
        facing_a=replace(a, source_address=CALLER[0], source_port=CALLER[1]),
        facing_b=replace(b, target_address=CALLER[0], target_port=CALLER[1]),
    )
    _, other = apart(engine, inner, control, open=KEYS[0], seal=KEYS[1])
    call.a.send(rtp(0), (RELAY, 30010))
    assert call.b.receive()[0][:2] == rtp(0)[:2]
    call.a.send(rtcp(), (RELAY, 30010))
    assert control.receive()[0][:2] == rtcp()[:2]
    control.send(rtcp(), other.key)
    assert call.a.receive()[0][:2] == rtcp()[:2]


def test_what_is_raw_is_not_looked_at(engine, call, make_peer, settled):
    call = call.of_kind("raw").learning().open(engine)
    for data in (b"\0\1", b"", bytes(400)):
        call.a.send(data, call.facing_a.key)
        assert call.b.receive() == (data, call.facing_b.key)
    make_peer("127.77.9.9").send(b"\0\1", call.facing_a.key)
    found = settled(engine, call.facing_a, 4)
    assert (found.packets, found.rejected, found.ssrc) == (3, 1, None)
