# SPDX-License-Identifier: GPL-3.0-or-later
"""REFER: a party sends the other one on, to somebody new or into another call of its own (RFC 3515, 5589, 3891)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from sip.agent import Agent
from sip.build import REASONS
from sip.dialog import DialogKey
from sip.errors import ParseError, ProtocolError
from sip.facts import fact
from sip.leg import Leg
from sip.message import Request
from sip.params import Params
from sip.reliable import supports
from sip.uri import Uri

_SIPFRAG = "message/sipfrag;version=2.0"
_SECONDS = 60
"""How long a party may expect to hear of its transfer without anything new."""


@fact
class Replaced:
    """A dialog as we have it: Call-ID, our tag and the peer's. early_only: it is meant only if nobody has answered."""

    key: DialogKey
    early_only: bool = False


@fact
class Referral:
    """What a REFER asks for. target: whom to call; replaces: the dialog that the callee shall leave."""

    target: Uri
    replaces: Replaced | None = None


def referral(request: Request) -> Referral:
    """Read a REFER. Raises ProtocolError (400, 416) where it does not name one SIP or telephone URI to call."""
    values = request.values("Refer-To")
    if len(values) != 1:
        raise ProtocolError(400, "One Refer-To Expected")
    target = request.refer_to
    assert target
    if not target.uri.names_callee:
        raise ProtocolError(416, "Unsupported Refer-To")
    if (target.uri.params.get("method") or "INVITE") != "INVITE":
        raise ProtocolError(501, "Only Calls Are Transferred")
    headers = _headers(target.uri)
    replaces = headers.get("replaces")
    return Referral(target.uri, replaced_dialog(replaces) if replaces else None)


def replaced_dialog(value: str) -> Replaced:
    """The dialog in a Replaces value, written by the peer or passed on (RFC 3891 §6.1).

    Raises ProtocolError (400).
    """
    call_id, _, rest = value.partition(";")
    try:
        params = Params.parse(";" + rest)
    except ParseError:
        params = Params()
    to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
    if not call_id.strip() or not to_tag or not from_tag:
        raise ProtocolError(400, "Malformed Replaces")
    return Replaced((call_id.strip(), to_tag, from_tag), "early-only" in params)


class Report:
    """The subscription that a REFER makes: tells the referrer, by NOTIFY, how the new call fares (RFC 3515 §2.4).

    One who wants none says so, `Refer-Sub: false` (RFC 4488), and hears nothing.
    """

    def __init__(self, agent: Agent, leg: Leg, request: Request) -> None:
        self._agent = agent
        self._leg = leg
        self._event = f"refer;id={request.cseq.number}"
        self._last = 0
        wanted = (request.get("Refer-Sub") or "true").strip().lower()
        self.silent = wanted.startswith("false") and supports(request, "norefersub")

    def __call__(self, status: int, reason: str, now: float) -> None:
        """Tell this status of the new call; one that was told already is not told again."""
        if self.silent or status == self._last:
            return
        self._last = status
        state = f"active;expires={_SECONDS}" if status < 200 else "terminated;reason=noresource"
        line = f"SIP/2.0 {status} {reason or REASONS.get(status, 'Unknown')}\r\n"
        dialog = self._leg.dialog
        if dialog:
            self._leg.request(
                "NOTIFY",
                now,
                headers=[self._leg.contact(dialog.local), ("Event", self._event), ("Subscription-State", state)],
                body=line.encode(),
                content_type=_SIPFRAG,
            )


def _headers(uri: Uri) -> Mapping[str, str]:
    """The headers that a URI asks for, decoded, by lower-case name (RFC 3261 §19.1.1)."""
    pairs = parse_qsl((uri.headers or "").replace("+", "%2B"), keep_blank_values=True)
    return {name.lower(): value for name, value in pairs}
