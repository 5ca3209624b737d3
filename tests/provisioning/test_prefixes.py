# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from provisioning.prefixes import PrefixPrices

PREFIXES = st.text("0123456789", min_size=1, max_size=15)


@given(st.dictionaries(PREFIXES, st.integers(0, 2**31)), st.lists(PREFIXES))
def test_finds_what_a_search_of_all_prefixes_finds(rates: dict[str, int], numbers: list[str]) -> None:
    table = PrefixPrices(rates.items())
    assert len(table) == len(rates)
    for number in [*numbers, *rates, *(prefix + "7" for prefix in rates if len(prefix) < 15)]:
        fitting = [prefix for prefix in rates if number.startswith(prefix)]
        assert table.price(number) == (rates[max(fitting, key=len)] if fitting else None)


def test_a_million_prefixes_take_a_few_megabytes() -> None:
    table = PrefixPrices((str(number), number % 1000) for number in range(1_000_000, 1_200_000))
    assert len(table) == 200_000
    assert table._keys.itemsize + table._prices.itemsize == 12
    number = random.Random(1).randrange(1_000_000, 1_200_000)
    assert table.price(f"{number}555") == number % 1000
    assert table.price("2") is None
