# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST API over a real PostgreSQL, with two tenants, an account of each role, and calls that are made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest_asyncio
from argon2 import PasswordHasher

from api.live import CallControl, LiveRefused, MediaControl, UnknownCall
from api.ratelimit import RateLimit
from api.rest import create_rest_app
from api.server import ApiServer
from api.services import Services
from provisioning.access import Access
from provisioning.database import make_pool
from provisioning.models import Account, Tenant
from provisioning.refresh import SnapshotKeeper
from provisioning.resources import ACCOUNT, TENANT
from provisioning.store import Store
from provisioning.vault import Vault
from tests.provisioning.conftest import conninfo, empty, open_directory, server, vault

__all__ = ["conninfo", "empty", "open_directory", "rest", "server", "vault"]

REALM = "example.net"
PASSWORD = "correct horse"
ROLES = ("viewer", "operator", "admin", "platform")
NAMES = (*ROLES, "stranger")
HASH = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)  # light, for there are many


class FakeLive:
    """Calls of tenant 1; what was done with them is kept."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self._calls = {"c1": {"id": "c1", "state": "talking", "caller": "anna", "dialled": "bert", "seconds": 3}}

    async def calls(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        return list(self._calls.values()) if tenant == 1 else []

    async def call(self, tenant: int | None, call: str) -> dict[str, Any]:
        if tenant != 1 or call not in self._calls:
            raise UnknownCall(f"no call {call}")
        return {**self._calls[call], "flows": []}

    async def control(self, tenant: int | None, call: str, control: CallControl) -> dict[str, Any]:
        shown = await self.call(tenant, call)
        if control.action == "record_stop":
            raise LiveRefused("the call is not recorded")
        self.done.append((call, control.action))
        return shown

    async def media(self, tenant: int | None, call: str, control: MediaControl) -> dict[str, Any]:
        await self.call(tenant, call)
        if control.sounds == ["none"]:
            raise LiveRefused("there is no sound 'none'")
        self.done.append((call, f"media {control.action}"))
        return {"token": 7, "ms": 1500} if control.action == "play" else {}

    async def flows(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        return [{"id": "192.0.2.1:20000", "call": "c1"}] if tenant == 1 else []

    async def registrations(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        return [{"user": "anna", "contact": "sip:anna@192.0.2.7", "expires": 60}] if tenant == 1 else []

    async def statistics(self, tenant: int | None) -> dict[str, Any]:
        return {"calls": len(await self.calls(tenant)), "flows": len(await self.flows(tenant)), "registrations": 0}


@dataclass
class Rest:
    """The API as clients see it. clock: what it shows, to be moved."""

    client: aiohttp.ClientSession
    services: Services
    conninfo: str
    live: FakeLive
    url: str
    now: list[datetime]
    tokens: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, who: str | None = "admin", *, json: Any = None, **more: Any
    ) -> tuple[int, Any, Any]:
        """Status, body and headers of the answer. who: a role, or none."""
        if who in NAMES and who not in self.tokens:
            self.tokens[who] = await log_in(self, who)
        headers = {
            **({"Authorization": f"Bearer {self.tokens.get(who, who)}"} if who else {}),
            **more.pop("headers", {}),
        }
        async with self.client.request(method, f"/api/v1{path}", json=json, headers=headers, **more) as answer:
            body = await answer.json() if answer.content_type.endswith("json") else await answer.text()
            return answer.status, body, answer.headers

    def move(self, **span: float) -> None:
        self.now[0] += timedelta(**span)


@pytest_asyncio.fixture
async def rest(conninfo: str, vault: Vault) -> AsyncIterator[Rest]:
    async with serving(conninfo, vault) as served:
        yield served


@asynccontextmanager
async def serving(conninfo: str, vault: Vault) -> AsyncIterator[Rest]:
    """The API over a migrated database."""
    now = [datetime.now(UTC)]
    async with make_pool(conninfo, size=8) as pool:
        store, access = Store(pool, vault, REALM), Access(pool, vault)
        keeper, live = SnapshotKeeper(conninfo, vault, REALM), FakeLive()
        services = Services(
            store, access, live, lambda: keeper.current, clock=lambda: now[0],
            by_account=RateLimit(1e6, 10**6), by_address=RateLimit(1e6, 10**6), logins=RateLimit(1e6, 10**6),
        )  # fmt: skip
        await make_accounts(store)
        api = ApiServer(create_rest_app(services))
        port = await api.start("127.0.0.1", 0)
        following = asyncio.create_task(keeper.run(), name="snapshot")
        await keeper.loaded()
        try:
            url = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession(url) as client:
                served = Rest(client, services, conninfo, live, url, now)
                yield served
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await api.stop()


async def make_accounts(store: Store) -> None:
    """One of each role in the tenant default, and an admin, the stranger, in another."""
    home = await store.scope("default", "test", platform=True)
    async with store.open(home, as_platform=True) as work:
        await work.create(TENANT, Tenant(name="other", realm="other.example"))
    other = await store.scope("other", "test", platform=True)
    made = [(home, name, name) for name in ROLES] + [(other, "stranger", "admin")]
    for scope, name, role in made:
        async with store.open(scope) as work:
            await work.create(ACCOUNT, Account.model_validate({"username": name, "role": role}))
            await work.connection.execute("UPDATE accounts SET password_hash = %s WHERE username = %s", [HASH, name])


async def log_in(served: Rest, name: str) -> str:
    status, body, _ = await served.ask("POST", "/auth/login", None, json={"username": name, "password": PASSWORD})
    assert status == 200, body
    return str(body["access_token"])
