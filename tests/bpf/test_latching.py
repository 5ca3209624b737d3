# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that are not given: latching to whoever sends consistently, and the former source after a change."""

import random
import socket

import pytest

from tests.bpf import model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, PARTNER, TO_V6, callee_flow, caller_flow, packed, sent
from tests.bpf.packets import CALLEE, CALLER, checksums_hold, frame, frame6, rtcp, rtp

ELSEWHERE, STRANGER = ("203.0.113.40", 4040), ("203.0.113.66", 6666)
PACKETS = 3
FORMER = packed(ELSEWHERE)


def latching(relay, **changes):
    relay.put(INDEX, caller_flow(**{"state": model.LATCHING, "latch_packets": PACKETS, **changes}))
    relay.put(PARTNER, callee_flow(), movable=True)


def send(relay, sequence, source=ELSEWHERE, ssrc=1):
    return relay.run(frame(rtp(sequence, sequence * 160, ssrc), source=source))


def bound(relay):
    return socket.ntohs(relay.flows[INDEX].track.binding & 0xFFFF)


def test_the_source_that_sends_enough_is_bound(relay):
    latching(relay)
    assert [send(relay, number).verdict for number in (1, 2)] == [model.DROP] * 2
    outcome = send(relay, 3)
    assert outcome.data == sent(rtp(3, 480, 1))
    assert checksums_hold(outcome.data)
    assert relay.events() == [("learned", INDEX, 5, packed(ELSEWHERE))]
    assert relay.reasons() == {model.UNLATCHED: [2, 428], model.FORWARDED: [1, 214]}
    assert relay.ledgers[INDEX].tally.dropped == 2


def test_the_partner_sends_to_the_latched_address(relay):
    latching(relay)
    back = frame(source=CALLEE, to=("10.0.0.2", 10002))
    assert relay.run(back).data == sent(source=("10.0.0.1", 10000), to=CALLER)
    for number in range(PACKETS):
        send(relay, number)
    outcome = relay.run(back)
    assert outcome.data == sent(source=("10.0.0.1", 10000), to=ELSEWHERE)
    assert checksums_hold(outcome.data)


def test_once_bound_nobody_else_may_send(relay):
    latching(relay)
    for number in range(PACKETS):
        send(relay, number)
    for source in (STRANGER, CALLER, (ELSEWHERE[0], 4041)):
        for number in range(10):
            assert send(relay, number, source).verdict == model.DROP
    assert relay.ledgers[INDEX].tally.rejected == 30
    assert bound(relay) == ELSEWHERE[1]
    assert send(relay, 4).verdict == model.TX


@pytest.mark.parametrize(
    "packets",
    [
        [(1, ELSEWHERE, 1), (2, STRANGER, 1), (3, ELSEWHERE, 1), (4, STRANGER, 1)],
        [(1, ELSEWHERE, 1), (2, ELSEWHERE, 2), (3, ELSEWHERE, 1), (4, ELSEWHERE, 2)],
        [(1, ELSEWHERE, 1), (1, ELSEWHERE, 1), (1, ELSEWHERE, 1), (1, ELSEWHERE, 1)],
        [(4, ELSEWHERE, 1), (3, ELSEWHERE, 1), (2, ELSEWHERE, 1), (1, ELSEWHERE, 1)],
        [(1, ELSEWHERE, 1), (66, ELSEWHERE, 1), (131, ELSEWHERE, 1), (196, ELSEWHERE, 1)],
    ],
    ids=["sources in turn", "SSRCs in turn", "one number again", "numbers backwards", "numbers that leap"],
)
def test_what_is_not_consistent_binds_nobody(relay, packets):
    latching(relay)
    assert {send(relay, *packet).verdict for packet in packets} == {model.DROP}
    assert bound(relay) == 0
    assert relay.events() == []


def test_numbers_may_wrap_and_leave_gaps(relay):
    latching(relay)
    assert [send(relay, number).verdict for number in (65534, 0, 60)] == [model.DROP, model.DROP, model.TX]


def test_a_spray_of_random_sources_is_never_forwarded(relay):
    dice = random.Random(5)
    latching(relay)
    for number in range(20_000):
        source = socket.inet_ntoa(dice.randbytes(4)), dice.randrange(1, 65536)
        assert send(relay, number, source).verdict == model.DROP
    assert bound(relay) == 0


def test_rtcp_beside_rtp_does_not_latch(relay):
    latching(relay, flags=model.RTCP_MUX)
    assert {relay.run(frame(rtcp(), source=ELSEWHERE)).verdict for _ in range(9)} == {model.DROP}


def test_an_rtcp_flow_latches_to_its_reports(relay):
    latching(relay, flags=model.RTCP)
    verdicts = [relay.run(frame(rtcp(), source=ELSEWHERE)).verdict for _ in range(PACKETS)]
    assert verdicts == [model.DROP, model.DROP, model.TX]


def test_a_new_generation_latches_anew(relay):
    latching(relay)
    for number in range(PACKETS):
        send(relay, number)
    latching(relay, generation=6)
    assert send(relay, 4, STRANGER).verdict == model.DROP
    assert [send(relay, number, STRANGER).verdict for number in (5, 6)] == [model.DROP, model.TX]


def test_ipv6_latches_too(relay):
    flow = {**FROM_V6, **TO_V6, "state": model.LATCHING, "latch_packets": 2}
    relay.put(INDEX6, caller_flow(**flow))
    source = ("2001:db8:f::f", 7)
    verdicts = [relay.run(frame6(rtp(number), source=source)) for number in (1, 2)]
    assert [each.verdict for each in verdicts] == [model.DROP, model.TX]
    assert checksums_hold(verdicts[1].data)


def test_the_former_source_goes_on_until_the_new_one_is_valid(relay):
    relay.put(INDEX, caller_flow(previous=FORMER))
    for number in (1, 2):
        outcome = send(relay, number)
        assert outcome.data == sent(rtp(number, number * 160, 1))
        assert checksums_hold(outcome.data)
    assert relay.run(frame(rtp(first=0x40))).verdict == model.DROP
    assert send(relay, 3).verdict == model.TX
    assert send(relay, 4, CALLER).verdict == model.TX
    assert send(relay, 5).verdict == model.DROP
    assert relay.ledgers[INDEX].tally.settled == 5


@pytest.mark.parametrize("source", [STRANGER, (ELSEWHERE[0], 4041), (STRANGER[0], ELSEWHERE[1])])
def test_but_nobody_else_does(relay, source):
    relay.put(INDEX, caller_flow(previous=FORMER))
    assert send(relay, 1, source).verdict == model.DROP


def test_the_former_source_teaches_nothing(relay):
    relay.put(INDEX, caller_flow(state=model.LEARNING, previous=FORMER))
    assert send(relay, 1).verdict == model.TX
    assert (bound(relay), relay.events()) == (0, [])
    assert send(relay, 2, (CALLER[0], 4444)).verdict == model.TX
    assert bound(relay) == 4444
    assert send(relay, 3).verdict == model.DROP
