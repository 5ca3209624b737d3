# SPDX-License-Identifier: GPL-3.0-or-later
"""Two at once: packets while a rule is rewritten, and two sources that both want to be learned."""

import socket
import threading
from collections import Counter
from itertools import cycle

import pytest

from ctl.kernel.flowtable import FlowTable
from tests.bpf import harness, model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, PARTNER, TO_V6, callee_flow, caller_flow, packed
from tests.bpf.packets import CALLEE, CALLER, frame, frame6, rtp

PACKETS = 10_000
RACES = 2_000
LATCHES = 500
ELSEWHERE = ("203.0.113.99", 7000)


PLAIN = {"dscp": 0}
OTHERWISE = {"dscp": 46, "macs": bytes(range(12))}
ELSEWHERE6 = {**OTHERWISE, "egress": packed(("2001:db8:0:1::1", 10500)), "target": packed(("2001:db8:c::99", 7000))}


@pytest.mark.parametrize(
    ("packet", "first", "second"),
    [
        (frame(), PLAIN, {**OTHERWISE, "target": packed(ELSEWHERE)}),
        (frame(), PLAIN, ELSEWHERE6),
        (frame(), TO_V6, ELSEWHERE6),
        (frame(), PLAIN, {**OTHERWISE, "vlans": (7, 8)}),
        (frame6(), {**FROM_V6, **TO_V6}, {**FROM_V6, **ELSEWHERE6}),
        (frame6(), FROM_V6, {**FROM_V6, **ELSEWHERE6}),
    ],
    ids=["IPv4", "IPv4 or IPv6", "to IPv6", "tags or none", "IPv6", "IPv6 or IPv4"],
)
def test_no_packet_is_made_of_two_rules(relay, packet, first, second):
    """A writer switches between two rules by flow.h's protocol; every packet leaves as one of them has it, or not."""
    index = INDEX6 if packet[12:14] == b"\x86\xdd" else INDEX
    whole = set()
    for changes in (first, second):
        relay.put(index, caller_flow(**changes))
        whole.add(relay.run(packet).data)
    done, seen = threading.Event(), Counter()
    writer = threading.Thread(target=rewrite, args=(relay, index, (caller_flow(**first), caller_flow(**second)), done))
    writer.start()
    while seen.total() < PACKETS or not whole <= set(seen):
        outcome = relay.run(packet)
        seen[outcome.data if outcome.verdict == model.TX else None] += 1
    done.set()
    writer.join()
    assert set(seen) - {None} == whole
    assert len(whole) == 2


def rewrite(relay, index, rules, done):
    table = FlowTable(*map(relay.object.map, ("flows", "ledgers", "reasons")), relay.config)
    for wanted in cycle(map(harness.rule_of, rules)):
        table.write(index, wanted, fresh=False)
        if done.is_set():
            break
    table.close()


def test_one_of_two_sources_is_learned(relay):
    """Whoever is first: that one is forwarded and told to the partner, the other is rejected."""
    for generation in range(1, RACES + 1):
        relay.put(INDEX, caller_flow(state=model.LEARNING, generation=generation))
        relay.put(PARTNER, callee_flow(generation=generation))
        verdicts = race(relay, (CALLER[1], CALLER[1] + 2))
        assert sorted(verdicts.values()) == [model.DROP, model.TX]
        winner = next(port for port, verdict in verdicts.items() if verdict == model.TX)
        binding = (generation & 0xFFFF) << 16 | socket.htons(winner)
        assert relay.flows[INDEX].track.binding == relay.flows[PARTNER].track.target == binding
        learned = [event for event in relay.events() if event[0] == "learned"]
        assert learned == [("learned", INDEX, generation, packed((CALLER[0], winner)))]
    assert relay.ledgers[INDEX].tally.rejected == RACES
    assert relay.run(frame(source=CALLEE)).verdict == model.DROP


def test_of_two_that_latch_at_once_one_is_bound(relay):
    """Each alone would be consistent; whoever is bound, nothing of the other is ever forwarded from then on."""
    sources = [("203.0.113.40", 4040), ("203.0.113.50", 5050)]
    for generation in range(1, LATCHES + 1):
        relay.put(INDEX, caller_flow(state=model.LATCHING, latch_packets=3, generation=generation))
        relay.put(PARTNER, callee_flow(generation=generation), movable=True)
        passed = latch_race(relay, sources)
        learned = [event[3] for event in relay.events() if event[0] == "learned"]
        assert len(learned) <= 1
        assert {packed(source) for source, count in passed.items() if count} == set(learned)
        assert relay.ledgers[INDEX].tally.latch_guard == 0


def latch_race(relay, sources):
    """How many of each source's packets were forwarded."""
    start, passed = threading.Barrier(len(sources)), {}

    def send(source):
        frames = [frame(rtp(number, ssrc=source[1]), source=source) for number in range(12)]
        start.wait()
        passed[source] = sum(relay.run(each).verdict == model.TX for each in frames)

    threads = [threading.Thread(target=send, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return passed


def race(relay, ports):
    """The verdict of one packet from each port, sent at the same time."""
    start, verdicts = threading.Barrier(len(ports)), {}

    def send(port):
        packet = frame(source=(CALLER[0], port))
        start.wait()
        verdicts[port] = relay.run(packet).verdict

    threads = [threading.Thread(target=send, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts
