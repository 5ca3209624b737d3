# SPDX-License-Identifier: GPL-3.0-or-later
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ctl.kernel.copies import AT_ONCE, Copy, CopyKind, CopyReader
from ctl.kernel.events import Dtmf, EventReader
from ctl.kernel.flowrule import FlowFlag, FlowState
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import Map, Program
from tests.patience import PATIENCE

CALLER, CALLEE = ("203.0.113.5", 4000), ("203.0.113.9", 5000)
LOCAL_A = ("192.0.2.1", 10000)
REDIRECT, DROP = 4, 1


@pytest.fixture
def relay(attached) -> Program:
    return Program.from_pin(attached.program)


@pytest.fixture
def table(attached, pair) -> Iterator[FlowTable]:
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    yield table
    table.close()


@pytest.fixture
def mirror(attached) -> Iterator[CopyReader]:
    reader = CopyReader(Map.from_pin(attached.map("mirror")))
    yield reader
    reader.close()


@pytest.fixture
def captures(attached) -> Iterator[CopyReader]:
    reader = CopyReader(Map.from_pin(attached.map("captures")))
    yield reader
    reader.close()


def test_recording_is_switched_on_and_off_amid_a_call(relay, table, mirror, rtp) -> None:
    frames = [rtp(CALLER, LOCAL_A, sequence) for sequence in range(1, 4)]
    relay.test_run(frames[0])
    table.set_flags(10000, FlowFlag.MIRROR)
    relay.test_run(frames[1])
    table.set_flags(10000, FlowFlag.NONE, FlowFlag.MIRROR)
    relay.test_run(frames[2])
    (copy,) = mirror.read(10)
    assert copy == Copy(copy.time, 10000, table.generation(10000), CopyKind.PAYLOAD, 172, frames[1][42:])
    assert abs(copy.time - time.monotonic()) < PATIENCE
    assert mirror.read(10) == []


def test_a_capture_has_both_sides_of_the_relay(relay, table, captures, rtp) -> None:
    table.set_flags(10000, FlowFlag.CAPTURE)
    frame = rtp(CALLER, LOCAL_A)
    out = relay.test_run(frame).data
    assert [(copy.kind, copy.data) for copy in captures.read(10)] == [(CopyKind.BEFORE, frame), (CopyKind.AFTER, out)]


def test_no_more_is_taken_than_was_asked_for(relay, table, mirror, rtp) -> None:
    table.set_flags(10000, FlowFlag.MIRROR)
    count = AT_ONCE + 50
    for sequence in range(count):
        relay.test_run(rtp(CALLER, LOCAL_A, sequence))
    taken = [len(mirror.read(limit)) for limit in (1, AT_ONCE + 1, 1000)]
    assert taken == [1, AT_ONCE + 1, count - AT_ONCE - 2]


def test_copies_that_were_lost_are_counted(relay, table, captures, rtp) -> None:
    table.set_flags(10000, FlowFlag.CAPTURE)
    for _ in range(2400):
        assert relay.test_run(rtp(CALLER, LOCAL_A)).retval == REDIRECT
    counted = table.read(10000)
    assert counted.copies_dropped > 0
    assert counted.copies_dropped + len(captures.read(10_000)) == 2 * counted.packets


def test_a_digit_is_told(attached, relay, table, pair, rtp) -> None:
    table.write(10000, replace(pair[0][1], partner=None, dtmf_type=101), fresh=False)
    frame = rtp(CALLER, LOCAL_A)
    reader = EventReader(attached.directory)
    relay.test_run(frame[:43] + b"\x65" + frame[44:54] + b"\x05\x8a\x03\x20" + frame[58:])
    (event,) = (each for each in reader.drain() if isinstance(each, Dtmf))
    reader.close()
    assert (event.flow, event.source, event.event, event.volume, event.duration) == (10000, CALLER, 5, 10, 800)
    assert (event.timestamp, event.ssrc) == (160, 0x11223344)


def test_a_latching_flow_tells_whom_it_found(relay, table, pair, rtp) -> None:
    (there, rule), (back, reverse) = pair
    latching, found = replace(rule, state=FlowState.LATCHING, latch_packets=2), ("198.51.100.77", 7777)
    table.write_pair((there, latching), (back, reverse))
    assert (table.read(there).mode, table.read(there).learned_source) == ("latching", None)
    verdicts = [relay.test_run(rtp(found, LOCAL_A, sequence)).retval for sequence in (1, 2)]
    assert verdicts == [DROP, REDIRECT]
    assert table.read(there).learned_source == found
    for change in (
        lambda: None,
        lambda: table.write_pair((there, replace(latching, dscp=8)), (back, reverse), fresh=False),
        lambda: table.write(there, replace(latching, state=FlowState.OFF), fresh=False),
    ):
        change()
        sent = relay.test_run(rtp(CALLEE, ("198.51.100.1", 10002))).data
        assert (sent[30:34], sent[36:38]) == (bytes([198, 51, 100, 77]), (7777).to_bytes(2, "big"))
    table.write_pair((there, rule), (back, reverse), fresh=False)
    assert table.read(there).learned_source is None
    sent = relay.test_run(rtp(CALLEE, ("198.51.100.1", 10002))).data
    assert sent[30:34] == bytes([203, 0, 113, 5])


def test_what_was_policed_is_counted(relay, table, pair, rtp) -> None:
    table.write(10000, replace(pair[0][1], partner=None, police=(1, 3)), fresh=False)
    for sequence in range(5):
        relay.test_run(rtp(CALLER, LOCAL_A, sequence))
    counted = table.read(10000)
    assert (counted.packets, counted.policed, counted.dropped, counted.last_reason) == (3, 2, 2, "policed")
