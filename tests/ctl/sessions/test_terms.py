# SPDX-License-Identifier: GPL-3.0-or-later
"""One side with RTCP beside RTP, the other with a port for it: the flows of such a call."""

import json

import pytest

from ctl.kernel.flowrule import FlowFlag
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.terms import Mux, Terms
from tests.ctl.world import ALICE, BOB, RELAY_A, RELAY_B, World, rtp_port, sdp

MUXED, PLAIN = "m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n", "m=audio 6000 RTP/AVP 0\r\n"


def test_rtcp_of_one_port_goes_to_a_port_of_its_own_and_back(world: World) -> None:
    terms = Terms(Mux("never", "always"))
    to_bob = world.sessions.offer("call", "a", sdp(ALICE, MUXED), ALICE, 0.0, toward=BOB, terms=terms)
    to_alice = world.sessions.answer("call", "b", sdp(BOB, PLAIN), BOB, 0.0)
    mine, other = (RELAY_A, rtp_port(to_alice)), (RELAY_B, rtp_port(to_bob))
    beside, above = world.table.at(mine), world.table.at((mine[0], mine[1] + 1))
    assert (beside.demux, beside.flags, beside.target) == (True, FlowFlag.RTCP_MUX, (BOB, 6000))
    assert (above.source, above.egress, above.target) == ((ALICE, 4000), (other[0], other[1] + 1), (BOB, 6001))
    back = world.table.at((other[0], other[1] + 1))
    assert (back.flags, back.source, back.egress, back.target) == (FlowFlag.RTCP, (BOB, 6001), mine, (ALICE, 4000))
    assert not world.table.at(other).demux
    state, rules = json.loads(json.dumps(world.sessions.snapshot("call"))), dict(world.table.rules)
    world.restart()
    assert world.sessions.restore("call", state) == 0
    assert world.table.rules == rules


def test_fax_is_not_answered_by_sound(world: World) -> None:
    world.sessions.offer("call", "a", sdp(ALICE, "m=image 4000 udptl t38\r\n"), ALICE, 0.0, toward=BOB)
    with pytest.raises(MediaRefused, match="the answer has audio over RTP/AVP where image over udptl was offered"):
        world.sessions.answer("call", "b", sdp(BOB, PLAIN), BOB, 0.0)
