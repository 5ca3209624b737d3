# SPDX-License-Identifier: GPL-3.0-or-later
"""Session timers (RFC 4028): a call whose peer has vanished without a BYE ends, on each leg by itself."""

from __future__ import annotations

from typing import Any

from sip.agent import Fields
from sip.message import Message, Request, Response
from sip.reliable import supports
from sip.settings import Settings
from sip.timers import Alarm, Timed, Timers

TAG = "timer"
REFRESH, EXPIRED = "refresh", "session expired"
"""Names of the alarms that ring at the owner."""
_ATTEMPTS = 3


class SessionTimer:
    """One leg's interval, and who refreshes it. A peer that knows no session timers is refreshed by us alone."""

    def __init__(self, timers: Timers, settings: Settings, owner: Timed) -> None:
        self._timers = timers
        self._settings = settings
        self._owner = owner
        self._alarm: Alarm | None = None
        self._raised = 0
        self.interval = settings.session_expires
        self.floor = settings.min_session_expires
        self.ours = True
        """Whether we are the one who refreshes."""

    def grant(self, request: Request, now: float) -> Fields:
        """Take the peer's INVITE or UPDATE; the headers of our 2xx. Starts the interval anew."""
        if not self._settings.session_expires:
            return ()
        wish, refresher = _demand(request)
        self.floor = max(self.floor, request.min_se or 0)
        self.interval = max(min(wish or self.interval, self._settings.session_expires), self.floor)
        self.ours = refresher == "uas" or not supports(request, TAG)  # a proxy may have asked in its name (§9)
        self._restart(now)
        value = f"{self.interval};refresher={'uas' if self.ours else 'uac'}"
        needed = () if self.ours else (("Require", TAG),)
        return ("Session-Expires", value), *needed

    def propose(self, first: bool = False) -> Fields:
        """The headers of our INVITE or UPDATE."""
        if not self._settings.session_expires:
            return ()
        refresher = "" if first else f";refresher={'uac' if self.ours else 'uas'}"
        return ("Session-Expires", f"{self.interval}{refresher}"), ("Min-SE", str(self.floor))

    def agree(self, response: Response, now: float) -> None:
        """Take the 2xx to our INVITE or UPDATE. Starts the interval anew."""
        if not self._settings.session_expires:
            return
        granted, refresher = _demand(response)
        self.interval = granted or self.interval
        self.ours = not granted or refresher != "uas"
        self._restart(now)

    def raise_floor(self, response: Response) -> bool:
        """Take a 422; whether it is worth another attempt."""
        asked = response.min_se or 0
        self._raised += 1
        if asked <= self.floor or self._raised >= _ATTEMPTS:
            return False
        self.floor, self.interval = asked, max(asked, self.interval)
        return True

    def retry(self, now: float, seconds: float) -> None:
        """Refresh again after so long: the peer was busy with something else."""
        self._start(REFRESH, now + seconds)

    def stop(self) -> None:
        """The leg is gone."""
        self._timers.stop(self._alarm)

    def state(self) -> list[Any]:
        """The timer as JSON can carry it."""
        return [self.interval, self.floor, self.ours]

    def resume(self, state: list[Any], now: float) -> None:
        """Go on after a restart: as if refreshed just now, for nobody knows when it was."""
        self.interval, self.floor, self.ours = state
        self._restart(now)

    def _restart(self, now: float) -> None:
        """We refresh after half of the interval, or give up 32 s, at most a third, before its end (RFC 4028 §10)."""
        if self.interval and self._settings.session_expires:
            seconds = self.interval / 2 if self.ours else self.interval - min(32.0, self.interval / 3)
            self._start(REFRESH if self.ours else EXPIRED, now + seconds)

    def _start(self, name: str, due: float) -> None:
        self._timers.stop(self._alarm)
        self._alarm = self._timers.start(self._owner, name, due)


def too_small(request: Request, settings: Settings) -> list[tuple[str, str]]:
    """The headers of a 422 where the interval asked for is below ours, and its sender can do better (§8.1, §9)."""
    wish, _ = _demand(request)
    if 0 < wish < settings.min_session_expires and settings.session_expires and supports(request, TAG):
        return [("Min-SE", str(settings.min_session_expires))]
    return []


def _demand(message: Message) -> tuple[int, str]:
    """Interval and refresher that a message names; 0 and "" where it does not."""
    interval = message.session_expires or 0
    text = (message.get("Session-Expires") or "").lower().replace(" ", "")
    _, found, value = text.partition(";refresher=")
    return interval, value.partition(";")[0] if found else ""
