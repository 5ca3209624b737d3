# SPDX-License-Identifier: GPL-3.0-or-later
"""What a core is told where others serve the same addresses, each of them the calls of its own Call-IDs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sip.counters import Counters
from sip.facts import fact

if TYPE_CHECKING:
    from sip.registrar import Binding

Gone = tuple[str, str, int]
"""A contact that is there no more: its URI, and Call-ID and CSeq of the REGISTER that had touched it last."""


class Channels(Protocol):
    """Counts the calls on trunks by their names, for all processes that share them."""

    def calls(self, trunk: str) -> int:
        """How many there are."""

    def take(self, trunk: str, limit: int) -> bool:
        """One more, unless there are as many as that already; 0: any number. Whether there was room."""

    def add(self, trunk: str, calls: int) -> None:
        """So many more, or fewer, whatever the limit."""


class OwnChannels:
    """Those of one process."""

    def __init__(self) -> None:
        self._carried: Counter[str] = Counter()

    def calls(self, trunk: str) -> int:
        """See Channels."""
        return self._carried[trunk]

    def take(self, trunk: str, limit: int) -> bool:
        """See Channels."""
        if 0 < limit <= self._carried[trunk]:
            return False
        self._carried[trunk] += 1
        return True

    def add(self, trunk: str, calls: int) -> None:
        """See Channels."""
        self._carried[trunk] += calls
        if self._carried[trunk] <= 0:
            del self._carried[trunk]


@fact
class Among:
    """call_id: makes the Call-ID of a dialog of ours, from that of the call's other leg or "". channels: of trunks, as
    all of them take them. leads: whether it is this one that registers with trunks and asks whether they are there.
    counters: of nonces, where all of them verify the same ones.
    """

    call_id: Callable[[str], str]
    channels: Channels
    leads: bool
    counters: Counters | None = None


@fact
class BindingsChange:
    """What changed of a user's contacts: those that are there or are others now, as SaveBindings has them, and those
    that are gone.
    """

    username: str
    there: Sequence[Mapping[str, Any]]
    gone: Sequence[Gone]


def change_of(username: str, before: Sequence[Binding], after: Sequence[Binding]) -> BindingsChange:
    """The change between two states of a user's contacts."""
    uris = {each.uri for each in after}
    gone = tuple((each.uri, each.call_id, each.cseq) for each in before if each.uri not in uris)
    return BindingsChange(username, tuple(each.state for each in after if each not in before), gone)
