# SPDX-License-Identifier: GPL-3.0-or-later
"""Policing: of a flow that sends too much, and of sources that belong to no flow."""

import time

import pytest

from tests.bpf import harness, model
from tests.bpf.cases import INDEX, caller_flow
from tests.bpf.packets import frame, frame6, rtp

SECOND = 1_000_000_000
SLOW = 4 * SECOND
BURST = 10
SIP, SIP6 = ("10.0.0.1", 5060), ("2001:db8:0:1::1", 5060)
REGISTER = b"REGISTER sip:relay SIP/2.0\r\n\r\n"


@pytest.fixture(scope="module")
def guarded():
    return harness.Harness(unmatched_rate=1, unmatched_burst=BURST)


@pytest.fixture
def guard(guarded):
    guarded.clear()
    yield guarded
    guarded.clear()


def send(relay, count):
    return [relay.run(frame(rtp(number))).verdict for number in range(count)]


@pytest.mark.parametrize("burst", [1, BURST, 200])
def test_a_burst_passes_and_the_rest_does_not(relay, burst):
    relay.put(INDEX, caller_flow(police=(SLOW, burst)))
    assert send(relay, burst + 5) == [model.TX] * burst + [model.DROP] * 5
    tally = relay.ledgers[INDEX].tally
    assert (tally.policed, tally.dropped, tally.last_reason) == (5, 5, model.POLICED)
    assert relay.reasons()[model.POLICED] == [5, 5 * 214]


def test_time_fills_the_bucket(relay):
    relay.put(INDEX, caller_flow(police=(SLOW, 2)))
    assert send(relay, 3) == [model.TX, model.TX, model.DROP]
    relay.flows[INDEX].police_time -= SLOW
    assert send(relay, 2) == [model.TX, model.DROP]
    relay.flows[INDEX].police_time = time.monotonic_ns() - 100 * SLOW
    assert send(relay, 3) == [model.TX, model.TX, model.DROP]


def test_a_rate_is_held_over_time(relay):
    """Packets without pause against 10,000 a second: what passes is what the time between them allows."""
    interval = SECOND // 10_000
    relay.put(INDEX, caller_flow(police=(interval, 1)))
    began = time.monotonic_ns()
    passed = send(relay, 5_000).count(model.TX)
    most = (time.monotonic_ns() - began) // interval + 1
    assert 0 < passed <= most


def test_strangers_and_rubbish_cost_a_flow_nothing(relay):
    relay.put(INDEX, caller_flow(police=(SLOW, 1)))
    for _ in range(5):
        relay.run(frame(source=("192.0.2.66", 4000)))
        relay.run(frame(rtp(first=0x40)))
    assert send(relay, 2) == [model.TX, model.DROP]


def test_one_flow_does_not_pay_for_another(relay):
    relay.put(INDEX, caller_flow(police=(SLOW, 1)))
    relay.put(INDEX + 1, caller_flow(police=(SLOW, 1)))
    assert send(relay, 2) == [model.TX, model.DROP]
    assert relay.run(frame(to=("10.0.0.1", 10001))).verdict == model.TX


def test_unmatched_packets_of_one_source_are_limited(guard):
    packet = frame(REGISTER, to=SIP, source=("198.51.100.1", 5060))
    verdicts = [guard.run(packet).verdict for _ in range(BURST + 5)]
    assert verdicts == [model.PASS] * BURST + [model.DROP] * 5
    assert guard.reasons()[model.FLOOD] == [5, 5 * len(packet)]


def test_each_source_has_its_own_limit(guard):
    sources = [(f"198.51.100.{number}", 5060) for number in range(10, 30)]
    for source in sources:
        assert guard.run(frame(REGISTER, to=SIP, source=source)).verdict == model.PASS
    assert model.FLOOD not in guard.reasons()


def test_an_ipv6_network_is_one_source(guard):
    sources = [(f"2001:db8:77::{number:x}", 5060) for number in range(1, BURST + 3)]
    verdicts = [guard.run(frame6(REGISTER, to=SIP6, source=source)).verdict for source in sources]
    assert verdicts == [model.PASS] * BURST + [model.DROP] * 2
    assert guard.run(frame6(REGISTER, to=SIP6, source=("2001:db8:78::1", 5060))).verdict == model.PASS


@pytest.mark.parametrize(
    "packet",
    [
        frame(to=("10.0.0.9", 5060), source=("198.51.100.40", 1)),
        frame(protocol=6, to=SIP, source=("198.51.100.41", 1)),
        frame(ethertype=0x0806),
    ],
    ids=["to another host", "TCP", "ARP"],
)
def test_what_is_not_limited(guard, packet):
    assert {guard.run(packet).verdict for _ in range(5 * BURST)} == {model.PASS}


def test_fragments_to_a_relay_address_are_limited(guard):
    packet = frame(fragment=0x2000, source=("198.51.100.50", 1))
    assert [guard.run(packet).verdict for _ in range(BURST + 1)] == [model.PASS] * BURST + [model.DROP]


def test_flows_are_not_limited_by_it(guard):
    guard.put(INDEX, caller_flow())
    assert send(guard, 5 * BURST) == [model.TX] * 5 * BURST


def test_a_spray_of_sources_stays_within_its_map(guard):
    for number in range(40_000):
        source = f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 5060
        assert guard.run(frame(REGISTER, to=SIP, source=source, checksum=1)).verdict == model.PASS
    assert guard.object.map("sources").max_entries == 16384
