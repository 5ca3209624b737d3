# SPDX-License-Identifier: GPL-3.0-or-later
"""Legs that leave a call of one process for a call of another: a transfer joins calls wherever they are (RFC 3891).

It is a loan as within one process (`sip.loan`), of the leg's state. The borrower names the dialog whose peer it wants,
the lender's call waits without that leg, and in the end it comes back or stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sip.agent import Agent
from sip.dialog import DialogKey
from sip.effects import EndLoan, LentLeg
from sip.effects import Leg as LegName
from sip.errors import ProtocolError
from sip.leg import Leg
from sip.leg_table import LegSignal, LegState
from sip.loan import Loan
from sip.message import Request, Response
from sip.snapshot import CSEQ_GAP, leg_state, restore_leg

if TYPE_CHECKING:
    from sip.call import Call
    from sip.calls import Calls, Party

_MOMENT = 0.2
"""Seconds until it is looked again whether a leg that is to go back has nothing under way."""


class Lending:
    """What is lent to other processes and borrowed from them."""

    def __init__(self, agent: Agent, calls: Calls) -> None:
        self._agent = agent
        self._calls = calls
        self._lent: dict[tuple[str, str], tuple[Loan, Mapping[str, Any]]] = {}
        """By call and leg: what its call knows of a leg that is away, and the state that it went with."""

    # --- the lender's side ---

    def lend(self, asker: tuple[int, int], dialog: DialogKey, party: Party | None, now: float) -> None:
        """Let the peer of who has this dialog go to the asker, or say why not."""
        try:
            leg = self._calls.peer_of(dialog, party)
            call = self._calls.of(leg)
            loan = call.lend(leg, call, now)
            if loan is None:
                raise ProtocolError(481, "Nothing To Replace")
        except ProtocolError as error:
            self._agent.effects.append(LentLeg(asker, None, error.status, error.reason or ""))
            return
        state = {**leg_state(leg), "name": loan.name}
        self._calls.part(leg)
        self._lent[call.id, loan.name] = loan, state
        self._agent.effects.append(LentLeg(asker, {"call": call.id, "leg": state}))

    def end(self, call: str, name: LegName, state: Mapping[str, Any] | None, now: float) -> None:
        """A leg comes back as it is by now, or stays where it is, None."""
        found = self._lent.pop((call, name), None)
        if found and state is None:
            found[0].keep(now)
        elif found and state is not None:
            self._take_back(found[0], state, now)
        elif state is None:
            self._part_late(call, name, now)

    def lost(self, call: str, name: LegName, now: float) -> None:
        """Whoever had borrowed a leg is no more: it comes back as it went, and is told again what it may have lost."""
        loan, state = self._lent.pop((call, name), (None, None))
        if loan and state:
            leg = self._take_back(loan, state, now)
            if leg.dialog:
                leg.dialog.our_cseq += CSEQ_GAP  # the borrower's numbers began with the same gap
            if leg.state is LegState.CONFIRMED and not leg.busy:
                leg.asking.again(leg.speak(loan.said), now, refreshing=True)

    def _take_back(self, loan: Loan, state: Mapping[str, Any], now: float) -> Leg:
        call = self._calls.of(loan.leg)
        leg = restore_leg(self._calls, call, state, now)
        legs = (leg if each is loan.leg else each for each in (call.a, call.b, call.near, call.far))
        call.a, call.b, call.near, call.far = legs
        if leg.state is not LegState.GONE:
            self._calls.take_in(leg)
        Loan(loan.lender, leg, loan.name, loan.said).give_back(now)
        call.touched()  # its dialog has gone on elsewhere
        return leg

    def _part_late(self, identity: str, name: LegName, now: float) -> None:
        """A leg has left for good, of which we knew nothing: the journal had the call as it was before."""
        call = self._calls.find(identity)
        leg = (call.a if name == "a" else call.b) if call else None
        loan = call.lend(leg, call, now) if call and leg else None
        if loan and leg:
            self._calls.part(leg)
            loan.keep(now)

    # --- the borrower's side ---

    def decline(self, state: Mapping[str, Any]) -> None:
        """Send back a leg that nobody waits for any more."""
        self._agent.effects.append(EndLoan(state["call"], state["leg"]["name"], state["leg"]))

    def arrive(self, call: Call, state: Mapping[str, Any], now: float) -> None:
        """The call of another process has lent a leg: that is whom this call is for."""
        leg = restore_leg(self._calls, call, state["leg"], now)
        call.loans.append(Loan(_Elsewhere(self._agent, self._calls, state["call"]), leg, leg.name, leg.said))
        self._calls.take_in(leg)
        call.routed([(self._calls.lent(leg),)], now)


class _Elsewhere:
    """The call in another process that has lent a leg; the leg's own, while it is on its way back."""

    def __init__(self, agent: Agent, calls: Calls, identity: str) -> None:
        self._agent = agent
        self._calls = calls
        self._identity = identity
        self._loan: Loan | None = None

    def take_back(self, loan: Loan, now: float) -> None:
        """See Lender; not before the leg has nothing under way, for that could not go with it."""
        leg, self._loan = loan.leg, loan
        leg.owner = self
        if leg.state is LegState.ACCEPTED:
            leg.confirm(b"", now)
        elif leg.asking.sent:
            leg.asking.disown(now)
        self._return(loan, now)

    def part_with(self, loan: Loan, now: float) -> None:
        """See Lender."""
        self._agent.effects.append(EndLoan(self._identity, loan.name, None))

    def ring(self, name: str, now: float) -> None:
        """Look again."""
        if self._loan:
            self._return(self._loan, now)

    def told(self, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
        """See LegUser: its state says all."""

    def left(self, leg: Leg, now: float) -> None:
        """See LegUser."""
        self._calls.drop(leg)

    def joined(self, leg: Leg, key: DialogKey) -> None:
        """See LegUser: it has its dialog already."""

    def _return(self, loan: Loan, now: float) -> None:
        leg = loan.leg
        if leg.state is not LegState.GONE and (leg.busy or leg.updating):
            self._agent.timers.start(self, "return", now + _MOMENT)
            return
        state = {**leg_state(leg), "name": loan.name}
        self._agent.effects.append(EndLoan(self._identity, loan.name, state))
        if leg.state is not LegState.GONE:
            self._calls.part(leg)
