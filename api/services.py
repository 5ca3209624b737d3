# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operations of the API work with; the controller passes all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from api.live import Live
from api.ratelimit import RateLimit
from api.tokens import Tokens
from provisioning.access import Access
from provisioning.snapshot import Snapshot
from provisioning.store import Store

if TYPE_CHECKING:
    from api.oidc import Provider


@dataclass(slots=True)
class Services:
    """store: the objects. access: who is it. live: calls and flows. snapshot: what routing knows at this moment.

    tokens: made by the first request that needs them, for the keys are in the database.
    """

    store: Store
    access: Access
    live: Live
    snapshot: Callable[[], Snapshot]
    provider: Provider | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    by_account: RateLimit = field(default_factory=lambda: RateLimit(200, 400))
    by_address: RateLimit = field(default_factory=lambda: RateLimit(500, 1000))
    logins: RateLimit = field(default_factory=lambda: RateLimit(0.5, 20))
    tokens: Tokens | None = None
