# SPDX-License-Identifier: GPL-3.0-or-later
"""VLAN tags: any are taken off what comes, those of the rule are put on what leaves."""

import pytest

from tests.bpf import model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, TO_V6, Case, caller_flow, check, ids, sent, sent6
from tests.bpf.packets import checksums_hold, frame, frame6, rtp

THRICE = ((0x8100, 1), (0x8100, 2), (0x8100, 3))
PRIORITY = 0xA005


def ipv4(text, come, leave, reason=model.FORWARDED, **flow):
    out = sent(vlans=leave) if reason == model.FORWARDED else None
    return Case(f"IPv4, {text}", frame(vlans=come), reason, out, {"vlans": leave, **flow})


def ipv6(text, come, leave, reason=model.FORWARDED, **flow):
    out = sent6(vlans=leave) if reason == model.FORWARDED else None
    return Case(
        f"IPv6, {text}", frame6(vlans=come), reason, out, {**FROM_V6, **TO_V6, "vlans": leave, **flow}, None, INDEX6
    )


FORWARDED = [
    make(text, come, leave)
    for make in (ipv4, ipv6)
    for text, come, leave in [
        ("one comes off", (5,), ()),
        ("two come off", (5, 6), ()),
        ("one goes on", (), (7,)),
        ("two go on", (), (7, 8)),
        ("one for another", (5,), (7,)),
        ("two for two", (5, 6), (7, 8)),
        ("one for two", (5,), (7, 8)),
        ("two for one", (5, 6), (7,)),
        ("the highest ids", (4094, 4094), (4094, 1)),
        ("with priority", (PRIORITY,), ()),
        ("802.1ad alone", ((0x88A8, 5),), ()),
        ("802.1Q twice", ((0x8100, 5), (0x8100, 6)), ()),
        ("VLAN 0, priority alone", (0,), ()),
    ]
]
REFUSED = [
    ipv4("three tags", THRICE, (), model.NOT_IP),
    ipv6("three tags", THRICE, (), model.NOT_IP),
    Case("tag cut off", frame(vlans=(5,))[:16], model.NOT_IP),
    Case("inner tag cut off", frame(vlans=(5, 6))[:20], model.NOT_IP),
    Case("tagged ARP", frame(vlans=(5,), ethertype=0x0806), model.NOT_IP),
    Case("tagged TCP", frame(vlans=(5,), protocol=6), model.NOT_UDP),
    Case("tagged, another host", frame(vlans=(5,), to=("10.0.0.9", 10000)), model.NOT_OURS),
    Case("tagged, outside the range", frame(vlans=(5,), to=("10.0.0.1", 5060)), model.NOT_OURS),
    Case("tagged fragment", frame(vlans=(5,), fragment=0x2000), model.FRAGMENT),
    Case("tagged, with options", frame(vlans=(5,), options=bytes(4)), model.OPTIONS),
    Case("tagged, TTL 1", frame(vlans=(5, 6), ttl=1), model.TTL),
    Case("tagged, length beyond the frame", frame(vlans=(5,), total=201, length=181), model.BAD_LENGTH),
    Case("tagged stranger", frame(vlans=(5,), source=("192.0.2.66", 4000)), model.WRONG_SOURCE),
]
CASES = FORWARDED + REFUSED


@pytest.mark.parametrize("case", FORWARDED, ids=ids(FORWARDED))
def test_tags(relay, case):
    outcome = check(relay, case)
    assert checksums_hold(outcome.data)


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_refused(relay, case):
    check(relay, case)


def test_a_wrong_checksum_stays_wrong(relay):
    broken = bytearray(frame(vlans=(5,)))
    broken[60] ^= 1
    out = bytearray(sent(vlans=(7,)))
    out[60] ^= 1
    check(relay, Case("", bytes(broken), out=bytes(out), flow={"vlans": (7,)}))


def test_a_tagged_stream_is_counted_as_any(relay):
    relay.put(INDEX, caller_flow(vlans=(7,)))
    for sequence in (1, 2, 5):
        assert relay.run(frame(rtp(sequence), vlans=(5,))).data == sent(rtp(sequence), vlans=(7,))
    assert (relay.flows[INDEX].track.packets, relay.ledgers[INDEX].tally.lost) == (3, 2)
