# SPDX-License-Identifier: GPL-3.0-or-later
"""A leg on its way from one call to another: by a transfer, or by an INVITE that replaces its peer (RFC 3515, 3891)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from sip.facts import fact

if TYPE_CHECKING:
    from sip.leg import Leg


class Lender(Protocol):
    """The call that a leg is of."""

    def take_back(self, loan: Loan, now: float) -> None:
        """A leg comes back: the call goes on, or the leg ends where the call has."""

    def part_with(self, loan: Loan, now: float) -> None:
        """A leg is another call's for good."""


@fact
class Loan:
    """A leg of `lender` that another call has for now. said: what the leg knew of the media in the lender's call."""

    lender: Lender
    leg: Leg
    name: Literal["a", "b"]
    said: bytes

    def give_back(self, now: float) -> None:
        """The new call has come to nothing: the old one goes on, with its media, if it still can."""
        self.lender.take_back(self, now)

    def keep(self, now: float) -> None:
        """The new call stands: the old one ends, without this leg."""
        self.lender.part_with(self, now)
