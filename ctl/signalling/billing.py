# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits before a call, and its charge after: what signalling asks of `provisioning.admission` and `charging`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Protocol

from ctl.signalling.trunk_keeper import key_of
from provisioning.admission import Admission, Denied, Limits, Payer
from provisioning.charging import Charge, charge, find_account
from provisioning.plan import TrunkKey
from provisioning.refresh import SnapshotKeeper
from provisioning.routing import Decision, Refusal, ToTrunk
from sip.effects import CallEnded
from sip.views import CallView

RENEW_SECONDS = 60.0


class Desk(Protocol):
    """What is asked of `provisioning.admission.Admission`."""

    def count(self, spent: Mapping[tuple[date, Payer], int]) -> None:
        """Add what was spent elsewhere, or before."""

    def begin(
        self, call: str, tenant: tuple[int, Limits], user: tuple[str, Limits], *, emergency: bool = False
    ) -> Denied | None:
        """Take a channel of the tenant and of the user."""

    def take_trunk(
        self, call: str, trunk: TrunkKey, limit: int | None, price: int | None, now: datetime
    ) -> Denied | None:
        """Take a channel of a trunk and the first minute's price."""

    def renew(self, call: str, now: datetime) -> bool:
        """Take the next minute; whether there is money for it."""

    def end(self, call: str, seconds: float) -> int:
        """Give everything back and return the price of the call."""


class Billing:
    """Owns what calls hold. Every method is called from the event loop, and none waits."""

    def __init__(self, keeper: SnapshotKeeper, admission: Desk | None = None) -> None:
        self._keeper = keeper
        self._admission: Desk = admission or Admission()
        self._renewed: dict[str, float] = {}

    def count(self, spent: Mapping[tuple[date, Payer], int]) -> None:
        """Add what was spent today before we began."""
        self._admission.count(spent)

    def restore(self, calls: Iterable[CallView]) -> None:
        """Take the channels of calls that went on while we were away."""
        for call in calls:
            self._begin(call.id, call.caller, None, emergency=True)

    def admit(self, call: str, caller: str, decision: Decision) -> Refusal | None:
        """Take channels, and the price of the first minute by the first trunk; or say why not."""
        if isinstance(decision.outcome, Refusal):
            return None
        denied = self._begin(call, caller, decision.tenant or None, emergency=decision.emergency)
        first = next((target for target in decision.outcome if isinstance(target, ToTrunk)), None)
        if denied is None and first is not None:
            now = datetime.now(UTC)
            denied = self._admission.take_trunk(call, first.trunk.key, None, first.price_micros, now)
            if denied is not None:
                self._admission.end(call, 0)
        return None if denied is None else Refusal(denied.status, denied.reason)

    def ended(self, ended: CallEnded) -> Charge:
        """Give back what the call held, and return its charge."""
        seconds = ended.ended - ended.answered if ended.answered is not None else 0.0
        self._renewed.pop(ended.call, None)
        to_trunk = key_of(ended.to_trunk) if ended.to_trunk else None
        from_trunk = key_of(ended.from_trunk) if ended.from_trunk else None
        found = charge(self._keeper.current, ended.caller, ended.dialled, seconds, from_trunk, to_trunk)
        self._admission.end(ended.call, seconds if to_trunk else 0.0)
        return found

    def exhausted(self, calls: Iterable[CallView], now: float) -> list[str]:
        """Take the next minute of calls whose last one is used up; return those that cannot pay it.

        now: monotonic, as the times of calls are.
        """
        over = []
        for call in calls:
            if call.answered is None:
                continue
            paid_until = self._renewed.get(call.id, call.answered) + RENEW_SECONDS
            if now < paid_until:
                continue
            self._renewed[call.id] = paid_until
            if not self._admission.renew(call.id, datetime.now(UTC)):
                over.append(call.id)
        return over

    def _begin(self, call: str, caller: str, tenant: int | None, *, emergency: bool) -> Denied | None:
        snapshot = self._keeper.current
        account = find_account(snapshot, caller)
        owner = tenant if tenant is not None else account.tenant if account else None
        if owner is None:
            return None
        plan = snapshot.plan(owner)
        mine = Limits(account.channel_limit, account.spend_limit_micros) if account else Limits()
        whole = Limits(plan.channel_limit, plan.spend_limit_micros)
        return self._admission.begin(call, (owner, whole), (caller, mine), emergency=emergency)
