# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators and programs make the legs of a call hear, by the command line and by the REST API alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from ctl.exits import FAILED, NOT_FOUND, USAGE
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.playback import Playback
from ctl.sessions.prompts import SoundError
from ctl.signalling.conductor import Conductor
from ctl.verbs.control import ControlError, Verb
from ctl.verbs.flows import find_call
from sip.core import Core
from sip.effects import Leg

CODES = {400: USAGE, 404: NOT_FOUND, 481: NOT_FOUND}
"""Exit codes by the status of a refusal."""


class CallMedia:
    """Does one thing to the media of one call. Every method may raise MediaRefused."""

    def __init__(self, playback: Playback, sessions: MediaSessions, conductor: Conductor) -> None:
        self._playback = playback
        self._sessions = sessions
        self._conductor = conductor

    async def change(self, call: str, action: str, leg: Leg, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Do it; return what there is to know. leg: who hears; of block and unblock, who speaks.

        wanted: sounds, times and start_ms of play; digits, ms, pause_ms and volume of dtmf; what of block and unblock.
        """
        match action:
            case "play":
                return await self._play(call, leg, wanted)
            case "stop":
                return {"stopped": self._playback.stop(call, leg)}
            case "dtmf":
                timing = {name: int(wanted[name]) for name in ("ms", "pause_ms", "volume") if wanted.get(name)}
                return {"ms": self._playback.send_digits(call, leg, str(wanted.get("digits", "")), **timing)}
            case "block" | "unblock":
                return self._block(call, leg, str(wanted.get("what", "")), action == "block")
        raise MediaRefused(400, "action is play, stop, dtmf, block or unblock")

    async def _play(self, call: str, leg: Leg, wanted: Mapping[str, Any]) -> dict[str, Any]:
        sounds = [str(each) for each in wanted.get("sounds") or ()]
        try:
            for sound in sounds:
                await self._playback.prompts.prepare(sound)
        except SoundError as error:
            raise MediaRefused(error.status, str(error)) from None
        times, start_ms = int(wanted.get("times", 1)), int(wanted.get("start_ms", 0))
        playing = self._playback.play(call, leg, sounds, times=times, start_ms=start_ms)
        return {"token": playing.token, "ms": playing.milliseconds}

    def _block(self, call: str, leg: Leg, what: str, on: bool) -> dict[str, Any]:
        known: dict[str, tuple[Callable[[str], frozenset[Leg]], Callable[[str, frozenset[Leg]], None]]] = {
            "media": (self._sessions.blocked, self._sessions.block),
            "sound": (self._playback.silenced, self._playback.silence),
            "digits": (self._playback.digits_blocked, self._playback.block_digits),
        }
        if what not in known:
            raise MediaRefused(400, f"what is {', '.join(known)}, not {what!r:.40}")
        read, write = known[what]
        write(call, read(call) | {leg} if on else read(call) - {leg})
        self._conductor.keep(call)
        return {name: sorted(each(call)) for name, (each, _) in known.items()}


class PlaybackVerbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, core: Core, media: CallMedia, playback: Playback) -> None:
        self._core = core
        self._media = media
        self._playback = playback

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {"call.media": self.call_media, "sound.list": self.sound_list}

    async def call_media(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Play to a leg, stop that, send it digits, or keep from the others what it says."""
        call, leg = find_call(self._core, str(arguments.get("id", ""))).id, arguments.get("leg")
        if leg not in ("a", "b"):
            raise ControlError("leg is a, who called, or b, who was called", USAGE)
        try:
            return await self._media.change(call, str(arguments.get("action")), cast("Leg", leg), arguments)
        except MediaRefused as refused:
            raise ControlError(refused.reason, CODES.get(refused.status, FAILED)) from None
        except (TypeError, ValueError):
            raise ControlError("times, start_ms, ms, pause_ms and volume are whole numbers", USAGE) from None

    def sound_list(self, _arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the sounds that can be played, and how long they last; None where they are not ready."""
        return [{"name": name, "ms": self._length(name)} for name in self._playback.prompts.names()]

    def _length(self, name: str) -> int | None:
        try:
            return self._playback.prompts.find(name).milliseconds
        except SoundError:
            return None
