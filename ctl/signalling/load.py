# SPDX-License-Identifier: GPL-3.0-or-later
"""Too much to do, and nothing new to be begun: when signalling sheds load, and how it ends.

The core answers 503 with Retry-After while it is told to; calls that are up go on in both cases.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from math import inf

import structlog

from sip.core import Core

LOOK_SECONDS = 0.5
BUSY, CALM = 0.97, 0.85
"""Shares of the time that our thread works: above the one we are overloaded, below the other no more."""
LOOKS = 4
"""How many looks in a row we must be that busy: a burst shorter than that fits into the sockets' buffers."""

log = structlog.get_logger()


class LoadWatch:
    """Tells the core when more comes than can be handled."""

    def __init__(self, core: Core, lateness: float) -> None:
        """lateness: seconds that the event loop may be late before we are overloaded at once; 0: however many."""
        self._core = core
        self._lateness = lateness or inf
        self._busy = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            began, worked = time.monotonic(), time.thread_time()
            await asyncio.sleep(LOOK_SECONDS)
            passed = time.monotonic() - began
            self.judge((time.thread_time() - worked) / passed, passed - LOOK_SECONDS)

    def judge(self, busy: float, late: float) -> None:
        """Decide by the share of the time that was worked, and by how many seconds the loop was late."""
        core = self._core
        self._busy = self._busy + 1 if busy > (CALM if core.overloaded else BUSY) else 0
        overloaded = self._busy >= (1 if core.overloaded else LOOKS) or late > self._lateness
        if overloaded != core.overloaded:
            core.overloaded = overloaded
            log.warning(
                "overloaded" if overloaded else "no longer overloaded", busy=round(busy, 2), late=round(late, 2)
            )


async def drain(core: Core, limit: float, again: asyncio.Event) -> None:
    """Take no new calls, and wait until the last has ended, for `limit` seconds or until somebody insists."""
    core.draining = True
    deadline = time.monotonic() + limit
    while core.calls() and (left := deadline - time.monotonic()) > 0 and not again.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(again.wait(), min(LOOK_SECONDS, left))
