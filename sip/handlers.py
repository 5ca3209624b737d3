# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transport tells of, to whoever owns the core."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from sip.effects import Address, Send
from sip.errors import ParseError


class Handlers(Protocol):
    """All of them return at once."""

    def received(self, data: bytes, source: Address, local: Address) -> None:
        """Bytes that may be a message came from `source` to the address of ours `local`."""

    def unreadable(self, error: ParseError, source: Address, local: Address) -> None:
        """A stream from `source` cannot be followed any more; it is about to be closed."""

    def parted(self, peer: Address) -> None:
        """A peer that had connected to us is connected no more."""

    def undelivered(self, effect: Send) -> None:
        """A message certainly did not reach its target."""

    def wanted(self) -> Set[Address]:
        """The peers whose connections carry a registration or a call."""
