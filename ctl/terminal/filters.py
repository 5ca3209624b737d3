# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and orders of lists as people type them: -f 'codec=PCMU,mos<3.5,src=10.0.0.0/8', --sort -loss_pct.

Pure, and on the path of every command: nothing heavy is imported before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

TERM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*")
UNKNOWN = ("-", "unknown", "none")
ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}


class FilterError(ValueError):
    """A filter or an order that cannot be read; one line with what would do."""


def compile_filter(text: str, aliases: Mapping[str, str] | None = None) -> Callable[[Iterable[Row]], list[Row]]:
    """Return what keeps the rows for which every term holds; terms are parted by commas.

    A term is KEY OPERATOR VALUE. = and != compare without regard to case, take * and ?, networks for addresses, and
    - for what is not known; ~ searches a regular expression; < <= > >= are for numbers. aliases: short names of keys.
    What is not known is in no order. Raises FilterError, also when a row lacks a key.
    """
    tests = [_test(term, aliases or {}) for term in text.split(",") if term.strip()]
    return lambda rows: [row for row in rows if all(test(row) for test in tests)]


def order(rows: Iterable[Row], text: str, aliases: Mapping[str, str] | None = None) -> list[Row]:
    """Return the rows by the key named, falling with a minus before it; what is not known comes last.

    Raises FilterError if a row lacks the key.
    """
    name, falling = text.removeprefix("-"), text.startswith("-")
    key = (aliases or {}).get(name, name)
    valued = [(_value(row, key), row) for row in rows]
    known = [(_sortable(value), row) for value, row in valued if value is not None]
    known.sort(key=lambda pair: pair[0], reverse=falling)
    return [row for _, row in known] + [row for value, row in valued if value is None]


def _test(term: str, aliases: Mapping[str, str]) -> Test:
    match = TERM.fullmatch(term)
    if not match:
        raise FilterError(f"{term.strip()!r} is no filter; write KEY=VALUE, KEY<NUMBER or KEY~PATTERN")
    name, operator, wanted = match.groups()
    key = aliases.get(name, name)
    if operator in ORDERS:
        return _ordered(key, operator, wanted)
    if operator == "~":
        return _found(key, wanted)
    holds = _equal(wanted)
    return lambda row: holds(_value(row, key)) == (operator == "=")


def _ordered(key: str, operator: str, wanted: str) -> Test:
    try:
        bound = float(wanted)
    except ValueError:
        raise FilterError(f"{key}{operator}{wanted}: {wanted!r} is no number") from None

    def test(row: Row) -> bool:
        value = _value(row, key)
        if isinstance(value, str) or value is None:
            return False
        return ORDERS[operator](float(value), bound)

    return test


def _found(key: str, wanted: str) -> Test:
    try:
        pattern = re.compile(wanted, re.IGNORECASE)
    except re.error as error:
        raise FilterError(f"{key}~{wanted}: {error}") from None
    return lambda row: bool(pattern.search(_text(_value(row, key))))


def _equal(wanted: str) -> Callable[[Any], bool]:
    if wanted.lower() in UNKNOWN:
        return lambda value: value is None or value == ""
    network = _network(wanted)
    if network:
        return network
    pattern = wanted.lower()

    def holds(value: Any) -> bool:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _number(pattern) == value
        if fnmatchcase(_text(value).lower(), pattern):
            return True
        return isinstance(value, Mapping) and fnmatchcase(str(value.get("address", "")).lower(), pattern)

    return holds


def _network(wanted: str) -> Callable[[Any], bool] | None:
    if "/" not in wanted:
        return None
    from ipaddress import ip_address, ip_network

    try:
        network = ip_network(wanted, strict=False)
    except ValueError:
        return None

    def holds(value: Any) -> bool:
        address = value.get("address") if isinstance(value, Mapping) else value
        try:
            return ip_address(str(address)) in network
        except ValueError:
            return False

    return holds


def _value(row: Row, key: str) -> Any:
    """Return the value of a key, of a part of it behind a dot. Raises FilterError for a key that rows do not have."""
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return None
        if part not in value:
            raise FilterError(f"no key {key!r}; there are: {', '.join(sorted(row))}")
        value = value[part]
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping) and value.keys() == {"address", "port"}:
        return f"{value['address']}:{value['port']}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _sortable(value: Any) -> Any:
    """Numbers by size, before texts."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, _natural(_text(value))


def _natural(text: str) -> str:
    """Digits padded, so that numbers in texts sort by size: 10.0.0.9 before 10.0.0.10."""
    return re.sub(r"\d+", lambda digits: digits.group().rjust(20, "0"), text.lower())
