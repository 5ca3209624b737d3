# SPDX-License-Identifier: GPL-3.0-or-later
"""Random rules and random packets of all families, tags and states, for holding kernel and model against each other."""

import struct

from tests.bpf import harness, model, packets

PORTS = [10000, 10001, 10002, 10500, 10999]
HOSTS = [
    [harness.mapped(host) for host in ("192.0.2.10", "198.51.100.20", "203.0.113.7", "255.255.255.255")],
    [harness.mapped(host) for host in ("2001:db8:a::10", "2001:db8:b::20", "fe80::1", "ffff:ffff::ffff")],
]
RELAYS = [harness.ADDRESSES[:2], harness.ADDRESSES[2:]]
POLICE_INTERVAL = 0xFFFFFFFF  # ns: no bucket fills up again while a batch runs
INDEXES = [slot * 65536 + port for slot in range(len(harness.ADDRESSES)) for port in PORTS]
FACING = [[index for index in INDEXES if (index >= 2 * 65536) == family] for family in (0, 1)]
"""Where packets of a family can come from: the partner of a flow faces what it sends to."""
FLAGS = [0, 0, 0, 0, 32, 32, 34, 1, 3, 4, 8, 16, 64, 127]


def fill(relay, twin, dice, generation):
    """Random rules on random ports, all of one generation; what the kernel counted stays."""
    written = []
    for index in INDEXES:
        if dice.random() < 0.2:
            continue
        flow = twin.flows.setdefault(index, model.Flow())
        randomise(flow, dice, generation, int(index >= 2 * 65536))
        written.append(index)
    movable = {flow.partner for flow in twin.flows.values() if flow.state == model.LATCHING}
    for index in written:
        relay.put(index, twin.flows[index], index in movable)


def randomise(flow, dice, generation, family):
    out = family if dice.random() < 0.6 else 1 - family
    types = frozenset(dice.sample(range(128), 60)) | {0}
    flow.generation = generation
    flow.state = dice.choice([0, 1, 1, 2, 2, 2, 2, 2, 3])
    flow.action = dice.choice([0] * 10 + [1, 2, 3])
    flow.flags = dice.choice(FLAGS)
    flow.source = (dice.choice(HOSTS[family][:2]), dice.choice([4000, 4001, 65535]))
    flow.egress = (dice.choice(RELAYS[out]), dice.choice(PORTS))
    flow.target = (dice.choice(HOSTS[out]), dice.choice([6000, 65535, 1]))
    flow.dscp = dice.choice([model.KEEP, 0, 46, 63])
    flow.macs = dice.randbytes(12)
    flow.ifindex = dice.choice([1, 1, 1, 1, 2, 77, 0])
    flow.clock = dice.choice([0, 35184372, 70368744, 211106233])
    flow.partner = dice.choice([None, dice.choice(FACING[out]), dice.choice(FACING[out]), harness.ENTRIES + 5])
    flow.vlans = dice.choice([(), (), (), (), (7,), (100, 4094)])
    flow.latch_packets = dice.choice([1, 2, 3])
    flow.previous = dice.choice([None, None, None, (HOSTS[family][1], 4001)])
    flow.police = dice.choice([None, None, None, None, (POLICE_INTERVAL, dice.choice([1, 5, 40]))])
    flow.payload_types = dice.choice([None, None, None, types])
    flow.dtmf_type = dice.choice([None, None, 101])
    flow.demux = dice.random() < 0.3
    flow.stun = dice.random() < 0.3


def random_frame(dice, twin):
    """A packet that some flow may forward, or one with something odd about it, or cut or disturbed anywhere."""
    index = dice.choice(list(twin.flows)) if dice.random() < 0.97 else dice.choice(INDEXES)
    family = int(index >= 2 * 65536)
    flow = twin.flows.get(index) or model.Flow(source=(HOSTS[family][0], 4000))
    host, port = flow.source
    choices = {
        "source": (text(host if host != model.NOWHERE else HOSTS[family][0]), port or 4000),
        "to": (harness.TEXTS[index >> 16], index & 0xFFFF),
        "tos": dice.choice([0, 0, 184, 255, dice.getrandbits(8)]),
        "vlans": dice.choice([(), (), (), (), (5,), (5, 6), (0x2005, (0x8100, 6))]) if dice.random() < 0.5 else (),
    }
    choices["vlans"] = tuple(tag if isinstance(tag, tuple) else (0x88A8, tag) for tag in choices["vlans"])
    if dice.random() < 0.3:
        choices.update(dice.choice(ODDITIES[family])(dice))
    build = packets.frame6 if family else packets.frame
    data = bytearray(build(random_payload(dice), **choices))
    if dice.random() < 0.1:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.03:
        del data[dice.randrange(14, len(data)) :]
    return data


def patched(data, dice):
    """The same a little later in its stream: another sequence number and time stamp, under the same checksum."""
    at = 14
    while data[at - 2 : at] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    at += 8 + (40 if data[at : at + 1] >= b"\x60" else 20)
    later = bytearray(data)
    if len(later) >= at + 8:
        sequence = (int.from_bytes(later[at + 2 : at + 4], "big") + dice.choice([1, 1, 1, 1, 2, 0, 65530, 70])) % 65536
        later[at + 2 : at + 8] = struct.pack("!HI", sequence, sequence * 160)
    return later


def text(packed):
    return harness.unmapped(packed)


def chain(dice):
    kinds = (packets.DESTINATION, packets.ROUTING, packets.HOP_BY_HOP, packets.FRAGMENT)
    return [(dice.choice(kinds), packets.extension(dice.randrange(3))) for _ in range(dice.randrange(1, 6))]


def host(dice, family):
    return text(dice.choice(HOSTS[family]))


def lengths(dice):
    return {"length": dice.choice([0, 7, 8, 20, 65535]), "total": dice.choice([None, 0, 20, 28, 40, 65535])}


BOTH = [
    lambda dice: {"ttl": dice.choice([0, 1, 2, 255])},
    lambda dice: {"protocol": dice.choice([6, 1, 132])},
    lambda dice: {"ethertype": dice.choice([0x86DD, 0x0800, 0x8100, 0x0806])},
    lambda dice: {"version": dice.choice([0, 4, 6, 15])},
    lengths,
    lambda dice: {"length": 28},
    lambda dice: {"checksum": dice.choice([0, 0, 0xFFFF, 1, dice.getrandbits(16)])},
    lambda dice: {"trailer": dice.randbytes(dice.randrange(1, 30))},
    lambda dice: {"vlans": ((0x8100, 1), (0x8100, 2), (0x8100, 3))},
]
ODDITIES = [
    [
        *BOTH,
        lambda dice: {"options": bytes(4 * dice.randrange(1, 11))},
        lambda dice: {"fragment": dice.choice([0x2000, 1, 0x4000, 0x3FFF, 0x8000])},
        lambda dice: {"ihl": dice.randrange(16)},
        lambda dice: {"source": (host(dice, 0), dice.choice([0, 1, 4000, 4001, 65535]))},
        lambda dice: {"source": (text(HOSTS[0][0]), dice.choice([4000, 4001, 65535]))},
        lambda dice: {"source": (text(HOSTS[0][1]), 4001)},
        lambda dice: {"to": (dice.choice(["10.0.0.1", "10.0.0.3", "0.0.0.0"]), dice.choice([9999, 11000, 10004, 0]))},
    ],
    [
        *BOTH,
        lambda dice: {"extensions": chain(dice)},
        lambda dice: {"extensions": [(dice.choice([0, 60]), packets.extension(1))]},
        lambda dice: {"extensions": [(packets.ROUTING, bytes([0, 4, 1]) + bytes(4))]},
        lambda dice: {"label": dice.getrandbits(20)},
        lambda dice: {"source": (host(dice, 1), dice.choice([0, 1, 4000, 4001, 65535]))},
        lambda dice: {"source": (text(HOSTS[1][0]), dice.choice([4000, 4001, 65535]))},
        lambda dice: {"source": (text(HOSTS[1][1]), 4001)},
        lambda dice: {"to": (dice.choice(["2001:db8:0:1::1", "2001:db8::3"]), dice.choice([9999, 11000, 10004, 0]))},
        lambda dice: {"to": ("::ffff:10.0.0.1", dice.choice(PORTS)), "source": ("::ffff:192.0.2.10", 4000)},
    ],
]


def random_payload(dice):
    kind = dice.random()
    if kind < 0.07:
        return dice.randbytes(dice.randrange(40))
    if kind < 0.1:
        return (
            bytes([dice.choice([0, 1, 3, 4]), 1, 0, 0])
            + b"\x21\x12\xa4\x42"
            + dice.randbytes(dice.choice([11, 12, 40]))
        )
    if kind < 0.17:
        return packets.rtcp(dice.choice([191, 192, 200, 223, 224]), words=dice.choice([6, 6, 0, 7, 65535]))
    sequence = dice.choice([dice.randrange(100), dice.randrange(65436, 65536), dice.getrandbits(16)])
    timestamp = dice.choice([sequence * 160, dice.getrandbits(32)])
    ssrc = dice.choice([1, 1, 1, 1, 1, 1, 1, 0xFFFFFFFF])
    if kind < 0.25:
        event = struct.pack("!BBH", dice.randrange(12), dice.choice([10, 138]), dice.choice([160, 320, 65535]))
        return packets.rtp(sequence, dice.choice([0, 160, 3200, 65535]), ssrc, payload_type=101, body=event)
    return packets.rtp(
        sequence,
        timestamp,
        ssrc,
        payload_type=dice.choice([0, 0, 0, 8, 101, 127]),
        marker=dice.random() < 0.2,
        first=0x80 if dice.random() < 0.8 else dice.choice([0x81, 0x90, 0x9F, 0x8F, 0xA0, 0x40, 0xB2]),
        body=struct.pack("!HH", 0xBEDE, dice.choice([0, 1, 2, 40])) * 2 + dice.randbytes(dice.randrange(160)),
    )
