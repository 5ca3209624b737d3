# SPDX-License-Identifier: GPL-3.0-or-later
"""Who did what to a call by the command line: an entry in the audit of its tenant, as the API leaves one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

import structlog

from ctl.verbs.control import Verb
from ctl.verbs.flows import find_call
from ctl.verbs.objects import ACTOR
from provisioning.errors import ProvisioningError
from provisioning.store import Scope, Store
from sip.core import Core
from sip.views import CallView

PATIENCE = 2.0
"""Seconds that an entry may take: what was done to the call is done, and does not wait for a database."""
_ACTIONS: Mapping[str, str] = {
    "call.hangup": "hangup",
    "call.hold": "hold",
    "call.media": "",
    "call.record": "record_",
    "call.resume": "resume",
    "call.transfer": "transfer",
}
"""What each verb is called in the audit; the argument `action` says the rest where it has several."""
_TOLD = ("leg", "target", "consent", "layout", "format", "sounds", "what")
"""Arguments that an entry has; digits may be a PIN."""
_READS = frozenset({"record_show"})

log = structlog.get_logger()


class Storage(Protocol):
    """What is asked of `ctl.storage.Storage`."""

    store: Store

    async def ready(self) -> None:
        """Wait until there is a database. Raises DatabaseUnavailable."""


class Noted:
    """Gives verbs their entries. owner: whose call it is, a tenant."""

    def __init__(self, core: Core, owner: Callable[[CallView], int], storage: Storage) -> None:
        self._core = core
        self._owner = owner
        self._storage = storage

    def table(self, verbs: Mapping[str, Verb]) -> dict[str, Verb]:
        """Return the verbs, those that change a call with an entry of each change."""
        known = {name: partial(self._do, action, verbs[name]) for name, action in _ACTIONS.items() if name in verbs}
        return {**verbs, **known}

    async def _do(self, action: str, verb: Verb, arguments: dict[str, Any]) -> Any:
        call = find_call(self._core, str(arguments.get("id", "")))
        tenant = self._owner(call)  # while it is there: it may end by this
        result = verb(arguments)
        if isinstance(result, Awaitable):
            result = await result
        if not action or action.endswith("_"):
            action += str(arguments.get("action", ""))
        if action not in _READS:
            await self._note(tenant, action, call.id, {name: arguments[name] for name in _TOLD if arguments.get(name)})
        return result

    async def _note(self, tenant: int, action: str, call: str, after: Mapping[str, Any]) -> None:
        scope = Scope(tenant, "", "", ACTOR)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._storage.ready()
                async with self._storage.store.open(scope) as workspace:
                    await workspace.note(action, "call", call, None, after)
        except (ProvisioningError, TimeoutError) as error:
            why = str(error) or "the database does not answer"
            log.warning("what was done to a call is in no audit", action=action, call=call, tenant=tenant, why=why)
