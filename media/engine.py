# SPDX-License-Identifier: GPL-3.0-or-later
"""The C engine as Python sees it: flows in, statistics out, errors that name the remedy."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address
from socket import htonl, inet_ntoa, ntohs
from typing import Any

from media._engine import ffi, lib
from media.flows import EngineError, EngineFlow, EngineStatistics, EngineSummary, FlowKey

REASONS: dict[int, str] = {
    int(number): name.removeprefix("REASON_").lower().replace("_", "-")
    for number, name in ffi.typeof("enum reason").elements.items()
}
"""Number of a reason in bpf/flow.h → its name, such as "wrong-source"."""

REFUSALS: dict[int, tuple[str, str]] = {
    lib.ENGINE_PORT_IN_USE: ("port-in-use", "another socket has this port; take another, or end its owner"),
    lib.ENGINE_NOT_OURS: ("address-not-ours", "no interface has this address; add it or correct the configuration"),
    lib.ENGINE_NOT_PERMITTED: ("not-permitted", "the port is privileged; take one of 1024 or more"),
    lib.ENGINE_NO_FILES: ("no-files", "limit of open files reached; raise LimitNOFILE or ulimit -n"),
    lib.ENGINE_FULL: ("full", "the engine has as many flows as it may; raise --flows"),
    lib.ENGINE_BAD_FLOW: ("bad-flow", "an address is not unicast, or a value is out of range"),
    lib.ENGINE_BAD_PAIR: ("bad-pair", "the flow has another partner; remove it first"),
}

MOST_FLOWS = 1_000_000
JITTER_SCALE = 16
"""flow_track.jitter counts sixteenths of a clock tick."""


class Engine:
    """Flows carried by sockets of this process, on threads of their own. For one thread at a time.

    Every method may raise EngineError.
    """

    def __init__(self, workers: int = 1, flows: int = 1024) -> None:
        if not 1 <= workers <= lib.ENGINE_WORKERS:
            raise EngineError("system", f"{workers} workers; the engine has 1 to {lib.ENGINE_WORKERS}")
        if not 2 <= flows <= MOST_FLOWS:
            raise EngineError("system", f"room for {flows} flows; it must be between 2 and {MOST_FLOWS}")
        self._engine = lib.engine_create(workers, flows)
        if self._engine == ffi.NULL:
            raise EngineError("system", f"the engine cannot start: {os.strerror(ffi.errno)}")

    def close(self) -> None:
        """End every flow. Nothing else may be called afterwards."""
        engine, self._engine = self._engine, ffi.NULL
        if engine != ffi.NULL:
            lib.engine_destroy(engine)

    def set_pair(self, a: EngineFlow, b: EngineFlow) -> None:
        """Open two flows that face each other, or update both where they stand; all or nothing."""
        pair = ffi.new("struct engine_flow[2]")
        fill_flow(pair[0], a)
        fill_flow(pair[1], b)
        culprit = ffi.new("unsigned *")
        status = lib.engine_set_pair(self._engine, pair, culprit)
        if status != lib.ENGINE_OK:
            raise refusal(status, ffi.errno, (a, b)[culprit[0]].key)

    def remove(self, key: FlowKey) -> tuple[EngineStatistics, ...]:
        """Close a flow and its partner; the last statistics of both, or () if there is no such flow."""
        reports = ffi.new("struct engine_report[2]")
        if lib.engine_remove(self._engine, new_keys([key]), reports) != lib.ENGINE_OK:
            return ()
        return statistics(reports[0]), statistics(reports[1])

    def read(self, keys: Sequence[FlowKey]) -> tuple[EngineStatistics, ...]:
        """The statistics of those flows that exist, in the order of `keys`."""
        reports = ffi.new("struct engine_report[]", len(keys))
        found = lib.engine_read(self._engine, new_keys(keys), len(keys), reports)
        return tuple(statistics(reports[i]) for i in range(found))

    def list(self, cursor: int, room: int) -> tuple[list[FlowKey], int]:
        """Up to `room` keys from `cursor` on, which begins with 0, and the next cursor; no keys: the end."""
        keys = ffi.new("struct engine_key[]", room)
        place = ffi.new("unsigned *", cursor)
        found = lib.engine_list(self._engine, place, keys, room)
        return [(text_address(keys[i].address), keys[i].port) for i in range(found)], place[0]

    def summary(self) -> EngineSummary:
        """Flows, and packets by reason."""
        total = ffi.new("struct engine_summary *")
        lib.engine_sum(self._engine, total)
        reasons = {
            REASONS[number]: (count.packets, count.bytes) for number, count in enumerate(total.reasons) if count.packets
        }
        return EngineSummary(total.workers, total.flows, total.capacity, reasons)


def harden() -> None:
    """Forbid core dumps, tracing and new privileges to this process. Raises EngineError."""
    if lib.engine_harden() != lib.ENGINE_OK:
        raise EngineError("system", f"the process cannot be hardened: {os.strerror(ffi.errno)}")


def refusal(status: int, error: int, key: FlowKey) -> EngineError:
    """The error that stands for a status of engine.h."""
    code, remedy = REFUSALS.get(status, ("system", os.strerror(error)))
    return EngineError(code, f"flow {key[0]}:{key[1]}: {remedy}")


def network_address(text: str) -> int:
    """The address as a number whose bytes in memory are in network order."""
    return htonl(int(IPv4Address(text)))


def text_address(number: int) -> str:
    """The reverse of `network_address`."""
    return inet_ntoa(int(number).to_bytes(4, sys.byteorder))


def new_keys(keys: Sequence[FlowKey]) -> Any:
    """An array of struct engine_key."""
    array = ffi.new("struct engine_key[]", len(keys))
    for place, (address, port) in zip(array, keys, strict=True):
        place.address, place.port = network_address(address), port
    return array


def fill_flow(place: Any, flow: EngineFlow) -> None:
    """Write a flow into a struct engine_flow."""
    place.local.address, place.local.port = network_address(flow.local_address), flow.local_port
    place.source_address, place.source_port = network_address(flow.source_address), flow.source_port or 0
    place.target_address, place.target_port = network_address(flow.target_address), flow.target_port
    place.clock_rate, place.rtcp, place.held = flow.clock_rate, flow.kind == "rtcp", flow.held
    place.dscp = lib.DSCP_KEEP if flow.dscp is None else flow.dscp


def read_flow(place: Any) -> EngineFlow:
    """The flow in a struct engine_flow."""
    return EngineFlow(
        local_address=text_address(place.local.address),
        local_port=place.local.port,
        source_address=text_address(place.source_address),
        source_port=place.source_port or None,
        target_address=text_address(place.target_address),
        target_port=place.target_port,
        kind="rtcp" if place.rtcp else "rtp",
        clock_rate=place.clock_rate,
        dscp=None if place.dscp == lib.DSCP_KEEP else place.dscp,
        held=bool(place.held),
    )


def statistics(report: Any) -> EngineStatistics:
    """The statistics in a struct engine_report."""
    track, tally, clock = report.track, report.tally, report.flow.clock_rate
    has_rtp = track.window != 0
    return EngineStatistics(
        flow=read_flow(report.flow),
        learned_port=report.learned_port or None,
        learned_target=report.learned_target or None,
        packets=track.packets,
        bytes=track.bytes,
        last_seen=track.last_seen / 1e9 if track.last_seen else None,
        jitter=track.jitter / JITTER_SCALE / clock if clock else None,
        largest_gap=track.largest_gap / 1e6,
        ssrc=track.ssrc if has_rtp else None,
        payload_type=track.payload_type if has_rtp else None,
        tos=track.tos if track.last_seen else None,
        lost=tally.lost,
        reordered=tally.reordered,
        duplicates=tally.duplicates,
        ssrc_changes=tally.ssrc_changes,
        resets=tally.resets,
        rejected=tally.rejected,
        rejected_source=rejected_source(tally) if tally.rejected else None,
        dropped=tally.dropped,
        last_reason=REASONS[tally.last_reason] if tally.dropped else None,
    )


def rejected_source(tally: Any) -> FlowKey:
    """Who was rejected last; the address is kept as ::ffff:a.b.c.d."""
    return inet_ntoa(bytes(tally.rejected_address)[12:]), ntohs(tally.rejected_port)
