# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what routing needs to know of tenants. Blocking: it belongs into a thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import DictRow

from provisioning.errors import VaultError
from provisioning.hours import DAYS, OpeningHours, Span, minutes
from provisioning.numbering import DialPlan, Rewrite
from provisioning.plan import Group, Member, Number, Queue, Route, TenantPlan, Trunk, by_prefix
from provisioning.prefixes import PrefixPrices
from provisioning.sealing import TRUNK_PASSWORD
from provisioning.vault import Vault

Connection = psycopg.Connection[DictRow]
Decks = dict[tuple[int, str], tuple[int, PrefixPrices]]
"""Version and prices by (tenant, name): read again only when the version is another."""

log = logging.getLogger(__name__)


class PlanReader:
    """Reads plans, and keeps the rate decks that did not change since."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._decks: Decks = {}

    def read(self, connection: Connection, tenants: Iterable[int] | None = None) -> dict[int, TenantPlan]:
        """Return the plans of these tenants, or of all, each as one moment saw it."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            rows = connection.execute(
                "SELECT * FROM tenants WHERE %(all)s OR id = ANY(%(ids)s::bigint[])",
                {"all": tenants is None, "ids": list(tenants or ())},
            ).fetchall()
            return {row["id"]: self._plan(connection, row) for row in rows}

    def _plan(self, connection: Connection, row: Mapping[str, Any]) -> TenantPlan:
        tenant = row["id"]
        groups = {group["name"]: _group(group) for group in _of(connection, tenant, GROUPS)}
        queues = {queue["name"]: _queue(queue) for queue in _of(connection, tenant, "SELECT * FROM queues")}
        extensions: dict[str, Group | Queue] = {}
        for table, objects in (("groups", groups), ("queues", queues)):
            for named in _of(connection, tenant, EXTENSIONS[table]):
                extensions[named["extension"]] = objects[named["name"]]
        return TenantPlan(
            tenant=tenant,
            **{name: row[name] for name in _SAME},
            dial_plans={each["name"]: _dial_plan(each) for each in _of(connection, tenant, "SELECT * FROM dial_plans")},
            calendars={each["name"]: _hours(each) for each in _of(connection, tenant, "SELECT * FROM calendars")},
            numbers={each["number"]: _number(each) for each in _of(connection, tenant, "SELECT * FROM numbers")},
            groups=groups,
            queues=queues,
            extensions=extensions,
            trunks={each["name"]: self._trunk(each) for each in _of(connection, tenant, "SELECT * FROM trunks")},
            routes=by_prefix(map(_route, _of(connection, tenant, ROUTES))),
            restrictions={
                each["prefix"]: each["action"] for each in _of(connection, tenant, "SELECT * FROM restrictions")
            },
            decks={
                each["name"]: self._deck(connection, tenant, each)
                for each in _of(connection, tenant, "SELECT * FROM rate_decks")
            },
        )

    def _trunk(self, row: Mapping[str, Any]) -> Trunk:
        names = set(Trunk.__dataclass_fields__) - {"tenant", "password", "sources", "certificates", "retry_causes"}
        password = None
        if row["password"] is not None:
            try:
                password = self._vault.open(row["password"], TRUNK_PASSWORD.owner(row["tenant_id"], row["name"]))
            except VaultError as error:
                log.error("trunk %s has no password: %s", row["name"], error)
        return Trunk(
            tenant=row["tenant_id"],
            password=password,
            sources=tuple(row["sources"]),
            certificates=tuple(row["certificates"]),
            retry_causes=frozenset(row["retry_causes"]),
            **{name: row[name] for name in names},
        )

    def _deck(self, connection: Connection, tenant: int, row: Mapping[str, Any]) -> PrefixPrices:
        known = self._decks.get((tenant, row["name"]))
        if known is None or known[0] != row["version"]:
            known = row["version"], PrefixPrices(_prices(connection, tenant, row["name"]))
            self._decks[tenant, row["name"]] = known
        return known[1]


_LIMITS = ("channel_limit", "spend_limit_micros")
_RECORDING = ("recording", "recording_consent")
_SAME = ("name", "realm", "enabled", "dial_plan", "default_number", *_LIMITS, "media", "srtp", *_RECORDING)
GROUPS: LiteralString = """
    SELECT t.*, (SELECT coalesce(json_agg("user" ORDER BY position), '[]') FROM group_members AS c
        WHERE c.tenant_id = t.tenant_id AND c.parent = t.name) AS members FROM groups AS t
"""
ROUTES: LiteralString = """
    SELECT t.*, (SELECT coalesce(json_agg(json_build_array(trunk, priority, weight, region) ORDER BY position), '[]')
        FROM route_trunks AS c WHERE c.tenant_id = t.tenant_id AND c.parent = t.name) AS trunks
    FROM (SELECT * FROM routes WHERE enabled) AS t
"""
EXTENSIONS: Mapping[str, LiteralString] = {
    "groups": "SELECT * FROM (SELECT * FROM groups WHERE extension IS NOT NULL) AS t",
    "queues": "SELECT * FROM (SELECT * FROM queues WHERE extension IS NOT NULL) AS t",
}


def _of(connection: Connection, tenant: int, sql: LiteralString) -> list[DictRow]:
    """Return the rows that belong to a tenant, as `sql` has all of them."""
    return connection.execute(sql + " WHERE tenant_id = %s", [tenant]).fetchall()


def _prices(connection: Connection, tenant: int, deck: str) -> Iterator[tuple[str, int]]:
    """Yield prefix and price in the order of prefixes, without ever holding all of them as objects."""
    rates = b"SELECT prefix, per_minute_micros FROM rates WHERE tenant_id = %s AND deck = %s ORDER BY prefix"
    sql = b"COPY (" + rates + b") TO STDOUT"
    with connection.cursor() as cursor, cursor.copy(sql, [tenant, deck]) as copy:
        for row in copy:
            prefix, _, price = bytes(row).partition(b"\t")
            yield prefix.decode(), int(price)


def _dial_plan(row: Mapping[str, Any]) -> DialPlan:
    return DialPlan(
        country=row["country"],
        international_prefix=row["international_prefix"],
        national_prefix=row["national_prefix"],
        area_code=row["area_code"],
        emergency=frozenset(row["emergency"]),
        rules=tuple(Rewrite(**rule) for rule in row["rules"]),
    )


def _hours(row: Mapping[str, Any]) -> OpeningHours:
    week: dict[int, tuple[Span, ...]] = {}
    for hours in row["hours"]:
        for day in hours["days"]:
            number = DAYS.index(day)
            week[number] = (*week.get(number, ()), (minutes(hours["opens"]), minutes(hours["closes"])))
    exceptions: dict[date, tuple[Span, ...]] = {}
    for entry in row["exceptions"]:
        day = date.fromisoformat(entry["day"])
        open_then = entry["opens"] is not None and entry["closes"] is not None
        spans = ((minutes(entry["opens"]), minutes(entry["closes"])),) if open_then else ()
        exceptions[day] = (*exceptions.get(day, ()), *spans)
    return OpeningHours(ZoneInfo(row["timezone"]), week, exceptions)


def _number(row: Mapping[str, Any]) -> Number:
    return Number(**{name: row[name] for name in Number.__dataclass_fields__})


def _group(row: Mapping[str, Any]) -> Group:
    together = row["strategy"] == "together"
    return Group(row["name"], tuple(row["members"]), together, row["ring_seconds"], row["overflow"])


def _queue(row: Mapping[str, Any]) -> Queue:
    return Queue(row["name"], row["calendar"], row["overflow"], row["answer"])


def _route(row: Mapping[str, Any]) -> Route:
    members = tuple(Member(trunk, priority, weight, region) for trunk, priority, weight, region in row["trunks"])
    names = set(Route.__dataclass_fields__) - {"callers", "trunks"}
    return Route(callers=frozenset(row["callers"]), trunks=members, **{name: row[name] for name in names})
