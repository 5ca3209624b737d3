# SPDX-License-Identifier: GPL-3.0-or-later
"""INFO: what a party tells the other one in the middle of a call, pressed keys above all, as far as the policy lets it.

We indicate no Info Package, so none may come (RFC 6086 §4.2.1). What is left is the older usage, of types of body that
both have agreed on elsewhere. It is passed on in early dialogs too, and its answer comes back; where we ourselves are
the peer, or the keys are for nobody else, we answer.
"""

from __future__ import annotations

import re
from typing import Any

from sip.agent import Agent
from sip.call import Call
from sip.effects import Pressed
from sip.errors import ProtocolError
from sip.leg import Leg
from sip.message import Request, Response
from sip.transaction import Transaction

ANYTHING = "*"
RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"
KEYS = (RELAY, PLAIN)
"""Types of body that tell a pressed key."""
_FOR_SENDER = {401: 403, 405: 415, 407: 403, 408: 504, 481: 480, 501: 415}
"""What the other peer says of us or of its dialog, in words that do not end the sender's (RFC 3261 §12.2.1.2)."""
_SIGNAL = re.compile(rb"\s*Signal\s*=\s*([0-9A-D*#])\s*", re.IGNORECASE)
_DURATION = re.compile(rb"\s*Duration\s*=\s*([0-9]{1,5})\s*", re.IGNORECASE)


def inform(agent: Agent, call: Call, leg: Leg, request: Request, transaction: Transaction, now: float) -> None:
    """Pass an INFO of `leg` on, or answer it. Raises ProtocolError with the status to answer.

    A key may reach the other party by its media instead, as a telephone event or as a tone: that is asked first.
    """
    if "info-package" in request:
        agent.respond(transaction, request, 469, now, "Bad Info Package", headers=[("Recv-Info", "")])
        return
    if not request.body:
        agent.respond(transaction, request, 200, now)
        return
    taken, kind = agent.settings.info, request.content_type or ""
    if ANYTHING not in taken and kind not in taken:
        agent.respond(transaction, request, 415, now, headers=[("Accept", ", ".join(taken))])
        return
    kept = call.waits or (kind in KEYS and agent.digits_blocked(call.id, leg.name))

    def go_on(taken: bool, when: float) -> None:
        try:
            if taken or kept:
                agent.respond(transaction, request, 200, when)
            else:
                _pass_on(agent, call, leg, request, transaction, when)
        except ProtocolError as error:
            agent.respond(transaction, request, error.status, when, error.reason)

    def failed(status: int, reason: str, when: float) -> None:
        agent.respond(transaction, request, status, when, reason)

    told = pressed(kind, request.body)
    if told:
        agent.effects.append(Pressed(call.id, leg.name, *told, agent.questions.ask(go_on, failed, now)))
    else:
        go_on(False, now)


def pressed(kind: str, body: bytes) -> tuple[str, float | None] | None:
    """The key that a body tells, and for how many milliseconds, None where it does not say; None: no key."""
    if kind == PLAIN:
        digit = body.strip().upper().decode("ascii", "replace")
        return (digit, None) if len(digit) == 1 and digit in "0123456789ABCD*#" else None
    if kind != RELAY:
        return None
    lines = body.splitlines()
    signal = next((found for line in lines if (found := _SIGNAL.fullmatch(line))), None)
    length = next((found for line in lines if (found := _DURATION.fullmatch(line))), None)
    return (signal[1].decode().upper(), float(length[1]) if length else None) if signal else None


def key(digit: str, milliseconds: int) -> dict[str, Any]:
    """Return body and type of an INFO that tells a key."""
    return {"body": f"Signal={digit}\r\nDuration={milliseconds}\r\n".encode(), "content_type": RELAY}


def _pass_on(agent: Agent, call: Call, leg: Leg, request: Request, transaction: Transaction, now: float) -> None:
    other, dialog = call.opposite(leg, request)
    if dialog is None:
        raise ProtocolError(480, "Temporarily Unavailable")

    def relay(response: Response | None, when: float) -> None:
        status = response.status if response else 504
        if status >= 200:
            agent.respond(transaction, request, _FOR_SENDER.get(status, status), when)

    other.send(
        "INFO",
        now,
        dialog=dialog,
        on_response=relay,
        headers=[("Content-Disposition", value) for value in request.values("Content-Disposition")],
        body=request.body,
        content_type=request.get("Content-Type") or "application/octet-stream",
    )
