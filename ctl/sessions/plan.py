# SPDX-License-Identifier: GPL-3.0-or-later
"""What to program for a call: from what both legs' session descriptions say to one plan for each flow.

A flow is one direction of one stream's RTP or RTCP: packets that reach `local` from `source` leave from `egress`
to `target`. Pure: whether a flow exists already, and how it is written, is known to `ctl.sessions.programmer`.

Who may send is decided by signalling alone: the address and port that the description names or, where that is
a private address behind NAT, the address that the leg's signalling came from, the port being learned from the
first valid packet. No packet from anywhere else moves a flow, unless latching was asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import ip_address
from typing import Literal

from ctl.network.addresses import Network, behind_nat, family_of, refusal, unspecified
from ctl.sessions.codecs import Dtmf, Transcoding, transcoding
from ctl.sessions.ice import RTCP, RTP, IcePair, IceSide
from ctl.sessions.policing import Limit, limit
from ctl.sessions.relay_choice import Moves, RelayAddress
from ctl.sessions.security import PLAIN, Policy, Protection, shared
from ctl.sessions.streams import PROFILES, Codec, Endpoint, Stream, StreamRefused
from ctl.sessions.terms import USUAL, Terms
from ctl.sessions.treatment import Handling, Treatments, handling, tones
from media.flows import EngineDtls, EngineKeys
from media.ice import EngineIce, IceState
from sip.effects import Leg
from sip.facts import fact

Kind = Literal["rtp", "rtcp", "raw"]
"""raw: what is neither, such as UDPTL."""
Path = Literal["kernel", "engine", "none"]

NOTHING = Treatments()
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


@fact
class Side:
    """The relay's side of one leg's stream: where that leg sends to, and the interface that leads to the leg.

    relay is address and RTP port; RTCP is at the port above. latch: the leg may send from anywhere. mux: whether its
    RTCP comes beside RTP; None: if both legs say so.
    """

    stream: Stream
    relay: Endpoint
    interface: str
    latch: bool = False
    protection: Protection = PLAIN
    mux: bool | None = None
    terms: Terms = USUAL
    ice: IceSide | None = None
    dtmf: Dtmf = "auto"
    """How digits reach the leg."""
    moves: Moves = ""

    @property
    def latches(self) -> bool:
        """Whether its source is found by what it sends; ICE, and DTLS for its address, know better."""
        return (self.latch or bool(self.moves)) and not self.ice

    def pair(self, kind: Kind) -> IcePair | None:
        """How far ICE is with a component; None without ICE."""
        return self.ice.pair(_local(self, kind)) if self.ice else None


@fact
class DataPlane:
    """What can carry packets here. interfaces: the interface of each relay address; attached: those with XDP."""

    interfaces: Mapping[str, str]
    attached: frozenset[str]
    engine: bool = True
    allowed: tuple[Network, ...] = ()
    """Networks that media may go to though they are loopback, link-local or reserved: for laboratories."""
    transcode: tuple[str, ...] = ()
    """Codecs that are offered beside the caller's, for the engine to transcode; none: nothing is transcoded."""
    refusal: str = ""
    """Why no new call can be carried at all, in one line with the remedy; empty if calls can."""
    relays: tuple[RelayAddress, ...] = ()
    """What is known of the relay addresses beyond their interface; none: they have no names."""
    default: str = ""
    """Name of the media interface where nothing says another; empty: routes decide."""
    police: float = 0.0
    """How many times its codec's packets a flow may carry; 0: any number."""
    srtp: Policy = "preferred"
    fingerprint: str = ""
    """Of the engine's certificate, as in a=fingerprint."""
    addresses: tuple[RelayAddress, ...] = field(init=False, compare=False)
    """All relay addresses."""
    own: frozenset[str] = field(init=False, compare=False)
    """All that peers may know us by: media sent there would loop."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", self.relays or tuple(map(RelayAddress, self.interfaces)))
        object.__setattr__(self, "own", frozenset(self.interfaces) | {each.shown for each in self.relays})

    def shown(self, relays: Mapping[Leg, str]) -> dict[Leg, str]:
        """Return what legs are told of the addresses that face them, where that is another."""
        advertised = {each.address: each.advertised for each in self.relays if each.advertised}
        return {leg: advertised[relay] for leg, relay in relays.items() if relay in advertised}

    def allows(self, address: str) -> bool:
        """Whether `address` is in one of the allowed networks."""
        return any(ip_address(address) in network for network in self.allowed)


@fact
class FlowPlan:
    """One direction of one stream's RTP or RTCP. `leg` is the one that sends it; `stream` counts m-lines from 0.

    A source port of None is learned; latch: the address too. held: known, but nothing may pass for now. police:
    packets per second and at once, None: any number. mux: RTCP comes on this port as well. dtmf_type: payload type of
    telephone events.
    """

    leg: Leg
    stream: int
    kind: Kind
    local: Endpoint
    source: tuple[str, int | None]
    egress: Endpoint
    target: Endpoint
    clock_rate: int
    path: Path
    reason: str = ""
    """Why the flow is not in the kernel; empty if it is."""
    held: bool = False
    latch: bool = False
    moves: Moves = ""
    police: Limit | None = None
    mux: bool = False
    """RTCP comes beside RTP."""
    demux: bool = False
    """That RTCP goes on as what reaches the port above does: the other leg has RTCP on a port of its own."""
    dscp: int | None = None
    """0-63 of what goes out; None: as it came."""
    dtmf_type: int | None = None
    dtmf_clock: int = 0
    """Hz by which telephone events last; 0: by those of the codec."""
    open: EngineKeys | None = None
    """The engine unprotects what comes in by these."""
    seal: EngineKeys | None = None
    """The engine protects what goes out by these."""
    dtls: EngineDtls | None = None
    """The engine gets keys by DTLS with the source, for both directions."""
    codecs: tuple[Codec, ...] = field(default=(), compare=False)
    """What RTP may carry, the likeliest first. To name things by: two plans that differ in this alone are equal."""
    transcoding: Transcoding | None = None
    """None: packets pass as they are."""
    ice: EngineIce | None = None
    """The engine speaks ICE with the leg, whoever carries the packets."""
    ice_state: IceState = "off"
    house: bool = False
    """One of the two is ourselves: what `leg` hears of the other is played, or what it sends goes nowhere."""
    handling: Handling | None = None
    """What the engine does with it beyond carrying it."""
    copies: tuple[Endpoint, ...] = ()
    """Local ends of other flows that get its RTP too, for subscribers."""

    @property
    def secured(self) -> bool:
        """Whether the engine opens or seals something here."""
        return bool(self.open or self.seal or self.dtls)


Pair = tuple[FlowPlan, FlowPlan]
"""Both directions of one stream's RTP or RTCP: from leg a, from leg b."""


@fact
class Difference:
    """What a change of plans asks for: pairs that end, and pairs to write because they are new or differ."""

    gone: tuple[Pair, ...] = field(default=())
    written: tuple[Pair, ...] = field(default=())


def check(stream: Stream, data_plane: DataPlane) -> None:
    """Raise StreamRefused, with the reason in one line, if the stream is not one we relay. Ended ones pass."""
    if not stream.rtp_port:
        return
    if stream.protocol not in PROFILES and not (stream.raw and stream.media == "image"):
        raise StreamRefused(f"{stream.kind} is not relayed; offer {' or '.join(PROFILES)}")
    if stream.held or stream.ice:
        return
    asked = (stream.address, stream.signalling) if _behind_nat(stream) else (stream.address,)
    for address in asked:
        reason = refusal(address, data_plane.own, data_plane.allowed)
        if reason:
            raise StreamRefused(reason)


def peer_address(stream: Stream) -> str:
    """Return the address that media of this leg comes from and goes to; while held, that of its signalling."""
    nowhere = stream.held or unspecified(stream.address)
    return stream.signalling if nowhere or _behind_nat(stream) else stream.address


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
            ended = next((each.reason for each in (first, second) if each.transcoding), "")
            plans += (_engaged(each, why, data_plane) for each in (first, second)) if why else (first, second)
    return tuple(plans)


def pairs(plans: Iterable[FlowPlan]) -> dict[tuple[Endpoint, Endpoint], Pair]:
    """Put both directions together; the keys are the local addresses of the pair."""
    halves: dict[tuple[int, Kind], dict[Leg, FlowPlan]] = {}
    for plan in plans:
        halves.setdefault((plan.stream, plan.kind), {})[plan.leg] = plan
    return {(half["a"].local, half["b"].local): (half["a"], half["b"]) for half in halves.values()}


def difference(before: Iterable[FlowPlan], after: Iterable[FlowPlan]) -> Difference:
    """Say what leads from one plan of a call to another; pairs that are equal in both are not named."""
    old, new = pairs(before), pairs(after)
    return Difference(
        gone=tuple(pair for key, pair in old.items() if key not in new),
        written=tuple(pair for key, pair in new.items() if old.get(key) != pair),
    )


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
    transcodes = kind == "rtp" and (data_plane.transcode or sender.terms.bridged)
    through = transcoding(sender.stream, receiver.stream) if transcodes else None
    same_keys = bool(sender.protection.sends) and shared(sender.protection, receiver.protection)
    if kind == "rtp":
        through = through or tones(sender.stream, receiver.stream, sender.dtmf, receiver.dtmf)
    digits = sender.dtmf, receiver.dtmf
    handled = (
        handling(wished, leg, sender.stream, receiver.stream, through, same_keys, digits) if kind == "rtp" else None
    )
    sealed_by_us = same_keys and (through is not None or (handled is not None and handled.inserts))
    why = _secured(sender.protection, receiver.protection) or (through.reason if through else "")
    if sender.stream.house or receiver.stream.house:
        why = "answered by ourselves"
    elif sender.stream.copied or receiver.stream.copied:
        why = "to a subscriber"
    why = why or next((MOVES[each.moves] for each in (sender, receiver) if each.moves and each.latches), "")
    comes, goes = _muxes(sender, receiver), _muxes(receiver, sender)
    heard: Kind = "rtp" if comes else kind
    said: Kind = "rtp" if goes else kind
    path, reason = _path(sender, receiver, data_plane, why or _unpaired(sender.pair(heard), receiver.pair(said)))
    source, port, learned = _peer(sender, heard)
    target, target_port, _ = _peer(receiver, said)
    house = sender.stream.house or receiver.stream.house
    codecs = _codecs(sender.stream, receiver.stream, through) if kind == "rtp" else ()
    clock = codecs[0].clock_rate if codecs else 0
    opened, sealed = _keys(sender.protection, receiver.protection)
    if sealed_by_us and receiver.protection.receives and sender.protection.sends:
        opened = sender.protection.sends.keys if through else None
        sealed = receiver.protection.receives.keys
    beside = kind == "rtcp" and comes
    return FlowPlan(
        leg=leg,
        stream=index,
        kind=kind,
        local=_local(sender, kind),
        source=(source, None if learned or sender.latches else port),
        egress=_local(receiver, said),
        target=(target, 0 if receiver.stream.inside else target_port),
        clock_rate=clock,
        path=path,
        reason=reason,
        held=_held(sender.stream, receiver.stream, kind, leg in wished.blocked, handled),
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
    ptimes = (sender.stream.ptime, receiver.stream.ptime)
    return limit(kind, codecs[0].name if codecs else "", ptimes, factor, _muxes(sender, receiver))


def _local(side: Side, kind: Kind) -> Endpoint:
    address, port = side.relay
    return (address, port + 1) if kind == "rtcp" else (address, port)


def _agent(side: Side, kind: Kind) -> EngineIce | None:
    return side.ice.engine(_local(side, kind), RTCP if kind == "rtcp" else RTP) if side.ice else None


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
    learned = stream.held or _behind_nat(stream)
    return (stream.signalling if learned else stream.address), port, learned


def _any_of(side: Side) -> str:
    """An address that stands for the leg's until ICE has found one: of our family there, and nothing goes to it."""
    family = family_of(side.relay[0])
    asked = (side.stream.address, side.stream.signalling)
    return next((each for each in asked if not unspecified(each) and family_of(each) == family), side.relay[0])


def _behind_nat(stream: Stream) -> bool:
    return not stream.held and behind_nat(stream.address, stream.signalling)


def _held(sender: Stream, receiver: Stream, kind: Kind, blocked: bool, handled: Handling | None) -> bool:
    """RTP follows the direction of both (RFC 3264 section 6.1); RTCP flows on while there is an address.

    What is played in place of the sender needs the receiver's consent alone.
    """
    if handled and handled.inserts:
        return receiver.held or receiver.direction not in _RECEIVES
    if sender.held or receiver.held:
        return True
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


def _keys(sender: Protection, receiver: Protection) -> tuple[EngineKeys | None, EngineKeys | None]:
    """Return what to open and to seal with, neither where they are the same."""
    if sender is PLAIN and receiver is PLAIN:
        return None, None
    if shared(sender, receiver):
        return None, None
    opened, sealed = sender.sends, receiver.receives
    return opened.keys if opened else None, sealed.keys if sealed else None
