# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from provisioning.registrations import Registration, RegistrationMirror, registered
from provisioning.store import Scope, Store

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANNA = Registration(1, "anna", "sip:anna@192.0.2.7", "udp:192.0.2.7:5060", 1.0, NOW + timedelta(hours=1))
BERT = replace(ANNA, username="bert", contact="sip:bert@192.0.2.8", received=None, q=None)


async def test_the_database_follows_what_is_registered(store: Store, scope: Scope) -> None:
    first, second = RegistrationMirror(store.pool, "n1"), RegistrationMirror(store.pool, "n2")

    async def shown() -> list[Registration]:
        async with store.open(scope) as work:
            return await work.ask(registered(scope.tenant, NOW))

    assert await first.write([ANNA, BERT]) == 2
    assert await first.write([ANNA, BERT]) == 0
    assert await first.write([replace(ANNA, expires=ANNA.expires + timedelta(seconds=1)), BERT]) == 0
    assert await shown() == [ANNA, BERT]
    later = replace(ANNA, expires=ANNA.expires + timedelta(hours=1))
    assert await first.write([later]) == 2
    assert await second.write([BERT]) == 1
    assert await shown() == [later, BERT]
    assert await RegistrationMirror(store.pool, "n1").write([]) == 0, "a node that starts anew"
    assert await shown() == [BERT]
    assert await second.write([replace(BERT, expires=NOW), replace(ANNA, tenant=99)]) == 2
    assert await shown() == []
