# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks from the event to a real server: over TLS, signed, again and again where it fails, and never inside."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from ctl.configfile import ConfigError
from ctl.journal import Journal
from ctl.webhooks.courier import FIRST_PAUSE, LONGEST_PAUSE, Courier, pause
from ctl.webhooks.guard import Forbidden, GuardedResolver, check
from ctl.webhooks.outbox import EVENT, Outbox
from ctl.webhooks.section import WebhooksSection
from ctl.webhooks.sender import EVENT as EVENT_HEADER
from ctl.webhooks.sender import SIGNATURE, signature
from provisioning import audit, deliveries
from provisioning.errors import DatabaseUnavailable
from provisioning.models import Webhook
from provisioning.resources import WEBHOOK
from provisioning.store import Connection, Scope, Store
from provisioning.vault import Vault
from tests.ctl.certificates import Authority
from tests.patience import PATIENCE
from tests.provisioning.conftest import conninfo, empty, open_directory, scope, server, store, vault
from tests.sip.streams import until

__all__ = ["conninfo", "empty", "open_directory", "scope", "server", "store", "vault"]
LOCAL = ip_network("127.0.0.0/8")


@dataclass
class Receiver:
    """A server of somebody's; what it was told, and what it answers."""

    got: list[tuple[dict[str, str], dict[str, Any], str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    port: int = 0
    slow: float = 0.0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.got.append((dict(request.headers), json.loads(body), body))
        await asyncio.sleep(self.slow)
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"Location": "https://127.0.0.1/inside"} if status == 302 else {})


@dataclass
class Database:
    """The storage as webhooks see it, which can be away."""

    store: Store
    away: bool = False

    async def ready(self) -> None:
        if self.away:
            raise DatabaseUnavailable("the database is not there")

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        return self.store.pool.connection()


@dataclass
class Post:
    """All that a webhook of `scope` needs; `work` has an outbox and a courier at work."""

    store: Store
    scope: Scope
    vault: Vault
    receiver: Receiver
    section: WebhooksSection
    directory: Path

    async def hook(self, host: str = "127.0.0.1") -> None:
        url = f"https://{host}:{self.receiver.port}/hook"
        values = {"name": "hook", "url": url, "events": ["call.ended"], "secret": "s3cret"}
        async with self.store.open(self.scope) as work:
            await work.create(WEBHOOK, Webhook.model_validate(values, strict=False))

    def journal(self) -> tuple[Journal, dict[str, Any]]:
        """Open the journal of events, as each start of a process does."""
        made, recovered = Journal.open(self.directory / "events", 0.0)
        return made, recovered.of(EVENT)

    @asynccontextmanager
    async def work(self, **changes: Any) -> AsyncIterator[tuple[Outbox, Courier, Database]]:
        database, (opened, kept) = Database(self.store), self.journal()
        outbox = Outbox(database, opened, "voxdp.test")
        outbox.restore(kept)
        section = self.section.model_copy(update=changes)
        courier = Courier(database, self.store, self.vault, section, outbox.kept, lambda: 0.0)
        tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(courier.run())]
        try:
            yield outbox, courier, database
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            opened.close()

    async def states(self) -> list[deliveries.DeliveryState]:
        async with self.store.open(self.scope) as work:
            return await deliveries.listing(work, "hook", 10)

    async def state(self, attempts: int) -> deliveries.DeliveryState:
        """The only delivery, once so many attempts have been noted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for state in await self.states():
                    if state.attempts == attempts and (state.error or state.status):
                        return state
                await asyncio.sleep(0.02)

    async def change(self, what: str) -> None:
        """Move the time of deliveries."""
        async with self.store.pool.connection() as connection:
            await connection.execute(f"UPDATE webhook_deliveries SET {what}".encode())

    def tell(self, outbox: Outbox, call: str = "c1") -> None:
        outbox.tell(self.scope.tenant, "call.ended", call=call)


DUE = "next_at = now() WHERE state = 'waiting'"


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    certificate, key = Authority(tmp_path).issue("receiver", "localhost", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    receiver.port = runner.addresses[0][1]
    yield receiver
    await runner.cleanup()


@pytest.fixture
def post(store: Store, scope: Scope, vault: Vault, receiver: Receiver, tmp_path: Path) -> Post:
    section = WebhooksSection(allow=(LOCAL,), authorities=tmp_path / "authority.pem", timeout=PATIENCE, disable_after=3)
    return Post(store, scope, vault, receiver, section, tmp_path)


async def test_an_event_is_told_once_signed_and_only_to_who_wants_it(post: Post, receiver: Receiver) -> None:
    await post.hook("localhost")
    async with post.work() as (outbox, courier, _):
        await until(lambda: outbox._wanted is not None)
        outbox.tell(post.scope.tenant, "call.started", call="c0")
        outbox.tell(post.scope.tenant + 1, "call.ended", call="c9")
        outbox.tell(post.scope.tenant, "call.ended", call="c1", status=200)
        await until(lambda: courier.counts["delivered"] == 1)
        ((headers, body, text),) = receiver.got
        assert (body["type"], body["source"]) == ("call.ended", "voxdp.test")
        assert body["data"] == {"call": "c1", "status": 200}
        assert headers[EVENT_HEADER] == body["id"]
        at = int(headers[SIGNATURE].partition(",")[0].removeprefix("t="))
        assert headers[SIGNATURE] == signature("s3cret", at, text)
        assert abs(at - time.time()) < 60
        state = await post.state(1)
        assert (state.state, state.status) == ("delivered", 200)
    assert post.journal()[1] == {}


async def test_what_a_killed_process_had_to_tell_is_told_by_the_next_one(post: Post, receiver: Receiver) -> None:
    await post.hook()
    killed = Outbox(Database(post.store), post.journal()[0], "voxdp.test")
    for number in range(3):
        post.tell(killed, f"c{number}")
    async with post.work():
        await until(lambda: len(receiver.got) == 3)
    assert {body["data"]["call"] for _, body, _ in receiver.got} == {"c0", "c1", "c2"}


async def test_events_wait_for_the_database(post: Post, receiver: Receiver) -> None:
    await post.hook()
    async with post.work() as (outbox, _, database):
        database.away = True
        post.tell(outbox)
        await asyncio.sleep(0.1)
        assert not receiver.got
        database.away = False
        await until(lambda: len(receiver.got) == 1)


async def test_what_is_not_taken_is_sent_again_with_the_same_id(post: Post, receiver: Receiver) -> None:
    await post.hook()
    receiver.answers = [500, 302]
    async with post.work() as (outbox, courier, _):
        post.tell(outbox)
        for attempt in (1, 2):
            await until(partial(lambda count: courier.counts["failed"] == count, attempt))
            state = await post.state(attempt)
            assert state.state == "waiting"
            assert (state.next_at - state.created_at).total_seconds() > FIRST_PAUSE / 2
            await post.change(DUE)
        await until(lambda: courier.counts["delivered"] == 1)
    assert len({body["id"] for _, body, _ in receiver.got}) == 1
    assert len(receiver.got) == 3


async def test_a_webhook_that_always_fails_is_disabled_and_the_audit_says_so(post: Post, receiver: Receiver) -> None:
    await post.hook()
    receiver.answers = [500] * 9
    async with post.work() as (outbox, courier, _):
        for number in range(3):
            post.tell(outbox, f"c{number}")
        await until(lambda: courier.counts["disabled"] == 1)
        await post.change(DUE)
        await asyncio.sleep(0.1)
        async with post.store.open(post.scope) as work:
            assert not (await work.get(WEBHOOK, "hook")).values["enabled"]
            entries = await work.ask(audit.listing(post.scope.tenant, resource="webhook", key="hook"))
        assert entries[0].actor == "webhooks"
        assert len(receiver.got) == 3
        receiver.answers.clear()
        async with post.store.open(post.scope) as work:
            await work.merge(WEBHOOK, "hook", {"enabled": True})
        await until(lambda: courier.counts["delivered"] == 3)
    assert len(receiver.got) == 6, "what waited was kept"


async def test_it_is_given_up_when_it_is_old_and_no_answer_is_a_failure(post: Post, receiver: Receiver) -> None:
    await post.hook()
    receiver.slow = 1
    async with post.work(timeout=0.3, give_up=60.0) as (outbox, courier, _):
        post.tell(outbox)
        assert "no answer within 0.3 s" in str((await post.state(1)).error)
        await post.change("created_at = now() - interval '1 day'")
        await post.change(DUE)
        await until(lambda: courier.counts["given up"] == 1)
        assert (await post.state(2)).state == "given_up"
    await post.change("finished_at = now() - interval '8 days'")
    async with post.store.pool.connection() as connection:
        assert await deliveries.purge(connection, (await post.states())[0].next_at) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_nothing_is_sent_to_where_the_tenant_must_not_reach(post: Post, receiver: Receiver, host: str) -> None:
    await post.hook(host)
    async with post.work(allow=()) as (outbox, _, _):
        post.tell(outbox)
        assert "webhooks.allow" in str((await post.state(1)).error)
    assert not receiver.got


async def test_a_server_whose_certificate_nobody_vouches_for_is_told_nothing(post: Post, receiver: Receiver) -> None:
    await post.hook()
    async with post.work(authorities=None) as (outbox, _, _):
        post.tell(outbox)
        assert "certificate" in str((await post.state(1)).error).lower()
    assert not receiver.got


INSIDE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1%eth0", "192.0.2.1", "198.18.0.1",
)  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public_are_forbidden(address: str) -> None:
    with pytest.raises(Forbidden):
        check(address, ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    check(address, ())


def test_networks_that_are_named_are_allowed() -> None:
    check("10.1.2.3", (ip_network("10.1.0.0/16"),))
    with pytest.raises(Forbidden):
        check("10.2.2.3", (ip_network("10.1.0.0/16"),))


async def test_a_name_of_which_an_address_is_inside_is_forbidden() -> None:
    resolver = GuardedResolver(())
    with pytest.raises(Forbidden):
        await resolver.resolve("localhost", 443)
    assert (await GuardedResolver((LOCAL,)).resolve("localhost", 443))[0]["host"] == "127.0.0.1"
    await resolver.close()


def test_pauses_double_and_have_an_end() -> None:
    assert [pause(attempts, 0.5) for attempts in (1, 2, 3)] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pause(30, 1.0) == LONGEST_PAUSE * 1.25


async def test_authorities_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    section = WebhooksSection(authorities=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match=r"webhooks\.authorities"):
        Courier(*cast(Any, (None, None, None)), section, asyncio.Event())
