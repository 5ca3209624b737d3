# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels and money over all workers, who ask the controller before they follow a route, and tell of a call's end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from ctl.journal import Journal
from ctl.observe.metrics import Meters
from ctl.sessions.media_sessions import MediaSessions
from ctl.signalling.conductor import Conductor, Directions
from ctl.signalling.directory import Answer
from ctl.signalling.records import Records
from ctl.signalling.resolver import Resolver
from ctl.workers.bindings import WorkerBindings
from ctl.workers.held import HeldAnswers
from ctl.workers.link import Link
from provisioning.admission import Admission, Denied, Limits, Payer
from provisioning.plan import TrunkKey
from provisioning.routing import Refusal
from sip.core import Core
from sip.effects import Effect, FindRoute, Leg, SaveBindings, Send, Target

BEGIN, TRUNK = "begin", "trunk"
Wish = tuple[str, tuple[Any, ...]]


class RemoteAdmission:
    """Stands in for `provisioning.admission.Admission` in a worker: it grants all at once, and says what to ask for.

    tell: to the controller, for what needs no answer.
    """

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._wishes: list[Wish] = []

    def wishes(self) -> list[Wish]:
        """Return what was granted since, to be asked of the controller."""
        found, self._wishes = self._wishes, []
        return found

    def count(self, spent: Mapping[tuple[date, Payer], int]) -> None:
        """Nothing: the controller knows what was spent."""

    def begin(
        self, call: str, tenant: tuple[int, Limits], user: tuple[str, Limits], *, emergency: bool = False
    ) -> Denied | None:
        """See Admission."""
        self._wishes.append((BEGIN, (call, tenant[0], _plain(tenant[1]), user[0], _plain(user[1]), emergency)))
        return None

    def take_trunk(
        self, call: str, trunk: TrunkKey, limit: int | None, price: int | None, now: datetime
    ) -> Denied | None:
        """See Admission."""
        self._wishes.append((TRUNK, (call, tuple(trunk), limit, price)))
        return None

    def renew(self, call: str, now: datetime) -> bool:
        """See Admission; the controller says later where there is no money."""
        self._tell("renew", call)
        return True

    def end(self, call: str, seconds: float) -> int:
        """See Admission; what a call costs in the end is its record's to say."""
        self._tell("end", call, seconds)
        return 0


class AskingConductor(Conductor):
    """Follows a route only when the controller has granted what it takes, and answers a REGISTER only when it has
    written down the contacts.
    """

    def __init__(
        self,
        admission: RemoteAdmission,
        link: Link,
        bindings: WorkerBindings,
        core: Core,
        send: Callable[[Send], None],
        sessions: MediaSessions,
        directory: Directions,
        journal: Journal,
        records: Records,
        meters: Meters,
        resolver: Resolver | None = None,
    ) -> None:
        super().__init__(core, send, sessions, directory, journal, records, meters, resolver)
        self._admission = admission
        self._link = link
        self._bindings = bindings
        self._held = HeldAnswers(self._transmit)

    def perform(self, effects: Iterable[Effect]) -> None:
        """See Conductor."""
        try:
            super().perform(effects)
        finally:
            self._held.end()

    def _perform(self, effect: Effect) -> Iterable[Effect]:
        if isinstance(effect, Send) and self._held.takes(effect):
            return ()
        return super()._perform(effect)

    def _transmit(self, effect: Send) -> None:
        super()._perform(effect)

    def _save_bindings(self, effect: SaveBindings) -> None:
        change = self._bindings.save(effect)
        if change:
            self._link.ask_then("bindings", change, self._held.begin())

    def _find_route(self, effect: FindRoute) -> Iterable[Effect]:
        found = self._directory.route(effect)
        wishes = self._admission.wishes()
        if not any(map(_limited, wishes)):
            if wishes:
                self._link.tell("admit", effect.call, wishes)  # for limits that may be set while it lasts
            return self._follow(effect.token, found)
        self._link.ask_then("admit", (effect.call, wishes), lambda denied: self._granted(effect.token, found, denied))
        return ()

    def connect(self, call: str, targets: Iterable[Target], peer: str = "") -> None:
        """See Conductor; with what it takes denied there is nobody to connect to."""
        wishes, found = self._admission.wishes(), tuple(targets)
        if not wishes:
            super().connect(call, found, peer)
            return

        def granted(denied: object) -> None:
            Conductor.connect(self, call, () if denied else found, peer)

        self._link.ask_then("admit", (call, wishes), granted)

    def send_on(self, call: str, leg: Leg, made: str, targets: Iterable[Target], dialled: str, user: str) -> bool:
        """See Conductor; whether it has begun, or is asked for: with what it takes denied the call goes on."""
        wishes, found = self._admission.wishes(), tuple(targets)
        if not wishes:
            return super().send_on(call, leg, made, found, dialled, user)

        def granted(denied: object) -> None:
            if not denied:
                Conductor.send_on(self, call, leg, made, found, dialled, user)

        self._link.ask_then("admit", (made, wishes), granted)
        return True

    def _granted(self, token: int, found: Answer, denied: tuple[int, str] | None) -> None:
        self.perform(self._follow(token, Refusal(*denied) if denied else found))


class AdmissionDesk:
    """The controller's: one set of books for all workers."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._holders: dict[str, int] = {}
        """The worker of each call that holds something."""

    def admit(self, worker: int, call: str, wishes: list[Wish]) -> tuple[int, str] | None:
        """Take all that a call needs, or nothing; return status and reason where there is not enough."""
        self._holders[call] = worker
        for wish in wishes:
            denied = self._take(*wish)
            if denied:
                self.end(call, 0.0)
                return denied.status, denied.reason
        return None

    def renew(self, call: str) -> bool:
        """Take the next minute of a call; whether it can be paid."""
        return self._admission.renew(call, datetime.now(UTC))

    def end(self, call: str, seconds: float) -> None:
        """Give back what a call holds."""
        self._admission.end(call, seconds)
        self._holders.pop(call, None)

    def taken_up(self, worker: int, wishes: list[Wish]) -> None:
        """A worker goes on with these calls, and with no others that it had."""
        calls = {arguments[0] for _, arguments in wishes}
        for call in [call for call, its in self._holders.items() if its == worker and call not in calls]:
            self.end(call, 0.0)
        for wish in wishes:
            self._holders[wish[1][0]] = worker
            self._take(*wish)

    def _take(self, kind: str, arguments: tuple[Any, ...]) -> Denied | None:
        if kind == BEGIN:
            call, tenant, whole, user, mine, emergency = arguments
            payers = (tenant, Limits(*whole)), (user, Limits(*mine))
            return self._admission.begin(call, *payers, emergency=emergency)
        call, trunk, limit, price = arguments
        return self._admission.take_trunk(call, tuple(trunk), limit, price, datetime.now(UTC))


def _limited(wish: Wish) -> bool:
    """Whether the controller could deny it."""
    kind, arguments = wish
    if kind == BEGIN:
        return any(limit is not None for limit in (*arguments[2], *arguments[4]))
    return arguments[2] is not None or bool(arguments[3])


def _plain(limits: Limits) -> tuple[int | None, int | None]:
    return limits.channels, limits.spend_micros
