# SPDX-License-Identifier: GPL-3.0-or-later
"""A leg on its way from one call to another: by a transfer, or by an INVITE that replaces its peer (RFC 3515, 3891)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sip.facts import fact

if TYPE_CHECKING:
    from sip.call import Call
    from sip.leg import Leg


@fact
class Loan:
    """A leg of `lender` that another call has for now. said: what the leg knew of the media in the lender's call."""

    lender: Call
    leg: Leg
    name: Literal["a", "b"]
    said: bytes

    def give_back(self, now: float) -> None:
        """The new call has come to nothing: the old one goes on, with its media, if it still can."""
        self.lender.take_back(self, now)

    def keep(self, now: float) -> None:
        """The new call stands: the old one ends, without this leg."""
        self.lender.part_with(self, now)
