# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends what is due to webhooks, a few at a time; tries again later and later, gives up, disables what always fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from ctl.webhooks.outbox import TROUBLE, Database
from ctl.webhooks.section import WebhooksSection
from ctl.webhooks.trust import trusted
from provisioning import deliveries
from provisioning.deliveries import Delivery
from provisioning.errors import VaultError
from provisioning.store import Scope, Store
from provisioning.vault import Vault

if TYPE_CHECKING:
    from ctl.webhooks.sender import Outcome, Sender

AT_ONCE = 16
"""How many are on their way at the same time."""
LOOK_SECONDS = 1.0
LEASE_SECONDS = 30.0
"""How long beyond its own limit a delivery is ours."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0
ACTOR = "webhooks"

log = structlog.get_logger()


def pause(attempts: int, chance: float) -> float:
    """Return the seconds until the next attempt: each time twice as many, spread by a quarter so that they part."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1)) * (0.75 + chance / 2))


class Courier:
    """One per host; others may send beside it. kept: set when there is something new."""

    def __init__(
        self,
        database: Database,
        store: Store,
        vault: Vault,
        section: WebhooksSection,
        kept: asyncio.Event,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Raises ConfigError."""
        self._database = database
        self._store = store
        self._vault = vault
        self._section = section
        self._kept = kept
        self._chance = chance
        self._tls = trusted(section)
        self._sender: Sender | None = None
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Send until cancelled."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                due = await self._due(AT_ONCE - len(under_way))
                for delivery in due:
                    under_way.add(asyncio.create_task(self._deliver(delivery), name=f"webhook {delivery.webhook}"))
                if not due or len(under_way) >= AT_ONCE:
                    await self._wait(under_way)
                under_way = {task for task in under_way if not task.done()}
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            if self._sender:
                await self._sender.close()

    async def _wait(self, under_way: set[asyncio.Task[None]]) -> None:
        """Until something new is there, something is done, or it is time to look for what is due."""
        news = asyncio.ensure_future(self._kept.wait())
        try:
            await asyncio.wait({news, *under_way}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        self._kept.clear()

    async def _due(self, room: int) -> list[Delivery]:
        if room <= 0:
            return []
        try:
            await self._database.ready()
            async with self._database.connection() as connection:
                lease = self._section.timeout + LEASE_SECONDS
                return await deliveries.claim(connection, self._vault, room, lease)
        except (*TROUBLE, VaultError) as error:
            log.debug("webhooks wait", why=str(error).strip())
            await asyncio.sleep(LOOK_SECONDS)
            return []

    async def _deliver(self, delivery: Delivery) -> None:
        outcome = await self._opened().send(delivery)
        try:
            await self._note(delivery, outcome)
        except TROUBLE as error:  # its lease ends, and it is sent again
            log.warning("the outcome of a webhook was not noted", webhook=delivery.webhook, why=str(error).strip())
        self.counts["failed" if outcome.error else "delivered"] += 1

    def _opened(self) -> Sender:
        """Only who has webhooks needs all that speaks HTTP."""
        if self._sender is None:
            from ctl.webhooks.sender import Sender

            self._sender = Sender(self._section, self._tls, time.time)
        return self._sender

    async def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        if not outcome.error:
            async with self._database.connection() as connection:
                await deliveries.delivered(connection, delivery, outcome.status or 0)
            return
        again: float | None = pause(delivery.attempts, self._chance())
        if again is not None and time.time() + again - delivery.created_at.timestamp() > self._section.give_up:
            again = None
        log.info("webhook not taken", webhook=delivery.webhook, type=delivery.type, why=outcome.error, again=again)
        async with self._database.connection() as connection:
            failures = await deliveries.failed(connection, delivery, outcome.status, outcome.error, again)
        self.counts["given up"] += again is None
        if failures >= self._section.disable_after:
            await self._disable(delivery, failures)

    async def _disable(self, delivery: Delivery, failures: int) -> None:
        log.warning("webhook disabled", webhook=delivery.webhook, tenant=delivery.tenant, failures=failures)
        async with self._store.open(Scope(delivery.tenant, "", "", ACTOR)) as work:
            await deliveries.disable(work, delivery.webhook)
        self.counts["disabled"] += 1
