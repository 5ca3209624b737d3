# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for the command line, by verb; the arguments come checked by nobody."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ctl.exits import NOT_FOUND, USAGE
from ctl.observe.flowviews import flow_row, quality_of_call
from ctl.sessions.flow_view import FlowView
from ctl.sessions.programmer import Programmer
from ctl.signalling.conductor import Conductor
from ctl.storage import Storage
from ctl.verbs.control import ControlError, Verb
from ctl.verbs.flows import CALLS_AT_ONCE, find_call
from ctl.verbs.objects import Objects
from provisioning import cdr_search
from provisioning.cdr import Cdr
from provisioning.cdr_legs import legs_of
from provisioning.cdr_search import CdrFilter
from provisioning.database import Question, ask_async
from provisioning.errors import NotFound, ProvisioningError
from provisioning.retention import shown
from sip.core import Core
from sip.effects import Address
from sip.views import CallView, LegView

NORMAL_CLEARING = 16


class Verbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, core: Core, conductor: Conductor, programmer: Programmer, storage: Storage) -> None:
        self._core = core
        self._conductor = conductor
        self._programmer = programmer
        self._storage = storage
        self._objects = Objects(storage)

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {
            "call.hangup": self.call_hangup,
            "call.list": self.call_list,
            "call.show": self.call_show,
            "cdr.legs": self.cdr_legs,
            "cdr.list": self.cdr_list,
            "cdr.show": self.cdr_show,
            "db.purge": self.db_purge,
            "db.rotate-key": self.db_rotate_key,
            "reg.list": self.reg_list,
            **self._objects.table(),
        }

    async def call_list(self, _arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the calls with the sums of their flows; in between, signalling has its turn."""
        calls, rows = self._core.calls(), []
        for start in range(0, len(calls), CALLS_AT_ONCE):
            some, now = calls[start : start + CALLS_AT_ONCE], time.monotonic()
            flows: dict[str, list[FlowView]] = defaultdict(list)
            for view in self._programmer.flows_of([call.id for call in some]):
                flows[view.call].append(view)
            rows += [call_row(call, flows[call.id], now) for call in some]
            await asyncio.sleep(0)
        return rows

    def call_show(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return one call with both legs and its flows."""
        call = find_call(self._core, _text(arguments, "id"))
        flows = self._programmer.flows(call.id)
        row = call_row(call, flows, time.monotonic())
        row["a"], row["b"] = leg_row(call.a), leg_row(call.b) if call.b else None
        row["media"] = [asdict(plan) for plan in self._conductor.media_plans(call.id)]
        row["flows"] = [flow_row(view) for view in flows]
        return row

    def call_hangup(self, arguments: dict[str, Any]) -> str:
        """End a call on both legs."""
        call = find_call(self._core, _text(arguments, "id"))
        self._conductor.hang_up(call.id, NORMAL_CLEARING)
        return call.id

    def reg_list(self, _arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the contacts that are registered."""
        now = time.monotonic()
        return [
            {
                "user": user.username,
                "contact": binding.uri,
                "received": address_text(binding.received),
                "expires": round(binding.expires - now),
                "q": binding.q,
            }
            for user in self._core.bindings()
            for binding in user.bindings
        ]

    async def cdr_list(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return call records, newest first."""
        wanted = CdrFilter(party=str(arguments.get("user", "")) or None)
        count = max(1, min(10_000, int(arguments.get("count", 50))))
        return [_cdr_row(cdr) for cdr in await self._ask(cdr_search.search(wanted, limit=count))]

    async def cdr_show(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the record of one call, by a beginning of its id or by the Call-ID of a leg."""
        wanted = _text(arguments, "id")
        found = await self._ask(cdr_search.search(CdrFilter(beginning=wanted), limit=2))
        if len(found) > 1:
            raise ControlError(f"more than one record is of {wanted!r}; give more of the id", USAGE)
        if not found:
            raise ControlError(f"no record of call {wanted!r}; see: voxdp cdr list", NOT_FOUND)
        return _cdr_row(found[0])

    async def cdr_legs(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the legs of call records, newest first."""
        count = max(1, min(50_000, int(arguments.get("count", 1000))))
        wanted = CdrFilter(party=str(arguments.get("user", "")) or None)
        found = await self._ask(cdr_search.search(wanted, limit=count))
        rows = [asdict(leg) for cdr in found for leg in legs_of(cdr)]
        return [{name: _plain(value) for name, value in row.items()} for row in rows]

    async def db_purge(self, _arguments: dict[str, Any]) -> dict[str, int]:
        """Delete and forget what policy does not keep; return how much."""
        try:
            return shown(await self._storage.purge())
        except ProvisioningError as error:
            raise ControlError(str(error)) from None

    async def db_rotate_key(self, _arguments: dict[str, Any]) -> int:
        """Seal every secret with a new key; return how many."""
        try:
            return await self._storage.rotate_key()
        except ProvisioningError as error:
            raise ControlError(str(error)) from None

    async def _ask(self, question: Question[Any]) -> Any:
        try:
            await self._storage.ready()
            return await ask_async(self._storage.pool, question)
        except NotFound as error:
            raise ControlError(str(error), NOT_FOUND) from None
        except ProvisioningError as error:
            raise ControlError(str(error)) from None


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise ControlError(f"{name} must not be empty", USAGE)
    return value


def call_row(call: CallView, flows: Iterable[FlowView], now: float) -> dict[str, Any]:
    """Return a call with the sums of its flows, as JSON can carry it."""
    flows = list(flows)
    counted = [flow.statistics for flow in flows if flow.statistics]
    return {
        "id": call.id,
        "state": call.state,
        "caller": call.caller,
        "dialled": call.dialled,
        "seconds": None if call.answered is None else round(now - call.answered),
        "path": "+".join(sorted({flow.path for flow in flows})) or None,
        "packets": sum(each.packets for each in counted),
        "lost": sum(each.lost for each in counted),
        **quality_of_call(flows),
    }


def leg_row(leg: LegView) -> dict[str, Any]:
    """Return one side of a call."""
    return {
        "state": leg.state,
        "call_id": leg.call_id,
        "peer": address_text(leg.peer),
        "local": address_text(leg.local),
    }


def address_text(address: Address | None) -> str | None:
    """Return transport, host and port in one text."""
    return None if address is None else f"{address.transport}:{address.host}:{address.port}"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _cdr_row(cdr: Cdr) -> dict[str, Any]:
    talk = (cdr.ended - cdr.answered).total_seconds() if cdr.answered else 0.0
    return {
        "id": str(cdr.id),
        "call": cdr.call,
        "caller": cdr.caller,
        "dialled": cdr.dialled,
        "a_call_id": cdr.a_call_id,
        "b_call_id": cdr.b_call_id,
        "started_at": cdr.started.isoformat(),
        "ringing_at": cdr.ringing.isoformat() if cdr.ringing else None,
        "answered_at": cdr.answered.isoformat() if cdr.answered else None,
        "ended_at": cdr.ended.isoformat(),
        "talk_seconds": round(talk, 3),
        "sip_status": cdr.status,
        "q850_cause": cdr.cause,
        "ended_by": cdr.ended_by,
        "reason": cdr.reason,
        "from_trunk": cdr.from_trunk,
        "to_trunk": cdr.to_trunk,
        "cost_micros": cdr.cost_micros,
        "queue": cdr.queue,
        "waited_seconds": cdr.waited_seconds,
        "agent": cdr.agent,
        "abandoned": cdr.abandoned,
        "path": "+".join(sorted({media.path for media in cdr.media})) or None,
        "directions": [
            {
                "sender": media.sender,
                "stream": media.stream,
                "codec": media.codec,
                "path": media.path,
                "packets": media.packets,
                "bytes": media.bytes,
                "lost": media.lost,
                "reordered": media.reordered,
                "duplicates": media.duplicates,
                "jitter_ms": media.jitter_ms,
                "largest_gap_ms": media.largest_gap_ms,
                "mos_min": media.mos_min,
                "mos_avg": media.mos_avg,
                "loss_pct": media.loss_pct,
                "jitter_max_ms": media.jitter_max_ms,
                "rtt_ms": media.rtt_ms,
            }
            for media in cdr.media
        ],
    }
