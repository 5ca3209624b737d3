# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.numbering import CALLING_CODES, DialPlan, Rewrite, emergency_numbers, is_emergency, normalise
from provisioning.premium import CLOSED, closed_by

FRANCE, GERMANY = DialPlan("FR"), DialPlan("DE", area_code="30")
AMERICA = DialPlan("US", "011", "1")
SPAIN = DialPlan("ES", national_prefix="")
OFFICE = DialPlan("FR", rules=(Rewrite("0", strip=1), Rewrite("*9", strip=2, prepend="+339")))


@pytest.mark.parametrize(
    ("dialled", "plan", "expected"),
    [
        ("0123456789", FRANCE, "+33123456789"),
        ("01.23.45.67.89", FRANCE, "+33123456789"),
        ("0033123456789", FRANCE, "+33123456789"),
        ("+33 (1) 23-45-67-89", FRANCE, "+33123456789"),
        ("00441632960000", FRANCE, "+441632960000"),
        ("100", FRANCE, None),
        ("030123456", GERMANY, "+4930123456"),
        ("1234567", GERMANY, "+49301234567"),
        ("123", GERMANY, None),
        ("12025550123", AMERICA, "+12025550123"),
        ("2025550123", AMERICA, "+12025550123"),
        ("011441632960000", AMERICA, "+441632960000"),
        ("912345678", SPAIN, "+34912345678"),
        ("00123456789", OFFICE, "+33123456789"),
        ("0100", OFFICE, None),
        ("*912345678", OFFICE, "+33912345678"),
        ("anna", FRANCE, None),
        ("", FRANCE, None),
        ("+", FRANCE, None),
        ("+0123456", FRANCE, None),
        ("00", FRANCE, None),
        ("+1234567890123456", FRANCE, None),
        ("٠١٢٣٤٥٦٧٨٩", FRANCE, None),
        ("0123456789", DialPlan(), None),
        ("0033123456789", DialPlan(), "+33123456789"),
    ],
)
def test_normalises(dialled: str, plan: DialPlan, expected: str | None) -> None:
    assert normalise(dialled, plan) == expected


@given(st.text(max_size=30))
def test_whatever_is_dialled_yields_e164_or_nothing(dialled: str) -> None:
    for plan in (FRANCE, GERMANY, AMERICA, SPAIN, OFFICE):
        number = normalise(dialled, plan)
        assert number is None or (number[0] == "+" and number[1:].isascii() and 4 <= len(number[1:]) <= 15)


def test_112_and_911_call_for_help_in_every_country() -> None:
    for country in [*CALLING_CODES, "", "ZZ"]:
        for number in ("112", "911"):
            assert is_emergency(number, DialPlan(country))
    assert emergency_numbers("FR") > {"15", "17", "18", "112"}
    assert is_emergency("999", DialPlan("GB"))
    assert not is_emergency("999", FRANCE)
    assert is_emergency("0112", OFFICE)
    assert is_emergency("4711", DialPlan("FR", emergency=frozenset({"4711"})))
    assert not is_emergency("1120", FRANCE)


def test_premium_and_satellite_numbers_are_closed_until_they_are_opened() -> None:
    for prefix in CLOSED:
        assert closed_by(f"{prefix}1234567"[:15], {}) is not None
        assert closed_by(f"{prefix}1234567"[:15], {prefix: "open"}) is None
    assert closed_by("33123456789", {}) is None
    assert closed_by("33123456789", {"33": "block"}) == "33"
    assert closed_by("33123456789", {"33": "block", "331": "open"}) is None
    assert closed_by("33123456789", {"3": "open", "3312345": "block"}) == "3312345"
    assert closed_by("881612345", {"88": "open"}) == "881"
