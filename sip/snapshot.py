# SPDX-License-Identifier: GPL-3.0-or-later
"""A call as JSON can carry it, and back: what a restarted process needs to go on with both legs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sip.call import Call, CallHost
from sip.call_table import CallState
from sip.dialog import restored
from sip.effects import Address
from sip.headers import CSeq
from sip.leg import Leg
from sip.leg_table import LegState
from sip.message import Request
from sip.parser import parse
from sip.transaction import Transaction

CSEQ_GAP = 64
"""How far our CSeq jumps in a restored dialog: over whatever was sent after the last save (RFC 3261 §12.2.1.1)."""

_PLAIN = ("id", "caller", "dialled", "domain", "started", "ringing", "answered", "late", "media")
_RINGING = (LegState.CALLING, LegState.RINGING)
_UNFINISHED = (*_RINGING, LegState.ACCEPTED)
_NOWHERE = (Address("", 0), Address("", 0))


def snapshot(call: Call) -> Mapping[str, Any]:
    """The state for SaveCall."""
    return {
        **{name: getattr(call, name) for name in _PLAIN},
        "state": call.state.value,
        "near": call.near.name,
        "a": _leg(call.a),
        "b": _leg(call.b),
    }


def restore_call(host: CallHost, state: Mapping[str, Any], now: float) -> Call:
    """The call that gave `state`; its legs go on at once, the call itself with `Call.resume`."""
    call = Call(host, state["id"], state["caller"], state["dialled"], state["domain"], state["started"])
    for name in _PLAIN:
        setattr(call, name, state[name])
    call.state = CallState(state["state"])
    a, b = (_restore_leg(host, call, state[name], now) for name in ("a", "b"))
    call.adopt(a, b, b if state["near"] == "b" else a)
    return call


def _leg(leg: Leg) -> Mapping[str, Any]:
    waiting = leg.server if leg.invite else leg.client if leg.state in _RINGING else None
    return {
        "name": leg.name,
        "state": (LegState.CALLING if leg.state in _RINGING else leg.state).value,
        "tag": leg.tag,
        "call_id": leg.call_id,
        "peer_tag": leg.peer_tag,
        "branch": leg.branch,
        "source": leg.source.packed if leg.source else None,
        "last": [leg.last.number, leg.last.method] if leg.last else None,
        "dialog": leg.dialog.state() if leg.dialog else None,
        "ack": [leg.ack[0], _text(leg.ack[1])] if leg.ack else None,
        "success": _text(leg.success) if leg.state is LegState.UNACKED else "",
        "invite": _text(leg.invite.to_bytes()) if leg.invite else None,
        "sent": _text(leg.sent.to_bytes()) if leg.sent and leg.state in _UNFINISHED else None,
        "waiting": _addresses(waiting),
    }


def _restore_leg(host: CallHost, call: Call, state: Mapping[str, Any], now: float) -> Leg:
    leg = Leg(state["name"], host.agent, call, LegState(state["state"]))
    leg.tag, leg.call_id, leg.peer_tag = state["tag"], state["call_id"], state["peer_tag"]
    leg.branch = state["branch"]
    leg.source = Address(*state["source"]) if state["source"] else None
    leg.last = CSeq(*state["last"]) if state["last"] else None
    leg.ack = (state["ack"][0], _data(state["ack"][1])) if state["ack"] else None
    leg.success = _data(state["success"])
    leg.invite, leg.sent = _request(state["invite"]), _request(state["sent"])
    if state["dialog"]:
        leg.dialog = restored(state["dialog"])
        leg.dialog.our_cseq += CSEQ_GAP
    target, local = (Address(*item) for item in state["waiting"]) if state["waiting"] else _NOWHERE
    leg.resume(target, local, now)
    return leg


def _addresses(waiting: Transaction | None) -> list[tuple[str | int | bool, ...]] | None:
    return [waiting.target.packed, waiting.local.packed] if waiting else None


def _request(text: str | None) -> Request | None:
    message = parse(_data(text)) if text else None
    return message if isinstance(message, Request) else None


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _data(text: str) -> bytes:
    return text.encode("latin-1")
