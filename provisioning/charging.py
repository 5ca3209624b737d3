# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose call it was, and what it cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from provisioning.numbering import DialPlan, normalise
from provisioning.plan import TenantPlan, TrunkKey
from provisioning.snapshot import Account, Snapshot

FIRST_TENANT = 1
"""Whose a call is that nobody we know has a part in."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The tenant of a call, and its price in millionths; None where no price is known or it left by no trunk."""

    tenant: int
    cost_micros: int | None = None


def charge(
    snapshot: Snapshot, caller: str, dialled: str, seconds: float,
    from_trunk: TrunkKey | None = None, to_trunk: TrunkKey | None = None,
) -> Charge:  # fmt: skip
    """Return the charge of a call that talked so many seconds; begun ones count whole."""
    account = find_account(snapshot, caller)
    if to_trunk is None:
        return Charge(owner(snapshot, caller, dialled, from_trunk))
    plan = snapshot.plan(to_trunk[0])
    price = price_of(plan, to_trunk[1], dialled, account)
    return Charge(to_trunk[0], None if price is None else ceil(price * ceil(seconds) / 60))


def owner(snapshot: Snapshot, caller: str, dialled: str, from_trunk: TrunkKey | None = None) -> int:
    """Return whose call it is: the tenant of the trunk it came by, of the caller, or of the number that was dialled."""
    if from_trunk:
        return from_trunk[0]
    account = find_account(snapshot, caller)
    known = account.tenant if account else snapshot.owners.get(f"+{dialled.removeprefix('+')}")
    return FIRST_TENANT if known is None else known


def price_of(plan: TenantPlan, trunk: str, dialled: str, account: Account | None) -> int | None:
    """Return the price a minute of a number by a trunk, None if there is none."""
    known = plan.trunks.get(trunk)
    deck = plan.decks.get(known.rate_deck) if known and known.rate_deck else None
    name = (account.dial_plan if account else None) or plan.dial_plan
    number = normalise(dialled, plan.dial_plans.get(name or "", DialPlan()))
    return deck.price(number[1:]) if deck and number else None


def find_account(snapshot: Snapshot, username: str) -> Account | None:
    """Return the account of a user name: of our realm, else of any."""
    account = snapshot.account(snapshot.realm, username)
    if account is not None:
        return account
    return next(filter(None, (snapshot.account(realm, username) for realm in sorted(snapshot.realms))), None)
