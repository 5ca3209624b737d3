# SPDX-License-Identifier: GPL-3.0-or-later
"""What to program for a call: from what both legs' session descriptions say to one plan for each flow.

A flow is one direction of one stream's RTP or RTCP: packets that reach `local` from `source` leave from `egress`
to `target`. Pure: whether a flow exists already, and how it is written, is known to `ctl.sessions.programmer`.

Who may send is decided by signalling alone: the address and port that the description names or, where that is
a private address behind NAT, the address that the leg's signalling came from, the port being learned from the
first valid packet. No packet from anywhere else moves a flow, unless latching was asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ctl.network.addresses import family_of, unspecified
from ctl.sessions.codecs import Transcoding, at_bitrate, repacked, transcoding
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.flow_plan import FlowPlan, Kind, Path
from ctl.sessions.ice import RTCP, RTP, IcePair
from ctl.sessions.policing import Limit, limit
from ctl.sessions.reachable import is_behind_nat
from ctl.sessions.relay_choice import Moves
from ctl.sessions.security import PLAIN, Protection, shared
from ctl.sessions.sides import Side
from ctl.sessions.streams import Codec, Stream
from ctl.sessions.treatment import NOTHING, Handling, Treatments, handling, tones
from media.flows import EngineKeys
from media.ice import EngineIce, IceState
from sip.effects import Leg

_SENDS = ("sendrecv", "sendonly")
_RECEIVES = ("sendrecv", "recvonly")


UNPAIRED: dict[IceState, str] = {
    "off": "ICE has selected no pair yet",
    "checking": "ICE has selected no pair yet",
    "selected": "ICE has selected no pair yet",
    "lost": "ICE: the peer consents no more",
    "failed": "ICE found no pair in time",
}
"""Why a flow waits in the engine, by the state of its leg's checks."""


MOVES: dict[Moves, str] = {
    "handover": "media-handover: the source may change at any time",
    "asymmetric": "asymmetric: the source is not where media is sent to",
}
"""Why such a flow is in the engine."""


def plan_call(
    leg_a: Sequence[Side | None],
    leg_b: Sequence[Side | None],
    data_plane: DataPlane,
    wished: Treatments = NOTHING,
) -> tuple[FlowPlan, ...]:
    """Plan every stream that both legs have: RTP and, unless it is multiplexed, RTCP, each in both directions.

    The sequences run alongside, one entry for each m-line; None, like port 0, is a stream that is refused. wished: what
    is to be done with the media of either leg. RTCP goes where a codec makes another stream of its RTP, to end there.
    """
    plans: list[FlowPlan] = []
    for index, (a, b) in enumerate(zip(leg_a, leg_b, strict=True)):
        if a is None or b is None or not a.stream.rtp_port or not b.stream.rtp_port:
            continue
        ended = ""
        for kind in _kinds(a, b):
            first = _flow("a", index, kind, a, b, data_plane, wished)
            second = _flow("b", index, kind, b, a, data_plane, wished)
            why = next(filter(None, map(_engagement, (first, second))), ended)
            ended = next((each.reason for each in (first, second) if each.transcoding or each.reports), "")
            plans += (_engaged(each, why, data_plane) for each in (first, second)) if why else (first, second)
    return tuple(plans)


def _engagement(plan: FlowPlan) -> str:
    """Why the engine is needed though the kernel could forward; empty where it is not."""
    handled = plan.handling.reason if plan.handling else ""
    return handled or ("copied to subscribers" if plan.copies else "")


def _engaged(plan: FlowPlan, why: str, data_plane: DataPlane) -> FlowPlan:
    """A pair moves as one: what is done to one of its directions takes the other along."""
    if plan.path != "kernel":
        return plan
    return replace(plan, path="engine" if data_plane.engine else "none", reason=why)


def _flow(
    leg: Leg, index: int, kind: Kind, sender: Side, receiver: Side, data_plane: DataPlane, wished: Treatments
) -> FlowPlan:
    paced = sender.ptime or receiver.ptime
    transcodes = kind == "rtp" and (data_plane.transcode or sender.terms.bridged or paced)
    through = transcoding(sender.stream, receiver.stream) if transcodes else None
    same_keys = bool(sender.protection.sends) and shared(sender.protection, receiver.protection)
    if kind == "rtp":
        through = through or tones(sender.stream, receiver.stream, sender.dtmf, receiver.dtmf)
        if paced:
            through = repacked(through, sender.stream, receiver.stream, (sender.ptime, receiver.ptime))
        if through and sender.terms.bitrate:
            through = at_bitrate(through, sender.terms.bitrate)
    digits = sender.dtmf, receiver.dtmf
    handled = (
        handling(wished, leg, sender.stream, receiver.stream, through, same_keys, digits) if kind == "rtp" else None
    )
    if wished.echoed:
        through, handled = None, None
    sealed_by_us = same_keys and (through is not None or (handled is not None and handled.inserts))
    why = _secured(sender.protection, receiver.protection) or (through.reason if through else "")
    if wished.echoed and kind == "rtp":
        why = "media-echo"
    elif sender.stream.house or receiver.stream.house:
        why = "answered by ourselves"
    elif sender.stream.copied or receiver.stream.copied:
        why = "to a subscriber"
    elif sender.terms.reports and not sender.stream.raw:
        why = why or "RTCP of our own"
    why = why or next((MOVES[each.moves] for each in (sender, receiver) if each.moves and each.latches), "")
    comes, goes = _muxes(sender, receiver), _muxes(receiver, sender)
    heard: Kind = "rtp" if comes else kind
    said: Kind = "rtp" if goes else kind
    path, reason = _path(sender, receiver, data_plane, why or _unpaired(sender.pair(heard), receiver.pair(said)))
    source, port, learned = _peer(sender, heard)
    target, target_port, _ = _peer(receiver, said)
    house = sender.stream.house or receiver.stream.house
    if receiver.stream.copied and receiver.stream.direction == "sendrecv":
        house = True  # who hears copies at a port where it was heard before sends on, and may have to be learned
    codecs = _codecs(sender.stream, receiver.stream, through) if kind == "rtp" else ()
    clock = codecs[0].clock_rate if codecs else 0
    opened, sealed = _keys(sender.protection, receiver.protection, apart=bool(wished.echoed))
    if sealed_by_us and receiver.protection.receives and sender.protection.sends:
        opened = sender.protection.sends.keys if through else None
        sealed = receiver.protection.receives.keys
    beside = kind == "rtcp" and comes
    return FlowPlan(
        leg=leg,
        stream=index,
        kind=kind,
        local=sender.local(kind),
        source=(source, None if learned or sender.latches else port),
        egress=receiver.local(said),
        target=(target, 0 if receiver.stream.inside else target_port),
        clock_rate=clock,
        path=path,
        reason=reason,
        held=_held(sender.stream, receiver.stream, kind, leg, wished, handled),
        latch=sender.latches,
        moves=sender.moves if sender.latches else "",
        police=_police(kind, sender, receiver, codecs, data_plane.police),
        mux=kind == "rtp" and comes and not sealed_by_us,
        demux=kind == "rtp" and comes and not goes,
        dscp=sender.terms.dscp,
        dtmf_type=receiver.stream.event_type(clock) if kind == "rtp" else None,
        dtmf_clock=receiver.stream.event_clock(clock) if kind == "rtp" else 0,
        open=None if beside else opened,
        seal=None if kind == "rtcp" and goes else sealed,
        dtls=None if beside else sender.protection.dtls,
        codecs=codecs,
        transcoding=through,
        ice=None if beside else _agent(sender, kind),
        ice_state=pair.state if (pair := sender.pair(heard)) else "off",
        house=house,
        handling=handled,
        reports=kind == "rtp" and sender.terms.reports and not wished.echoed,
        echo=kind == "rtp" and leg in wished.echoed,
        copies=wished.copies_of(leg, index) if kind == "rtp" else (),
    )


def _kinds(a: Side, b: Side) -> tuple[Kind, ...]:
    if a.stream.raw:
        return ("raw",)
    return ("rtp",) if _muxes(a, b) and _muxes(b, a) else ("rtp", "rtcp")


def _muxes(side: Side, other: Side) -> bool:
    """Whether the RTCP of this side comes beside its RTP."""
    return side.mux if side.mux is not None else side.stream.rtcp_mux and other.stream.rtcp_mux


def _police(kind: Kind, sender: Side, receiver: Side, codecs: Sequence[Codec], factor: float) -> Limit | None:
    """Audio alone: the packets of a picture are as many as it needs."""
    if sender.stream.media != "audio":
        return None
    ptimes = (sender.stream.ptime, receiver.stream.ptime, sender.ptime or None)
    return limit(kind, codecs[0].name if codecs else "", ptimes, factor, _muxes(sender, receiver))


def _agent(side: Side, kind: Kind) -> EngineIce | None:
    return side.ice.engine(side.local(kind), RTCP if kind == "rtcp" else RTP) if side.ice else None


def _unpaired(*pairs: IcePair | None) -> str:
    """Return why ICE lets nothing pass yet, or any more; empty where it does."""
    for pair in pairs:
        if pair and pair.remote is None:
            return UNPAIRED[pair.state]
    return ""


def _peer(side: Side, kind: Kind) -> tuple[str, int, bool]:
    """Return address and port of a leg, and whether the port has yet to be learned."""
    stream, pair = side.stream, side.pair(kind)
    if pair:
        return *(pair.remote or (_any_of(side), 0)), pair.remote is None
    port = stream.rtcp_port if kind == "rtcp" else stream.rtp_port
    learned = stream.held or is_behind_nat(stream)
    return (stream.signalling if learned else stream.address), port, learned


def _any_of(side: Side) -> str:
    """An address that stands for the leg's until ICE has found one: of our family there, and nothing goes to it."""
    family = family_of(side.relay[0])
    asked = (side.stream.address, side.stream.signalling)
    return next((each for each in asked if not unspecified(each) and family_of(each) == family), side.relay[0])


def _held(sender: Stream, receiver: Stream, kind: Kind, leg: Leg, wished: Treatments, handled: Handling | None) -> bool:
    """RTP follows the direction of both (RFC 3264 section 6.1); RTCP flows on while there is an address.

    What is played in place of the sender needs the receiver's consent alone, and what goes back the sender's.
    """
    if kind == "rtp" and leg in wished.echoed:
        return sender.held or sender.direction != "sendrecv"
    if handled and handled.inserts:
        return receiver.held or receiver.direction not in _RECEIVES
    if sender.held or receiver.held or leg in wished.dropped or wished.echoed:
        return True
    blocked = leg in wished.blocked
    return kind != "rtcp" and (blocked or not (sender.direction in _SENDS and receiver.direction in _RECEIVES))


def _codecs(sender: Stream, receiver: Stream, through: Transcoding | None) -> tuple[Codec, ...]:
    """Return the receiver's codecs, for its payload types count; those that the sender has too come first.

    Where the receiver gets another codec than the sender's, return the sender's, what is heard of it first.
    """
    if through and through.heard.name != through.sent.name:
        sent = (
            replace(each, payload_type=each.payload_type if each.sends is None else each.sends)
            for each in sender.codecs
        )
        return tuple(sorted(sent, key=lambda codec: codec.name.lower() != through.heard.name.lower()))
    spoken = {(codec.name.lower(), codec.clock_rate) for codec in sender.codecs}
    return tuple(sorted(receiver.codecs, key=lambda codec: (codec.name.lower(), codec.clock_rate) not in spoken))


def _path(sender: Side, receiver: Side, data_plane: DataPlane, reason: str) -> tuple[Path, str]:
    interfaces, attached = data_plane.interfaces, data_plane.attached
    ours = interfaces[sender.relay[0]], interfaces[receiver.relay[0]]
    crossed = {*ours, sender.interface, receiver.interface}
    if not reason and crossed <= attached:
        return "kernel", ""
    bare = sorted(crossed - attached)
    reason = reason or f"XDP is not attached to {' and '.join(bare)}"
    return ("engine", reason) if data_plane.engine else ("none", f"{reason}, and no engine runs")


def _secured(one: Protection, other: Protection) -> str:
    """Return why the engine must open and seal, in one line; empty where both legs share their keys, or have none."""
    if one is PLAIN and other is PLAIN:
        return ""
    if one.fingerprint or other.fingerprint:
        return "DTLS-SRTP ends here"
    if shared(one, other) and shared(other, one):
        return ""
    return "SRTP keys differ" if one.sends and other.sends else "SRTP on one side only"


def _keys(sender: Protection, receiver: Protection, *, apart: bool) -> tuple[EngineKeys | None, EngineKeys | None]:
    """Return what to open and to seal with, neither where they are the same unless legs are to be kept `apart`."""
    if sender is PLAIN and receiver is PLAIN:
        return None, None
    if shared(sender, receiver) and not apart:
        return None, None
    opened, sealed = sender.sends, receiver.receives
    return opened.keys if opened else None, sealed.keys if sealed else None
