# SPDX-License-Identifier: GPL-3.0-or-later
"""Replies kept by their cookies, so that a request sent again is not done again.

Two generations, exchanged every 30 s: a reply is kept for 30 to 60 s. Requests are done one after another, so that a
repetition which comes while its request is worked on is read after that is done, and finds the reply.
"""

from __future__ import annotations

GENERATION_SECONDS = 30.0
MAX_BYTES = 64 << 20
"""Of replies in one generation; beyond it the generations are exchanged early."""


class Cookies:
    """The cache. A cookie counts alone, whoever sent it: proxies move, and name themselves in it."""

    def __init__(self, now: float) -> None:
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._bytes = 0
        self._exchanged = now

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, cookie: bytes, now: float) -> bytes | None:
        """Return the reply to this cookie, None if the cookie is new."""
        self._exchange(now)
        return self._young.get(cookie) or self._old.get(cookie)

    def keep(self, cookie: bytes, reply: bytes, now: float) -> None:
        """Remember a reply."""
        self._exchange(now)
        self._young[cookie] = reply
        self._bytes += len(cookie) + len(reply)

    def _exchange(self, now: float) -> None:
        if now - self._exchanged < GENERATION_SECONDS and self._bytes < MAX_BYTES:
            return
        stale = now - self._exchanged >= 2 * GENERATION_SECONDS
        self._exchanged, self._bytes = now, 0
        self._old, self._young = ({} if stale else self._young), {}
