# SPDX-License-Identifier: GPL-3.0-or-later
"""Two at once: packets while a rule is rewritten, and two sources that both want to be learned."""

import socket
import threading

from ctl.flowtable import FlowTable
from tests.bpf import harness, model
from tests.bpf.cases import INDEX, PARTNER, callee_flow, caller_flow, packed, sent
from tests.bpf.packets import CALLEE, CALLER, frame, rtp

REWRITES = 20_000
RACES = 2_000
LATCHES = 500
ELSEWHERE = ("203.0.113.99", 7000)


def test_no_packet_is_made_of_two_rules(relay):
    """A writer switches between two targets by flow.h's protocol; every packet leaves whole, or not at all."""
    first, second = caller_flow(dscp=0), caller_flow(target=packed(ELSEWHERE), dscp=46, macs=bytes(range(12)))
    relay.put(INDEX, first)
    done = threading.Event()
    writer = threading.Thread(target=rewrite, args=(relay, (first, second), done))
    writer.start()
    seen = set()
    packet = frame()
    while not done.is_set():
        outcome = relay.run(packet)
        seen.add(outcome.data if outcome.verdict == model.TX else outcome.verdict)
    writer.join()
    to_second = second.macs + sent(to=ELSEWHERE, tos=46 << 2)[12:]
    assert seen <= {sent(), to_second, model.DROP}
    assert {sent(), to_second} <= seen


def rewrite(relay, rules, done):
    table = FlowTable(*map(relay.object.map, ("flows", "ledgers", "reasons")), relay.config)
    wanted = [harness.rule_of(rule) for rule in rules]
    for number in range(REWRITES):
        table.write(INDEX, wanted[number % 2], fresh=False)
    table.close()
    done.set()


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
