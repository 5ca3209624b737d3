# SPDX-License-Identifier: GPL-3.0-or-later
"""RTCP beside RTP for a peer that has a port of its own for it, and flows that carry what is neither."""

import pytest

from tests.bpf import model
from tests.bpf.cases import EGRESS, INDEX, Case, caller_flow, check, ids, packed, sent
from tests.bpf.packets import CALLEE, CALLER, frame, rtcp, rtp

CONTROL = (EGRESS[0], EGRESS[1] + 1)
LISTENS = (CALLEE[0], CALLEE[1] + 1)
FAX = bytes.fromhex("0001")


@pytest.fixture
def apart(relay):
    """The caller multiplexes; the callee has RTCP at a port of its own."""
    relay.put(INDEX, caller_flow(flags=model.RTCP_MUX, demux=True))
    rule = {"flags": model.RTCP, "egress": packed(CONTROL), "target": packed(LISTENS), "partner": None}
    relay.put(INDEX + 1, caller_flow(**rule))
    return relay


@pytest.mark.parametrize("words", [{}, {"checksum": 0}], ids=["checksum", "none"])
def test_rtcp_goes_on_as_the_flow_above_says(apart, words):
    outcome = apart.run(frame(rtcp(), **words))
    assert outcome.verdict == model.TX
    assert outcome.data.hex() == sent(rtcp(), source=CONTROL, to=LISTENS, **words).hex()
    assert [apart.flows[index].track.packets for index in (INDEX, INDEX + 1)] == [0, 1]


def test_rtp_beside_it_takes_its_own_way(apart):
    for number in range(1, 4):
        assert apart.run(frame(rtp(number))).data.hex() == sent(rtp(number)).hex()
    assert [apart.flows[index].track.packets for index in (INDEX, INDEX + 1)] == [3, 0]


def test_a_stranger_is_one_to_the_flow_above(apart):
    assert apart.run(frame(rtcp(), source=("192.0.2.66", 4000))).verdict == model.DROP
    assert [apart.ledgers[index].tally.rejected for index in (INDEX, INDEX + 1)] == [0, 1]


def test_without_a_flow_above_it_ends(relay):
    relay.put(INDEX, caller_flow(flags=model.RTCP_MUX, demux=True))
    assert relay.run(frame(rtcp())).verdict == model.DROP
    assert list(relay.reasons()) == [model.UNKNOWN_PORT]


RAW = {"action": model.RAW, "flags": model.RTCP}
CASES = [
    Case("UDPTL", frame(FAX), out=sent(FAX), flow=RAW),
    Case("nothing at all", frame(b""), out=sent(b""), flow=RAW),
    Case("what looks like RTP", frame(), out=sent(), flow=RAW),
    Case("a stranger", frame(FAX, source=(CALLER[0], 4002)), model.WRONG_SOURCE, flow=RAW),
    Case("switched off", frame(FAX), model.SWITCHED_OFF, flow={**RAW, "state": model.OFF}),
    Case("UDPTL on a flow for RTP", frame(FAX), model.SHORT),
]


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_raw(relay, case):
    check(relay, case)


def test_a_raw_flow_learns_its_port(relay):
    relay.put(INDEX, caller_flow(**RAW, state=model.LEARNING))
    assert relay.run(frame(FAX, source=(CALLER[0], 4711))).verdict == model.TX
    assert relay.run(frame(FAX, source=(CALLER[0], 4712))).verdict == model.DROP
