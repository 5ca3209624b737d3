# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that has to do with webhooks on one host, joined."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from ctl.config import Config
from ctl.journal import Journal, keep_synced
from ctl.storage import Storage
from ctl.webhooks.courier import Courier
from ctl.webhooks.outbox import EVENT, Outbox
from ctl.webhooks.sources import Sources
from sip.core import Core


class Events:
    """state: the directory of the journal of events that PostgreSQL does not have yet."""

    def __init__(self, config: Config, storage: Storage, core: Core, state: Path, offset: float) -> None:
        """Raises ConfigError, OSError."""
        self._core = core
        self._journal, recovered = Journal.open(state / "events", offset)
        self.outbox = Outbox(storage, self._journal, config.sip.domain)
        self.outbox.restore(recovered.of(EVENT))
        self.courier = Courier(storage, storage.store, storage.vault, config.webhooks, self.outbox.kept)
        self.of_trunks = True
        """Whether it is for us to tell of trunks; of several processes that see them one tells."""
        self.sources = Sources(self.outbox.tell, lambda: storage.keeper.current, core.call, self.outbox.wants)

    def restore(self) -> None:
        """Signalling has taken up what it had: none of that is news."""
        self.sources.restore(user.username for user in self._core.bindings())
        self.look()

    def look(self) -> None:
        """Look at what nobody tells of. Each second."""
        if self.of_trunks:
            self.sources.trunks(self._core.trunks())

    def work(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What goes on as long as we serve, by name."""
        return {
            "events": self.outbox.run(),
            "webhooks": self.courier.run(),
            "journal of events": keep_synced(self._journal),
        }
