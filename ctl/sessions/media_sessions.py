# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers and answers of all calls, in the words of the ng protocol; what else is done with them is in `media_calls`.

Signalling hands in session descriptions and sends on what comes back. Between the two, ports are taken on the
relay address that faces each leg, and once both legs have described themselves the flows are programmed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_bytes

from ctl.network.addresses import canonical
from ctl.sessions import ice_exchange, negotiation
from ctl.sessions.call_media import CallMedia, Media
from ctl.sessions.codecs import NAMES, OTHER_FORMS
from ctl.sessions.descriptions import Description, redirected
from ctl.sessions.house import INSIDE, house_answer, house_offer
from ctl.sessions.ice import IcePolicy
from ctl.sessions.ice_exchange import speaks
from ctl.sessions.media_calls import MediaCalls
from ctl.sessions.negotiation import MediaRefused as MediaRefused
from ctl.sessions.negotiation import refusing
from ctl.sessions.protecting import agree, propose, told_again
from ctl.sessions.relay_choice import ANY, Facing, Moves
from ctl.sessions.security import Bridge
from ctl.sessions.streams import Stream
from ctl.sessions.terms import USUAL, Terms, beside, muxed
from sip.effects import Leg

Writer = Callable[[Description, Media, Leg], bytes]
"""Writes a description toward a leg, whose relay address and ports are in the media."""


class MediaSessions(MediaCalls):
    """The exchanges of descriptions of every call of this host. `now` is seconds of a steady clock."""

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
        again: bool = False,
    ) -> bytes:
        """Take ports for an offer from `leg`; return the description to send to the other leg.

        source: the address that the signalling of `leg` came from. toward: the one that of the other leg goes to.
        write: what makes the description that is returned, if it is not the one that came with our addresses in it.
        here, there: what is asked of our side toward `leg` and toward the other one.
        attempt: how many offers of this exchange the other leg has refused by 488; it is offered other profiles then.
        bridge: the profile that it is offered in any case. transcode: codecs offered beside those of `leg`; None: those
        of the configuration.
        terms: what else is asked of the exchange. side: of those that ring together, each with an offer of its own to
        the other leg: "" begins, the others follow. again: an offer of `leg` that nobody has answered yet may have
        gone to others, any of whom may answer: our ports and keys stay what they were told.
        Raises MediaRefused: 488 for what is not relayed, 503 if there are no ports.
        """
        source, toward = canonical(source), canonical(toward or source)
        if self.data_plane.refusal and call not in self._calls:
            raise MediaRefused(503, self.data_plane.refusal)
        description, streams = self._read(sdp, source, lambda _index: here.ice != "remove")
        media = self._calls.get(call, CallMedia())
        first = media.proposed if side and media.offerer == leg else None
        told = media.proposed if again and not side and media.offerer == leg else None
        told = None if told is None or told.agreed else told
        if first is None and told is None:
            self._close_exchange(call, media, now)
        taken = media.taken() if told else frozenset()
        if len(streams) < (least := len(media.agreed.streams.get(leg, ()))):
            raise MediaRefused(488, f"the offer has {len(streams)} m-lines where there were {least}")
        before, relay = media.agreed.without_house(), partial(negotiation.relay, self.data_plane, self._routes)
        relays = {
            leg: relay((first or told or before).relays.get(leg), source, here, negotiation.family(streams)),
            _other(leg): relay(before.relays.get(_other(leg)), toward, there, there.family),
        }
        both: tuple[tuple[Leg, Facing], ...] = ((leg, here), (_other(leg), there))
        parts = here, there
        latching = tuple(each for each, asked in both if asked.latch)
        known = [each.protocol for each in before.streams.get(_other(leg), ())]
        with refusing:
            offered, policy, shapes = propose(self.data_plane, streams, known, attempt, bridge, parts, terms.reports)
            offered = told_again(offered, told, leg, streams) if told else offered
            ports = self._ports.take(first.of(leg) if first else told or media.agreed, relays, streams, now)
        proposed = Media(
            relays,
            ports,
            {leg: streams},
            latching or media.agreed.latching,
            self.data_plane.shown(relays),
            offered,
            media.agreed.protections,
            terms=terms,
            policies={leg: here.ice, _other(leg): there.ice},
            ices=ice_exchange.offered(told or media.agreed, _other(leg), streams, there, token_bytes),
            dtmf={each: asked.dtmf for each, asked in both if asked.dtmf != "auto"},
            moves={each: asked.moves for each, asked in both if asked.moves},
            ptimes={**before.ptimes, **{each: asked.ptime for each, asked in both if asked.ptime}},
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
        self._ports.release(taken - media.taken(), now)
        self._expect(call)
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
        ptimes, chosen = media.proposed.ptimes, bool(self.data_plane.transcode) if transcode is None else transcode
        if chosen or ptimes or any(media.proposed.added):
            both = ptimes.get(_other(leg), 0), ptimes.get(leg, 0)
            streams = description.answer_with(offered, streams, media.proposed.added, both)
        if "inband" in media.proposed.dtmf.values():
            streams = description.answer_one(offered, streams)
        with refusing:
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
        self._expect(call)
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
            self._drop(call, self._calls[call], now)
            raise MediaRefused(488, f"the offer has no audio in {', '.join(NAMES.values())}, which is all that we play")
        return self.answer(call, other, answer, self._calls[call].address(other), now, transcode=False)

    def settle(self, call: str, now: float) -> None:
        """Somebody of those who rang together has the call: what the others were offered is given up."""
        media = self._calls.get(call)
        if media and media.sides:
            before = media.taken()
            media.sides = {}
            self._expect(call)
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
        self._drop(call, media, now)

    def trickle(self, call: str, leg: Leg, fragment: bytes) -> None:
        """Take in candidates that `leg` names after its description. Raises MediaRefused: 481 where there is none."""
        media = self._calls.get(call)
        more = ice_exchange.trickled(media.proposed or media.agreed, leg, fragment, self.data_plane) if media else None
        if media is None or more is None:
            raise MediaRefused(481, "candidates of a participant that has not described itself yet; send them again")
        media.amend(more)
        if media.current.agreed:
            self._program(call, media.current)

    def _read(
        self, sdp: bytes | Description, source: str, speaks: Callable[[int], bool]
    ) -> tuple[Description, tuple[Stream, ...]]:
        return negotiation.read(sdp, source, speaks, self.data_plane, self._routes)

    def _close_exchange(self, call: str, media: CallMedia, now: float) -> None:
        """Before another offer: what was answered is agreed, what was not is forgotten."""
        if media.proposed and media.proposed.agreed:
            before = media.taken()
            media.agreed, media.proposed, media.sides = media.proposed.settled(), None, {}
            self._expect(call)
            self._ports.release(before - media.agreed.taken(), now)
        self.rollback(call, now)

    def _drop(self, call: str, media: CallMedia, now: float) -> None:
        before = media.taken()
        media.proposed, media.offerer, media.sides = None, None, {}
        self._expect(call)
        self._ports.release(before - media.taken(), now)


def _other(leg: Leg) -> Leg:
    return "b" if leg == "a" else "a"
