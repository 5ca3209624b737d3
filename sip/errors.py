# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose fault it is: a peer's mistake carries the SIP status to answer it with, ours is a ValueError."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sip.message import Message


class ProtocolError(Exception):
    """A peer broke a rule. `status` and `reason` are those of the response to send."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class ParseError(ProtocolError):
    """Bytes or a value that are not SIP as RFC 3261 writes it.

    `partial` is what could be saved of the message: a Request or Response that holds at most Via, From, To, Call-ID
    and CSeq as they were spelled, good for `build.response_to` and for nothing else; None where not even a start
    line was found. Answer only a Request other than ACK; a bad response is dropped (RFC 3261 §18.1.2).
    """

    def __init__(self, status: int, reason: str, partial: Message | None = None) -> None:
        super().__init__(status, reason)
        self.partial = partial


class SdpError(ProtocolError):
    """A session description that cannot be read (400) or goes beyond our limits (488)."""


class ForbiddenCharacter(ValueError):
    """Our own side tried to write a header, start line or session description with a control character in it."""
