# SPDX-License-Identifier: GPL-3.0-or-later
"""What the REST API asks of live calls, put to all workers and answered as by one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from api.live import CallControl, Live, LiveRefused, MediaControl, UnknownCall
from ctl.exits import FAILED, NOT_FOUND
from ctl.verbs.control import ControlError, Verb
from ctl.workers.gather import Gathered


def live_verbs(live: Live) -> Mapping[str, Verb]:
    """Return what a worker answers its controller."""

    async def call(arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return await live.call(arguments["tenant"], arguments["call"])
        except UnknownCall as unknown:
            raise ControlError(str(unknown), NOT_FOUND) from None

    async def control(arguments: dict[str, Any]) -> dict[str, Any]:
        wanted = CallControl.model_validate(arguments["control"])
        return await _done(live.control(arguments["tenant"], arguments["call"], wanted))

    async def media(arguments: dict[str, Any]) -> dict[str, Any]:
        wanted = MediaControl.model_validate(arguments["control"])
        return await _done(live.media(arguments["tenant"], arguments["call"], wanted))

    async def calls(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return list(await live.calls(arguments["tenant"]))

    async def flows(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return list(await live.flows(arguments["tenant"]))

    verbs: Mapping[str, Verb] = {"call": call, "calls": calls, "control": control, "flows": flows, "media": media}
    return {f"live.{name}": verb for name, verb in verbs.items()}


async def _done(change: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await change
    except UnknownCall as unknown:
        raise ControlError(str(unknown), NOT_FOUND) from None
    except LiveRefused as refused:
        raise ControlError(str(refused), FAILED) from None


class GatheredLive:
    """Implements `api.live.Live`. own: the controller's, which has the registrations and proxies' flows."""

    def __init__(self, own: Live, gathered: Gathered) -> None:
        self._own, self._gathered = own, gathered

    async def calls(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """See Live."""
        return await self._gathered.concatenated("live.calls", {"tenant": tenant})

    async def call(self, tenant: int | None, call: str) -> dict[str, Any]:
        """See Live."""
        return await self._one("live.call", call, {"tenant": tenant, "call": call})

    async def control(self, tenant: int | None, call: str, control: CallControl) -> dict[str, Any]:
        """See Live."""
        return await self._change("live.control", tenant, call, control)

    async def media(self, tenant: int | None, call: str, control: MediaControl) -> dict[str, Any]:
        """See Live."""
        return await self._change("live.media", tenant, call, control)

    async def flows(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """See Live."""
        return await self._gathered.concatenated("live.flows", {"tenant": tenant})

    async def registrations(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """See Live."""
        return await self._own.registrations(tenant)

    async def statistics(self, tenant: int | None) -> dict[str, Any]:
        """See Live."""
        calls, flows = await self.calls(tenant), await self.flows(tenant)
        return {"calls": len(calls), "flows": len(flows), "registrations": len(await self.registrations(tenant))}

    async def _change(
        self, verb: str, tenant: int | None, call: str, control: CallControl | MediaControl
    ) -> dict[str, Any]:
        return await self._one(verb, call, {"tenant": tenant, "call": call, "control": control.model_dump(mode="json")})

    async def _one(self, verb: str, call: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(await self._gathered.whoever_has(verb, arguments))
        except ControlError as error:
            if error.code == NOT_FOUND:
                raise UnknownCall(f"no call {call}: GET /api/v1/calls shows those there are") from None
            raise LiveRefused(str(error)) from None
        return found
