# SPDX-License-Identifier: GPL-3.0-or-later
"""What the REST API asks of the controller: calls, flows and registrations, each of one tenant."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from api.live import CallControl, LiveRefused, MediaControl, UnknownCall
from ctl.observe.flowviews import flow_row
from ctl.sessions.flow_view import FlowView
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.programmer import Programmer
from ctl.verbs.call_control import CallController
from ctl.verbs.calls import address_text, call_row, leg_row
from ctl.verbs.control import ControlError
from ctl.verbs.playback import CallMedia
from provisioning.charging import find_account
from provisioning.refresh import SnapshotKeeper
from sip.core import Core
from sip.views import CallView

FRESH_SECONDS = 0.5


class LiveCalls:
    """Implements `api.live.Live`. Lists show flows as they were at most FRESH_SECONDS ago: reading all takes time."""

    def __init__(
        self, core: Core, control: CallController, programmer: Programmer, keeper: SnapshotKeeper, media: CallMedia
    ) -> None:
        self._core = core
        self._control = control
        self._media = media
        self._programmer = programmer
        self._keeper = keeper
        self._read: tuple[float, list[FlowView]] = (float("-inf"), [])

    async def calls(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """Return the calls with the sums of their flows."""
        flows: dict[str, list[FlowView]] = {}
        for view in self._flows():
            flows.setdefault(view.call, []).append(view)
        now = time.monotonic()
        return [call_row(call, flows.get(call.id, ()), now) for call in self._of(tenant)]

    async def call(self, tenant: int | None, call: str) -> dict[str, Any]:
        """Return one call with its legs and flows. Raises UnknownCall."""
        found = self._find(tenant, call)
        flows = self._programmer.flows(found.id)
        row = call_row(found, flows, time.monotonic())
        row["a"], row["b"] = leg_row(found.a), leg_row(found.b) if found.b else None
        row["flows"] = [flow_row(view) for view in flows]
        return row

    async def control(self, tenant: int | None, call: str, control: CallControl) -> dict[str, Any]:
        """Do something with a call and return what it was before. Raises UnknownCall, LiveRefused."""
        row, found = await self.call(tenant, call), self._find(tenant, call)
        try:
            return row | self._do(found, control)
        except ControlError as error:
            raise LiveRefused(str(error)) from None

    def _do(self, call: CallView, control: CallControl) -> dict[str, Any]:
        """What is to be shown of a call beyond what it was before."""
        match control.action:
            case "hangup":
                self._control.hang_up(call, control.cause)
            case "transfer":
                return {"transferred_as": self._control.transfer(call, control.leg, control.target or "")}
            case "hold":
                self._control.hold(call, control.leg)
            case "resume":
                self._control.resume(call)
            case _:
                wanted = {"layout": control.layout, "format": control.format}
                action = control.action.removeprefix("record_")
                return {"recording": self._control.record(call, action, control.consent, **wanted)}
        return {}

    async def media(self, tenant: int | None, call: str, control: MediaControl) -> dict[str, Any]:
        """Change what the legs of a call hear; return what came of it. Raises UnknownCall, LiveRefused."""
        found = self._find(tenant, call)
        try:
            return await self._media.change(found.id, control.action, control.leg, control.model_dump())
        except MediaRefused as refused:
            raise LiveRefused(refused.reason) from None

    async def flows(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """Return the flows."""
        wanted = {call.id for call in self._of(tenant)}
        return [flow_row(view) for view in self._flows() if view.call in wanted]

    async def registrations(self, tenant: int | None) -> Sequence[dict[str, Any]]:
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
            if tenant is None or self._tenant_of(user.username) == tenant
            for binding in user.bindings
        ]

    async def statistics(self, tenant: int | None) -> dict[str, Any]:
        """Return sums."""
        calls = {call.id for call in self._of(tenant)}
        flows = sum(view.call in calls for view in self._flows())
        return {"calls": len(calls), "flows": flows, "registrations": len(await self.registrations(tenant))}

    def _flows(self) -> list[FlowView]:
        read, flows = self._read
        if time.monotonic() - read > FRESH_SECONDS:
            flows = list(self._programmer.flows())
            self._read = (time.monotonic(), flows)
        return flows

    def _of(self, tenant: int | None) -> Iterable[CallView]:
        for call in self._core.calls():
            if tenant is None or tenant == self._control.owner(call):
                yield call

    def _find(self, tenant: int | None, call: str) -> CallView:
        for found in self._of(tenant):
            if found.id == call:
                return found
        raise UnknownCall(f"no call {call}: GET /api/v1/calls shows those there are")

    def _tenant_of(self, username: str) -> int | None:
        account = find_account(self._keeper.current, username)
        return account.tenant if account else None
