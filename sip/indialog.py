# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests inside a dialog: BYE, re-INVITE, UPDATE, INFO, OPTIONS, and ACK of a 2xx (RFC 3261 §12.2.2, §14, §15)."""

from __future__ import annotations

from functools import partial

from sip.agent import ALLOWED, Agent
from sip.bodies import SDP, session_description
from sip.call import Call
from sip.calls import Calls
from sip.dialog import key_of
from sip.effects import Address
from sip.errors import ProtocolError
from sip.leg import Leg
from sip.leg_table import LegSignal
from sip.message import Request, Response
from sip.transaction import Transaction

_INFO_HEADERS = ("Info-Package", "Content-Disposition")


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
        found = self._calls.dialog(key_of(request))
        if found is None:
            self._take_early(request, source, local, now)
            return
        call, leg = found
        assert leg.dialog
        leg.dialog.accept(request)
        transaction = self._agent.layer.serve(request, source, local, now)
        match request.method:
            case "BYE":
                self._agent.respond(transaction, request, 200, now)
                leg.feed(LegSignal.BYE, now, request)
            case "INVITE" | "UPDATE":
                self._change(call, leg, request, transaction, source, now)
            case "INFO":
                self._inform(call, leg, request, transaction, now)
            case "OPTIONS":
                self._agent.respond(transaction, request, 200, now, headers=[ALLOWED, ("Accept", SDP)])
            case _:
                self._agent.respond(transaction, request, 405, now, headers=[ALLOWED])
        call.touched()

    def _take_early(self, request: Request, source: Address, local: Address, now: float) -> None:
        """A caller may hang up before the answer (RFC 3261 §15.1.1); all else has to wait for it."""
        call, leg = self._calls.caller(request) or (None, None)
        if call is None or leg is None or leg.tag != request.to.tag:
            raise ProtocolError(481, "Call/Transaction Does Not Exist")
        if request.method != "BYE":
            raise ProtocolError(491, "Request Pending")
        transaction = self._agent.layer.serve(request, source, local, now)
        self._agent.respond(transaction, request, 200, now)
        call.cancel(leg, request, now)

    def _change(
        self, call: Call, leg: Leg, request: Request, transaction: Transaction, source: Address, now: float
    ) -> None:
        """Pass a change on, or refuse it: 500 to one who has one pending, else 491 (RFC 3261 §14.2, RFC 3311 §5.2)."""
        try:
            sdp = session_description(request)
        except ProtocolError as error:
            self._agent.respond(transaction, request, error.status, now, headers=[("Accept", SDP)])
            return
        assert leg.dialog
        leg.dialog.refresh(request, source)
        if request.method == "UPDATE" and not sdp:
            headers = [self._agent.contact(transaction.local), ALLOWED]
            self._agent.respond(transaction, request, 200, now, headers=headers)
        elif leg.pending:
            headers = [("Retry-After", str(_wait(self._agent.token())))]
            self._agent.respond(transaction, request, 500, now, headers=headers)
        elif call.change(leg, request, transaction, source, now):
            transaction.on_cancel = partial(call.cancel, leg)
        else:
            self._agent.respond(transaction, request, 491, now)

    def _inform(self, call: Call, leg: Leg, request: Request, transaction: Transaction, now: float) -> None:
        """Pass INFO on to the other leg, and its answer back (RFC 6086)."""
        other = call.other(leg)
        headers = [(name, value) for name in _INFO_HEADERS for value in request.values(name)]

        def relay(response: Response | None, when: float) -> None:
            if response is None:
                self._agent.respond(transaction, request, 504, when)
            elif response.status >= 200:
                self._agent.respond(transaction, request, _status_of(response), when)

        sent = other.request(
            "INFO",
            now,
            on_response=relay,
            headers=headers,
            body=request.body,
            content_type=request.get("Content-Type") or "application/octet-stream",
        )
        if not sent:
            self._agent.respond(transaction, request, 481, now)


def _status_of(response: Response) -> int:
    """A challenge, and that the other dialog is gone, are not the sender's business."""
    return {401: 403, 407: 403, 481: 480}.get(response.status, response.status)


def _wait(token: str) -> int:
    """A random number of seconds from 0 to 10 (RFC 3261 §14.2)."""
    return sum(token.encode()) % 11
