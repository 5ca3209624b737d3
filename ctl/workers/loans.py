# SPDX-License-Identifier: GPL-3.0-or-later
"""Legs that go from a call of one worker to a call of another, and their messages with them: transfers over workers.

The core says what is to go where (`sip.lending`); here it is known who has it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ctl.workers.affinity import Affinity
from ctl.workers.steering import Steered
from sip.core import Core
from sip.effects import Address, BorrowLeg, Effect, EndLoan, LentLeg
from sip.effects import Leg as LegName

MAX_ASKED = 10_000
NOBODY = -1
"""The token of a question that nobody has asked."""

State = Mapping[str, Any]


class Loans:
    """Those of one worker. tell: to the controller; perform: carries out effects of the core."""

    def __init__(
        self,
        core: Core,
        perform: Callable[[Iterable[Effect]], None],
        affinity: Affinity,
        steered: Steered,
        tell: Callable[..., None],
        first: int,
    ) -> None:
        """first: the number of the first question, which no predecessor of this worker may have asked."""
        self._core, self._perform, self._affinity, self._steered, self._tell = core, perform, affinity, steered, tell
        self._number = first
        self._asked: OrderedDict[int, int] = OrderedDict()
        """The core's token of each question, by its number."""
        self._lent: dict[tuple[str, LegName], tuple[int, bytes]] = {}
        """Who has which leg of ours, and its Call-ID."""
        self._borrowed: dict[tuple[str, LegName], tuple[int, bytes]] = {}
        """Whose leg we have, and its Call-ID."""

    def borrowed(self) -> Iterable[bytes]:
        """The Call-IDs of legs that may have to go back."""
        return [call_id for _, call_id in self._borrowed.values()]

    # --- what the core says ---

    def take(self, effect: BorrowLeg | LentLeg | EndLoan) -> None:
        """Pass on what it asks or answers."""
        match effect:
            case BorrowLeg():
                self._number += 1
                self._asked[self._number] = effect.token
                if len(self._asked) > MAX_ASKED:
                    self._asked.popitem(last=False)
                self._tell("borrow", self._number, effect.dialog, effect.party)
            case LentLeg():
                borrower, number = effect.asker
                way = NOBODY
                if effect.state:
                    state = effect.state["leg"]
                    self._lent[effect.state["call"], state["name"]] = borrower, _call_id(state)
                    self._affinity.give(_call_id(state), borrower)
                    way = self._way(state)
                self._tell("lent", borrower, number, effect.state, effect.status, effect.reason, way)
            case EndLoan():
                found = self._borrowed.pop((effect.call, effect.leg), None)
                if found:
                    self._go_back(found[0], effect.call, effect.leg, effect.state)

    def _go_back(self, lender: int, call: str, leg: LegName, state: State | None) -> None:
        if state is not None:
            self._affinity.give(_call_id(state), lender)
        self._tell("loan ends", lender, call, leg, state, self._way(state) if state else NOBODY)

    # --- what other workers say ---

    def lend(self, borrower: int, number: int, dialog: tuple[str, str, str], party: tuple[str, str] | None) -> None:
        """Another worker wants the peer of whoever has this dialog."""
        self._perform(self._core.lend((borrower, number), dialog, party, time.monotonic()))

    def lent(self, lender: int, number: int, state: State | None, status: int, reason: str, way: int) -> None:
        """What became of a question of ours."""
        token = self._asked.pop(number, NOBODY)
        if state is None:
            self._perform(self._core.refused(token, status, reason, time.monotonic()))
            return
        leg = state["leg"]
        self._borrowed[state["call"], leg["name"]] = lender, _call_id(leg)
        self._have(leg, way)
        self._perform(self._core.lent(token, state, time.monotonic()))

    def ends(self, call: str, leg: LegName, state: State | None, way: int) -> None:
        """A leg of ours comes back, or stays where it is."""
        self._lent.pop((call, leg), None)
        if state is not None:
            self._have(state, way)
        self._perform(self._core.end_loan(call, leg, state, time.monotonic()))

    def bereft(self, worker: int) -> None:
        """A worker has died, and with it what became of our legs there."""
        for (call, leg), (borrower, call_id) in tuple(self._lent.items()):
            if borrower == worker:
                del self._lent[call, leg]
                self._affinity.claim(call_id)
                self._perform(self._core.loan_lost(call, leg, time.monotonic()))

    def _have(self, leg: State, way: int) -> None:
        self._affinity.claim(_call_id(leg))
        if leg["dialog"]:
            self._steered.connected(Address(*leg["dialog"]["peer"]), way)

    def _way(self, leg: State) -> int:
        """The worker that has the connection to the peer of a leg, or nobody."""
        return self._steered.way(Address(*leg["dialog"]["peer"])) if leg["dialog"] else NOBODY


def _call_id(leg: State) -> bytes:
    return str(leg["call_id"]).encode("utf-8", "surrogateescape")
