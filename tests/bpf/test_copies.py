# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies for recording and for captures: whole, in order, and never at the cost of the packet."""

import pytest
from ctl.kernel._libbpf import lib

from tests.bpf import model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, TO_V6, caller_flow, sent, sent6
from tests.bpf.packets import frame, frame6, rtcp, rtp

LONG = rtp(body=bytes(range(256)) * 9)
PLAIN = (model.PAYLOAD, INDEX, 5, 172, rtp())


def test_rtp_is_mirrored(relay):
    relay.put(INDEX, caller_flow(flags=model.MIRROR))
    packets = [rtp(number, number * 160) for number in range(300)]
    for payload in packets:
        assert relay.run(frame(payload)).data == sent(payload)
    assert [copy[4] for copy in relay.copies()] == packets
    assert relay.flows[INDEX].track.express != 0


@pytest.mark.parametrize(
    ("packet", "flow", "copied"),
    [
        (frame(), {}, [PLAIN]),
        (frame(vlans=(5,)), {"vlans": (7, 8)}, [PLAIN]),
        (frame(), TO_V6, [PLAIN]),
        (frame(trailer=bytes(20)), {}, [PLAIN]),
        (frame(rtcp()), {"flags": model.MIRROR | model.RTCP_MUX}, []),
        (frame(source=("192.0.2.66", 4000)), {}, []),
        (frame(), {"payload_types": frozenset({8})}, []),
        (frame(), {"flags": 0}, []),
        (frame(LONG), {}, [(model.PAYLOAD, INDEX, 5, len(LONG), LONG[: lib.COPY_BYTES])]),
    ],
    ids=["plain", "tags", "crossing", "padding", "RTCP", "stranger", "not allowed", "not asked for", "cut"],
)
def test_what_is_mirrored(relay, packet, flow, copied):
    relay.put(INDEX, caller_flow(**{"flags": model.MIRROR, **flow}))
    relay.run(packet)
    assert relay.copies() == copied


@pytest.mark.parametrize(
    ("index", "packet", "flow", "out"),
    [
        (INDEX, frame(), {}, sent()),
        (INDEX, frame(vlans=(5,)), {"vlans": (7, 8)}, sent(vlans=(7, 8))),
        (INDEX, frame(), TO_V6, sent6()),
        (INDEX6, frame6(), {**FROM_V6, **TO_V6}, sent6()),
        (INDEX, frame(rtcp()), {"flags": model.CAPTURE | model.RTCP}, sent(rtcp())),
        (INDEX, frame(source=("192.0.2.66", 4000)), {}, None),
        (INDEX, frame(), {"state": model.OFF}, None),
        (INDEX, frame(), {"ifindex": 0}, None),
    ],
    ids=["plain", "tags", "crossing", "IPv6", "RTCP", "stranger", "off", "no next hop"],
)
def test_frames_are_captured_before_and_after(relay, index, packet, flow, out):
    relay.put(index, caller_flow(**{"flags": model.CAPTURE, **flow}))
    relay.run(packet)
    expected = [(model.BEFORE, index, 5, len(packet), packet)]
    expected += [(model.AFTER, index, 5, len(out), out)] if out else []
    assert relay.copies() == expected


@pytest.mark.parametrize(("flag", "ring"), [(model.MIRROR, "mirror"), (model.CAPTURE, "captures")])
def test_a_full_ring_loses_copies_not_packets(relay, flag, ring):
    relay.put(INDEX, caller_flow(flags=flag))
    size = relay.object.map(ring).max_entries
    packet, count = frame(rtp(body=bytes(1400)), checksum=0), size // 1400 + 100
    for _ in range(count):
        assert relay.run(packet).verdict == model.TX
    copies, tally = relay.copies(), relay.ledgers[INDEX].tally
    made = count * (2 if flag == model.CAPTURE else 1)
    assert tally.copies_dropped > 0
    assert len(copies) + tally.copies_dropped == made
    assert relay.flows[INDEX].track.packets == count
    relay.run(packet)
    assert len(relay.copies()) == (2 if flag == model.CAPTURE else 1)


def test_the_rings_wrap(relay):
    relay.put(INDEX, caller_flow(flags=model.MIRROR))
    payload = rtp(body=bytes(range(250)) * 5)
    for _ in range(5):
        for _ in range(1000):
            relay.run(frame(payload, checksum=0))
        copies = relay.copies()
        assert len(copies) == 1000
        assert {copy[4] for copy in copies} == {payload}


def test_recording_begins_and_ends_amid_a_stream(relay):
    relay.put(INDEX, caller_flow())
    for number in range(9):
        if number % 3 == 0:
            lib.flow_set_flags(relay.flows + INDEX, *((0, 8), (8, 0))[number == 3])
        assert relay.run(frame(rtp(number))).verdict == model.TX
    assert [copy[4][3] for copy in relay.copies()] == [3, 4, 5]
