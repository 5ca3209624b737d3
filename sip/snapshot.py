# SPDX-License-Identifier: GPL-3.0-or-later
"""A call as JSON can carry it, and back: what a restarted process needs to go on with both legs."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from sip.call import Call
from sip.call_host import CallHost
from sip.call_table import CallState
from sip.dialog import restored
from sip.early import Tags
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
_SERVICE: Mapping[str, Any] = {
    **dict.fromkeys(("service", "announced", "sought", "peer"), ""),
    **dict.fromkeys(("house", "early_only", "originating"), False),
    **dict.fromkeys(("attended", "taken")),
}
"""What came later, with what it is in a journal of before."""
_RINGING = (LegState.CALLING, LegState.RINGING)
_UNFINISHED = (*_RINGING, LegState.ACCEPTED)
_NOWHERE = (Address("", 0), Address("", 0))


_KEPT = (*_PLAIN, *_SERVICE)
_values = attrgetter(*_KEPT)


def snapshot(call: Call) -> Mapping[str, Any]:
    """The state for SaveCall."""
    return {
        **dict(zip(_KEPT, _values(call), strict=True)),
        "state": call.state.value,
        "near": call.near.name,
        "a": leg_state(call.a),
        "b": leg_state(call.b),
        "beside": [leg_state(leg) for leg in call.branches.legs if leg is not call.b],
    }


def restore_call(host: CallHost, state: Mapping[str, Any], now: float) -> Call:
    """The call that gave `state`; its legs go on at once, the call itself with `Call.resume`."""
    call = Call(host, state["id"], state["caller"], state["dialled"], state["domain"], state["started"])
    for name in _PLAIN:
        setattr(call, name, state[name])
    for name, missing in _SERVICE.items():
        setattr(call, name, state.get(name, missing))
    call.state = CallState(state["state"])
    a, b = (restore_leg(host, call, state[name], now) for name in ("a", "b"))
    beside = [restore_leg(host, call, leg, now) for leg in state["beside"]]
    call.adopt(a, b, b if state["near"] == "b" else a, beside)
    return call


def leg_state(leg: Leg) -> Mapping[str, Any]:
    """One leg as JSON can carry it."""
    asked, asking = leg.asked, leg.asking
    waiting = asked.server if asked.invite else asking.client if leg.state in _RINGING else None
    return {
        "name": leg.name,
        "state": (LegState.CALLING if leg.state in _RINGING else leg.state).value,
        "tag": leg.tag,
        "call_id": leg.call_id,
        "peer_tag": leg.peer_tag,
        "user": leg.user,
        "trunk": leg.trunk,
        "side": leg.side,
        "allow": list(leg.allow),
        "said": _text(leg.said),
        "heard": _text(leg.heard),
        "session": leg.session.state() if leg.dialog else None,
        "branch": asked.branch,
        "uri": asked.uri,
        "source": leg.source.packed if leg.source else None,
        "first": _cseq(asked.first),
        "last": _cseq(asked.last),
        "dialog": leg.dialog.state() if leg.dialog else None,
        "ack": [asking.ack[0], _text(asking.ack[1])] if asking.ack else None,
        "success": _text(asked.success) if leg.state is LegState.UNACKED else "",
        "invite": _text(asked.invite.to_bytes()) if asked.invite else None,
        "sent": _text(asking.sent.to_bytes()) if asking.sent and leg.state in _UNFINISHED else None,
        "waiting": _addresses(waiting),
    }


def restore_leg(host: CallHost, call: Call, state: Mapping[str, Any], now: float) -> Leg:
    """The leg that gave `state`; it goes on at once."""
    leg = Leg(state["name"], host.agent, call, LegState(state["state"]))
    leg.tag, leg.call_id, leg.peer_tag = state["tag"], state["call_id"], state["peer_tag"]
    leg.user, leg.trunk, leg.allow = state["user"], state["trunk"], tuple(state["allow"])
    leg.side = state.get("side", "")
    leg.said, leg.heard = _data(state["said"]), _data(state["heard"])
    leg.source = Address(*state["source"]) if state["source"] else None
    asked, asking = leg.asked, leg.asking
    asked.tags, asked.branch = Tags(leg.tag), state["branch"]
    asked.first, asked.last = (CSeq(*state[name]) if state[name] else None for name in ("first", "last"))
    asked.uri = state.get("uri", "")
    asked.success, asked.invite = _data(state["success"]), _request(state["invite"])
    asking.ack = (state["ack"][0], _data(state["ack"][1])) if state["ack"] else None
    asking.sent, asking.auth = _request(state["sent"]), host.asks.auth(leg.trunk) if leg.called else None
    if state["dialog"]:
        leg.dialog = restored(state["dialog"])
        leg.dialog.our_cseq += CSEQ_GAP
        leg.session.resume(state["session"], now)
    target, local = (Address(*item) for item in state["waiting"]) if state["waiting"] else _NOWHERE
    leg.resume(target, local, now)
    return leg


def _cseq(cseq: CSeq | None) -> list[int | str] | None:
    return [cseq.number, cseq.method] if cseq else None


def _addresses(waiting: Transaction | None) -> list[tuple[str | int | bool, ...]] | None:
    return [waiting.target.packed, waiting.local.packed] if waiting else None


def _request(text: str | None) -> Request | None:
    message = parse(_data(text)) if text else None
    return message if isinstance(message, Request) else None


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _data(text: str) -> bytes:
    return text.encode("latin-1")
