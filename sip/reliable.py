# SPDX-License-Identifier: GPL-3.0-or-later
"""Provisional responses that must not get lost (RFC 3262): what we send, and what we acknowledge."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from sip.errors import ProtocolError
from sip.headers import CSeq
from sip.message import Message, Request, Response
from sip.repeater import Repeater
from sip.timers import Intervals, Timers

TAG = "100rel"
_RACK = re.compile(r"([0-9]{1,10})\s+([0-9]{1,10}\s+\S+)\s*", re.ASCII)

Write = Callable[[int, float], bytes]
"""Sends the response with this RSeq and returns its bytes."""


class Reliable:
    """The reliable 1xx of one early dialog, one at a time: the next goes out when the PRACK of the last is here.

    first: RSeq of the first, 1 to 2^31-1. resend: sends bytes of a 1xx again. lost: 64*T1 went by without a PRACK.
    """

    def __init__(
        self,
        timers: Timers,
        intervals: Intervals,
        first: int,
        resend: Callable[[bytes, float], None],
        lost: Callable[[float], None],
    ) -> None:
        self._intervals = intervals
        self._next = first
        self._queue: deque[tuple[Write, bool]] = deque()
        self._sent: tuple[int, bool] | None = None
        self._data = b""
        self._repeater = Repeater(timers, lambda now: resend(self._data, now), lost)

    @property
    def owed(self) -> bool:
        """Whether a 2xx has to wait: a description that was sent is not acknowledged yet (RFC 3262 §3, §5)."""
        return (self._sent is not None and self._sent[1]) or any(described for _, described in self._queue)

    def send(self, write: Write, described: bool, now: float) -> None:
        """Send a response now or as soon as it may go. described: it carries a session description."""
        self._queue.append((write, described))
        self._go_on(now)

    def acknowledge(self, request: Request, invite: CSeq, now: float) -> bool:
        """Take a PRACK; whether it acknowledges a description. Raises ProtocolError (481, 400)."""
        rseq, cseq = rack(request)
        if self._sent is None or rseq != self._sent[0] or cseq != invite:
            raise ProtocolError(481, "No Such Response")
        described = self._sent[1]
        self._repeater.stop()
        self._sent = None
        self._go_on(now)
        return described

    def stop(self) -> None:
        """A final response goes out: nothing provisional is of use any more."""
        self._repeater.stop()
        self._queue.clear()
        self._sent = None

    def _go_on(self, now: float) -> None:
        if self._sent is None and self._queue:
            write, described = self._queue.popleft()
            self._sent = self._next, described
            self._data = write(self._next, now)
            self._next += 1
            self._repeater.start(self._intervals, now)


def rack(request: Request) -> tuple[int, CSeq]:
    """RSeq and CSeq that a PRACK names (RFC 3262 §7.2). Raises ProtocolError (400)."""
    match = _RACK.fullmatch(request.get("RAck") or "")
    if not match:
        raise ProtocolError(400, "Malformed RAck")
    return int(match[1]), CSeq.parse(match[2])


def reliable_number(response: Response) -> int | None:
    """RSeq of a provisional response that wants a PRACK, None for any other."""
    return response.rseq if requires(response, TAG) else None


def requires(message: Message, tag: str) -> bool:
    """Whether a message cannot be understood without this extension."""
    return any(word.lower() == tag for word in message.require)


def supports(message: Message, tag: str) -> bool:
    """Whether its sender understands an extension, or insists on it."""
    return any(word.lower() == tag for word in (*message.supported, *message.require))
