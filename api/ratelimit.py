# SPDX-License-Identifier: GPL-3.0-or-later
"""How often one may ask: a bucket of tokens for each account and for each address. It refuses, and never waits."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil


class RateLimit:
    """rate: tokens a second that flow into each bucket, which holds `burst` of them. size: buckets kept at most.

    The bucket that was longest not used goes first; it was full, or its owner gets one a burst too early.
    """

    def __init__(self, rate: float, burst: int, size: int = 100_000) -> None:
        self.rate = rate
        self.burst = burst
        self._size = size
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, now: float) -> int:
        """Take a token; return 0, or after how many seconds there will be one. now: monotonic."""
        tokens, since = self._buckets.pop(who, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        wait = 0 if tokens >= 1 else max(1, ceil((1 - tokens) / self.rate))
        self._buckets[who] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return wait
