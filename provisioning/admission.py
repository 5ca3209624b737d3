# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels and money, taken before a call and given back after. Pure; one method call is one atomic step.

Money is taken a minute ahead, so a call never talks on what is not there: whoever has none left for the next minute is
to be hung up. Budgets are for a day, UTC. A call for help takes channels too, but is never refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil

from provisioning.plan import TrunkKey

STEP_SECONDS = 60

Payer = tuple[int, str]
"""(tenant, user name); "" for the tenant as a whole."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used; None: as much as one likes."""

    channels: int | None = None
    spend_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """Why there is no admission, and the SIP status to answer."""

    status: int
    reason: str


@dataclass(slots=True)
class _Held:
    payers: dict[Payer, Limits]
    trunk: TrunkKey | None = None
    price: int = 0
    day: date = date.min
    held: int = 0
    """Money taken ahead, in millionths."""
    paid: int = 0
    """Money of this call that is spent for good."""
    emergency: bool = False


class Admission:
    """Who uses how much now."""

    def __init__(self) -> None:
        self.load: Counter[TrunkKey] = Counter()
        """Calls on each trunk."""
        self._calls: dict[str, _Held] = {}
        self._channels: Counter[Payer] = Counter()
        self._spent: Counter[tuple[date, Payer]] = Counter()

    def count(self, spent: Mapping[tuple[date, Payer], int]) -> None:
        """Add what was spent elsewhere, or before."""
        self._spent.update(spent)

    def spent(self, payer: Payer, now: datetime) -> int:
        """Return what the payer spent today, what is taken ahead included."""
        return self._spent[now.astimezone(UTC).date(), payer]

    def begin(
        self, call: str, tenant: tuple[int, Limits], user: tuple[str, Limits], *, emergency: bool = False
    ) -> Denied | None:
        """Take a channel of the tenant and of the user. A call that is known already takes none again."""
        if call in self._calls:
            return None
        payers = {(tenant[0], ""): tenant[1], (tenant[0], user[0]): user[1]}
        for payer, limits in payers.items():
            if not emergency and limits.channels is not None and self._channels[payer] >= limits.channels:
                whose = f"user {payer[1]}" if payer[1] else "the tenant"
                return Denied(503 if not payer[1] else 486, f"All {limits.channels} channels of {whose} are in use")
        self._calls[call] = _Held(payers, emergency=emergency)
        self._channels.update(payers.keys())
        return None

    def take_trunk(
        self, call: str, trunk: TrunkKey, limit: int | None, price: int | None, now: datetime
    ) -> Denied | None:
        """Take a channel of a trunk and the first minute's price; gives those of an earlier trunk back first.

        The call goes on without a trunk if this is denied. One that was never begun, as nobody pays it, takes nothing.
        """
        held = self._calls.get(call)
        if held is None:
            return None
        self._leave_trunk(held)
        if not held.emergency and limit is not None and self.load[trunk] >= limit:
            return Denied(503, f"All {limit} channels of trunk {trunk[1]} are in use")
        held.price, held.day = price or 0, now.astimezone(UTC).date()
        if not self._take_money(held):
            return Denied(403, "Spending Limit Reached")
        held.trunk = trunk
        self.load[trunk] += 1
        return None

    def renew(self, call: str, now: datetime) -> bool:
        """The minute is used up: take the next. False: there is no money, end the call."""
        held = self._calls.get(call)
        if held is None or held.trunk is None:
            return True
        held.paid += held.held
        held.held = 0
        held.day = now.astimezone(UTC).date()
        return self._take_money(held)

    def end(self, call: str, seconds: float) -> int:
        """Give everything back and return the price of the call: of the seconds talked, begun ones whole."""
        held = self._calls.pop(call, None)
        if held is None:
            return 0
        cost = ceil(held.price * ceil(seconds) / STEP_SECONDS) if held.trunk else 0
        for payer in held.payers:
            self._spent[held.day, payer] += cost - held.paid - held.held
            self._channels[payer] -= 1
        if held.trunk:
            self.load[held.trunk] -= 1
        return cost

    def forget_days(self, now: datetime, keep: int = 2) -> None:
        """Drop the sums of days that no call can touch any more."""
        oldest = now.astimezone(UTC).date() - timedelta(days=keep)
        for key in [key for key in self._spent if key[0] < oldest]:
            del self._spent[key]

    def calls(self) -> Iterable[str]:
        """Name the calls that hold something."""
        return self._calls.keys()

    def _take_money(self, held: _Held) -> bool:
        if not held.price:
            return True
        for payer, limits in held.payers.items():
            over = limits.spend_micros is not None and self._spent[held.day, payer] + held.price > limits.spend_micros
            if over and not held.emergency:
                return False
        held.held = held.price
        for payer in held.payers:
            self._spent[held.day, payer] += held.price
        return True

    def _leave_trunk(self, held: _Held) -> None:
        if held.trunk is None:
            return
        self.load[held.trunk] -= 1
        for payer in held.payers:
            self._spent[held.day, payer] -= held.held
        held.trunk, held.held = None, 0
