# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send: strangers never, and a learned port once and for all."""

import random
import socket

import pytest

from tests.bpf import model
from tests.bpf.cases import INDEX, PARTNER, Case, callee_flow, caller_flow, check, ids, packed, sent
from tests.bpf.packets import CALLEE, CALLER, frame, rtcp, rtp

STRANGERS = 100_000
SAME_HOST = (CALLER[0], 4002)

REJECTED = [
    Case("another address", frame(source=("192.0.2.66", 4000)), model.WRONG_SOURCE),
    Case("address off by the last bit", frame(source=("192.0.2.11", 4000)), model.WRONG_SOURCE),
    Case("another port of the right address", frame(source=SAME_HOST), model.WRONG_SOURCE),
    Case("the other side of the call", frame(source=CALLEE), model.WRONG_SOURCE),
    Case("stranger to a learning flow", frame(source=("192.0.2.66", 4000)), model.WRONG_SOURCE, flow={"state": 1}),
    Case("stranger with rubbish", frame(b"x", source=("192.0.2.66", 4000)), model.WRONG_SOURCE),
    Case("stranger with RTCP", frame(rtcp(), source=SAME_HOST), model.WRONG_SOURCE, flow={"flags": model.RTCP}),
]


@pytest.mark.parametrize("case", REJECTED, ids=ids(REJECTED))
def test_rejected(relay, case):
    check(relay, case)
    tally = relay.ledgers[INDEX].tally
    source = case.packet[26:30], int.from_bytes(case.packet[34:36], "big")
    assert (tally.rejected, tally.dropped) == (1, 0)
    mapped = bytes(10) + b"\xff\xff" + source[0]
    assert bytes(tally.rejected_address) == mapped
    assert socket.ntohs(tally.rejected_port) == source[1]
    assert relay.events() == [("rejected", INDEX, 5, (mapped, source[1], "wrong_source"))]


def test_strangers_are_never_forwarded(relay):
    """100,000 packets from random addresses and ports: none is forwarded, each is counted."""
    dice = random.Random(7)
    relay.put(INDEX, caller_flow())
    relay.put(PARTNER, callee_flow(state=model.LEARNING))
    for number in range(STRANGERS):
        source = stranger(dice)
        to = ("10.0.0.1", 10000) if number % 2 else ("10.0.0.2", 10002)
        assert relay.run(frame(source=source, to=to, checksum=1)).verdict == model.DROP
    assert list(relay.reasons()) == [model.WRONG_SOURCE]
    assert relay.reasons()[model.WRONG_SOURCE][0] == STRANGERS
    assert sum(relay.ledgers[index].tally.rejected for index in (INDEX, PARTNER)) == STRANGERS
    assert relay.flows[PARTNER].track.binding == 0


def stranger(dice):
    """Neither party, but often near to one."""
    while True:
        host = dice.choice([CALLER[0], "192.0.2.11", socket.inet_ntoa(dice.randbytes(4))])
        source = host, dice.choice([4000, 4001, 6000, dice.randrange(1, 65536)])
        if source != CALLER and host != CALLEE[0]:
            return source


def test_learns_the_port_and_tells_the_partner(relay):
    relay.put(INDEX, caller_flow(state=model.LEARNING, source=packed((CALLER[0], 0))))
    relay.put(PARTNER, callee_flow())
    assert relay.run(frame(source=SAME_HOST)) == (model.TX, sent())
    assert relay.events() == [("learned", INDEX, 5, packed(SAME_HOST))]
    back = relay.run(frame(source=CALLEE, to=("10.0.0.2", 10002)))
    assert back.data[34:38] == bytes.fromhex("27100fa2")  # 10000 to 4002
    assert back.data == sent(source=("10.0.0.1", 10000), to=SAME_HOST)


def test_learned_port_does_not_move(relay):
    relay.put(INDEX, caller_flow(state=model.LEARNING))
    relay.put(PARTNER, callee_flow())
    relay.run(frame())
    binding = relay.flows[INDEX].track.binding
    for port in range(1, 4000):
        assert relay.run(frame(source=(CALLER[0], port), checksum=1)).verdict == model.DROP
    assert relay.flows[INDEX].track.binding == binding == 5 << 16 | socket.htons(4000)
    assert relay.flows[PARTNER].track.target == binding
    assert relay.ledgers[INDEX].tally.rejected == 3999
    assert relay.run(frame()).verdict == model.TX


@pytest.mark.parametrize(
    ("flags", "payload", "verdict"),
    [
        (0, b"\x80" + bytes(6), model.DROP),
        (0, rtp(first=0x40), model.DROP),
        (0, rtp(first=0x8F, body=bytes(8)), model.DROP),
        (model.RTCP_MUX, rtcp(), model.TX),
        (model.RTCP, rtp(), model.DROP),
        (model.RTCP, rtcp(words=9), model.DROP),
    ],
    ids=["short", "version", "CSRCs cut off", "multiplexed RTCP", "RTP on an RTCP port", "RTCP cut off"],
)
def test_teaches_nothing(relay, flags, payload, verdict):
    relay.put(INDEX, caller_flow(state=model.LEARNING, flags=flags))
    relay.put(PARTNER, callee_flow())
    assert relay.run(frame(payload, source=SAME_HOST)).verdict == verdict
    assert relay.flows[INDEX].track.binding == 0
    assert relay.flows[PARTNER].track.target == 0


def test_rtcp_flow_learns_from_rtcp(relay):
    relay.put(INDEX, caller_flow(state=model.LEARNING, flags=model.RTCP))
    assert relay.run(frame(rtcp(), source=SAME_HOST)).verdict == model.TX
    assert relay.events() == [("learned", INDEX, 5, packed(SAME_HOST))]


def test_new_generation_learns_anew(relay):
    relay.put(INDEX, caller_flow(state=model.LEARNING))
    relay.run(frame())
    relay.put(INDEX, caller_flow(state=model.LEARNING, generation=6))
    assert relay.run(frame(source=SAME_HOST)).verdict == model.TX
    assert relay.flows[INDEX].track.binding == 6 << 16 | socket.htons(4002)
    assert relay.run(frame()).verdict == model.DROP


def test_generation_whose_tag_is_zero_learns(relay):
    relay.put(INDEX, caller_flow(state=model.LEARNING, generation=0x10000))
    assert relay.run(frame()).verdict == model.TX
    assert relay.run(frame(source=SAME_HOST)).verdict == model.DROP


@pytest.mark.parametrize("partner", [None, 2 * 65536, 0xFFFFFFFE], ids=["none", "just beyond the table", "far beyond"])
def test_learns_without_partner(relay, partner):
    relay.put(INDEX, caller_flow(state=model.LEARNING, partner=partner))
    assert relay.run(frame()).verdict == model.TX
