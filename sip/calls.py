# SPDX-License-Identifier: GPL-3.0-or-later
"""All calls: finds the leg that a message belongs to, and asks the world on behalf of a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from sip.agent import Agent
from sip.call import Call
from sip.call_table import CallSignal
from sip.dialog import DialogKey
from sip.effects import Address, AnswerMedia, FindRoute, OfferMedia, SaveCall, Target
from sip.leg import Leg
from sip.message import Request
from sip.outgoing import destinations
from sip.registrar import Registrar
from sip.snapshot import restore_call, snapshot
from sip.transaction import Transaction

CallerKey = tuple[str, str]
"""Call-ID and From tag of the INVITE that made a call."""


class Calls:
    """The host of every call."""

    def __init__(self, agent: Agent, registrar: Registrar) -> None:
        self.agent = agent
        self._registrar = registrar
        self._calls: dict[str, Call] = {}
        self._dialogs: dict[DialogKey, tuple[Call, Leg]] = {}
        self._callers: dict[CallerKey, tuple[Call, Leg]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    @property
    def dialog_count(self) -> int:
        """How many dialogs and callers are known."""
        return len(self._dialogs) + len(self._callers)

    def peers(self) -> set[Address]:
        """Where the peers of all legs are reached by a connection."""
        legs = (leg for call in self._calls.values() for leg in (call.a, call.b))
        found = (leg.dialog.peer if leg.dialog else leg.source for leg in legs)
        return {peer for peer in found if peer and peer.reliable}

    # --- finding ---

    def find(self, identity: str) -> Call | None:
        """The call with this id."""
        return self._calls.get(identity)

    def dialog(self, key: DialogKey) -> tuple[Call, Leg] | None:
        """The call and leg of this dialog."""
        return self._dialogs.get(key)

    def caller(self, request: Request) -> tuple[Call, Leg] | None:
        """The call and leg that an INVITE of this Call-ID and From tag has made."""
        return self._callers.get((request.call_id, request.from_.tag or ""))

    # --- beginning ---

    def start(self, username: str, request: Request, transaction: Transaction, source: Address, now: float) -> None:
        """A new call of an authenticated user."""
        uri = request.request_uri
        call = Call(self, self.agent.token(), username, uri.decoded_user() or "", uri.host, now)
        self._calls[call.id] = call
        transaction.on_cancel = partial(call.cancel, call.a)
        self._callers[request.call_id, request.from_.tag or ""] = (call, call.a)
        call.start(request, transaction, source, now)

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Take up a saved call."""
        call = restore_call(self, state, now)
        self._calls[call.id] = call
        for leg in (call.a, call.b):
            if leg.dialog:
                self.joined(call, leg)
        self._callers[call.a.call_id, call.a.peer_tag] = (call, call.a)
        call.resume(now)

    # --- CallHost ---

    def ask_route(self, call: Call, now: float) -> None:
        """See CallHost."""

        def answer(targets: Iterable[Target], when: float) -> None:
            host = self.agent.settings.host
            call.routed(destinations(targets, self._registrar, host, when), when)

        token = self.agent.questions.ask(answer, call.refused, now)
        self.agent.effects.append(FindRoute(token, call.id, call.caller, call.dialled, call.domain))

    def ask_offer(self, call: Call, leg: Leg, sdp: bytes, other: Leg, now: float) -> None:
        """See CallHost."""
        token = self._ask(call, CallSignal.MEDIA_READY, now)
        self.agent.effects.append(OfferMedia(token, call.id, leg.name, sdp, leg.peer_host, other.peer_host))

    def ask_answer(self, call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
        """See CallHost."""
        token = self._ask(call, signal, now)
        self.agent.effects.append(AnswerMedia(token, call.id, leg.name, sdp, leg.peer_host))

    def joined(self, call: Call, leg: Leg) -> None:
        """See CallHost."""
        if leg.dialog:
            self._dialogs[leg.dialog.key] = (call, leg)

    def left(self, call: Call, leg: Leg) -> None:
        """See CallHost."""
        if leg.dialog:
            self._dialogs.pop(leg.dialog.key, None)
        if leg is call.a:
            self._callers.pop((leg.call_id, leg.peer_tag), None)

    def save(self, call: Call) -> None:
        """See CallHost."""
        self.agent.effects.append(SaveCall(call.id, snapshot(call)))

    def forget(self, call: Call) -> None:
        """See CallHost."""
        self._calls.pop(call.id, None)

    def _ask(self, call: Call, signal: CallSignal, now: float) -> int:
        """A question about media; an answer that comes after the call has turned to something else is nothing."""
        turn = call.turn

        def answer(sdp: bytes, when: float) -> None:
            if call.turn == turn:
                call.feed(signal, when, sdp=sdp)

        def refuse(status: int, reason: str, when: float) -> None:
            if call.turn == turn and signal is CallSignal.MEDIA_READY:
                call.refused(status, reason, when)

        return self.agent.questions.ask(answer, refuse, now)
