# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import select
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ctl.kernel.events import DRAIN_LIMIT, EventReader, Learned, Rejected, Rtcp, SsrcChanged
from ctl.kernel.flowrule import FlowFlag
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import Program
from tests.patience import PATIENCE

CALLER, CALLEE, STRANGER = ("203.0.113.5", 4000), ("203.0.113.9", 5000), ("203.0.113.66", 7)
LOCAL_A, LOCAL_B = ("192.0.2.1", 10000), ("198.51.100.1", 10002)


@pytest.fixture
def reader(attached) -> Iterator[EventReader]:
    reader = EventReader(attached.directory)
    yield reader
    reader.close()


@pytest.fixture
def relay(attached, pair) -> Program:
    """The attached program; both flows of the pair are on."""
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    table.close()
    return Program.from_pin(attached.program)


def test_a_learned_source_is_told_once(reader, relay, rtp) -> None:
    for sequence in (1, 2):
        relay.test_run(rtp(CALLER, LOCAL_A, sequence))
    (event,) = reader.drain()
    assert isinstance(event, Learned)
    assert (event.flow, event.generation, event.source) == (10000, 1, CALLER)
    assert abs(event.time - time.monotonic()) < PATIENCE
    assert reader.drain() == []


def test_strangers_are_told_once_a_second(reader, relay, rtp) -> None:
    for _ in range(5):
        relay.test_run(rtp(STRANGER, LOCAL_A))
    (event,) = reader.drain()
    assert isinstance(event, Rejected)
    assert (event.source, event.reason) == (STRANGER, "wrong_source")


def test_a_new_ssrc_is_told(reader, relay, rtp) -> None:
    frame = rtp(CALLEE, LOCAL_B)
    relay.test_run(frame)
    relay.test_run(frame.replace(struct.pack("!I", 0x11223344), struct.pack("!I", 0x55667788)))
    (event,) = reader.drain()
    assert isinstance(event, SsrcChanged)
    assert (event.flow, event.ssrc) == (65536 + 10002, 0x55667788)


def test_rtcp_is_copied(attached, reader, relay, pair, rtp) -> None:
    flags = FlowFlag.RTCP | FlowFlag.RTCP_COPY
    table = FlowTable.open(attached.directory)
    table.write(12001, replace(pair[1][1], flags=flags, partner=None))
    frame = rtp(CALLEE, ("192.0.2.1", 12001))
    report = struct.pack("!BBHI", 0x80, 201, 1, 0xCAFE)
    relay.test_run(frame[:42] + report + frame[50:])
    (event,) = reader.drain()
    assert isinstance(event, Rtcp)
    assert event.payload.startswith(report)
    assert len(event.payload) == 88


def test_the_descriptor_is_readable_while_there_are_events(reader, relay, rtp) -> None:
    poll = select.epoll()
    poll.register(reader.fileno(), select.EPOLLIN)
    assert poll.poll(0) == []
    relay.test_run(rtp(CALLER, LOCAL_A))
    assert poll.poll(0)
    reader.drain()
    assert poll.poll(0) == []
    poll.close()


async def test_the_loop_wakes_for_an_event(reader, relay, rtp) -> None:
    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    loop.add_reader(reader.fileno(), lambda: woken.done() or woken.set_result(reader.drain()))
    await asyncio.to_thread(relay.test_run, rtp(CALLER, LOCAL_A))
    (event,) = await asyncio.wait_for(woken, PATIENCE)
    assert event.source == CALLER
    loop.remove_reader(reader.fileno())


def test_a_flood_is_drained_in_bounded_bites_and_the_ring_wraps(attached, reader, relay, pair, rtp) -> None:
    table = FlowTable.open(attached.directory)
    table.write(12001, replace(pair[1][1], flags=FlowFlag.RTCP | FlowFlag.RTCP_COPY, partner=None))
    frame = rtp(CALLEE, ("192.0.2.1", 12001))
    frame = frame[:42] + struct.pack("!BBHI", 0x80, 201, 1, 0xCAFE) + frame[50:]
    total, bite = 0, DRAIN_LIMIT + 100
    for _ in range(20):
        for _ in range(bite):
            relay.test_run(frame)
        assert len(reader.drain()) == DRAIN_LIMIT
        total += DRAIN_LIMIT + len(reader.drain())
        assert reader.drain() == []
    assert total == 20 * bite
