# SPDX-License-Identifier: GPL-3.0-or-later
"""What a record says of each leg and what it cost; how long it is kept; and the whole database in a file and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provisioning import audit, cdr_search
from provisioning.backup import backup, restore
from provisioning.binaries import find_binaries
from provisioning.cdr import Cdr, encode
from provisioning.cdr_legs import legs_of
from provisioning.cdr_writer import CdrWriter
from provisioning.cells import safe_cell
from provisioning.charging import Charge, charge
from provisioning.database import ask, connect
from provisioning.errors import BackupError
from provisioning.journal import CdrJournal
from provisioning.models import Tenant
from provisioning.numbering import DialPlan
from provisioning.plan import Number, TenantPlan, Trunk
from provisioning.prefixes import PrefixPrices
from provisioning.resources import OBJECTS, TENANT
from provisioning.retention import purge
from provisioning.snapshot import Account, Snapshot
from provisioning.store import Scope, Store
from tests.provisioning.examples import EXAMPLES
from tests.provisioning.lines import decode

MakeCdr = Callable[..., Cdr]
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_a_line_for_each_leg(make_cdr: MakeCdr) -> None:
    cdr = make_cdr("c", to_trunk="1/paris", cost_micros=42)
    a, b = legs_of(cdr)
    assert (a.leg, a.call_id, a.trunk, a.cost_micros, a.packets, a.lost, a.relay_path) == (
        "a", "c@a", None, None, 3000, 2, "kernel"
    )  # fmt: skip
    assert (b.leg, b.call_id, b.trunk, b.cost_micros, b.packets, b.relay_path) == (
        "b", "c@b", "1/paris", 42, 2990, "engine"
    )  # fmt: skip
    assert (a.duration_ms, a.billed_ms, a.pdd_ms) == (62750, 60250, 1000)
    nobody = make_cdr("d", b_call_id=None, ringing=None, answered=None, media=())
    assert [(leg.leg, leg.billed_ms, leg.pdd_ms, leg.codec) for leg in legs_of(nobody)] == [("a", 0, None, None)]


def test_a_record_of_an_earlier_version_is_read(make_cdr: MakeCdr) -> None:
    line = encode(make_cdr("c")).replace(b',"from_trunk":null,"to_trunk":null,"cost_micros":null', b"")
    assert b"cost" not in line
    assert decode(line) == make_cdr("c")


def test_charges() -> None:
    plan = TenantPlan(2, trunks={"paris": Trunk(2, "paris", "h", rate_deck="d"), "free": Trunk(2, "free", "h")},
                      decks={"d": PrefixPrices([("33", 6000)])}, dial_plan="fr",
                      dial_plans={"fr": DialPlan("FR")})  # fmt: skip
    snapshot = Snapshot.of("example.net", [Account("other", "anna", True, "", "", tenant=2)]).planned({2: plan})
    assert charge(snapshot, "anna", "0123456789", 61.2, None, (2, "paris")) == Charge(2, 6200)
    assert charge(snapshot, "anna", "0123456789", 0, None, (2, "paris")) == Charge(2, 0)
    assert charge(snapshot, "anna", "00441632", 61.2, None, (2, "paris")) == Charge(2, None)
    assert charge(snapshot, "anna", "0123456789", 61.2, None, (2, "free")) == Charge(2, None)
    assert charge(snapshot, "anna", "bert", 61.2) == Charge(2)
    assert charge(snapshot, "+49301234567", "+33123456789", 10, (2, "paris")) == Charge(2)
    assert charge(snapshot, "nobody", "bert", 10) == Charge(1)
    numbered = snapshot.planned({2: replace(plan, numbers={"+33123456789": Number("+33123456789", user="anna")})})
    assert charge(numbered, "+49301234567", "33123456789", 10) == Charge(2), "by a trunk of the file, to its number"


@pytest.mark.parametrize(("text", "expected"), [("=1", "'=1"), ("+33123", "+33123"), ("-1", "-1"), ("+1+1", "'+1+1"),
                         ("@x", "'@x"), ("anna", "anna"), ("", ""), (7, 7), (None, None)])  # fmt: skip
def test_cells_that_a_spreadsheet_would_compute(text: Any, expected: Any) -> None:
    assert safe_cell(text) == expected


async def store_records(tmp_path: Path, store: Store, cdrs: list[Cdr]) -> None:
    async with CdrJournal(tmp_path / "journal") as journal:
        task = asyncio.create_task(CdrWriter(journal, store.pool).run(), name="writer")
        await asyncio.gather(*map(journal.append, cdrs))
        assert await journal.drained(20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def everything(conninfo: str) -> str:
    """Every row of every table, as text."""
    with connect(conninfo) as connection:
        names = connection.execute("SELECT quote_ident(tablename) AS t FROM pg_tables WHERE schemaname = 'public'")
        tables = sorted(row["t"] for row in names)
        found = [connection.execute(f"SELECT * FROM {table}".encode()).fetchall() for table in tables]
        return "\n".join("\n".join(sorted(map(str, rows))) for rows in found)


async def test_what_policy_does_not_keep_is_nowhere(
    tmp_path: Path, store: Store, scope: Scope, conninfo: str, make_cdr: MakeCdr
) -> None:
    """By two policies; records by age, persons by age, the audit never before a year, and its chain still holds."""
    platform = replace(scope, platform=True)
    async with store.open(platform, as_platform=True) as work:
        await work.create(TENANT, Tenant(name="brief", realm="brief.example", cdr_days=30, personal_days=2))
    brief = (await store.scope("brief", "test")).tenant
    ages = {0: 1, 3: 1, 31: 1, 181: 1, 401: 1}
    cdrs = [
        make_cdr(f"t{tenant}-{age}-canary", tenant=tenant, caller=f"+33canary{age}", dialled="bert", media=(),
                 started=NOW - timedelta(days=age), ringing=None, answered=None, ended=NOW - timedelta(days=age))
        for tenant in (1, brief) for age in ages
    ]  # fmt: skip
    await store_records(tmp_path, store, cdrs)
    with connect(conninfo) as connection:
        connection.execute("UPDATE audit SET at = at - interval '500 days'")
    async with store.open(scope) as work:
        await work.note("login", "account", "later")
    done = await purge(store.pool, NOW)
    assert (done.records_deleted, done.records_forgotten, done.audit_entries) == (1 + 3, 1 + 1, 1)
    with connect(conninfo) as connection:
        left = ask(connection, cdr_search.search())
    assert sorted((cdr.tenant, (NOW - cdr.started).days, "canary" in str(cdr)) for cdr in left) == [
        (1, 0, True), (1, 3, True), (1, 31, True), (1, 181, False), (brief, 0, True), (brief, 3, False)
    ]  # fmt: skip
    text = everything(conninfo)
    for gone in ("canary181", "canary401", f"t{brief}-3-canary"):
        assert gone not in text
    async with store.open(scope) as work:
        assert await audit.verify(work.connection, scope.tenant) == audit.Verdict(1, None)
        await work.note("login", "account", "once more")
        assert await audit.verify(work.connection, scope.tenant) == audit.Verdict(2, None)
    again = await purge(store.pool, NOW)
    assert (again.records_deleted, again.records_forgotten, again.audit_entries) == (0, 0, 0)
    with connect(conninfo) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE tenants SET audit_days = 364")


async def test_what_was_spent_today(tmp_path: Path, store: Store, conninfo: str, make_cdr: MakeCdr) -> None:
    await store_records(tmp_path, store, [
        make_cdr("c1", cost_micros=5), make_cdr("c2", cost_micros=7), make_cdr("c3", caller="carl", cost_micros=1),
        make_cdr("c4", cost_micros=100, started=datetime(2026, 3, 1, tzinfo=UTC)),
    ])  # fmt: skip
    with connect(conninfo) as connection:
        spent = ask(connection, cdr_search.spent_since(datetime(2026, 3, 29, tzinfo=UTC)))
    assert spent == {(1, "anna"): 12, (1, "carl"): 1, (1, ""): 13}


async def test_a_backup_comes_back_whole(
    tmp_path: Path, store: Store, scope: Scope, conninfo: str, empty: str, make_cdr: MakeCdr
) -> None:
    """Into an empty database, and over one with other things in it."""
    async with store.open(scope) as work:
        for resource in OBJECTS:
            await work.create(resource, resource.model.model_validate(EXAMPLES[resource.name][0], strict=False))
    await store_records(tmp_path, store, [make_cdr(f"c{n}") for n in range(20)])
    binaries, file = find_binaries(), tmp_path / "all.backup"
    before = everything(conninfo)
    size = await asyncio.to_thread(backup, conninfo, file, binaries)
    assert (size, file.stat().st_mode & 0o777) == (file.stat().st_size, 0o600)
    await asyncio.to_thread(restore, empty, file, binaries)
    assert everything(empty) == before
    with connect(conninfo) as connection:
        connection.execute("TRUNCATE cdrs CASCADE")
        connection.execute("INSERT INTO skills (tenant_id, name, description) VALUES (1, 'later', '')")
    await asyncio.to_thread(restore, conninfo, file, binaries)
    assert everything(conninfo) == before
    with connect(conninfo) as connection:
        policies = connection.execute("SELECT count(*) AS n FROM pg_policies").fetchone()
    assert policies
    assert policies["n"] > 20
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BackupError, match="pg_restore failed"):
        restore(conninfo, file, binaries)
    assert everything(conninfo) == before
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(BackupError, match="there is no file"):
            restore(conninfo, wrong, binaries)
    with pytest.raises(BackupError, match="choose another place"):
        backup(conninfo, tmp_path / "none" / "x", binaries)
