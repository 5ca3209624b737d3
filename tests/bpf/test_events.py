# SPDX-License-Identifier: GPL-3.0-or-later
"""What user space is told, and how often."""

import time

import pytest

from ctl.kernel.flowrule import mapped_endpoint
from tests.bpf import model
from tests.bpf.cases import INDEX, caller_flow
from tests.bpf.packets import CALLER, frame, rtcp, rtp

COPY = model.RTCP_COPY | model.RTCP_MUX
SECOND = 1_000_000_000


@pytest.mark.parametrize("body", [4, 20, 72, 76, 400], ids=lambda body: f"{body + 8} bytes")
@pytest.mark.parametrize("flags", [COPY, COPY | model.RTCP], ids=["multiplexed", "own port"])
def test_rtcp_is_copied(relay, flags, body):
    payload = rtcp(words=1, body=bytes(range(256))[:body] + bytes(max(0, body - 256)))
    relay.put(INDEX, caller_flow(flags=flags))
    assert relay.run(frame(payload)).verdict == model.TX
    assert relay.events() == [("rtcp", INDEX, 5, payload[:88])]


def test_event_carries_time_and_source(relay):
    relay.put(INDEX, caller_flow(flags=COPY))
    relay.run(frame(rtcp()))
    (event,) = relay.raw_events()
    assert event.time == relay.flows[INDEX].track.last_seen
    assert mapped_endpoint(event.address, event.port) == CALLER
    assert bytes(event.payload)[28:] == bytes(60)


@pytest.mark.parametrize("payload", [rtcp(), rtp()], ids=["RTCP", "RTP"])
def test_nothing_is_copied_unasked(relay, payload):
    relay.put(INDEX, caller_flow())
    relay.run(frame(payload))
    assert relay.events() == []


def test_rtp_is_not_copied(relay):
    relay.put(INDEX, caller_flow(flags=COPY))
    relay.run(frame())
    assert relay.events() == []


def test_rejected_sources_are_told_once_a_second(relay):
    relay.put(INDEX, caller_flow())
    for _ in range(1000):
        relay.run(frame(source=("192.0.2.66", 4000)))
    assert [event[0] for event in relay.events()] == ["rejected"]
    relay.ledgers[INDEX].tally.rejected_event = time.monotonic_ns() - SECOND
    relay.run(frame(source=("192.0.2.66", 4000)))
    assert len(relay.events()) == 1
    assert relay.ledgers[INDEX].tally.rejected == 1001


def test_full_ring_loses_the_event_not_the_packet(relay):
    relay.put(INDEX, caller_flow(flags=COPY))
    for _ in range(8000):
        assert relay.run(frame(rtcp(), checksum=0)).verdict == model.TX
    assert 6500 < len(relay.events()) < 8000
    assert relay.flows[INDEX].track.packets == 8000
    relay.run(frame(rtcp()))
    assert len(relay.events()) == 1
