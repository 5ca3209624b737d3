# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out what signalling decides, in order, and hands the results back. It decides nothing itself."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import structlog

from ctl.journal import Journal, encode
from ctl.observe.metrics import Meters
from ctl.sessions.codecs import MediaPlan
from ctl.sessions.ice import IcePolicy
from ctl.sessions.media_calls import FlowReport
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.relay_choice import Facing
from ctl.sessions.terms import beside
from ctl.signalling.directory import Answer
from ctl.signalling.records import Records
from ctl.signalling.resolver import Resolver
from sip.call_table import CallState
from sip.causes import RECOVERY_ON_TIMER
from sip.core import Core
from sip.effects import (
    Address,
    AnswerMedia,
    AttendMedia,
    Authenticate,
    BorrowLeg,
    CallAnswered,
    CallEnded,
    CallStarted,
    CloseMedia,
    Effect,
    EndLoan,
    FindRoute,
    ForgetCall,
    Joined,
    Leg,
    LentLeg,
    OfferMedia,
    Pressed,
    RevertMedia,
    SaveBindings,
    SaveCall,
    Send,
    Target,
    Unreached,
    Waiting,
)
from sip.errors import ParseError
from sip.outgoing import WEB
from sip.registrar import bindings_text
from sip.trunk import Trunk

log = structlog.get_logger()

CALL, BINDINGS = "call", "bindings"
TIMER_SECONDS = 0.02
"""How late a timer may ring: the shortest of RFC 3261 are of half a second."""
NO_MEDIA = "No Media Available"
"""What peers are told where the fault is ours: ports, interfaces and their names are not their business."""


class Directions(Protocol):
    """What is asked of `ctl.signalling.directory.Directory`."""

    @property
    def ready(self) -> bool:
        """Whether the users are known at all."""

    def credentials(self, realm: str, username: str) -> Mapping[str, str] | None:
        """{algorithm: HA1} of a user who may authenticate."""

    def serves(self, domain: str) -> bool:
        """Whether those who may register are users of a domain."""

    def route(self, question: FindRoute) -> Answer:
        """Where to try in order, or why nowhere."""

    def facing(self, trunk: str, user: str) -> Facing:
        """What is asked of our side toward a party."""

    def ice(self, trunk: str, transport: str, user: str = "") -> IcePolicy:
        """Whether ICE is spoken with a party."""


class Conductor:
    """One per process. Every method is called from the event loop."""

    def __init__(
        self,
        core: Core,
        send: Callable[[Send], None],
        sessions: MediaSessions,
        directory: Directions,
        journal: Journal,
        records: Records,
        meters: Meters,
        resolver: Resolver | None = None,
    ) -> None:
        self._core = core
        self._send = send
        self._sessions = sessions
        self._directory = directory
        self.pressed: Callable[[Pressed], bool] = lambda _: False
        """Takes a key that a leg told by INFO; returns whether the INFO is not to go on."""
        self.loans: Callable[[BorrowLeg | LentLeg | EndLoan], None] = lambda _: None
        """Carries legs to other processes and back, where there are any."""
        core.refreshes.lookup = self._lookup
        core.serve_domains(directory.serves)
        core.wait_for_users(lambda: directory.ready)
        core.block_digits(lambda call, leg: leg in sessions.treatments(call).digits_blocked)
        self._journal = journal
        self._records = records
        self._meters = meters
        self._resolver = resolver or Resolver()
        self._reports: dict[str, tuple[FlowReport, ...]] = {}
        self._unsaved: dict[str, SaveCall] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._news: list[Effect] = []
        self.listeners: list[Callable[[Effect], None]] = []
        """Who is told of CallStarted, CallAnswered, Waiting, Joined, Unreached, Pressed, CallEnded and SaveBindings."""

    def received(self, data: bytes, source: Address, local: Address) -> None:
        """A message came in by a transport."""
        self._meters.message(data, "in")
        try:
            self.perform(self._core.receive(data, source, local, time.monotonic()))
        except Exception:
            # Our own fault, brought out by this message: the others are not to suffer from it.
            log.exception("message not handled", source=f"{source.host}:{source.port}")

    def unreadable(self, error: ParseError, source: Address, local: Address) -> None:
        """A stream cannot be followed any more."""
        self.perform(self._core.unreadable(error, source, local, time.monotonic()))

    def parted(self, peer: Address) -> None:
        """A peer that had connected to us is connected no more."""
        self.perform(self._core.parted(peer, time.monotonic()))

    def undelivered(self, effect: Send) -> None:
        """A message did not go out; told later, for it may be the core's effects that are being carried out now."""
        asyncio.get_running_loop().call_soon(self._undelivered, effect)

    def wanted(self) -> Set[Address]:
        """The peers whose connections carry a registration or a call."""
        return self._core.peers()

    def _undelivered(self, effect: Send) -> None:
        self.perform(self._core.undelivered(effect, time.monotonic()))

    def media_plans(self, call: str) -> list[MediaPlan]:
        """Return what was said of codecs in a call, and what came of it."""
        return self._sessions.media_plans(call)

    def hang_up(self, call: str, cause: int) -> None:
        """End a call on both legs, for an operator."""
        self.perform(self._core.hang_up(call, time.monotonic(), cause))

    def connect(self, call: str, targets: Iterable[Target], peer: str = "") -> None:
        """Find somebody for a caller that waits, known as `peer`."""
        self.perform(self._core.connect(call, targets, time.monotonic(), peer))

    def give_up(self, call: str) -> None:
        """Seek nobody any more for a caller that waits."""
        self.perform(self._core.give_up(call, time.monotonic()))

    def originate(self, call: str, targets: Iterable[Target], user: str, shown: str, service: str) -> None:
        """Call somebody ourselves, at the cost of `user`, for a service of ours."""
        self.perform(self._core.originate(call, targets, time.monotonic(), user, shown, service))

    def send_on(self, call: str, leg: Leg, made: str, targets: Iterable[Target], dialled: str, user: str) -> bool:
        """Transfer a leg of a call to somebody, in a call of its own named `made`; whether that has begun."""
        started: list[str] = []

        def note(effect: Effect) -> None:
            if isinstance(effect, CallStarted):
                started.append(effect.call)

        self.listeners.append(note)
        try:
            self.perform(self._core.send_on(call, leg, made, targets, dialled, user, time.monotonic()))
        finally:
            self.listeners.remove(note)
        return made in started

    def waits(self, call: str) -> bool:
        """Whether a caller waits, and nobody is sought for it."""
        found = self._core.call(call)
        return found is not None and found.state == CallState.WAITING

    def press(self, call: str, leg: Leg, digit: str, ms: int) -> None:
        """Tell a leg a key by INFO."""
        self.perform(self._core.press(call, leg, digit, ms, time.monotonic()))

    def keep(self, call: str) -> None:
        """Write a call down whose media have been changed by an operator."""
        self.perform(self._core.touch(call))

    def end_silent(self, call: str, seconds: float) -> None:
        """End a call in which no packet has come for so long: its peers may be dead, and pay no longer."""
        log.info("no media any more", call=call, silent_seconds=round(seconds, 1))
        self._meters.silent += 1
        self.perform(self._core.hang_up(call, time.monotonic(), RECOVERY_ON_TIMER, "Media Timeout"))

    def set_trunks(self, trunks: Iterable[Trunk]) -> None:
        """Have these trunks and no others."""
        self.perform(self._core.set_trunks(trunks, time.monotonic()))

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry out `effects`, and those that their results lead to, before anything else is looked at."""
        queue = deque(effects)
        try:
            while queue:
                queue.extend(self._perform(queue.popleft()))
        finally:
            self._save()
        self._set_timer()
        self._tell()

    def close(self) -> None:
        """Let no timer fire any more."""
        self._resolver.close()
        if self._timer is not None:
            self._timer.cancel()

    def _perform(self, effect: Effect) -> Iterable[Effect]:
        match effect:
            case Send():
                self._meters.message(effect.data, "out")
                self._send(effect)
            case SaveCall():
                self._unsaved[effect.call] = effect
            case Authenticate():
                return self._authenticate(effect)
            case FindRoute():
                return self._find_route(effect)
            case OfferMedia() | AnswerMedia() | AttendMedia():
                return self._change_media(effect)
            case Pressed():
                self._news.append(effect)
                return self._core.pressed(effect.token, self.pressed(effect), time.monotonic())
            case RevertMedia():
                self._sessions.rollback(effect.call, time.monotonic())
            case CloseMedia():
                self._reports[effect.call] = self._sessions.delete(effect.call, time.monotonic())
            case SaveBindings():
                self._save_bindings(effect)
                self._news.append(effect)
            case CallEnded():
                talked = round(effect.ended - effect.answered, 1) if effect.answered is not None else None
                log.info("call ended", call=effect.call, status=effect.status, cause=effect.cause, seconds=talked)
                reports = self._reports.pop(effect.call, ())
                self._meters.ended(effect, reports)
                self._records.write(effect, reports, time.monotonic(), datetime.now(UTC))
                self._news.append(effect)
            case CallAnswered() | Joined():
                self._sessions.settle(effect.call, time.monotonic())
                self._news.append(effect)
            case CallStarted() | Waiting() | Unreached():
                self._news.append(effect)
            case ForgetCall():
                self._unsaved.pop(effect.call, None)
                self._records.when_written(effect.call, lambda: self._journal.remove(CALL, effect.call))
            case BorrowLeg() | LentLeg() | EndLoan():
                self.loans(effect)
        return ()

    def _save(self) -> None:
        """Write each call that has changed, once, as it is after all that came of one input."""
        while self._unsaved:
            call, effect = self._unsaved.popitem()
            media = self._sessions.snapshot_text(call)
            text = f'{{"call":{encode(effect.state)},"media":{media},"at":{time.monotonic()!r}}}'
            self._keep(CALL, call, text)

    def _save_bindings(self, effect: SaveBindings) -> None:
        self._keep(BINDINGS, effect.username, bindings_text(effect.bindings))

    def _authenticate(self, effect: Authenticate) -> Iterable[Effect]:
        if not self._directory.ready:
            return self._core.refused(effect.token, 503, "Service Unavailable", time.monotonic())
        known = self._directory.credentials(effect.realm, effect.username)
        return self._core.authenticated(effect.token, known, time.monotonic())

    def _lookup(self, realm: str, username: str) -> Mapping[str, str] | None:
        return self._directory.credentials(realm, username) if self._directory.ready else None

    def _find_route(self, effect: FindRoute) -> Iterable[Effect]:
        return self._follow(effect.token, self._directory.route(effect))

    def _follow(self, token: int, found: Answer) -> Iterable[Effect]:
        """Go on with what the directory has answered."""
        if isinstance(found, tuple):
            if not self._resolver.needed(found):
                return self._core.routed(token, found, time.monotonic())
            self._resolver.later(found, partial(self._located, token))
            return ()
        return self._core.refused(token, found.status, found.reason, time.monotonic())

    def _located(self, token: int, targets: Sequence[Target]) -> None:
        self.perform(self._core.routed(token, targets, time.monotonic()))

    def _tell(self) -> None:
        """Tell what happened to calls once it has: a listener may want something of them at once."""
        news, self._news = self._news, []
        for effect in news:
            for listener in self.listeners:
                listener(effect)

    def _change_media(self, effect: OfferMedia | AnswerMedia | AttendMedia) -> Iterable[Effect]:
        now = time.monotonic()
        try:
            if isinstance(effect, OfferMedia):
                here = self._facing(effect.trunk, effect.user, effect.local, effect.transport)
                there = self._facing(
                    effect.toward_trunk, effect.toward_user, effect.toward_local, effect.toward_transport
                )
                description = self._sessions.offer(
                    *(effect.call, effect.leg, effect.sdp, effect.source, now, effect.toward, here, there),
                    attempt=effect.attempt,
                    terms=beside(here.ice != "remove", there.ice != "remove"),
                    side=effect.side,
                )
            elif isinstance(effect, AttendMedia):
                here = self._facing(effect.trunk, effect.user, effect.local, effect.transport)
                party = effect.leg, effect.sdp, effect.source
                description = self._sessions.attend(effect.call, *party, now, here, effect.side)
            else:
                party = effect.leg, effect.sdp, effect.source
                description = self._sessions.answer(effect.call, *party, now, side=effect.side)
        except MediaRefused as refusal:
            ours = refusal.status >= 500
            (log.warning if ours else log.info)(
                "media refused", call=effect.call, status=refusal.status, why=str(refusal)
            )
            return self._core.refused(effect.token, refusal.status, NO_MEDIA if ours else refusal.reason, now)
        except Exception:
            # Our own fault: it ends this call, and no other.
            log.exception("media failed", call=effect.call)
            return self._core.refused(effect.token, 500, "Server Internal Error", now)
        return self._core.media_ready(effect.token, description, now, self._sessions.shapes(effect.call))

    def _facing(self, trunk: str, user: str, local: str, transport: str) -> Facing:
        asked, ice = self._directory.facing(trunk, user), self._directory.ice(trunk, transport, user)
        return replace(asked, signalling=local, ice=ice, web=transport in WEB and not trunk)

    def _keep(self, kind: str, key: str, text: str) -> None:
        """Write live state, "" being its end; a full disk costs the ability to restore this call, not the call."""
        try:
            if text:
                self._journal.put_text(kind, key, text)
            else:
                self._journal.remove(kind, key)
        except OSError as error:
            log.error("live state not saved; free space on its disk", kind=kind, key=key, error=error.strerror)

    def _set_timer(self) -> None:
        """See that `_expire` is called in time; a call that comes too early does no harm.

        Each call sets some twenty timers, of seconds: those that are due within a few milliseconds share one look.
        """
        expiry = self._core.next_expiry()
        if expiry is None or (self._timer is not None and self._due <= expiry):
            return
        now = time.monotonic()
        due = max(expiry, now + TIMER_SECONDS)
        if self._timer is not None:
            if self._due <= due:
                return  # however much comes in, it is not put off
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(due - now, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.perform(self._core.expire(time.monotonic()))
