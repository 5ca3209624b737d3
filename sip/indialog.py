# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests inside a dialog: BYE, re-INVITE, UPDATE, PRACK, REFER, INFO… and ACK of a 2xx (RFC 3261 §12.2.2, §14)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sip.agent import ALLOWED, SUPPORTED, Agent
from sip.bodies import ACCEPTED, SDP, session_description
from sip.call import Call
from sip.call_table import CallState
from sip.calls import Calls
from sip.dialog import check_target, key_of
from sip.effects import Address
from sip.errors import ProtocolError
from sip.info import inform
from sip.leg import Leg
from sip.leg_table import LegSignal
from sip.message import Request
from sip.session_timer import too_small
from sip.transaction import Transaction
from sip.transfer import Report, referral

UNREADABLE = 415


class InDialog:
    """Takes each request whose To tag is one of ours."""

    def __init__(self, agent: Agent, calls: Calls) -> None:
        self._agent = agent
        self._calls = calls

    def acknowledge(self, request: Request, now: float) -> None:
        """The ACK of a 2xx; one that belongs to nothing is dropped, for nothing may answer it."""
        found = self._calls.dialog(key_of(request))
        if found:
            found[1].acknowledged(request, now)

    def take(self, request: Request, source: Address, local: Address, now: float) -> None:
        """Handle one request. Raises ProtocolError with the status to answer where nothing was begun."""
        call, leg = self._find(request)
        dialog = leg.dialog_with(request)
        if dialog is None:
            self._take_before_any(call, leg, request, source, local, now)
            return
        dialog.accept(request)
        transaction = self._agent.layer.serve(request, source, local, now)
        try:
            self._handle(call, leg, request, transaction, source, now)
        except ProtocolError as error:
            headers = ACCEPTED if error.status == UNREADABLE else too_small(request, self._agent.settings)
            self._agent.respond(transaction, request, error.status, now, error.reason, headers=headers)
        call.touched()

    def _find(self, request: Request) -> tuple[Call, Leg]:
        found = self._calls.dialog(key_of(request))
        if found:
            return found
        for each in self._calls.callers(request):
            if request.to.tag in each[1].asked.tags:
                return each
        raise ProtocolError(481, "Call/Transaction Does Not Exist")

    def _handle(
        self, call: Call, leg: Leg, request: Request, transaction: Transaction, source: Address, now: float
    ) -> None:
        match request.method:
            case "BYE":
                self._bye(call, leg, request, transaction, now)
            case "PRACK":
                self._pracked(call, leg, request, transaction, source, now)
            case "INVITE" | "UPDATE":
                self._change(call, leg, request, transaction, source, now)
            case "INFO":
                inform(self._agent, call, leg, request, transaction, now)
            case "REFER":
                self._refer(call, leg, request, transaction, now)
            case "OPTIONS":
                headers = [ALLOWED, SUPPORTED, ("Accept", SDP)]
                self._agent.respond(transaction, request, 200, now, headers=headers)
            case _:
                self._agent.respond(transaction, request, 405, now, headers=[ALLOWED])

    def _take_before_any(
        self, call: Call, leg: Leg, request: Request, source: Address, local: Address, now: float
    ) -> None:
        """A caller may hang up before anything but a tag of ours has reached it; all else has to wait."""
        if request.method != "BYE":
            raise ProtocolError(491, "Request Pending")
        transaction = self._agent.layer.serve(request, source, local, now)
        self._bye(call, leg, request, transaction, now)

    def _bye(self, call: Call, leg: Leg, request: Request, transaction: Transaction, now: float) -> None:
        """End the dialog, be it early (RFC 3261 §15.1.1)."""
        self._agent.respond(transaction, request, 200, now)
        if leg.dialog is None and not leg.called:
            call.cancel(leg, request, now)
        else:
            leg.feed(LegSignal.BYE, now, request)

    def _pracked(
        self, call: Call, leg: Leg, request: Request, transaction: Transaction, source: Address, now: float
    ) -> None:
        """The PRACK of a 1xx of ours: with the answer it is owed, with an offer of its own, or with nothing."""
        sdp = session_description(request)
        described = leg.asked.acknowledge(request, now)
        if sdp and not (described and call.owes_early):
            if not call.change(leg, request, transaction, source, now):
                raise ProtocolError(491, "Request Pending")
            return
        self._agent.respond(transaction, request, 200, now)
        if described:
            call.pracked(sdp, now)
        leg.asked.release(now)
        if call.state is CallState.ANSWERED:
            call.note_answer(now)

    def _change(
        self, call: Call, leg: Leg, request: Request, transaction: Transaction, source: Address, now: float
    ) -> None:
        """Pass a change on, or refuse it: 500 to one who has one pending, else 491 (RFC 3261 §14.2, RFC 3311 §5.2)."""
        sdp = session_description(request)
        if too_small(request, self._agent.settings):
            raise ProtocolError(422, "Session Interval Too Small")
        check_target(request, source)
        if leg.dialog:
            leg.dialog.refresh(request, source)
        leg.note(request)
        if request.method == "UPDATE" and not sdp:
            headers = [leg.contact(transaction.local), ALLOWED, *leg.session.grant(request, now)]
            self._agent.respond(transaction, request, 200, now, headers=headers)
        elif leg.updating or (leg.pending and (leg.dialog or request.method == "INVITE")):
            headers = [("Retry-After", str(int(10 * self._agent.chance())))]
            self._agent.respond(transaction, request, 500, now, headers=headers)
        elif call.change(leg, request, transaction, source, now):
            transaction.on_cancel = partial(call.cancel, leg)
        else:
            self._agent.respond(transaction, request, 491, now)

    def _refer(self, call: Call, leg: Leg, request: Request, transaction: Transaction, now: float) -> None:
        """A user of ours may transfer, and a trunk that was given leave to. Raises ProtocolError."""
        trunk = self._calls.trunks.known.get(leg.trunk)
        if not leg.dialog:
            raise ProtocolError(491, "Request Pending")
        if not leg.user and not (trunk and trunk.refer):
            raise ProtocolError(403, "Forbidden")
        wanted, report = referral(request), Report(self._agent, leg, request)
        headers = [leg.contact(transaction.local), ALLOWED]
        if report.silent:
            headers.append(("Refer-Sub", "false"))
        self._calls.transfer(
            call, leg, wanted, request, report, self._accepted(transaction, request, headers, now), now
        )

    def _accepted(
        self, transaction: Transaction, request: Request, headers: list[tuple[str, str]], now: float
    ) -> Callable[[], object]:
        return lambda: self._agent.respond(transaction, request, 202, now, headers=headers)
