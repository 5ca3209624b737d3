# SPDX-License-Identifier: GPL-3.0-or-later
"""INFO: what a party tells the other one in the middle of a call, pressed keys above all, as far as the policy lets it.

We indicate no Info Package, so none may come (RFC 6086 §4.2.1). What is left is the older usage, of types of body that
both have agreed on elsewhere. It is passed on in early dialogs too, and its answer comes back.
"""

from __future__ import annotations

from sip.agent import Agent
from sip.call import Call
from sip.errors import ProtocolError
from sip.leg import Leg
from sip.message import Request, Response
from sip.transaction import Transaction

ANYTHING = "*"
_FOR_SENDER = {401: 403, 405: 415, 407: 403, 408: 504, 481: 480, 501: 415}
"""What the other peer says of us or of its dialog, in words that do not end the sender's (RFC 3261 §12.2.1.2)."""


def inform(agent: Agent, call: Call, leg: Leg, request: Request, transaction: Transaction, now: float) -> None:
    """Pass an INFO of `leg` on, or answer it. Raises ProtocolError with the status to answer."""
    if "info-package" in request:
        agent.respond(transaction, request, 469, now, "Bad Info Package", headers=[("Recv-Info", "")])
        return
    if not request.body:
        agent.respond(transaction, request, 200, now)
        return
    taken = agent.settings.info
    if ANYTHING not in taken and (request.content_type or "") not in taken:
        agent.respond(transaction, request, 415, now, headers=[("Accept", ", ".join(taken))])
        return

    def relay(response: Response | None, when: float) -> None:
        status = response.status if response else 504
        if status >= 200:
            agent.respond(transaction, request, _FOR_SENDER.get(status, status), when)

    other, dialog = call.opposite(leg, request)
    if dialog is None:
        raise ProtocolError(480, "Temporarily Unavailable")
    other.send(
        "INFO",
        now,
        dialog=dialog,
        on_response=relay,
        headers=[("Content-Disposition", value) for value in request.values("Content-Disposition")],
        body=request.body,
        content_type=request.get("Content-Type") or "application/octet-stream",
    )
