# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose sound goes to a consumer while it is said, decoded: `recording.forward_to`, asked for by proxies.

It is made by the recorder from the copies that recordings are made from, so a call stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import structlog

from ctl.exits import NOT_FOUND
from ctl.recording.feeds import Feeds, check_heard, legs_of
from ctl.recording.recordings import Recordings
from ctl.sessions.call_media import LEGS
from ctl.sessions.media_sessions import MediaSessions
from ctl.verbs.control import ControlError
from media.flows import EngineError
from media.recording_settings import RecordingSettings
from sip.effects import Leg

log = structlog.get_logger()


class Forwardings:
    """One per controller. calls: ids of the calls that are up. destination: as `tcp://127.0.0.1:9000`, empty: none."""

    def __init__(
        self,
        recordings: Recordings,
        sessions: MediaSessions,
        calls: Callable[[], Iterable[str]],
        destination: str,
        rate: int,
    ) -> None:
        self._recordings = recordings
        self._sessions = sessions
        self._calls = calls
        self._destination = destination
        self._rate = rate
        self._forwarded: dict[str, dict[Leg, RecordingSettings]] = {}

    def start(self, call: str, metadata: str = "", legs: Collection[Leg] = LEGS) -> None:
        """Send what these legs of a call say to the consumer, from now on. Raises ControlError."""
        if not self._destination:
            raise ControlError("nobody to forward sound to is configured; set recording.forward_to")
        if not any(self._sessions.sources(call, leg) for leg in legs):
            raise ControlError(f"call {call} has no media yet", NOT_FOUND)
        check_heard(self._sessions, call, legs)
        known = self._forwarded.setdefault(call, {})
        for leg in (each for each in legs if each not in known):
            settings = RecordingSettings(
                uuid4(),
                legs_of(self._sessions, call),
                layout=leg,
                format="pcm",
                rate=self._rate,
                about={"call": call, "metadata": metadata},
                feed=Feeds.name(call),
                destination=self._destination,
            )
            self._ask(self._begin, settings)
            known[leg] = settings
            self._ask(self._recordings.feeds.follow, call, settings.id)
        log.info("sound forwarded", call=call, legs=sorted(known))

    def stop(self, call: str, legs: Collection[Leg] = LEGS) -> None:
        """Send no more of what these legs say. Raises ControlError."""
        known = self._forwarded.get(call, {})
        for leg in [each for each in legs if each in known]:
            settings = known.pop(leg)
            self._ask(self._recordings.client.stop, settings.id)
            self._ask(self._recordings.feeds.leave, call, settings.id)
        if not known:
            self._forwarded.pop(call, None)

    @property
    def known(self) -> set[UUID]:
        """What is forwarded for calls of ours, by the ids that the recorder knows."""
        return {settings.id for legs in self._forwarded.values() for settings in legs.values()}

    def forwarded(self, call: str) -> frozenset[Leg]:
        """Return the legs of a call whose sound is forwarded."""
        return frozenset(self._forwarded.get(call, {}))

    def look(self) -> None:
        """Follow what has changed: flows that moved, codecs, calls that ended. Each second."""
        if not self._forwarded:
            return
        up = set(self._calls())
        try:
            for call, known in list(self._forwarded.items()):
                if call not in up:
                    self.stop(call)
                    continue
                for leg, settings in known.items():
                    self._follow(call, leg, settings)
        except (EngineError, ControlError) as error:
            log.error("forwarding disturbed", why=str(error))
            self._forwarded.clear()

    def restore(self, strangers: bool = True) -> None:
        """End what an earlier controller had forwarded: whoever asked for that asks again, or does not want it.

        strangers: also of calls that are not up, where no other controller has them.
        """
        up = set(self._calls())
        try:
            for state in self._recordings.client.states():
                if state.get("destination") and (strangers or state["call"] in up):
                    self._recordings.client.stop(UUID(state["id"]))
        except EngineError:
            pass  # there is no recorder

    def _begin(self, settings: RecordingSettings) -> None:
        self._recordings.ensure()
        self._recordings.client.start(settings)

    def _follow(self, call: str, leg: Leg, settings: RecordingSettings) -> None:
        legs = legs_of(self._sessions, call)
        if legs != settings.legs:
            self._forwarded[call][leg] = settings = replace(settings, legs=legs)
            self._recordings.client.change(settings)
        self._recordings.feeds.follow(call, settings.id)

    @staticmethod
    def _ask(question: Callable[..., Any], *arguments: Any) -> None:
        try:
            question(*arguments)
        except EngineError as error:
            raise ControlError(str(error)) from None
