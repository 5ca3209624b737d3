# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sees of calls and registrations: copies, which later events do not change."""

from __future__ import annotations

from sip.call import Call
from sip.effects import Address
from sip.facts import fact
from sip.leg import Leg
from sip.registrar import Binding
from sip.trunk_state import TrunkState


@fact
class LegView:
    """One leg. state: of `sip.leg_table.LegState`; peer: where its signalling goes, None before there is one.

    user: of ours, "" for anybody else.
    """

    state: str
    call_id: str
    peer: Address | None
    local: Address | None
    user: str = ""


@fact
class CallView:
    """One call. state: of `sip.call_table.CallState`; times in seconds of CLOCK_MONOTONIC."""

    id: str
    state: str
    caller: str
    dialled: str
    started: float
    ringing: float | None
    answered: float | None
    a: LegView
    b: LegView | None
    service: str = ""
    attended: float | None = None
    joined: float | None = None
    peer: str = ""
    trunk: str = ""
    """What the caller waits for, or did; since when, until when, who took it from there, and the trunk it came by."""


@fact
class RegistrationView:
    """One user's contacts."""

    username: str
    bindings: tuple[Binding, ...]


@fact
class TrunkView:
    """One trunk.

    addresses: each with whether it answered when it was last asked. registered: None where it need not be; error: why
    it is not. calls, channels: how many it carries, and may, 0: any number.
    """

    name: str
    domain: str
    addresses: tuple[tuple[Address, bool], ...]
    registered: bool | None
    error: str
    calls: int
    channels: int


def view_trunk(state: TrunkState) -> TrunkView:
    """The trunk as it stands."""
    trunk = state.trunk
    return TrunkView(
        name=trunk.name,
        domain=trunk.domain,
        addresses=tuple((address, state.up(address)) for address in trunk.addresses),
        registered=state.registered,
        error=state.error,
        calls=state.calls,
        channels=trunk.channels,
    )


def view_call(call: Call) -> CallView:
    """The call as it stands."""
    return CallView(
        id=call.id,
        state=call.state.value,
        caller=call.caller,
        dialled=call.dialled,
        started=call.started,
        ringing=call.ringing,
        answered=call.answered,
        a=_view_leg(call.a),
        b=_view_leg(call.b) if call.b.call_id else None,
        service=call.service,
        attended=call.attended,
        joined=call.taken,
        peer=call.peer,
        trunk=call.a.trunk,
    )


def _view_leg(leg: Leg) -> LegView:
    peer = leg.dialog.peer if leg.dialog else leg.source
    return LegView(leg.state.value, leg.call_id, peer, leg.dialog.local if leg.dialog else None, leg.user)
