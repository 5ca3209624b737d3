# SPDX-License-Identifier: GPL-3.0-or-later
"""The C engine as Python sees it: flows in, statistics out, errors that name the remedy."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from media._engine import ffi, lib
from media.bound_sockets import BoundSockets
from media.engine_structs import (
    REASONS,
    fill_flow,
    new_ice,
    new_keys,
    read_event,
    read_flow,
    read_key,
    read_wire,
    statistics,
)
from media.flows import (
    EngineError,
    EngineEvent,
    EngineFlow,
    EngineStatistics,
    EngineSummary,
    EngineWire,
    FlowKey,
    redacted,
)

REFUSALS: dict[int, tuple[str, str]] = {
    lib.ENGINE_PORT_IN_USE: ("port-in-use", "another socket has this port; take another, or end its owner"),
    lib.ENGINE_NOT_OURS: ("address-not-ours", "no interface has this address; add it or correct the configuration"),
    lib.ENGINE_NOT_PERMITTED: ("not-permitted", "the port is privileged; take one of 1024 or more"),
    lib.ENGINE_NO_FILES: ("no-files", "limit of open files reached; raise LimitNOFILE or ulimit -n"),
    lib.ENGINE_FULL: ("full", "the engine has as many flows as it may; raise --flows"),
    lib.ENGINE_BAD_FLOW: ("bad-flow", "an address is not unicast or of another family, or a value is out of range"),
    lib.ENGINE_BAD_PAIR: ("bad-pair", "the flow has another partner; remove it first"),
    lib.ENGINE_UNKNOWN: ("unknown", "there is no such flow; set it first"),
    lib.ENGINE_BAD_STAGE: ("bad-stage", "no such stage, or settings that it refuses"),
}

MOST_FLOWS = 1_000_000
MOST_WORKERS = int(lib.ENGINE_WORKERS)


class Engine:
    """Flows carried by sockets, in worker processes that it starts, watches and replaces.

    history: file that remembers what SRTP keys were used for; vault: one that keeps certificate and keys of DTLS. For
    one thread at a time, in a process that has no other. Every method may raise EngineError.
    """

    def __init__(
        self, workers: int = 1, flows: int = 1024, history: Path | None = None, vault: Path | None = None
    ) -> None:
        if not 1 <= workers <= lib.ENGINE_WORKERS:
            raise EngineError("system", f"{workers} workers; the engine has 1 to {lib.ENGINE_WORKERS}")
        if not 2 <= flows <= MOST_FLOWS:
            raise EngineError("system", f"room for {flows} flows; it must be between 2 and {MOST_FLOWS}")
        self.workers = workers
        self._bound = BoundSockets()
        self._engine = lib.engine_create(
            workers, flows, *(bytes(path) if path else ffi.NULL for path in (history, vault))
        )
        if self._engine == ffi.NULL:
            raise EngineError("system", f"the engine cannot start: {os.strerror(ffi.errno)}")

    def close(self) -> None:
        """End every flow. Nothing else may be called afterwards."""
        engine, self._engine = self._engine, ffi.NULL
        self._bound.drop(self._bound.names())
        if engine != ffi.NULL:
            lib.engine_destroy(engine)

    def worker(self, key: FlowKey) -> int:
        """The number of the worker that has a flow; it must be there."""
        return int(lib.engine_worker(self._engine, new_keys([key])))

    def set_pair(self, a: EngineFlow, b: EngineFlow) -> None:
        """Open two flows that face each other, or update both where they stand; all or nothing."""
        pair = ffi.new("struct engine_flow[2]")
        fill_flow(pair[0], a)
        fill_flow(pair[1], b)
        culprit = ffi.new("unsigned *")
        agents = [(flow.key, new_ice(flow.ice)) for flow in (a, b) if flow.ice]
        bound = ffi.new("int[2]", [self._bound.of(a), self._bound.of(b)])
        status = lib.engine_set_pair(self._engine, pair, bound, culprit)
        if status != lib.ENGINE_OK:
            raise refusal(status, ffi.errno, (a, b)[culprit[0]].key)
        self._bound.drop([a.key, b.key])
        for key, ice in agents:
            self._set_ice(key, ice)

    def bind(self, key: FlowKey) -> None:
        """Have what is sent to a flow to come wait for it, until it is set or let go by `unbind`."""
        if key in self._bound:
            return
        total = ffi.new("struct engine_summary *")
        lib.engine_sum(self._engine, total)
        if total.flows + len(self._bound) >= total.capacity:
            raise refusal(lib.ENGINE_FULL, 0, key)
        status = self._bound.bind(key)
        if status != lib.ENGINE_OK:
            raise refusal(status, ffi.errno, key)

    def unbind(self, keys: Iterable[FlowKey]) -> None:
        """Give up ports that were bound; those that were not, and those of flows, are left alone."""
        self._bound.drop(keys)

    def bound(self) -> list[FlowKey]:
        """The ports that are bound and have no flow yet."""
        return self._bound.names()

    def fileno(self) -> int:
        """A descriptor that can be read once a worker has died: `check` then."""
        return int(lib.engine_watch(self._engine))

    def check(self) -> int:
        """Replace workers that died or hang; return how many. To be called ten times a second while there are flows."""
        return int(lib.engine_check(self._engine))

    def flows(self) -> int:
        """How many are open."""
        return int(lib.engine_flows(self._engine))

    def set_stage(self, key: FlowKey, kind: int, settings: bytes = b"") -> None:
        """Give a flow a stage of stage_types.c, other settings for it, or with kind 0 none."""
        if len(settings) > lib.ENGINE_STAGE_BYTES:
            raise EngineError("bad-stage", f"{len(settings)} bytes of settings; at most {lib.ENGINE_STAGE_BYTES}")
        stage = ffi.new("struct engine_stage *", {"type": kind, "length": len(settings)})
        ffi.memmove(stage.settings, settings, len(settings))
        status = lib.engine_set_stage(self._engine, new_keys([key]), stage)
        if status != lib.ENGINE_OK:
            raise refusal(status, ffi.errno, key)

    def read_stage(self, key: FlowKey) -> bytes:
        """What the flow's stage has counted; nothing if there is no such flow or stage."""
        report = ffi.new("uint8_t[]", lib.ENGINE_STAGE_BYTES)
        length = lib.engine_read_stage(self._engine, new_keys([key]), report)
        return bytes(ffi.buffer(report, length))

    def remove(self, key: FlowKey) -> tuple[EngineStatistics, ...]:
        """Close a flow and its partner; the last statistics of both, or () if there is no such flow."""
        name, other = new_keys([key]), ffi.new("struct engine_key *")
        if lib.engine_partner(self._engine, name, other) != lib.ENGINE_OK:
            return ()
        flows = self._wanted(key), self._wanted(read_key(other))
        reports = ffi.new("struct engine_report[2]")
        lib.engine_remove(self._engine, name, reports)
        return statistics(reports[0], flows[0]), statistics(reports[1], flows[1])

    def read(self, keys: Sequence[FlowKey]) -> tuple[EngineStatistics, ...]:
        """The statistics of those flows that exist, in the order of `keys`."""
        reports = ffi.new("struct engine_report[]", len(keys))
        found = lib.engine_read(self._engine, new_keys(keys), len(keys), reports)
        return tuple(statistics(report, self._wanted(read_key(report.key))) for report in reports[0:found])

    def list(self, cursor: int, room: int) -> tuple[list[FlowKey], int]:
        """Up to `room` keys from `cursor` on, which begins with 0, and the next cursor; no keys: the end."""
        keys = ffi.new("struct engine_key[]", room)
        place = ffi.new("unsigned *", cursor)
        found = lib.engine_list(self._engine, place, keys, room)
        return [read_key(keys[i]) for i in range(found)], place[0]

    def add_wire(self, wire: EngineWire, fields: dict[str, int], files: tuple[int, int], place: Any) -> None:
        """Let a worker have an AF_XDP socket, and it that queue's packets.

        fields: further ones of struct engine_wire. files: the socket and its memory. place: a struct
        engine_wire_place.
        """
        index = socket.if_nametoindex(wire.interface)
        named = {"ifindex": index, "queue": wire.queue, "worker": wire.worker, "zero_copy": wire.zero_copy}
        made = ffi.new("struct engine_wire *", {**named, **fields})
        status = lib.engine_add_wire(self._engine, made, *files, place)
        if status != lib.ENGINE_OK:
            code, _ = REFUSALS.get(status, ("system", ""))
            raise EngineError(code, f"{wire.interface}, queue {wire.queue}: {os.strerror(ffi.errno)}")

    def wires(self) -> tuple[EngineWire, ...]:
        """The AF_XDP sockets in use, but for those of interfaces that are gone."""
        room = lib.ENGINE_WIRES * self.workers
        wires = ffi.new("struct engine_wire[]", room)
        found = lib.engine_wires(self._engine, wires, room)
        return tuple(each for each in map(read_wire, wires[0:found]) if each)

    def drop_wires(self) -> None:
        """Have packets come by the flows' own sockets."""
        lib.engine_drop_wires(self._engine)

    def summary(self) -> EngineSummary:
        """Flows, and packets by reason."""
        total = ffi.new("struct engine_summary *")
        lib.engine_sum(self._engine, total)
        reasons = {
            REASONS[number]: (count.packets, count.bytes) for number, count in enumerate(total.reasons) if count.packets
        }
        fingerprint = ffi.new("uint8_t[]", lib.ENGINE_OWN_HASH)
        lib.engine_fingerprint(self._engine, fingerprint)
        processes = ffi.new("int[]", lib.ENGINE_WORKERS)
        count = lib.engine_processes(self._engine, processes)
        return EngineSummary(
            total.workers,
            total.flows,
            total.capacity,
            total.restarts,
            bytes(fingerprint).hex(":").upper(),
            tuple(processes[0:count]),
            reasons,
        )

    def events(self) -> tuple[EngineEvent, ...]:
        """What has happened since this was asked last, oldest first of each worker."""
        event = ffi.new("struct engine_event *")
        taken = []
        while lib.engine_take_event(self._engine, event):
            taken.append(read_event(event))
        return tuple(taken)

    def _set_ice(self, key: FlowKey, ice: Any) -> None:
        status = lib.engine_set_ice(self._engine, new_keys([key]), ice)
        if status != lib.ENGINE_OK:
            raise refusal(status, ffi.errno, key)

    def _wanted(self, key: FlowKey) -> EngineFlow:
        """How a flow was set; it must be there."""
        flow = ffi.new("struct engine_flow *")
        name = new_keys([key])
        lib.engine_wanted(self._engine, name, flow)
        ice = ffi.new("struct engine_ice *") if flow.ice else None
        if ice is not None and lib.engine_wanted_ice(self._engine, name, ice) != lib.ENGINE_OK:
            ice = None
        return redacted(read_flow(flow, ice))


def harden() -> None:
    """Forbid core dumps, tracing and new privileges to this process. Raises EngineError."""
    if lib.engine_harden() != lib.ENGINE_OK:
        raise EngineError("system", f"the process cannot be hardened: {os.strerror(ffi.errno)}")


def refusal(status: int, error: int, key: FlowKey) -> EngineError:
    """The error that stands for a status of engine.h."""
    code, remedy = REFUSALS.get(status, ("system", os.strerror(error)))
    return EngineError(code, f"flow {key[0]}:{key[1]}: {remedy}")
