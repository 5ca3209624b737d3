# SPDX-License-Identifier: GPL-3.0-or-later
"""The prices of a rate deck: replaced as a whole, a million of them in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from provisioning.errors import InvalidValue
from provisioning.resources import RATE_DECK
from provisioning.store import Workspace

IMPORT_SECONDS = 300

Rate = tuple[str, int]
"""Prefix in digits, price a minute in millionths."""


async def replace_rates(work: Workspace, deck: str, rates: Iterable[Rate]) -> int:
    """Give a deck these prices and no others; return how many. Raises NotFound, InvalidValue.

    The deck's version grows, by which whoever routes calls knows that its prices are others.
    """
    before = await work.get(RATE_DECK, deck, lock=True)
    await work.connection.execute("SELECT set_config('statement_timeout', %s, true)", [f"{IMPORT_SECONDS}s"])
    await work.connection.execute(
        'CREATE TEMPORARY TABLE imported (prefix text COLLATE "C", per_minute_micros integer) ON COMMIT DROP'
    )  # COPY knows nothing of row-level security
    count = 0
    async with work.connection.cursor() as cursor, cursor.copy("COPY imported FROM STDIN") as copy:
        for rate in checked(rates):
            await copy.write_row(rate)
            count += 1
    await work.connection.execute("DELETE FROM rates WHERE tenant_id = %s AND deck = %s", [work.scope.tenant, deck])
    await work.connection.execute(
        "INSERT INTO rates (tenant_id, deck, prefix, per_minute_micros)"
        " SELECT %s, %s, prefix, per_minute_micros FROM imported",
        [work.scope.tenant, deck],
    )
    await work.connection.execute(
        "UPDATE rate_decks SET version = version + 1, updated_at = now() WHERE tenant_id = %s AND name = %s",
        [work.scope.tenant, deck],
    )
    await work.note("import", RATE_DECK.name, deck, before.values, {"rates": count})
    return count


def checked(rates: Iterable[Rate]) -> Iterable[Rate]:
    """Yield rates, and raise InvalidValue for the first that is none or that is there twice."""
    seen: set[str] = set()
    for number, (prefix, price) in enumerate(rates, 1):
        if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 15):
            raise InvalidValue(f"rate {number}: prefix {prefix[:20]!r} is not 1 to 15 digits")
        if not 0 <= price <= 2_000_000_000:
            raise InvalidValue(f"rate {number}: price {price} is not 0 to 2000000000 millionths")
        if prefix in seen:
            raise InvalidValue(f"rate {number}: prefix {prefix} is there twice")
        seen.add(prefix)
        yield prefix, price


def parse_rates(rows: Iterable[list[Any]]) -> Iterable[Rate]:
    """Yield rates of CSV rows `prefix,price a minute in units of the currency`. Raises InvalidValue."""
    for number, row in enumerate(rows, 1):
        try:
            prefix, price = row[0].strip().removeprefix("+"), round(float(row[1]) * 1_000_000)
        except (IndexError, ValueError, OverflowError):
            raise InvalidValue(f"line {number} is not PREFIX,PRICE") from None
        yield prefix, price
