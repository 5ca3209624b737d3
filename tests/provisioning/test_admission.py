# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from provisioning.admission import Admission, Denied, Limits

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FREE = Limits()
PARIS, LYON = (1, "paris"), (1, "lyon")


def begin(admission: Admission, call: str, user: Limits = FREE, tenant: Limits = FREE, **more: bool) -> Denied | None:
    return admission.begin(call, (1, tenant), ("anna", user), **more)


def test_a_thousand_calls_at_the_cap_spend_no_more_than_it() -> None:
    admission = Admission()
    user = Limits(spend_micros=50_500)
    admitted = 0
    for number in range(1000):
        assert begin(admission, str(number), user) is None
        admitted += admission.take_trunk(str(number), PARIS, None, 1000, NOON) is None
    assert admitted == 50
    assert admission.spent((1, "anna"), NOON) == 50_000
    assert not admission.renew("0", NOON + timedelta(minutes=1))
    assert admission.spent((1, "anna"), NOON) == 50_000


def test_money_that_was_not_used_comes_back() -> None:
    admission = Admission()
    begin(admission, "c", Limits(spend_micros=1000))
    assert admission.take_trunk("c", PARIS, None, 600, NOON) is None
    assert admission.end("c", 10.2) == 110
    assert admission.spent((1, "anna"), NOON) == admission.spent((1, ""), NOON) == 110
    assert admission.end("c", 10.2) == 0


def test_a_long_call_pays_minute_by_minute() -> None:
    admission = Admission()
    begin(admission, "c", Limits(spend_micros=2500))
    admission.take_trunk("c", PARIS, None, 1000, NOON)
    assert admission.renew("c", NOON + timedelta(minutes=1))
    assert not admission.renew("c", NOON + timedelta(minutes=2))
    assert admission.end("c", 120.0) == 2000
    assert admission.spent((1, "anna"), NOON) == 2000


def test_channels_of_user_tenant_and_trunk() -> None:
    admission = Admission()
    assert begin(admission, "a", Limits(1), Limits(2)) is None
    assert begin(admission, "a", Limits(1), Limits(2)) is None
    assert begin(admission, "b", Limits(1), Limits(2)) == Denied(486, "All 1 channels of user anna are in use")
    assert admission.begin("c", (1, Limits(2)), ("bert", FREE)) is None
    assert admission.begin("d", (1, Limits(2)), ("carl", FREE)) == Denied(
        503, "All 2 channels of the tenant are in use"
    )
    assert admission.take_trunk("a", PARIS, 1, None, NOON) is None
    assert admission.take_trunk("c", PARIS, 1, None, NOON) == Denied(503, "All 1 channels of trunk paris are in use")
    assert admission.take_trunk("c", LYON, 1, None, NOON) is None
    assert admission.take_trunk("a", LYON, 1, None, NOON) is not None
    assert (admission.load[PARIS], admission.load[LYON]) == (0, 1)
    admission.end("a", 0)
    assert begin(admission, "b", Limits(1), Limits(2)) is None


def test_a_call_for_help_is_never_refused() -> None:
    nothing = Limits(0, 0)
    admission = Admission()
    admission.count({(date(2026, 5, 1), (1, "anna")): 10**9})
    assert begin(admission, "c", nothing, nothing, emergency=True) is None
    assert admission.take_trunk("c", PARIS, 0, 10**6, NOON) is None
    assert admission.renew("c", NOON)


def test_each_day_has_a_budget_of_its_own() -> None:
    admission = Admission()
    for day in range(5):
        now = NOON + timedelta(days=day)
        begin(admission, str(day), Limits(spend_micros=1000))
        assert admission.take_trunk(str(day), PARIS, None, 1000, now) is None
        assert admission.end(str(day), 60) == 1000
    admission.forget_days(NOON + timedelta(days=4))
    assert admission.spent((1, "anna"), NOON) == 0
    assert admission.spent((1, "anna"), NOON + timedelta(days=4)) == 1000


@given(st.integers(0, 2**32))
def test_whatever_happens_nothing_is_lost_or_left_over(seed: int) -> None:
    chance = random.Random(seed)
    admission = Admission()
    limits, live, cost = Limits(4, 20_000), set[str](), 0
    for number in range(80):
        call = str(chance.randrange(12))
        match chance.randrange(4):
            case 0:
                if begin(admission, call, limits) is None:
                    live.add(call)
            case 1 if call in live:
                admission.take_trunk(call, chance.choice([PARIS, LYON]), 2, chance.choice([0, 700, 3000]), NOON)
            case 2:
                admission.renew(call, NOON)
            case _:
                cost += admission.end(call, chance.randrange(60))
                live.discard(call)
        assert len(live) <= 4, number
        assert all(0 <= load <= 2 for load in admission.load.values())
        assert 0 <= admission.spent((1, "anna"), NOON) <= 20_000
    for call in live:
        cost += admission.end(call, 0)
    assert not list(admission.calls())
    assert not any(admission.load.values())
    assert admission.spent((1, "anna"), NOON) == admission.spent((1, ""), NOON) == cost
