# SPDX-License-Identifier: GPL-3.0-or-later
"""What legs of calls are made to hear beside each other: announcements, music, ringback, digits.

Who asks names a leg that hears; for what is taken away (digits, sound) the leg that sends. A call goes to the engine
for it and comes back by itself; what is asked for survives every change of the call's media, but not the controller.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import count

import structlog

from ctl.observe.media_watch import Digit, MediaEvent, MediaWatch
from ctl.sessions.call_media import LEGS
from ctl.sessions.codecs import NAMES, inserted, transcoding
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.player import Ended
from ctl.sessions.prompts import Prompts, SoundError, wav_milliseconds
from ctl.sessions.treatment import Sound
from media.flows import EngineEvent
from media.stages import DIGITS, MOST_DIGITS, ClipPlayed, Cover, Dial, read_news
from sip.effects import Leg

GRACE = 5.0
"""Seconds after which a sound is over though the engine has not said so."""
_SETTLE = 0.3
PREPARING = 425
"""Of a sound that is made ready just now."""

Inform = Callable[[str, Leg, str, int], None]
"""Tells a leg a key: call, leg, digit, milliseconds."""
DigitListener = Callable[[str, Leg, str, float | None], None]
"""Told of each digit: call, leg that sent it, the digit, milliseconds if they are known."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Playing:
    """A sound under way. milliseconds: of one round."""

    token: int
    milliseconds: int


@dataclass(slots=True)
class _Played:
    playing: Playing
    on_end: Ended | None
    timer: asyncio.TimerHandle | None = None


class Playback:
    """One per controller; all of it within the event loop. Raises MediaRefused with the SIP status that fits."""

    def __init__(self, sessions: MediaSessions, prompts: Prompts, watch: MediaWatch) -> None:
        self.prompts = prompts
        self._sessions = sessions
        self._watch = watch
        self._played: dict[tuple[str, Leg], _Played] = {}
        self._dialled: dict[tuple[str, Leg], asyncio.TimerHandle] = {}
        self._numbers = count(secrets.randbelow(1 << 30) + 1)  # the engine may still know those of a controller before
        sessions.on_delete.append(self._call_ended)
        self.inform: Inform = lambda *_: None
        """Tells a leg a key by INFO."""

    def play(
        self,
        call: str,
        leg: Leg,
        sounds: str | Collection[str],
        *,
        times: int = 1,
        start_ms: int = 0,
        on_end: Ended | None = None,
    ) -> Playing:
        """Have `leg` hear a sound, or several in a row, in place of what the other leg says; times 0: until `stop`.

        start_ms: what is left out at the beginning. What it heard before is replaced. Raises MediaRefused: 404 and 425
        for the sound, 481 and 488 for the call, 400, 503.
        """
        if not 0 <= times < 1 << 31 or not 0 <= start_ms < 1 << 31:
            raise MediaRefused(400, "times and start are numbers from 0 on")
        self._check(call, leg)
        try:
            prompt = self.prompts.find(sounds if isinstance(sounds, str) else tuple(sounds))
        except SoundError as error:
            raise MediaRefused(error.status, str(error)) from None
        playing = Playing(next(self._numbers), prompt.milliseconds)
        self._put(call, leg, Sound(playing.token, prompt.stem, times, start_ms))
        before = self._played.pop((call, leg), None)
        self._played[call, leg] = played = _Played(playing, on_end)
        if times:
            limit = max(0, prompt.milliseconds * times - start_ms) / 1000 + GRACE
            played.timer = self._later(limit, lambda: self._end(playing.token, finished=True))
        if before:
            self._tell(call, leg, before, finished=False)
        return playing

    def stop(self, call: str, leg: Leg, token: int | None = None) -> bool:
        """End what a leg hears; whether there was anything, or just that of the token."""
        played = self._played.get((call, leg))
        if played is None or token not in (None, played.playing.token):
            return False
        self._end(played.playing.token, finished=False)
        return True

    def playing(self, call: str, leg: Leg) -> Playing | None:
        """Return what a leg hears of us."""
        played = self._played.get((call, leg))
        return played.playing if played else None

    def send_digits(
        self, call: str, leg: Leg, digits: str, *, ms: int = 160, pause_ms: int = 60, volume: int = 10
    ) -> int:
        """Have `leg` get digits in the form that it wants; return how many milliseconds they take.

        volume: -dBm0. Raises MediaRefused: 400 for what are no digits, 481 and 488 for the call.
        """
        digits = digits.upper()
        if not 1 <= len(digits) <= MOST_DIGITS or set(digits) - set(DIGITS):
            raise MediaRefused(400, f"send 1 to {MOST_DIGITS} digits of {DIGITS}, not {digits!r:.40}")
        if not 40 <= ms <= 8000 or not 20 <= pause_ms <= 8000 or not 0 <= volume <= 63:
            raise MediaRefused(400, "a digit lasts 40 to 8000 ms, a pause 20 to 8000 ms, the volume is 0 to 63 (-dBm0)")
        self._check(call, leg)
        dial, duration = Dial(next(self._numbers), digits, ms, volume, pause_ms), len(digits) * (ms + pause_ms)
        if self._sessions.dtmf(call, leg) == "info":
            self._tell_digits(call, leg, digits, ms, ms + pause_ms)
            return duration
        self._sessions.treat(call, self._sessions.treatments(call).dialling(_other(leg), dial))
        before = self._dialled.pop((call, leg), None)
        until = duration / 1000 + _SETTLE
        if before:
            before.cancel()
            until += max(0.0, before.when() - asyncio.get_running_loop().time())
        self._dialled[call, leg] = self._later(until, lambda: self._dialled_all(call, leg))
        return duration

    def _tell_digits(self, call: str, leg: Leg, digits: str, ms: int, pace: int) -> None:
        """By INFO, one after the other as fingers would."""
        if call in self._sessions.calls():
            self.inform(call, leg, digits[0], ms)
            if digits[1:]:
                self._later(pace / 1000, lambda: self._tell_digits(call, leg, digits[1:], ms, pace))

    def block_digits(self, call: str, legs: Collection[Leg]) -> None:
        """Let no digit of these legs through, and of no others any more. Raises MediaRefused."""
        self._check_sent(call, legs)
        before = self._sessions.treatments(call)
        covers = {leg: cover for leg, cover in before.covers.items() if leg in legs}
        self._sessions.treat(call, replace(before, digits_blocked=frozenset(legs), covers=covers))

    def cover_digits(self, call: str, legs: Collection[Leg], cover: Cover) -> None:
        """Have something else take the place of what these legs dial. Raises MediaRefused."""
        self._check_sent(call, legs)
        before = self._sessions.treatments(call)
        covers = {**before.covers, **dict.fromkeys(legs, cover)}
        self._sessions.treat(
            call, replace(before, digits_blocked=before.digits_blocked | frozenset(legs), covers=covers)
        )

    def digits_blocked(self, call: str) -> frozenset[Leg]:
        """Return the legs whose digits are blocked."""
        return self._sessions.treatments(call).digits_blocked

    def silence(self, call: str, legs: Collection[Leg]) -> None:
        """Have what these legs say become silence, and that of no others any more. Raises MediaRefused."""
        self._check_sent(call, legs)
        self._sessions.treat(call, replace(self._sessions.treatments(call), silenced=frozenset(legs)))

    def silenced(self, call: str) -> frozenset[Leg]:
        """Return the legs that are silenced."""
        return self._sessions.treatments(call).silenced

    def name_of(self, path: str) -> str:
        """Return the name by which the file at `path` is played; what is no file of ours stays as it is."""
        return self.prompts.name_of(path)

    def check(self, sound: str) -> None:
        """Raise MediaRefused unless there is a sound of that name, which is made ready if it is not yet."""
        try:
            self.prompts.find(sound)
        except SoundError as error:
            if error.status != PREPARING:
                raise MediaRefused(error.status, str(error)) from None

    def duration_of(self, sound: bytes) -> int:
        """Return how many milliseconds a WAV file lasts. Raises MediaRefused for what is none."""
        try:
            return wav_milliseconds(sound)
        except SoundError as error:
            raise MediaRefused(error.status, str(error)) from None

    def keep(self, sound: bytes) -> str:
        """Take in a WAV file; return its name, by which it is made ready. Raises MediaRefused."""
        try:
            return self.prompts.keep(sound)
        except SoundError as error:
            raise MediaRefused(error.status, str(error)) from None

    def keep_while(self, named: Callable[[], Iterable[str]]) -> None:
        """Forget none of the sounds that are `named`, whenever that is asked."""
        self.prompts.named.append(named)

    async def prepare(self, sound: str | bytes) -> str:
        """Make a WAV file ready, or one that was taken in; return the name to play it by. Raises MediaRefused."""
        try:
            return await self.prompts.prepare(sound)
        except SoundError as error:
            raise MediaRefused(error.status, str(error)) from None

    def on_digit(self, listener: DigitListener) -> None:
        """Call `listener` with every digit of every call, whatever way it came."""

        def heard(event: MediaEvent) -> None:
            if isinstance(event, Digit):
                listener(event.call, event.leg, event.digit, event.milliseconds)

        self._watch.subscribe(heard)

    def staged(self, event: EngineEvent) -> None:
        """Take in what a stage of the engine tells: that a sound has been played to its end."""
        try:
            news = read_news(event.data)
        except (struct.error, IndexError):
            return  # of an engine of another version
        if isinstance(news, ClipPlayed):
            self._end(news.number, finished=True)

    def _check(self, call: str, leg: Leg) -> None:
        """Raise MediaRefused unless something can be put into what `leg` hears: 481, 488."""
        if self._sessions.treatments(call).echoed:
            raise MediaRefused(488, "what a leg says goes back to it; nothing is put into that")
        described = self._sessions.described(call)
        if len(described) < len(LEGS):
            raise MediaRefused(481, "the call has no media that both legs have agreed on")
        both = zip(described[_other(leg)], described[leg], strict=False)
        if not any(transcoding(sender, receiver) or inserted(sender, receiver) for sender, receiver in both):
            raise MediaRefused(488, f"leg {leg} hears none of {', '.join(NAMES.values())}, which is all that we play")

    def _check_sent(self, call: str, legs: Collection[Leg]) -> None:
        """Raise MediaRefused where something else cannot take the place of what these legs send."""
        if len(self._sessions.described(call)) == len(LEGS):
            for leg in legs:
                self._check(call, _other(leg))

    def _end(self, token: int, *, finished: bool) -> None:
        """Whoever is told may have the leg hear something else, without a moment of the other leg in between."""
        found = next((key for key, played in self._played.items() if played.playing.token == token), None)
        if found is None:
            return
        played = self._played.pop(found)
        call, leg = found
        self._tell(call, leg, played, finished=finished)
        if found not in self._played:
            self._put_quietly(call, leg)

    def _tell(self, call: str, leg: Leg, played: _Played, *, finished: bool) -> None:
        if played.timer:
            played.timer.cancel()
        if played.on_end:
            played.on_end(call, leg, played.playing.token, finished)

    def _put(self, call: str, leg: Leg, sound: Sound | None) -> None:
        self._sessions.treat(call, self._sessions.treatments(call).playing(_other(leg), sound))

    def _put_quietly(self, call: str, leg: Leg) -> None:
        try:
            self._put(call, leg, None)
        except MediaRefused as refused:
            log.info("playback not taken back", call=call, why=refused.reason)

    def _dialled_all(self, call: str, leg: Leg) -> None:
        self._dialled.pop((call, leg), None)
        try:
            self._sessions.treat(call, self._sessions.treatments(call).dialling(_other(leg), None))
        except MediaRefused as refused:
            log.info("digits not taken back", call=call, why=refused.reason)

    def _call_ended(self, call: str) -> None:
        for leg in LEGS:
            played, dialled = self._played.pop((call, leg), None), self._dialled.pop((call, leg), None)
            if dialled:
                dialled.cancel()
            if played:
                self._tell(call, leg, played, finished=False)

    @staticmethod
    def _later(seconds: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, what)


def _other(leg: Leg) -> Leg:
    return "b" if leg == "a" else "a"
