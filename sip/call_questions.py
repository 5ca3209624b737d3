# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls ask of others: where they go, what media makes of a description, and what it takes to call somebody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sip.agent import Agent
from sip.attending import plain_request
from sip.branches import Offers
from sip.call_table import CallSignal
from sip.client_auth import ClientAuth
from sip.effects import Address, AnswerMedia, AttendMedia, Diversion, FindRoute, OfferMedia, Target
from sip.hunt import Ending, Hunt
from sip.leg import Leg
from sip.message import Request, Response
from sip.outgoing import Destination, Group, destinations, first_invite
from sip.questions import Described
from sip.registrar import Registrar
from sip.reliable import TAG as RELIABLE
from sip.reliable import supports
from sip.trunks import Trunks

if TYPE_CHECKING:
    from sip.call import Call


class CallQuestions:
    """Asks on behalf of calls, and brings them the answers."""

    def __init__(self, agent: Agent, registrar: Registrar, trunks: Trunks) -> None:
        self._agent = agent
        self._registrar = registrar
        self._trunks = trunks

    def route(self, call: Call, now: float, redirection: Response | None = None) -> None:
        """Ask where the call goes, or where the callee's redirection leads to."""
        if redirection and not self._redirect(call, redirection):
            call.refused(482, "Loop Detected", now)
            return

        def answer(targets: Iterable[Target], when: float) -> None:
            call.routed(self.groups(targets, when), when)

        token = self._agent.questions.ask(answer, call.refused, now)
        trunk = "" if call.diverted else call.payer_trunk
        question = FindRoute(token, call.id, call.caller, call.dialled, call.domain, trunk, call.diverted)
        self._agent.effects.append(question)

    def offers(self, call: Call, leg: Leg, sdp: bytes, others: Sequence[Leg], now: float) -> None:
        """Ask for the offer of `leg` as each of these shall see it, one of each side that is to ring.

        `offers_ready` comes back.
        """
        attempt = call.branches.hunt.attempt % call.branches.hunt.shapes

        def ask(token: int, other: Leg) -> OfferMedia:
            return replace(_offer(token, call, leg, sdp, other), attempt=attempt, side=other.side)

        self._gather(call, others, ask, now)

    def attends(self, call: Call, legs: Sequence[Leg], now: float) -> None:
        """Ask media for an offer of ours to each of these; `offers_ready` comes back."""
        self._gather(call, legs, lambda token, leg: replace(_attend(token, call, leg, b""), side=leg.side), now)

    def offer(self, call: Call, leg: Leg, sdp: bytes, other: Leg, signal: CallSignal, now: float) -> None:
        """Ask for the offer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""
        token = self._ask(call, signal, now)
        self._agent.effects.append(_offer(token, call, leg, sdp, other))

    def answer(self, call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
        """Ask for the answer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""
        token = self._ask(call, signal, now)
        self._agent.effects.append(AnswerMedia(token, call.id, leg.name, sdp, leg.peer_host, leg.side))

    def attend(self, call: Call, leg: Leg, sdp: bytes, now: float) -> None:
        """Ask media to be the peer of this leg ourselves; MEDIA_READY or REFUSED comes back."""
        token = self._ask(call, CallSignal.MEDIA_READY, now)
        self._agent.effects.append(_attend(token, call, leg, sdp))

    def settle(self, call: Call, offerer: Leg, answerer: Leg, now: float) -> None:
        """Tell media what both legs have said last, where neither needs to hear of it any more."""

        def refuse(status: int, reason: str, when: float) -> None:
            call.fail(status, when)

        def offered(_: Described, when: float) -> None:
            token = self._agent.questions.ask(lambda *_: None, refuse, when)
            answer = AnswerMedia(token, call.id, answerer.name, answerer.heard, answerer.peer_host)
            self._agent.effects.append(answer)

        token = self._agent.questions.ask(offered, refuse, now)
        self._agent.effects.append(_offer(token, call, offerer, offerer.heard, answerer))

    def hunt(self, rounds: int = 1) -> Hunt:
        """A search that has no targets yet, and asks those so many times with all shapes of an offer."""
        return Hunt(self._admit, rounds)

    def equip(self, leg: Leg) -> None:
        """Give a leg that is about to be called what it needs: a channel of its trunk, and credentials for it."""
        if leg.trunk:
            self._trunks.carry(leg.trunk, 1)
            leg.asking.auth = self.auth(leg.trunk)

    def auth(self, trunk: str) -> ClientAuth | None:
        """What to answer the challenges of a trunk with."""
        return self._trunks.auth(trunk)

    def invitation(self, call: Call, leg: Leg, destination: Destination, local: Address, sdp: bytes) -> Request:
        """Write the INVITE that makes a leg."""
        first = call.first or plain_request(call)
        alone = len(call.branches.legs) == 1 and supports(first, RELIABLE)
        return first_invite(
            self._agent,
            first,
            destination,
            local,
            call.identity,
            self._trunks.known.get(destination.trunk),
            leg.tag,
            leg.speak(sdp),
            call.diversions,
            [*call.headers, *leg.session.propose(first=True)],
            reliable=bool(sdp) or alone,
            kin=call.a.call_id,
        )

    def groups(self, targets: Iterable[Target], now: float) -> Iterator[Group]:
        """Who is reached by these targets now, those together who ring together."""
        host = self._agent.settings.host
        return destinations(targets, self._registrar, self._trunks.known, self._agent.local_for, host, now)

    def _redirect(self, call: Call, response: Response) -> bool:
        """Dial the contact that is preferred; whether it was not dialled before."""
        contact = max((each for each in response.contacts if each.uri.names_callee), key=lambda each: each.q)
        call.visited.add(call.dialled)
        call.diverted = call.b.user
        call.diversions = (Diversion(call.diverted, "deflection"), *call.b.diversions, *call.diversions)
        call.dialled, call.domain = contact.uri.dialled, contact.uri.host or self._agent.settings.host
        return call.dialled not in call.visited

    def _gather(
        self, call: Call, others: Sequence[Leg], ask: Callable[[int, Leg], OfferMedia | AttendMedia], now: float
    ) -> None:
        turn = call.turn

        def ready(offers: Offers, when: float) -> None:
            if call.turn == turn:
                call.offers_ready(offers, when)

        offers = Offers(len(others), ready)
        for other in others:
            side = other.side
            token = self._agent.questions.ask(partial(offers.take, side), partial(offers.refuse, side), now)
            self._agent.effects.append(ask(token, other))

    def _admit(self, destination: Destination) -> Ending | None:
        """Why a destination cannot be tried: it is ourselves, what we would send there comes back, or a trunk's."""
        if destination.leg or destination.service:
            return None
        if self._agent.local_for(destination.address) == destination.address:
            return Ending(482, 25, "server", "Loop Detected")
        return self._trunks.admit(destination) if destination.trunk else None

    def _ask(self, call: Call, signal: CallSignal, now: float) -> int:
        """A question about media; an answer that comes after the call has turned to something else is nothing."""
        turn = call.turn

        def answer(described: Described, when: float) -> None:
            if call.turn == turn:
                call.ready(signal, described.sdp, when)

        def refuse(status: int, reason: str, when: float) -> None:
            if call.turn == turn and signal is not CallSignal.EARLY_READY:
                call.refused(status, reason, when)

        return self._agent.questions.ask(answer, refuse, now)


def _offer(token: int, call: Call, leg: Leg, sdp: bytes, other: Leg) -> OfferMedia:
    hosts = (leg.peer_host, other.peer_host, leg.local_host, other.local_host)
    trunks, ways = (leg.trunk, other.trunk), (leg.transport, other.transport)
    return OfferMedia(token, call.id, leg.name, sdp, *hosts, *trunks, 0, leg.user, other.user, *ways)


def _attend(token: int, call: Call, leg: Leg, sdp: bytes) -> AttendMedia:
    party = leg.peer_host, leg.local_host, leg.trunk, leg.user, leg.transport
    return AttendMedia(token, call.id, leg.name, sdp, *party)
