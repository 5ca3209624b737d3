# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's process answers: one JSON object in, one out, and nothing that a message can break.

    {"op": "ping"}                            → pid
    {"op": "set", "a": flow, "b": flow, "owner": name}   → worker that has them
    {"op": "bind", "keys": [[address, port], …]}  → of flows to come: what reaches them waits until they are set
    {"op": "unbind", "keys": [[address, port], …]}
    {"op": "remove", "keys": [[address, port], …]}  → statistics, the last of each flow and its partner
    {"op": "read", "keys": [[address, port], …], "owner": name}  → statistics of those that exist
    {"op": "list", "cursor": 0}               → keys, cursor of the next page; no keys: the end
    {"op": "list-bound"}                      → keys that are bound and not set yet, the first of them if they are many
    {"op": "stats"}                           → summary
    {"op": "stage", "key": [address, port], "kind": 1, "settings": base64}   kind 0: none any more
    {"op": "stage-report", "key": [address, port]}  → report, in base64
    {"op": "wires"}                           → wires, trouble
    {"op": "want-wires", "pins": directory, "interfaces": [name, …], "opener": path}  → wires, trouble; no names: none
    {"op": "want-cpu-latency", "microseconds": 20, "opener": path}  → held, trouble; -1: no bound
    {"op": "events", "owner": name}           → events since then, of flows that this owner was the last to set or read
                                                (250 at most: who gets as many asks again)
    {"op": "shutdown"}

An owner that is not named is "". A reply has `ok`; where it is false, `code` and `text` of the EngineError.
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from media.cpu_latency import MOST_MICROSECONDS, UNBOUNDED, CpuLatency
from media.engine import Engine
from media.event_queues import EventQueues
from media.flow_json import check_range, event_to_json, flow_from_json, key_from_json, members, statistics_to_json
from media.flows import EVENTS_AT_ONCE, KEYS_AT_ONCE, EngineError, EngineStatistics, FlowKey
from media.wires import Wanted, Wires

MOST_KINDS = 255
OPTIONAL = frozenset({"owner"})
LIST_ROOM = 1024
"""Keys in a reply to `list`: at most 27 bytes each."""

Reply = dict[str, Any]


class Requests:
    """Answers requests about one engine. `ending` tells that a client asked for the end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.wires = Wires(engine)
        self.cpu_latency = CpuLatency()
        self._queues = EventQueues()
        self.ending = False
        self._operations: dict[str, tuple[dict[str, tuple[type, ...]], Callable[..., Reply]]] = {
            "ping": ({}, self._ping),
            "set": ({"a": (dict,), "b": (dict,), "owner": (str,)}, self._set),
            "bind": ({"keys": (list,)}, self._bind),
            "unbind": ({"keys": (list,)}, self._unbind),
            "list-bound": ({}, self._list_bound),
            "remove": ({"keys": (list,)}, self._remove),
            "read": ({"keys": (list,), "owner": (str,)}, self._read),
            "list": ({"cursor": (int,)}, self._list),
            "stats": ({}, self._stats),
            "stage": ({"key": (list,), "kind": (int,), "settings": (str,)}, self._stage),
            "stage-report": ({"key": (list,)}, self._stage_report),
            "wires": ({}, self._wires),
            "want-wires": ({"pins": (str,), "interfaces": (list,), "opener": (str,)}, self._want_wires),
            "want-cpu-latency": ({"microseconds": (int,), "opener": (str,)}, self._want_cpu_latency),
            "events": ({"owner": (str,)}, self._events),
            "shutdown": ({}, self._shutdown),
        }

    def turn(self) -> None:
        """To be called ten times a second while there are flows, and whenever a worker has died."""
        self.wires.turn(self.engine.check())
        self.cpu_latency.turn(self.engine.flows() > 0, time.monotonic())

    def answer(self, message: bytes) -> bytes:
        """The reply to one message; never raises for what is in it."""
        try:
            reply = {"ok": True, **self._carry_out(parse(message))}
        except EngineError as error:
            reply = {"ok": False, "code": error.code, "text": str(error)}
        return json.dumps(reply, separators=(",", ":")).encode()

    def _carry_out(self, request: Reply) -> Reply:
        name = request.pop("op", None)
        if not isinstance(name, str) or name not in self._operations:
            raise EngineError("bad-request", f"unknown op; known are {', '.join(self._operations)}")
        types, operation = self._operations[name]
        return operation(**members(request, types, OPTIONAL))

    def _ping(self) -> Reply:
        return {"pid": os.getpid()}

    def _set(self, a: object, b: object, owner: str = "") -> Reply:
        flows = flow_from_json(a), flow_from_json(b)
        self.engine.set_pair(*flows)
        self._queues.own((flow.key for flow in flows), owner)
        return {"worker": self.engine.worker(flows[0].key)}

    def _bind(self, keys: list[object]) -> Reply:
        for key in parse_keys(keys, KEYS_AT_ONCE):
            self.engine.bind(key)
        return {}

    def _unbind(self, keys: list[object]) -> Reply:
        self.engine.unbind(parse_keys(keys, KEYS_AT_ONCE))
        return {}

    def _list_bound(self) -> Reply:
        return {"keys": self.engine.bound()[:LIST_ROOM]}

    def _remove(self, keys: list[object]) -> Reply:
        wanted = parse_keys(keys, KEYS_AT_ONCE // 2)
        last = [each for key in wanted for each in self.engine.remove(key)]
        self._queues.disown(each.key for each in last)
        return {"statistics": listed(last)}

    def _read(self, keys: list[object], owner: str = "") -> Reply:
        found = self.engine.read(parse_keys(keys, KEYS_AT_ONCE))
        self._queues.own((each.key for each in found), owner)
        return {"statistics": listed(found)}

    def _list(self, cursor: int) -> Reply:
        if not 0 <= cursor < 1 << 32:
            raise EngineError("bad-request", "cursor must be 0, or one that an earlier reply named")
        keys, following = self.engine.list(cursor, LIST_ROOM)
        return {"keys": keys, "cursor": following}

    def _stats(self) -> Reply:
        return {"summary": asdict(self.engine.summary())}

    def _stage(self, key: list[object], kind: int, settings: str) -> Reply:
        try:
            data = b64decode(settings, validate=True)
        except ValueError:
            raise EngineError("bad-request", "settings are base64") from None
        check_range("kind", kind, 0, MOST_KINDS)
        self.engine.set_stage(key_from_json(key), kind, data)
        return {}

    def _stage_report(self, key: list[object]) -> Reply:
        return {"report": b64encode(self.engine.read_stage(key_from_json(key))).decode()}

    def _wires(self) -> Reply:
        return asdict(self.wires.read())

    def _want_wires(self, pins: str, interfaces: list[object], opener: str) -> Reply:
        names = tuple(name for name in interfaces if isinstance(name, str))
        if len(names) < len(interfaces):
            raise EngineError("bad-request", "interfaces are named")
        return asdict(self.wires.want(Wanted(Path(pins), names, Path(opener)) if names else None))

    def _want_cpu_latency(self, microseconds: int, opener: str) -> Reply:
        check_range("microseconds", microseconds, UNBOUNDED, MOST_MICROSECONDS)
        return asdict(self.cpu_latency.want(microseconds, Path(opener)))

    def _events(self, owner: str = "") -> Reply:
        self._queues.sort_in(self.engine.events())
        return {"events": [event_to_json(event) for event in self._queues.take(owner, EVENTS_AT_ONCE)]}

    def _shutdown(self) -> Reply:
        self.ending = True
        return {}


def parse(message: bytes) -> Reply:
    """The JSON object in a message."""
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        raise EngineError("bad-request", "the message is not JSON") from None
    if not isinstance(request, dict):
        raise EngineError("bad-request", "the message is not a JSON object")
    return request


def parse_keys(keys: list[object], most: int) -> list[FlowKey]:
    """The flow names of a request."""
    if len(keys) > most:
        raise EngineError("bad-request", f"{len(keys)} keys; ask for at most {most} at once")
    return [key_from_json(key) for key in keys]


def listed(statistics: Iterable[EngineStatistics]) -> list[dict[str, Any]]:
    """Statistics as JSON has them."""
    return [statistics_to_json(one) for one in statistics]
