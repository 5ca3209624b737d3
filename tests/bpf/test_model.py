# SPDX-License-Identifier: GPL-3.0-or-later
"""100,000 random packets on random flow tables: the kernel and the model of docs/verdicts.md do the same."""

import random
import socket
import struct
import time
from collections import Counter

from tests.bpf import harness, model, packets

PACKETS = 100_000
ROUNDS = 100
PORTS = [10000, 10001, 10002, 10003, 10500, 10998, 10999]
HOSTS = [socket.inet_aton(host) for host in ("192.0.2.10", "198.51.100.20", "203.0.113.7", "255.255.255.255")]
EVERY_REASON = [*range(8), *range(9, 11), *range(12, 15), *range(32, 37)]
SECOND = 1_000_000_000


def test_kernel_and_model_agree(relay):
    with harness.network_namespace():
        dice, met = random.Random(20260101), Counter()
        for round_number in range(ROUNDS):
            relay.clear()
            met.update(compare_round(relay, dice, round_number))
    assert met.total() == PACKETS
    assert met[model.FORWARDED] > PACKETS // 10
    assert all(met[reason] > 100 for reason in EVERY_REASON), met


def compare_round(relay, dice, round_number):
    twin = model.Relay(list(harness.ADDRESSES), harness.PORT_MIN, harness.PORT_MAX)
    for generation in range(1, 5):
        fill(relay, twin, dice, dice.choice([generation, 0x10000 * generation, dice.getrandbits(32)]))
        for step in range(PACKETS // ROUNDS // 4):
            compare_packet(relay, twin, random_frame(dice, twin), (round_number, generation, step))
        assert untimed(relay.events()) == twin.events
        twin.events.clear()
    assert relay.reasons() == twin.reasons
    for index, flow in twin.flows.items():
        assert relay.state(index) == image(flow)
    return {reason: count for reason, (count, _) in twin.reasons.items()}


def compare_packet(relay, twin, data, place):
    index = index_of(data)
    previous = relay.ledgers[index].tally.rejected_event
    before = time.monotonic_ns()
    outcome = relay.run(data)
    after = time.monotonic_ns()
    now = relay.flows[index].track.last_seen
    expected = twin.run(data, now)
    assert outcome == expected, (place, data.hex())
    assert now <= after
    if outcome.verdict >= model.TX:
        assert before <= now, place
    if index in twin.flows:
        assert relay.state(index) == image(twin.flows[index]), (place, data.hex())
    reported = relay.ledgers[index].tally.rejected_event
    if reported != previous:
        assert before <= reported <= after
        assert reported - previous >= SECOND


def image(flow):
    return harness.pack_track(flow), harness.expected_tally(flow)


def untimed(events):
    """Whether a stranger is reported depends on the time since the last; compare_packet looks after that."""
    return [event for event in events if event[0] != "rejected"]


def index_of(data):
    if len(data) < 42 or data[30:34] not in harness.ADDRESSES:
        return 0
    return harness.ADDRESSES.index(data[30:34]) * 65536 + int.from_bytes(data[36:38], "big")


def fill(relay, twin, dice, generation):
    """Random rules on random ports, all of one generation; what the kernel counted stays."""
    for slot in range(2):
        for port in PORTS:
            if dice.random() < 0.25:
                continue
            index = slot * 65536 + port
            flow = twin.flows.setdefault(index, model.Flow())
            randomise(flow, dice, generation)
            relay.put(index, flow)


def randomise(flow, dice, generation):
    flow.generation = generation
    flow.state = dice.choice([0, 1, 1, 2, 2, 2])
    flow.action = dice.choice([0] * 8 + [1, 2])
    flow.flags = dice.choice([0, 0, 0, 1, 2, 3, 4, 7])
    flow.source = (dice.choice(HOSTS[:2]), dice.choice([4000, 4001, 65535]))
    flow.egress = (dice.choice(harness.ADDRESSES), dice.choice(PORTS))
    flow.target = (dice.choice(HOSTS), dice.choice([6000, 65535, 1]))
    flow.dscp = dice.choice([model.KEEP, 0, 46, 63])
    flow.macs = dice.randbytes(12)
    flow.ifindex = dice.choice([1, 1, 1, 2, 77, 0])
    flow.clock = dice.choice([0, 35184372, 70368744, 211106233])
    flow.partner = dice.choice([None, 10000, 10001, 65536 + 10002, 65536 * 2 + 5])


def random_frame(dice, twin):
    """A packet that the flow may forward, or one with something odd about it, or cut or disturbed anywhere."""
    index = dice.choice(sorted(twin.flows))
    host, port = twin.flows[index].source
    choices = {
        "source": (socket.inet_ntoa(host), port or 4000),
        "to": (socket.inet_ntoa(harness.ADDRESSES[index >> 16]), index & 0xFFFF),
        "tos": dice.choice([0, 0, 184, 255, dice.getrandbits(8)]),
    }
    if dice.random() < 0.3:
        choices.update(dice.choice(ODDITIES)(dice))
    data = bytearray(packets.frame(random_payload(dice), **choices))
    if dice.random() < 0.1:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.03:
        del data[dice.randrange(14, len(data)) :]
    return bytes(data)


ODDITIES = [
    lambda dice: {"ttl": dice.choice([0, 1, 2, 255])},
    lambda dice: {"options": bytes(4 * dice.randrange(1, 11))},
    lambda dice: {"fragment": dice.choice([0x2000, 1, 0x4000, 0x3FFF, 0x8000])},
    lambda dice: {"protocol": dice.choice([6, 1, 132])},
    lambda dice: {"ethertype": dice.choice([0x86DD, 0x8100, 0x0806])},
    lambda dice: {"version": dice.choice([0, 6, 15])},
    lambda dice: {"ihl": dice.randrange(16)},
    lambda dice: {"length": dice.choice([0, 7, 8, 20, 65535])},
    lambda dice: {"total": dice.choice([0, 20, 27, 28, 40, 65535])},
    lambda dice: {"length": 28, "total": 48},
    lambda dice: {"checksum": dice.choice([0, 0xFFFF, 1, dice.getrandbits(16)])},
    lambda dice: {"source": (socket.inet_ntoa(HOSTS[0]), dice.choice([4000, 4001, 65535]))},
    lambda dice: {"trailer": dice.randbytes(dice.randrange(1, 30))},
    lambda dice: {"source": (socket.inet_ntoa(dice.choice(HOSTS)), dice.choice([0, 1, 4000, 65535]))},
    lambda dice: {"to": (dice.choice(["10.0.0.1", "10.0.0.3"]), dice.choice([9999, 11000, 10004, 0, 65535]))},
]


def random_payload(dice):
    kind = dice.random()
    if kind < 0.1:
        return dice.randbytes(dice.randrange(40))
    if kind < 0.2:
        return packets.rtcp(dice.choice([191, 192, 200, 223, 224]), words=dice.choice([6, 6, 0, 7, 65535]))
    sequence = dice.choice(
        [dice.randrange(100), dice.randrange(100), dice.randrange(65436, 65536), dice.getrandbits(16)]
    )
    return packets.rtp(
        sequence,
        dice.choice([sequence * 160, dice.getrandbits(32)]),
        dice.choice([1, 1, 1, 1, 1, 1, 1, 0xFFFFFFFF]),
        payload_type=dice.choice([0, 8, 101, 127]),
        marker=dice.random() < 0.2,
        first=0x80 if dice.random() < 0.8 else dice.choice([0x81, 0x90, 0x9F, 0x8F, 0xA0, 0x40, 0xB2]),
        body=struct.pack("!HH", 0xBEDE, dice.choice([0, 1, 2, 40])) * 2 + dice.randbytes(dice.randrange(160)),
    )
