# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on this host, as events of tenants: calls, queues, registrations, trunks, recordings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ctl.queues.services import queue_of
from ctl.signalling.trunk_keeper import key_of
from provisioning.charging import FIRST_TENANT, owner
from provisioning.snapshot import Snapshot
from sip.effects import CallAnswered, CallEnded, CallStarted, Effect, Joined, SaveBindings, Waiting
from sip.views import CallView, TrunkView

Tell = Callable[..., None]
"""tell(tenant, type, **data)"""
FORMER = 1000


class Sources:
    """snapshot: whose is what; call: a call that is up; wants: whether anybody wants to know of events of this type.

    Every method is called from the event loop.
    """

    def __init__(
        self,
        tell: Tell,
        snapshot: Callable[[], Snapshot],
        call: Callable[[str], CallView | None],
        wants: Callable[[str], bool] = lambda kind: True,
    ) -> None:
        self._tell = tell
        self._wants = wants
        self._snapshot = snapshot
        self._call = call
        self._registered: set[str] = set()
        self._trunks: dict[str, bool] = {}
        self._former: OrderedDict[str, tuple[str, str, str]] = OrderedDict()
        """Caller, number and trunk of the last calls that have ended: a recording is finished a moment later."""

    def restore(self, users: Iterable[str]) -> None:
        """These are registered already."""
        self._registered = set(users)

    def told(self, effect: Effect) -> None:
        """Something happened in signalling."""
        match effect:
            case CallStarted() if self._wants("call.started"):
                data = {"trunk": effect.trunk or None}
                self._of(effect.call, effect.caller, effect.dialled, effect.trunk, "call.started", data)
            case CallAnswered() if self._wants("call.answered") and (view := self._call(effect.call)):
                self._of(view.id, view.caller, view.dialled, view.trunk, "call.answered", {})
            case CallEnded():
                self._ended(effect)
            case Waiting() if queue := queue_of(effect.service):
                self._tell(queue[0], "queue.entered", call=effect.call, queue=queue[1], caller=effect.caller)
            case Joined() if view := self._call(effect.call):
                if queue := queue_of(view.service):
                    data = {"call": view.id, "queue": queue[1], "caller": view.caller, "agent": effect.peer or None}
                    self._tell(queue[0], "queue.answered", **data)
            case SaveBindings():
                self._bindings(effect)

    def trunks(self, views: Iterable[TrunkView]) -> None:
        """Look at the trunks; those that have come up or gone down since the last look are told."""
        for view in views:
            up = view.registered is not False and any(answers for _, answers in view.addresses)
            before = self._trunks.get(view.name)
            self._trunks[view.name] = up
            if before is not None and before != up:
                tenant, name = key_of(view.name) or (FIRST_TENANT, view.name)
                self._tell(tenant, "trunk.up" if up else "trunk.down", trunk=name, error=view.error or None)

    def recorded(self, call: str, state: dict[str, Any]) -> None:
        """A recording was finished."""
        view = self._call(call)
        known = (view.caller, view.dialled, view.trunk) if view else self._former.get(call)
        tenant = self._tenant(*known) if known else FIRST_TENANT
        data = {"call": call, "recording": state.get("id"), "seconds": round(float(state.get("seconds", 0.0)), 1)}
        self._tell(tenant, "recording.finished", **data)

    def _ended(self, effect: CallEnded) -> None:
        party = effect.caller, effect.dialled, effect.from_trunk
        self._former[effect.call] = party
        if len(self._former) > FORMER:
            self._former.popitem(last=False)
        if self._wants("call.ended"):
            talked = effect.ended - effect.answered if effect.answered is not None else 0.0
            data = {
                "status": effect.status,
                "cause": effect.cause,
                "ended_by": effect.ended_by,
                "reason": effect.reason,
                "talked_seconds": round(talked, 3),
                "trunk": effect.to_trunk or effect.from_trunk or None,
            }
            self._of(effect.call, *party, "call.ended", data)
        queue = queue_of(effect.service)
        if queue and effect.waited is not None and not effect.joined:
            waited = round(effect.waited, 3)
            self._tell(queue[0], "queue.abandoned", call=effect.call, queue=queue[1], caller=effect.caller,
                       waited_seconds=waited)  # fmt: skip

    def _bindings(self, effect: SaveBindings) -> None:
        known, now = effect.username in self._registered, bool(effect.bindings)
        if known == now:
            return
        (self._registered.add if now else self._registered.discard)(effect.username)
        kind = "registration.added" if now else "registration.removed"
        if self._wants(kind):
            self._tell(self._tenant(effect.username, "", ""), kind, user=effect.username)

    def _of(self, call: str, caller: str, dialled: str, trunk: str, kind: str, data: Mapping[str, Any]) -> None:
        known = {"call": call, "caller": caller, "dialled": dialled}
        self._tell(self._tenant(caller, dialled, trunk), kind, **known, **data)

    def _tenant(self, caller: str, dialled: str, trunk: str) -> int:
        return owner(self._snapshot(), caller, dialled, key_of(trunk) if trunk else None)
