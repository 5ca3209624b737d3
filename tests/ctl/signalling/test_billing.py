# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ctl.signalling.billing import Billing
from provisioning.charging import Charge
from provisioning.numbering import DialPlan
from provisioning.plan import Member, Route, TenantPlan, Trunk, by_prefix
from provisioning.prefixes import PrefixPrices
from provisioning.routing import Decision, Inquiry, Refusal, decide
from provisioning.selection import Circumstances
from provisioning.snapshot import Account, Snapshot
from sip.effects import CallEnded

PARIS = Trunk(1, "paris", "h", rate_deck="d")


class Keeper:
    """Holds a snapshot of one user, whose calls outside cost 60 units a minute."""

    def __init__(self, **user: Any) -> None:
        plan = TenantPlan(
            1, "default", trunks={"paris": PARIS}, decks={"d": PrefixPrices([("33", 60)])}, dial_plan="fr",
            dial_plans={"fr": DialPlan("FR")}, routes=by_prefix([Route("r", "", trunks=(Member("paris"),))]),
        )  # fmt: skip
        self.current = Snapshot.of("x", [Account("x", "anna", True, "", "", **user)]).planned({1: plan})

    def decision(self, dialled: str = "0123456789") -> Decision:
        return decide(Inquiry("anna", dialled, "x"), Circumstances(datetime.now(UTC)), self.current)


@pytest.fixture
def numbers() -> Iterator[str]:
    return (f"c{number}" for number in range(1000))


def ended(call: str, seconds: float, dialled: str = "0123456789", **more: Any) -> CallEnded:
    return CallEnded(call, "anna", dialled, "a", "b", 0.0, 1.0, 2.0, 2.0 + seconds, 200, 16, "a", "BYE", **more)


class View:
    def __init__(self, identifier: str, answered: float | None) -> None:
        self.id, self.answered, self.caller = identifier, answered, "anna"


def test_channels_are_taken_and_given_back(numbers: Iterator[str]) -> None:
    keeper = Keeper(channel_limit=2)
    billing = Billing(keeper)  # type: ignore[arg-type] # all it needs
    first, second, third = (next(numbers) for _ in range(3))
    assert billing.admit(first, "anna", keeper.decision()) is None
    assert billing.admit(first, "anna", keeper.decision()) is None, "a call that asks again takes nothing more"
    assert billing.admit(second, "anna", keeper.decision("anna")) is None
    assert billing.admit(third, "anna", keeper.decision()) == Refusal(486, "All 2 channels of user anna are in use")
    assert billing.admit(third, "anna", keeper.decision("112")) is None, "a call for help"
    assert billing.ended(ended(first, 30.5, to_trunk="1/paris")) == Charge(1, 31)
    assert billing.ended(ended(second, 30, "anna")) == Charge(1)
    assert billing.ended(ended(third, 10, "112", to_trunk="1/paris")) == Charge(1, None)
    assert billing.admit(next(numbers), "anna", keeper.decision()) is None


def test_a_budget_ends_what_it_cannot_pay(numbers: Iterator[str]) -> None:
    keeper = Keeper(spend_limit_micros=150)
    billing = Billing(keeper)  # type: ignore[arg-type] # all it needs
    call = next(numbers)
    assert billing.admit(call, "anna", keeper.decision()) is None
    views: Any = [View(call, 100.0)]
    assert billing.exhausted(views, 159.9) == []
    assert billing.exhausted(views, 160.0) == []
    assert billing.exhausted(views, 219.9) == []
    assert billing.exhausted(views, 220.0) == [call]
    assert billing.ended(ended(call, 120, to_trunk="1/paris")) == Charge(1, 120)
    assert billing.admit(next(numbers), "anna", keeper.decision()) == Refusal(403, "Spending Limit Reached")
    today = datetime.now(UTC).date()
    other = Billing(keeper)  # type: ignore[arg-type] # all it needs
    other.count({(today, (1, "anna")): 100})
    assert other.admit(next(numbers), "anna", keeper.decision()) == Refusal(403, "Spending Limit Reached")
    assert other.admit(next(numbers), "anna", keeper.decision("anna")) is None, "inside nothing costs"
    assert other.admit(next(numbers), "anna", Decision(Refusal(404, "x"))) is None


def test_calls_that_went_on_without_us_count(numbers: Iterator[str]) -> None:
    keeper = Keeper(channel_limit=1)
    billing = Billing(keeper)  # type: ignore[arg-type] # all it needs
    views: Any = [View("old", 1.0)]
    billing.restore(views)
    assert billing.admit(next(numbers), "anna", keeper.decision()) is not None
    billing.ended(ended("old", 5))
    assert billing.admit(next(numbers), "anna", keeper.decision()) is None
