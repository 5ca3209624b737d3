# SPDX-License-Identifier: GPL-3.0-or-later
"""Early dialogs: what a leg remembers of each branch of a fork before one of them is the call (RFC 3261 §12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sip.dialog import Dialog
from sip.reliable import Reliable


@dataclass(slots=True)
class Early:
    """One early dialog. rseq: of the last reliable 1xx received; reliable: those sent.

    settled: a description went over reliably, so that offer and answer are complete before the 2xx.
    """

    dialog: Dialog
    rseq: int | None = None
    reliable: Reliable | None = None
    settled: bool = False

    def follows(self, rseq: int) -> bool:
        """Whether a reliable 1xx is the next one, and not a repetition or one too early (RFC 3262 §4)."""
        if self.rseq is not None and rseq != self.rseq + 1:
            return False
        self.rseq = rseq
        return True


class Tags:
    """Our To tags of one INVITE: the branches behind us that speak with descriptions of their own get one each.

    So the caller can tell them apart, as if they had answered it themselves (RFC 3261 §12.1, §13.2.2.4).
    """

    def __init__(self, first: str) -> None:
        self.first = first
        self._of: dict[str, str] = {}

    def __contains__(self, tag: str | None) -> bool:
        return tag == self.first or tag in self._of.values()

    def __iter__(self) -> Iterator[str]:
        return iter({self.first, *self._of.values()})

    def get(self, branch: str) -> str:
        """The tag of a branch; the first where it has none of its own."""
        return self._of.get(branch, self.first)

    def branch(self, tag: str) -> str:
        """The branch that has this tag, "" if none has."""
        return next((branch for branch, mine in self._of.items() if mine == tag), "")

    def claim(self, branch: str, spare: str) -> str:
        """The tag of a branch that has a description: the first for the first, `spare` for each other."""
        return self._of.setdefault(branch, spare if self._of else self.first)
