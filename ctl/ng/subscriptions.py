# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens in: subscribers, as recorders by SIPREC, that get copies of what participants of a call send.

We offer and the subscriber answers. The copied flows go through the engine for as long as somebody has subscribed to
them, and what they carry is the same as before.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ctl.ng.calls import Call, Dialogue, Participant, Subscription
from ctl.ng.errors import NgError
from ctl.ng.exchange import Exchange
from ctl.ng.options import Options
from ctl.ng.request import Request, canonical
from ctl.sessions import copies
from ctl.sessions.copies import Source
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.relay_choice import ANY
from ctl.sessions.security import Bridge
from ctl.sessions.treatment import Copy
from sip.effects import Leg

Reply = dict[str, Any]
Place = tuple[Participant, int]
"""A participant, and the number of its m-line from 0."""

MOST = 4
"""Subscribers of one m-line: as many copies as the engine makes of a flow."""
TAG_BYTES = 16
NOBODY = "No monologues matched"
NO_TAG = "From-tag given, but no such tag exists"
NO_SUBSCRIBER = "To-tag not found"


@dataclass(frozen=True, slots=True)
class Bound:
    """Where something that a participant sends is to be had for now."""

    session: str
    leg: Leg
    source: Source


@dataclass
class Subscriptions:
    """Of all calls. draw: random bytes for tags of subscribers that have none."""

    sessions: MediaSessions
    exchange: Exchange
    draw: Callable[[int], bytes] = secrets.token_bytes

    def request(self, request: Request, call: Call, now: float) -> Reply:
        """Offer a subscriber what the named participants send; again, where it has subscribed already."""
        asked = self.exchange.options(request)
        places = list(self._places(call, self._chosen(call, request)))
        if not places:
            raise NgError("nothing to subscribe to: no media has been agreed on yet")
        tag = request.text("to-tag") or self.draw(TAG_BYTES).hex()
        known = call.subscription(tag)
        subscription = known or Subscription(call.next_session(), Participant(now, tag))
        check_room(call, [place for place, _ in places], besides=subscription)
        labels = _labels(places) if request.has("siprec") else [request.text("set-label") or ""] * len(places)
        body = self._offer(subscription, [bound.source for _, bound in places], labels, asked, request, call)
        subscription.sources = [place for place, _ in places]
        subscription.transcoded = asked.codecs.bridged
        if known is None:
            call.subscriptions.append(subscription)
        self.follow(call)
        tags = list(dict.fromkeys(each.tag or "" for (each, _), _ in places))
        reply: Reply = {"sdp": body, "to-tag": tag, "from-tags": tags}
        if len(tags) == 1:
            reply["from-tag"] = tags[0]
        return {**reply, **_siprec(places, labels)} if request.has("siprec") else reply

    def answer(self, request: Request, call: Call, sdp: bytes) -> Reply:
        """Begin to copy, as the subscriber has answered."""
        subscription = self._subscription(request, call)
        asked = self.exchange.options(request)
        transcode = subscription.transcoded or request.has("allow-transcoding")
        answer = partial(self.sessions.answer, transcode=transcode, ice=asked.ice, passive=asked.passive)
        self.exchange.hand(answer, subscription.session, "b", sdp, asked, request)
        self.follow(call)
        return {}

    def end(self, request: Request, call: Call) -> Reply:
        """Copy no more to a subscriber."""
        self.drop(call, self._subscription(request, call))
        return {}

    def drop(self, call: Call, subscription: Subscription) -> None:
        """Take a subscriber away."""
        call.subscriptions.remove(subscription)
        self.sessions.delete(subscription.session, self.exchange.steady())
        self.follow(call)

    def follow(self, call: Call) -> None:
        """Copy from where the call's media is now, after an exchange or a participant's end, to whoever subscribed.

        A subscriber of nobody who is left goes too. Raises NgError where nothing can carry that.
        """
        there = [each for dialogue in call.dialogues for each in (dialogue.a, dialogue.b)]
        for subscription in list(call.subscriptions):
            if not any(participant in there for participant, _ in subscription.sources):
                call.subscriptions.remove(subscription)
                self.sessions.delete(subscription.session, self.exchange.steady())
        try:
            wanted = [each for subscription in call.subscriptions for each in self._copies(call, subscription)]
            for dialogue in call.dialogues:
                mine = tuple(copy for session, copy in wanted if session == dialogue.session)
                treatments = self.sessions.treatments(dialogue.session)
                if treatments.copies != mine:
                    self.sessions.treat(dialogue.session, replace(treatments, copies=mine))
        except MediaRefused as refused:
            raise NgError(refused.reason) from None

    def _copies(self, call: Call, subscription: Subscription) -> Iterator[tuple[str, Copy]]:
        """Yield which sessions are to copy what to a subscriber that has answered, once it takes that from there."""
        bound = [self._bound(call, place) for place in subscription.sources]
        if all(bound):
            self.sessions.redirect(subscription.session, [each.source for each in bound if each])
        for end in self.sessions.sources(subscription.session, "a"):
            found = bound[end.stream]
            if found is not None:
                yield found.session, Copy(found.leg, found.source.stream, end.local)

    def _offer(
        self,
        subscription: Subscription,
        sources: list[Source],
        labels: list[str],
        asked: Options,
        request: Request,
        call: Call,
    ) -> bytes:
        call.sequence += 1
        description = copies.offer(sources, labels, (int(call.created) << 16) + call.sequence)
        manner = replace(asked.manner, replace_origin=True)
        secured = next((Bridge(each.protocol) for each in sources if "SAVP" in each.protocol), None)
        bridge = asked.bridge or secured  # who hears what was protected is offered protection too
        offer = partial(
            self.sessions.offer,
            toward=sources[0].peer,
            here=ANY,
            there=self.exchange.known(asked.there),
            bridge=bridge and replace(bridge, fresh=True),
            transcode=asked.codecs.transcoded,
            terms=self.exchange.terms(asked),
        )
        return self.exchange.hand(offer, subscription.session, "a", description, replace(asked, manner=manner), request)

    def _chosen(self, call: Call, request: Request) -> list[Participant]:
        """Return whom to listen to: by label, by tags, or all. Raises NgError."""
        named = [each for each in call.participants if each.tag]
        if request.has("all") or (request.text("all") or "none") != "none":
            return named
        label, tag, tags = request.text("label"), request.text("from-tag"), request.words("from-tags")
        flagged = request.list("from-tags") if not tags else ()
        if label is not None:
            found = [each for each in named if each.label == label]
        elif tags or flagged:
            found = [each for each in named if any(map(each.named, tags)) or canonical(each.tag or "") in flagged]
        elif tag is not None:
            found = [each for each in named if each.named(tag)]
        else:
            found = []
        if not found:
            raise NgError(NO_TAG if tag is not None and label is None and not tags else NOBODY)
        return found

    def _places(self, call: Call, chosen: list[Participant]) -> Iterator[tuple[Place, Bound]]:
        for participant in chosen:
            for bound in self._sent(call, participant):
                yield (participant, bound.source.stream), bound

    def _bound(self, call: Call, place: Place) -> Bound | None:
        participant, index = place
        return next((each for each in self._sent(call, participant) if each.source.stream == index), None)

    def _sent(self, call: Call, participant: Participant) -> list[Bound]:
        """Return what a participant sends, in the first of its dialogues that has media."""
        for dialogue in call.dialogues_of(participant):
            found = self._of(dialogue, participant)
            if found:
                return found
        return []

    def _of(self, dialogue: Dialogue, participant: Participant) -> list[Bound]:
        leg = dialogue.leg_of(participant)
        return [Bound(dialogue.session, leg, each) for each in self.sessions.sources(dialogue.session, leg)]

    @staticmethod
    def _subscription(request: Request, call: Call) -> Subscription:
        found = call.subscription(request.required("to-tag", "No to-tag in message"))
        if found is None:
            raise NgError(NO_SUBSCRIBER)
        return found


def check_room(call: Call, places: Sequence[Place], besides: Subscription | None = None) -> None:
    """Raise NgError where as many have subscribed already as can. besides: one that does not count."""
    others = [place for each in call.subscriptions if each is not besides for place in each.sources]
    if any(others.count(place) >= MOST for place in places):
        raise NgError(f"{MOST} have subscribed to this already, and more copies are not made")


def _labels(places: list[tuple[Place, Bound]]) -> list[str]:
    """Numbers, by which a recorder tells the m-lines apart (RFC 7866 section 7.1.1)."""
    return [str(number) for number in range(1, len(places) + 1)]


def _siprec(places: list[tuple[Place, Bound]], labels: list[str]) -> Reply:
    """Return whose m-line each is, by participant and by label."""
    tags: dict[str, Reply] = {}
    of_labels: dict[str, Reply] = {}
    for ((participant, index), bound), label in zip(places, labels, strict=True):
        about = {"index": index + 1, "type": bound.source.media, "mode": bound.source.direction}
        tag = participant.tag or ""
        said = {"tag": tag, **({"label": participant.label} if participant.label else {})}
        tags.setdefault(tag, {**said, "medias": []})["medias"].append({**about, "label": label})
        of_labels[label] = {"tag": tag, **about}
    return {"tag-medias": list(tags.values()), "media-labels": of_labels}
