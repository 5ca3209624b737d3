# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers and answers: the descriptions that two participants exchange, and the candidates that come after them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

from ctl.ng.calls import Call, Dialogue, answered, keep
from ctl.ng.calls import offered as dialogue_of_offer
from ctl.ng.exchange import Exchange, Style
from ctl.ng.hiding import Hiding, refused
from ctl.ng.holding import Music, music
from ctl.ng.lifetimes import Lifetimes
from ctl.ng.media import MediaCommands, Reply
from ctl.ng.recording import RecordingCommands
from ctl.ng.request import Request
from ctl.ng.traffic import Traffic
from ctl.ng.trickling import Trickling
from ctl.sessions.hold_music import HoldMusic


@dataclass
class Negotiating:
    """Of all calls."""

    exchange: Exchange
    trickling: Trickling
    lifetimes: Lifetimes
    media: MediaCommands
    recordings: RecordingCommands
    traffic: Traffic
    music: HoldMusic | None

    def offer(self, request: Request, now: float) -> Reply:
        """Return the description for whom the offer is meant. Raises NgError."""
        sdp, call_id = request.sdp(), request.call_id()
        if request.has("fragment"):
            return self._trickle(call_id, "from-tag", request, sdp)
        asked = self.exchange.options(request)
        if asked.manner.loop_protect and self.exchange.is_ours(sdp):
            return {"sdp": sdp}
        played = self._music(request, call_id)
        call = self.lifetimes.calls.find(call_id) or Call(call_id, now, now)
        refusal = self.lifetimes.refusal(request, call)
        if refusal:
            return refusal
        cover = self._cover(request)
        dialogue, offerer = dialogue_of_offer(call, request, now)
        keep(call, request, offerer)
        offerer.undialled = cover or offerer.undialled
        leg = dialogue.leg_of(offerer)
        dialogue.transcoded = asked.codecs.bridged
        offer = partial(
            self.exchange.sessions.offer,
            here=self.exchange.known(asked.here),
            there=self.exchange.known(asked.there),
            bridge=asked.bridge,
            transcode=asked.codecs.transcoded,
            terms=self.exchange.terms(asked),
            again=True,
        )
        agreed = self.exchange.sessions.streams(dialogue.session)[: dialogue.agreed]
        hiding = Hiding(dialogue.hidden, leg, dialogue.agreed, asked.hidden, tuple(map(refused, agreed)))
        offerer.moh = played or offerer.moh
        style = Style(request.text("label"), hiding, offerer.moh)
        body = self.exchange.hand(offer, dialogue.session, leg, sdp, asked, request, style)
        dialogue.hidden = hiding.hidden
        self.traffic.ask(call, dialogue, leg, asked)
        self.trickling.catch_up(call, dialogue, offerer, request.text("from-tag"))
        self.lifetimes.signalled(call, now)
        return {"sdp": body}

    def answer(self, request: Request, now: float) -> Reply:
        """Return the description for the offerer. Raises NgError."""
        sdp, call_id = request.sdp(), request.call_id()
        request.required("from-tag", "No from-tag in message")
        request.required("to-tag", "No to-tag in message")
        if request.has("fragment"):
            return self._trickle(call_id, "to-tag", request, sdp)
        asked = self.exchange.options(request)
        if asked.manner.loop_protect and self.exchange.is_ours(sdp):
            return {"sdp": sdp}
        call = self.lifetimes.calls.get(call_id)
        played = self._music(request, call_id)
        cover = self._cover(request)
        dialogue, answerer = answered(call, request)
        keep(call, request, answerer)
        answerer.undialled = cover or answerer.undialled
        answer = partial(
            self.exchange.sessions.answer,
            transcode=dialogue.transcoded,
            ice=asked.ice,
            passive=asked.passive,
            tos=asked.tos,
            moves=asked.here.moves,
        )
        leg, answerer.moh = dialogue.leg_of(answerer), played or answerer.moh
        offered = tuple(map(refused, self.exchange.sessions.offered(dialogue.session)))
        hiding = Hiding(dialogue.hidden, leg, lines=offered)
        style = Style(request.text("label"), hiding, dialogue.other(answerer).moh)
        self.traffic.ask(call, dialogue, leg, asked)  # before, so that nothing slips through
        body = self.exchange.hand(answer, dialogue.session, leg, sdp, asked, request, style)
        dialogue.agreed = len(self.exchange.sessions.streams(dialogue.session))
        self.trickling.catch_up(call, dialogue, answerer, request.text("to-tag"))
        self.lifetimes.follow(call)
        self.media.block_dialling(dialogue)
        self._look(dialogue)
        call.last_signal, call.answered = now, self.exchange.steady()
        self.lifetimes.changed(call_id, call)
        return {"sdp": body, **self.recordings.begin(call, request)}

    def _music(self, request: Request, call_id: str) -> Music | None:
        """What the other side is to hear while who sends this holds; None for what it would hear before."""
        played = music(request, lambda sound: self.media.keep_sound(sound, lambda: self._ready(call_id)))
        if played:
            self.media.check_sound(played.file)
        return played

    def _ready(self, call_id: str) -> None:
        """Who is held already hears what was handed in only now."""
        call = self.lifetimes.calls.find(call_id)
        for dialogue in call.dialogues if call else ():
            self._look(dialogue)

    def _look(self, dialogue: Dialogue) -> None:
        if self.music and (dialogue.a.moh or dialogue.b.moh):
            self.music.look(dialogue.session)

    def _cover(self, request: Request) -> tuple[Any, ...]:
        """What digits of who sends this are to become from now on; empty for what they became before."""
        cover = self.media.security(request) if request.has("block-dtmf") else None
        return astuple(cover) if cover else ()

    def _trickle(self, call_id: str, key: str, request: Request, fragment: bytes) -> Reply:
        self.trickling.take(call_id, request.required(key, f"No {key} in message"), fragment)
        return {}
