# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for the command line, by verb; the arguments come checked by nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from ctl.conductor import Conductor
from ctl.control import ControlError, Verb
from ctl.exits import NOT_FOUND, USAGE
from ctl.flow_verbs import find_call
from ctl.flowviews import flow_row, quality_of_call
from ctl.programmer import FlowView, Programmer
from ctl.storage import Storage
from provisioning import cdr_search, users
from provisioning.cdr import Cdr
from provisioning.cdr_search import CdrFilter
from provisioning.database import Question, ask_async
from provisioning.errors import NotFound, ProvisioningError
from provisioning.snapshot import Account
from sip.core import Core
from sip.effects import Address
from sip.views import CallView, LegView

NORMAL_CLEARING = 16
KNOWN_SECONDS = 1.0  # at most, until signalling has heard of a change; it hears later while PostgreSQL is away

Known = Callable[[Account | None], bool]
"""Whether signalling's account of a user, None if it has none, is what a change has made of it."""


class Verbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, core: Core, conductor: Conductor, programmer: Programmer, storage: Storage, realm: str) -> None:
        self._core = core
        self._conductor = conductor
        self._programmer = programmer
        self._storage = storage
        self._realm = realm

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {
            "call.hangup": self.call_hangup,
            "call.list": self.call_list,
            "call.show": self.call_show,
            "cdr.list": self.cdr_list,
            "reg.list": self.reg_list,
            "user.add": self.user_add,
            "user.delete": self.user_delete,
            "user.enable": self.user_enable,
            "user.list": self.user_list,
            "user.password": self.user_password,
        }

    def call_list(self, _arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the calls with the sums of their flows."""
        flows: dict[str, list[FlowView]] = {}
        for view in self._programmer.flows():
            flows.setdefault(view.call, []).append(view)
        now = time.monotonic()
        return [_call_row(call, flows.get(call.id, ()), now) for call in self._core.calls()]

    def call_show(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return one call with both legs and its flows."""
        call = find_call(self._core, _text(arguments, "id"))
        flows = self._programmer.flows(call.id)
        row = _call_row(call, flows, time.monotonic())
        row["a"], row["b"] = _leg_row(call.a), _leg_row(call.b) if call.b else None
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
                "received": _address(binding.received),
                "expires": round(binding.expires - now),
                "q": binding.q,
            }
            for user in self._core.bindings()
            for binding in user.bindings
        ]

    async def user_list(self, _arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return all users, page after page."""
        found: list[users.User] = []
        page = await self._ask(users.listing())
        while page:
            found += page
            page = await self._ask(users.listing(after=page[-1]))
        return [_user_row(user) for user in found]

    async def user_add(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Add a user of our realm."""
        name, password = _text(arguments, "username"), _text(arguments, "password")
        title = str(arguments.get("display_name", ""))
        question = users.create(name, self._realm, password, display_name=title)
        return await self._change(name, question, self._opened_by(name, password))

    async def user_password(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Replace a user's password."""
        name, password = _text(arguments, "username"), _text(arguments, "password")
        question = users.set_password(name, self._realm, password)
        return await self._change(name, question, self._opened_by(name, password))

    async def user_enable(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Let a user register and call, or not."""
        name, enabled = _text(arguments, "username"), bool(arguments.get("enabled"))
        question = users.set_enabled(name, self._realm, enabled)
        return await self._change(name, question, lambda account: account is not None and account.enabled == enabled)

    async def user_delete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Delete a user."""
        name = _text(arguments, "username")
        return await self._change(name, users.delete(name, self._realm), lambda account: account is None)

    async def cdr_list(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return call records, newest first."""
        wanted = CdrFilter(party=str(arguments.get("user", "")) or None)
        count = max(1, min(10_000, int(arguments.get("count", 50))))
        return [_cdr_row(cdr) for cdr in await self._ask(cdr_search.search(wanted, limit=count))]

    async def _change(self, name: str, question: Question[users.User], known: Known) -> dict[str, Any]:
        """Change a user, and answer once signalling knows: the phone may register the next moment."""
        keeper = self._storage.keeper
        changed = await self._ask(question)
        with suppress(TimeoutError):
            async with asyncio.timeout(KNOWN_SECONDS):
                while not known(keeper.current.account(self._realm, name)):
                    await keeper.renewed()
        return _user_row(changed)

    def _opened_by(self, name: str, password: str) -> Known:
        """Make the question whether this password is the user's."""
        hashed = users.ha1("SHA-256", name, self._realm.lower(), password)
        return lambda account: account is not None and account.ha1_sha256 == hashed

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


def _call_row(call: CallView, flows: Iterable[FlowView], now: float) -> dict[str, Any]:
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


def _leg_row(leg: LegView) -> dict[str, Any]:
    return {
        "state": leg.state,
        "call_id": leg.call_id,
        "peer": _address(leg.peer),
        "local": _address(leg.local),
    }


def _address(address: Address | None) -> str | None:
    return None if address is None else f"{address.transport}:{address.host}:{address.port}"


def _user_row(user: users.User) -> dict[str, Any]:
    return {
        "username": user.username,
        "realm": user.realm,
        "display_name": user.display_name,
        "enabled": user.enabled,
        "created_at": user.created.isoformat(),
        "updated_at": user.updated.isoformat(),
    }


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
