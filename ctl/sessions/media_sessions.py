# SPDX-License-Identifier: GPL-3.0-or-later
"""The media of all calls, in the words of the ng protocol: offer, answer, delete, query.

Signalling hands in session descriptions and sends on what comes back. Between the two, ports are taken on the
relay address that faces each leg, and once both legs have described themselves the flows are programmed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_bytes
from typing import Any

from ctl.network.addresses import canonical
from ctl.sessions import ice_exchange, negotiation
from ctl.sessions.call_media import LEGS, CallMedia, Media
from ctl.sessions.call_ports import CallPorts
from ctl.sessions.codecs import NAMES, OTHER_FORMS, Dtmf, MediaPlan, media_plan
from ctl.sessions.copies import Source, following, sources
from ctl.sessions.descriptions import Description, redirected
from ctl.sessions.house import INSIDE, house_answer, house_offer
from ctl.sessions.ice import IcePair, IcePolicy
from ctl.sessions.ice_exchange import speaks
from ctl.sessions.joining import joined
from ctl.sessions.negotiation import MediaRefused as MediaRefused
from ctl.sessions.negotiation import refusing
from ctl.sessions.plan import NOTHING, DataPlane, FlowPlan, Side, peer_address, plan_call
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import FlowView, Programmer
from ctl.sessions.protecting import agree, propose
from ctl.sessions.reachable import Routes
from ctl.sessions.relay_choice import ANY, Facing, Moves
from ctl.sessions.security import PLAIN, Bridge
from ctl.sessions.streams import Endpoint, Stream
from ctl.sessions.terms import USUAL, Terms, beside, muxed
from ctl.sessions.treatment import Treatments
from media.flows import EngineError
from sip.effects import Leg

FlowReport = FlowView
"""The last view of a flow, its final statistics included."""

Streams = Iterable[Stream]
Writer = Callable[[Description, Media, Leg], bytes]
"""Writes a description toward a leg, whose relay address and ports are in the media."""


class MediaSessions:
    """The media of every call of this host. Call ids are the caller's; `now` is seconds of a steady clock.

    data_plane says what can carry packets; whoever attaches or detaches XDP replaces it.
    """

    def __init__(self, ports: Ports, routes: Routes, programmer: Programmer, data_plane: DataPlane) -> None:
        self.data_plane = data_plane
        self._ports = CallPorts(ports)
        self._routes = routes
        self._programmer = programmer
        self._calls: dict[str, CallMedia] = {}
        self.on_agreed: list[Callable[[str], None]] = []
        self.on_delete: list[Callable[[str], None]] = []
        """Called with each call of signalling's whose legs have agreed on media, and with each whose media ended."""

    def offer(
        self,
        call: str,
        leg: Leg,
        sdp: bytes | Description,
        source: str,
        now: float,
        toward: str | None = None,
        here: Facing = ANY,
        there: Facing = ANY,
        write: Writer | None = None,
        attempt: int = 0,
        bridge: Bridge | None = None,
        transcode: Sequence[str] | None = None,
        terms: Terms = USUAL,
        side: str = "",
    ) -> bytes:
        """Take ports for an offer from `leg`; return the description to send to the other leg.

        source: the address that the signalling of `leg` came from. toward: the one that of the other leg goes to.
        write: what makes the description that is returned, if it is not the one that came with our addresses in it.
        here, there: what is asked of our side toward `leg` and toward the other one.
        attempt: how many offers of this exchange the other leg has refused by 488; it is offered other profiles then.
        bridge: the profile that it is offered in any case. transcode: codecs offered beside those of `leg`; None: those
        of the configuration.
        terms: what else is asked of the exchange. side: of those that ring together, each with an offer of its own to
        the other leg: "" begins, the others follow.
        Raises MediaRefused: 488 for what is not relayed, 503 if there are no ports.
        """
        source, toward = canonical(source), canonical(toward or source)
        if self.data_plane.refusal and call not in self._calls:
            raise MediaRefused(503, self.data_plane.refusal)
        description, streams = self._read(sdp, source, lambda _index: here.ice != "remove")
        media = self._calls.get(call, CallMedia())
        first = media.proposed if side and media.offerer == leg else None
        if first is None:
            self._close_exchange(call, media, now)
        known = len(media.agreed.streams.get(leg, ()))
        if len(streams) < known:
            raise MediaRefused(488, f"the offer has {len(streams)} m-lines where there were {known}")
        before, relay = media.agreed.without_house(), partial(negotiation.relay, self.data_plane, self._routes)
        relays = {
            leg: relay((first or before).relays.get(leg), source, here, negotiation.family(streams)),
            _other(leg): relay(before.relays.get(_other(leg)), toward, there, there.family),
        }
        latching = tuple(each for each, asked in ((leg, here), (_other(leg), there)) if asked.latch)
        profiles = [each.protocol for each in before.streams.get(_other(leg), ())]
        with refusing():
            offered, policy, shapes = propose(self.data_plane, streams, profiles, attempt, bridge, (here, there))
        proposed = Media(
            relays,
            self._take_ports(first.of(leg) if first else media.agreed, relays, streams, now),
            {leg: streams},
            latching or media.agreed.latching,
            self.data_plane.shown(relays),
            offered,
            media.agreed.protections,
            terms=terms,
            policies={leg: here.ice, _other(leg): there.ice},
            ices=ice_exchange.offered(media, _other(leg), streams, there, token_bytes),
            dtmf={each: asked.dtmf for each, asked in ((leg, here), (_other(leg), there)) if asked.dtmf != "auto"},
            moves={each: asked.moves for each, asked in ((leg, here), (_other(leg), there)) if asked.moves},
            srtp=None if policy == self.data_plane.srtp else policy,
        )
        description.protect(offered)
        wanted = self.data_plane.transcode if transcode is None else transcode
        if self.on_agreed and write is None:
            description.keep_hearing(streams)
        added = description.offer_also(streams, wanted, here.dtmf in OTHER_FORMS)
        self._calls[call] = media
        media.propose(replace(proposed, added=added), side)
        media.offerer, media.shapes = leg, shapes
        return (write or redirected)(description, proposed, _other(leg))

    def answer(
        self,
        call: str,
        leg: Leg,
        sdp: bytes | Description,
        source: str,
        now: float,
        write: Writer | None = None,
        transcode: bool | None = None,
        ice: IcePolicy | None = None,
        passive: bool = False,
        tos: int | None = None,
        side: str = "",
        moves: Moves = "",
    ) -> bytes:
        """Program the flows as `leg` answers the offer; return the description to send to the offerer.

        transcode: whether it was offered codecs that the offerer does not have; None: as it is configured.
        ice: whether we speak it with the offerer; None: as was said with the offer. passive: it begins DTLS if it may.
        tos: of all that we send, -1: as it came; None: as was said with the offer. moves: of the source of `leg`.
        side: whose answer it is, of those who ring together. Also for a further answer to the same offer. Raises
        MediaRefused: 488 for what is not relayed or does not match the offer, 503 if nothing can carry it.
        """
        media = self._calls.get(call)
        if media is None or media.proposed is None or media.offerer == leg:
            raise MediaRefused(488, "an answer without an offer")
        before, media.proposed = media.proposed, media.sides.get(side, media.proposed)
        try:
            return self._answer(call, media, leg, sdp, source, write, transcode, ice, passive, tos, moves)
        except MediaRefused:
            media.proposed = before
            raise

    def _answer(
        self,
        call: str,
        media: CallMedia,
        leg: Leg,
        sdp: bytes | Description,
        source: str,
        write: Writer | None,
        transcode: bool | None,
        ice: IcePolicy | None,
        passive: bool,
        tos: int | None,
        moves: Moves,
    ) -> bytes:
        assert media.proposed
        description, streams = self._read(sdp, canonical(source), partial(speaks, media.proposed, leg))
        negotiation.check_family(streams, media.proposed.relays[leg])
        offered, ices = ice_exchange.answered(media, leg, streams, ice, self.data_plane, token_bytes)
        negotiation.check(offered, self.data_plane, self._routes)
        if len(streams) != len(offered):
            raise MediaRefused(488, f"the answer has {len(streams)} m-lines, the offer {len(offered)}")
        for asked, said in zip(offered, streams, strict=True):
            if said.rtp_port and asked.raw != said.raw:
                raise MediaRefused(488, f"the answer has {said.kind} where {asked.kind} was offered")
        if any(media.proposed.added) or (bool(self.data_plane.transcode) if transcode is None else transcode):
            streams = description.answer_with(offered, streams, media.proposed.added)
        with refusing():
            agreement = agree(self.data_plane, media, offered, streams, passive)
        answered = replace(
            media.proposed,
            streams={_other(leg): offered, leg: streams},
            ices=ices,
            protections={_other(leg): agreement.offerer, leg: agreement.answerer},
            muxed=muxed(leg, offered, streams, media.proposed.terms.mux),
            terms=media.proposed.terms.marking(tos),
            moves={**media.proposed.moves, **({leg: moves} if moves else {})},
        )
        media.pairs = ice_exchange.kept_pairs(answered, media.pairs)
        self._program(call, answered)
        media.proposed = answered
        description.protect(agreement.answers)
        if answered.dtmf.get(leg) in OTHER_FORMS:
            description.answer_events(offered, streams)
        for listener in self.on_agreed if write is None else ():
            description.stay_inactive(offered)
            listener(call)
        return (write or redirected)(description, answered, _other(leg))

    def attend(
        self, call: str, leg: Leg, sdp: bytes, source: str, now: float, here: Facing = ANY, side: str = ""
    ) -> bytes:
        """Be the peer of a leg ourselves; return the answer to its offer, or an offer of ours where `sdp` is empty.

        That is answered by `answer`. A later `offer` of the leg puts somebody in our place, and the leg's ports stay.
        side: see `offer`. Raises MediaRefused, 488 also for an offer without audio that we can play to.
        """
        other = _other(leg)
        if not sdp:
            first = self._calls[call].proposed if side and call in self._calls else None
            near = (self.data_plane, self._routes, None, canonical(source), here, here.family)
            ours = house_offer(first.relays[other] if first else negotiation.relay(*near))
            return self.offer(call, other, ours, source, now, source, here, here, transcode=(), side=side)
        terms, inside = beside(here.ice != "remove", other=False), replace(here, ice="remove")
        toward = self.offer(call, leg, sdp, source, now, source, here, inside, bridge=INSIDE, transcode=(), terms=terms)
        answer = house_answer(toward)
        if answer is None:
            self._drop(self._calls[call], now)
            raise MediaRefused(488, f"the offer has no audio in {', '.join(NAMES.values())}, which is all that we play")
        return self.answer(call, other, answer, self._calls[call].address(other), now, transcode=False)

    def settle(self, call: str, now: float) -> None:
        """Somebody of those who rang together has the call: what the others were offered is given up."""
        media = self._calls.get(call)
        if media and media.sides:
            before = media.taken()
            media.sides = {}
            self._ports.release(before - media.taken(), now)

    def shapes(self, call: str) -> int:
        """Return in how many ways the last offer of a call can be made, the one that was made included."""
        media = self._calls.get(call)
        return media.shapes if media else 1

    def rollback(self, call: str, now: float) -> None:
        """Forget the exchange under way, answered or not: what was agreed before it holds again."""
        media = self._calls.get(call)
        if media is None or media.proposed is None:
            return
        if media.proposed.agreed:
            self._program(call, media.agreed)
        self._drop(media, now)

    def delete(self, call: str, now: float) -> tuple[FlowReport, ...]:
        """End the media of a call, if it has any: flows off, then counted, ports to quarantine."""
        media = self._calls.get(call)
        if media is None:
            return ()
        try:
            return self._end(call)
        finally:
            self._ports.release(media.taken(), now)

    def join(self, call: str, one: tuple[str, Leg], other: tuple[str, Leg], now: float) -> tuple[FlowReport, ...]:
        """Make a session of legs of two others, which end; return the last views of their flows.

        What both legs were told of us stays right. Raises MediaRefused where they cannot hear each other so.
        """
        before = [self._calls.get(each) for each, _ in (one, other)]
        with refusing():
            media = joined((before[0], one[1]), (before[1], other[1]))
        taken = {endpoint for each in before if each for endpoint in each.taken()}
        reports = (*self._end(one[0]), *self._end(other[0]))
        self._calls[call] = media
        self._ports.release(taken - media.taken(), now)
        self._program(call, media.current)
        return reports

    def _end(self, call: str) -> tuple[FlowReport, ...]:
        del self._calls[call]
        try:
            return self._programmer.remove(call)
        finally:
            for listener in self.on_delete:
                listener(call)

    def block(self, call: str, legs: Iterable[Leg]) -> None:
        """Pass on no media that these legs of a call send, until it is called with others. RTCP goes on.

        Raises MediaRefused: 481 if there is no such call.
        """
        self.treat(call, replace(self.treatments(call), blocked=frozenset(legs)))

    def blocked(self, call: str) -> frozenset[Leg]:
        """Return the legs of a call that are blocked."""
        return self.treatments(call).blocked

    def treatments(self, call: str) -> Treatments:
        """Return what is done to the media of a call."""
        media = self._calls.get(call)
        return media.treatments if media else NOTHING

    def dtmf(self, call: str, leg: Leg) -> Dtmf:
        """Return how digits reach a leg of a call."""
        media = self._calls.get(call)
        return media.current.dtmf.get(leg, "auto") if media else "auto"

    def treat(self, call: str, treatments: Treatments) -> None:
        """Do this and nothing else to the media of a call. Raises MediaRefused and leaves what was: 481, 503."""
        media = self._calls.get(call)
        if media is None:
            raise MediaRefused(481, "the call has no media")
        before, media.treatments = media.treatments, treatments
        try:
            self._program(call, media.current)
        except MediaRefused:
            media.treatments = before
            self._program(call, media.current)
            raise

    def query(self, call: str) -> list[FlowView]:
        """Return the flows of a call as they stand now; none if it is unknown."""
        return self._programmer.flows(call)

    def streams(self, call: str) -> tuple[Stream, ...]:
        """Return the m-lines of a call as leg a, or else the only one that has spoken, describes them."""
        media = self._calls.get(call)
        described = media.current.streams if media else {}
        return described.get("a") or next(iter(described.values()), ())

    def sources(self, call: str, leg: Leg) -> list[Source]:
        """Return what a leg sends, by m-line; none before both legs have described themselves."""
        media = self._calls.get(call)
        return sources(self._programmer.rtp_of(call), media.current, leg) if media else []

    def redirect(self, call: str, found: Sequence[Source]) -> None:
        """Have copies, leg a of a subscriber's session, come from where their sources are now. Raises MediaRefused."""
        media = self._calls.get(call)
        moved = following(media.current, found) if media else None
        if media and moved:
            media.amend(moved)
            self._program(call, moved)

    def media_plans(self, call: str) -> list[MediaPlan]:
        """Return what the legs of a call said of codecs, by m-line, and what came of it; none before an answer."""
        described = self.described(call)
        if len(described) < len(LEGS):
            return []
        both = zip(described["a"], described["b"], strict=False)
        return [media_plan(a, b, self.data_plane.transcode) for a, b in both if a.media == "audio"]

    def described(self, call: str) -> Mapping[Leg, tuple[Stream, ...]]:
        """Return the m-lines of a call as each leg that has spoken describes them."""
        media = self._calls.get(call)
        return media.current.streams if media else {}

    def calls(self) -> frozenset[str]:
        """Return the calls that have media."""
        return frozenset(self._calls)

    def snapshot(self, call: str) -> dict[str, Any]:
        """Return what `restore` needs, in values that JSON can carry; empty if the call has no media."""
        media = self._calls.get(call)
        return media.to_json() if media else {}

    def snapshot_text(self, call: str) -> str:
        """Return `snapshot` as JSON."""
        media = self._calls.get(call)
        return media.to_text() if media else "{}"

    def restore(self, call: str, state: Mapping[str, Any]) -> int:
        """Take a call up again after a restart; return how many pairs of flows had to be written, at best none.

        Raises ValueError where a port of its is not free, or not in the media range any more.
        """
        if not state:
            return 0
        media = CallMedia.from_json(state)
        self._ports.restore(media.taken())
        self._calls[call] = media
        media.pairs = {**media.pairs, **self._programmer.ice_pairs(self._plan(call, media.current))}
        return self._programmer.adopt(call, self._plan(call, media.current))

    def paired(self, local: Endpoint, pair: IcePair) -> str | None:
        """ICE has found, changed or lost the pair at our address and port: its flows follow.

        Return the call, None where there is none. Raises MediaRefused where nothing can carry it as it is now.
        """
        call, plan = self._programmer.flow_at(local) or ("", None)
        media = self._calls.get(call)
        if media is None or plan is None or plan.ice is None:
            return None
        media.pairs = {**media.pairs, local: pair}
        self._program(call, media.current)
        return call

    def trickle(self, call: str, leg: Leg, fragment: bytes) -> None:
        """Take in candidates that `leg` names after its description. Raises MediaRefused: 481 where there is none."""
        media = self._calls.get(call)
        more = ice_exchange.trickled(media.proposed or media.agreed, leg, fragment, self.data_plane) if media else None
        if media is None or more is None:
            raise MediaRefused(481, "candidates of a participant that has not described itself yet; send them again")
        media.amend(more)
        if media.current.agreed:
            self._program(call, media.current)

    def replan(self) -> dict[str, str]:
        """Move each flow to what carries it now, after `data_plane` or the interface to a peer has changed.

        Return the calls that could not be moved, with the reason; they stay where they were. A flow that moves
        counts from zero; what it had counted before is in the final report, beside the rest.
        """
        stranded: dict[str, str] = {}
        for call, media in self._calls.items():
            try:
                self._program(call, media.current)
            except MediaRefused as refused:
                stranded[call] = refused.reason
        return stranded

    def _read(
        self, sdp: bytes | Description, source: str, speaks: Callable[[int], bool]
    ) -> tuple[Description, tuple[Stream, ...]]:
        return negotiation.read(sdp, source, speaks, self.data_plane, self._routes)

    def _close_exchange(self, call: str, media: CallMedia, now: float) -> None:
        """Before another offer: what was answered is agreed, what was not is forgotten."""
        if media.proposed and media.proposed.agreed:
            before = media.taken()
            media.agreed, media.proposed, media.sides = media.proposed.settled(), None, {}
            self._ports.release(before - media.agreed.taken(), now)
        self.rollback(call, now)

    def _take_ports(
        self, have: Media, relays: Mapping[Leg, str], streams: Sequence[Stream], now: float
    ) -> Mapping[Leg, tuple[int | None, ...]]:
        with refusing():
            return self._ports.take(have, relays, streams, now)

    def _program(self, call: str, media: Media) -> None:
        plans = self._plan(call, media)
        reason = next((plan.reason for plan in plans if plan.path == "none"), None)
        if reason:
            raise MediaRefused(503, reason)
        try:
            self._programmer.apply(call, plans)
        except EngineError as error:
            raise MediaRefused(503, str(error)) from None

    def _plan(self, call: str, media: Media) -> tuple[FlowPlan, ...]:
        if not media.agreed:
            return ()
        pairs = self._calls[call].pairs
        leg_a, leg_b = ([self._side(media, pairs, leg, i) for i in range(len(media.streams[leg]))] for leg in LEGS)
        return plan_call(leg_a, leg_b, self.data_plane, self.treatments(call))

    def _side(self, media: Media, pairs: Mapping[Endpoint, IcePair], leg: Leg, index: int) -> Side | None:
        port, stream, relay = media.port(leg, index), media.streams[leg][index], media.relays[leg]
        if port is None or not stream.rtp_port:
            return None
        ice = ice_exchange.side(media, pairs, leg, index)
        pair = ice.pair((relay, port)) if ice else None
        peer = pair.remote[0] if pair and pair.remote else peer_address(stream)
        route = None if stream.inside else self._routes.route(peer, relay)
        protections = media.protections.get(leg, ())
        protection = protections[index] if index < len(protections) else PLAIN
        interface = route.interface if route else self.data_plane.interfaces[relay]
        muxed = media.muxed.get(leg, ())
        mux = muxed[index] if index < len(muxed) else None
        said = media.dtmf.get(leg, "auto"), media.moves.get(leg, "")
        return Side(stream, (relay, port), interface, leg in media.latching, protection, mux, media.terms, ice, *said)

    def _drop(self, media: CallMedia, now: float) -> None:
        before = media.taken()
        media.proposed = media.offerer = None
        media.sides = {}
        self._ports.release(before - media.taken(), now)


def _other(leg: Leg) -> Leg:
    return "b" if leg == "a" else "a"
