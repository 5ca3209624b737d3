# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as its controller sees it: calls over the control socket, and a process to start or adopt."""

from __future__ import annotations

import os
import signal
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from media.control_client import TIMEOUT, ControlClient
from media.control_socket import peer_credentials
from media.flow_json import event_from_json, flow_to_json, statistics_from_json, wires_from_json
from media.flows import (
    EVENTS_AT_ONCE,
    KEYS_AT_ONCE,
    EngineError,
    EngineEvent,
    EngineFlow,
    EngineLatency,
    EngineStatistics,
    EngineSummary,
    EngineWires,
    FlowKey,
)
from media.spawn import reap, spawn, wait_readable

START_TIMEOUT = 2.0
ADOPT_INTERVAL = 0.01
Thing = TypeVar("Thing")


class EngineClient(ControlClient):
    """Asks an engine. Another one that answers after it was gone has no flows.

    owner: what tells this controller from others that have flows in the same engine; it hears of events of its own.
    """

    name = "engine"
    remedy = "start one: voxdp engine --socket {path}"

    def __init__(self, path: Path, timeout: float = TIMEOUT, owner: str = "") -> None:
        super().__init__(path, timeout)
        self.owner = owner

    def ping(self) -> int:
        """The engine's process id."""
        return int(self._ask("ping")["pid"])

    def set_pair(self, a: EngineFlow, b: EngineFlow) -> int:
        """Open two flows that face each other, or update both where they stand; all or nothing.

        Return which of the engine's workers has them.
        """
        reply = self._ask("set", a=flow_to_json(a), b=flow_to_json(b), owner=self.owner)
        return int(reply["worker"])

    def bind(self, keys: Iterable[FlowKey]) -> None:
        """Have what is sent to flows to come wait until they are set."""
        self._ask("bind", keys=list_of(keys))

    def unbind(self, keys: Iterable[FlowKey]) -> None:
        """Give up ports that were bound, and nothing else."""
        self._ask("unbind", keys=list_of(keys))

    def list_bound(self) -> tuple[FlowKey, ...]:
        """The ports that are bound and not set yet; if they are many, some of them."""
        return tuple((address, port) for address, port in self._ask("list-bound")["keys"])

    def remove(self, keys: Iterable[FlowKey]) -> tuple[EngineStatistics, ...]:
        """Close the flows and their partners; the last statistics of all of them. Unknown keys are nothing."""
        return self._statistics("remove", keys, KEYS_AT_ONCE // 2)

    def read(self, keys: Iterable[FlowKey]) -> tuple[EngineStatistics, ...]:
        """The statistics of those flows that exist, in the order of `keys`."""
        return self._statistics("read", keys, KEYS_AT_ONCE, owner=self.owner)

    def list(self) -> tuple[FlowKey, ...]:
        """The names of all flows."""
        keys: list[FlowKey] = []
        cursor = 0
        while True:
            reply = self._ask("list", cursor=cursor)
            if not reply["keys"]:
                return tuple(keys)
            keys += [(address, port) for address, port in reply["keys"]]
            cursor = reply["cursor"]

    def summary(self) -> EngineSummary:
        """Flows, and packets by reason."""
        fields = self._ask("stats")["summary"]
        reasons = {name: (packets, octets) for name, (packets, octets) in fields["reasons"].items()}
        return EngineSummary(**{**fields, "reasons": reasons, "processes": tuple(fields["processes"])})

    def set_stage(self, key: FlowKey, kind: int, settings: bytes = b"") -> None:
        """Give a flow a stage, other settings for it, or with kind 0 none."""
        self._ask("stage", key=key, kind=kind, settings=b64encode(settings).decode())

    def read_stage(self, key: FlowKey) -> bytes:
        """What the flow's stage has counted; nothing if there is no such flow or stage."""
        return b64decode(self._ask("stage-report", key=key)["report"])

    def wires(self) -> EngineWires:
        """Its AF_XDP sockets."""
        return wires_from_json(self._ask("wires"))

    def want_wires(self, pins: Path, interfaces: Iterable[str], opener: Path) -> EngineWires:
        """Have it receive by AF_XDP from these interfaces, where the relay pinned there is attached; none: by sockets.

        opener: socket of `voxdp xsk`, where the engine itself may open none.
        """
        names = list_of(interfaces)
        return wires_from_json(self._ask("want-wires", pins=str(pins), interfaces=names, opener=str(opener)))

    def want_cpu_latency(self, microseconds: int, opener: Path) -> EngineLatency:
        """Have processors wake within that time while there are flows; -1: as the host lets them sleep.

        opener: as for `want_wires`. What is wanted already stays as it is.
        """
        return EngineLatency(**self._ask("want-cpu-latency", microseconds=microseconds, opener=str(opener)))

    def events(self) -> tuple[EngineEvent, ...]:
        """What has happened to flows of ours since we asked last."""
        taken: list[EngineEvent] = []
        while True:
            some = self._ask("events", owner=self.owner)["events"]
            taken += map(event_from_json, some)
            if len(some) < EVENTS_AT_ONCE:
                return tuple(taken)

    def process(self) -> int:
        """The process id at the other end, by the kernel's word."""
        return peer_credentials(self._connected())[0]

    def _statistics(self, op: str, keys: Iterable[FlowKey], most: int, **members: str) -> tuple[EngineStatistics, ...]:
        rest = iter(keys)
        found: list[EngineStatistics] = []
        while some := list_of(islice(rest, most)):
            reply = self._ask(op, keys=some, **members)
            found += map(statistics_from_json, reply["statistics"])
        return tuple(found)


class EngineProcess:
    """A running engine, started here or found. It stays when this object goes: `stop` ends it.

    fileno() can be read (select, asyncio's add_reader) once the engine is dead.
    """

    def __init__(self, client: EngineClient, pid: int, adopted: bool) -> None:
        self.client = client
        self.pid = pid
        self.adopted = adopted
        """It was there before us, and may have flows."""
        self._descriptor = os.pidfd_open(pid)

    @classmethod
    def ensure(
        cls,
        path: Path,
        *,
        python: str = sys.executable,
        arguments: Sequence[str] = (),
        log: Path | None = None,
        timeout: float = START_TIMEOUT,
        owner: str = "",
    ) -> EngineProcess:
        """The engine at `path`; starts one if none answers there. Raises EngineError.

        arguments: further ones for `voxdp engine`. log: file that its errors are appended to. owner: see EngineClient.
        """
        found = adopt(path, owner)
        if found:
            return found
        try:
            pid = spawn(path, python, arguments, log, timeout)
        except EngineError as error:
            if error.code != "running":
                raise
            return adopt_starting(path, timeout, owner)
        return cls(EngineClient(path, owner=owner), pid, adopted=False)

    def fileno(self) -> int:
        """The process's pidfd."""
        return self._descriptor

    def alive(self) -> bool:
        """Whether it still runs."""
        if not wait_readable(self._descriptor, 0):
            return True
        reap(self._descriptor)
        return False

    def stop(self, timeout: float = START_TIMEOUT) -> None:
        """End it: by SIGTERM, and where that is not heard within `timeout` seconds, by SIGKILL."""
        for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)
            if wait_readable(self._descriptor, patience):
                break
        reap(self._descriptor)

    def close(self) -> None:
        """Let go of it; it goes on."""
        self.client.close()
        os.close(self._descriptor)


def list_of(things: Iterable[Thing]) -> list[Thing]:
    """Where a class has a method `list`, the built-in one needs another name."""
    return list(things)


def adopt(path: Path, owner: str = "") -> EngineProcess | None:
    """The engine that answers at `path`, if one does."""
    client = EngineClient(path, owner=owner)
    try:
        client.ping()
        return EngineProcess(client, client.process(), adopted=True)
    except (EngineError, ProcessLookupError):
        client.close()
        return None


def adopt_starting(path: Path, timeout: float, owner: str = "") -> EngineProcess:
    """The engine that another controller started a moment before us, once it listens."""
    until = time.monotonic() + timeout
    while not (found := adopt(path, owner)):
        if time.monotonic() > until:
            raise EngineClient(path).gone(f"silent for {timeout:g} s, though its lock is held")
        time.sleep(ADOPT_INTERVAL)
    return found
