# SPDX-License-Identifier: GPL-3.0-or-later
"""What proxies ask to be done to the media of a call: blocked, silenced, played to, dialled into.

Who plays names the participant that hears; who dials, blocks or silences names the one that sends. A digit, a sound or
silence takes the stream to the engine, and it comes back to the kernel when nothing is done to it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from ctl.ng.blobs import blob
from ctl.ng.calls import Call, Dialogue, Participant
from ctl.ng.errors import NgError
from ctl.ng.request import Request
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.player import Player
from media.stages import Cover
from sip.effects import Leg

Reply = dict[str, Any]
Command = Callable[[Request, Call], Reply]

DIGITS = "0123456789*#ABCD"
"""By their codes in RFC 4733."""
DIGIT_MILLISECONDS, PAUSE_MILLISECONDS, VOLUME = 250, 100, -8
COVERS: dict[str, Literal["silence", "digit", "random", "tone"]] = {
    **dict.fromkeys(("drop", "silence"), "silence"),
    **dict.fromkeys(("zero", "dtmf"), "digit"),
    "random": "random",
    "tone": "tone",
}
FREQUENCY, LOUDNESS, QUIETEST = 400, 10, 63
AUDIBLE = range(50, 3801)
TRIGGERS = ("trigger", "trigger-end", "trigger-end-time", "trigger-end-digits", "delay-buffer")


log = structlog.get_logger()


class MediaPlayer(Player, Protocol):
    """What else proxies ask of it. All raise MediaRefused."""

    def send_digits(
        self, call: str, leg: Leg, digits: str, *, ms: int = 160, pause_ms: int = 60, volume: int = 10
    ) -> int:
        """Have a leg get digits."""

    def block_digits(self, call: str, legs: Collection[Leg]) -> None:
        """Let the digits of these legs reach nobody, and those of the others pass."""

    def cover_digits(self, call: str, legs: Collection[Leg], cover: Cover) -> None:
        """Have something else take the place of what these legs dial."""

    def digits_blocked(self, call: str) -> frozenset[Leg]:
        """Return whose digits are blocked."""

    def silence(self, call: str, legs: Collection[Leg]) -> None:
        """Have what these legs say become silence."""

    def silenced(self, call: str) -> frozenset[Leg]:
        """Return who is silenced."""

    def name_of(self, path: str) -> str:
        """Return the name of a sound by the path of its file."""

    def check(self, sound: str) -> None:
        """Make sure that there is a sound of that name, and have it made ready."""

    def duration_of(self, sound: bytes) -> int:
        """Return how many milliseconds a WAV file lasts."""

    def keep(self, sound: bytes) -> str:
        """Take in a WAV file; return its name, by which it is made ready."""

    def keep_while(self, named: Callable[[], Iterable[str]]) -> None:
        """Forget none of the sounds that are `named`, whenever that is asked."""

    async def prepare(self, sound: str | bytes) -> str:
        """Make a WAV file ready, or one that was taken in; return the name to play it by."""

    def on_digit(self, listener: Callable[[str, Leg, str, float | None], None]) -> None:
        """Tell `listener` of every digit: call, leg that sent it, the digit, milliseconds if they are known."""


@dataclass(frozen=True, slots=True)
class _Order:
    """How a sound is to be played: times, 0: until it is stopped; milliseconds left out, and at most, 0: all."""

    times: int
    start: int
    longest: int


@dataclass
class MediaCommands:
    """Of all calls. steady: a clock that never steps, in seconds. player: None where nothing can be played."""

    sessions: MediaSessions
    steady: Callable[[], float]
    player: MediaPlayer | None = None
    _began: dict[int, float] = field(default_factory=dict)
    """When each sound under way would have begun if it had been played from its start, by token."""
    _preparing: dict[tuple[str, Leg], asyncio.Task[None]] = field(default_factory=dict)
    """Sounds that were handed in and are not ready yet, by who is to hear them."""
    _making: set[asyncio.Task[None]] = field(default_factory=set)
    """The same of music, which nobody hears yet."""

    def table(self) -> dict[str, Command]:
        """Return every command."""
        return {
            "block-media": lambda request, call: self._block(request, call, block=True),
            "unblock-media": lambda request, call: self._block(request, call, block=False),
            "silence-media": lambda request, call: self._silence(request, call, silence=True),
            "unsilence-media": lambda request, call: self._silence(request, call, silence=False),
            "block-dtmf": lambda request, call: self._block_digits(request, call, block=True),
            "unblock-dtmf": lambda request, call: self._block_digits(request, call, block=False),
            "play-media": self._play,
            "stop-media": self._stop,
            "play-dtmf": self._dial,
        }

    def _block(self, request: Request, call: Call, *, block: bool) -> Reply:
        return self._change(request, call, self.sessions.blocked, self.sessions.block, more=block)

    def _silence(self, request: Request, call: Call, *, silence: bool) -> Reply:
        player = self._player()
        return self._change(request, call, player.silenced, player.silence, more=silence)

    def _block_digits(self, request: Request, call: Call, *, block: bool) -> Reply:
        player = self._player()
        cover = self.security(request) if block else None
        if cover is None:
            return self._change(request, call, player.digits_blocked, player.block_digits, more=False)
        for dialogue, legs in self.meant(request, call):
            with _refusals():
                player.cover_digits(dialogue.session, legs, cover)
        return {}

    def check_sound(self, file: str) -> None:
        """Raise NgError where there is nothing to play of that name."""
        player = self._player()
        with _refusals():
            player.check(player.name_of(file))

    def keep_sound(self, sound: bytes, ready: Callable[[], None]) -> str:
        """Return the name of a WAV file that came with a request. Raises NgError for what is none.

        It is made ready from now on; `ready` is called when it is.
        """
        player = self._player()
        with _refusals():
            player.duration_of(sound)
            name = player.keep(sound)
        task = asyncio.get_running_loop().create_task(self._make(name, ready), name="ng music")
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        return name

    async def _make(self, name: str, ready: Callable[[], None]) -> None:
        try:
            await self._player().prepare(name)
            ready()
        except MediaRefused as refused:
            log.warning("music that was handed in is not played", why=str(refused))

    def security(self, request: Request) -> Cover | None:
        """Return what is to take the place of digits, None for nothing. Raises NgError for what is not done here."""
        self._player()
        wanted = (request.text("dtmf-security") or "drop").lower()
        if wanted == "off":
            return None
        if wanted not in COVERS:
            raise NgError(f"DTMF-security={wanted}: none of {', '.join(COVERS)}, off")
        for key in TRIGGERS:
            if request.text(key) is not None:
                raise NgError(f"{key}: digits are blocked from now on until they are unblocked on this relay")
        digit = DIGITS.index(_digit(request)) if wanted == "dtmf" else 0
        loudness = abs(self._number(request, "volume", LOUDNESS))
        if loudness > QUIETEST:
            raise NgError(f"volume: not within 0 to -{QUIETEST} dB")
        return Cover(COVERS[wanted], digit, _frequency(request), loudness)

    def block_dialling(self, dialogue: Dialogue) -> None:
        """Block the digits of those of whom an offer or answer wanted it. Raises NgError."""
        for each in (dialogue.a, dialogue.b):
            if each.undialled:
                with _refusals():
                    leg = dialogue.leg_of(each)
                    self._player().cover_digits(dialogue.session, {leg}, Cover(*each.undialled))

    def _change(
        self,
        request: Request,
        call: Call,
        asked: Callable[[str], frozenset[Leg]],
        change: Callable[[str, frozenset[Leg]], None],
        *,
        more: bool,
    ) -> Reply:
        """Of the whole call unless one participant is meant, which `directional`, a label or an address says."""
        for dialogue, legs in self.meant(request, call):
            before = asked(dialogue.session)
            with _refusals():
                change(dialogue.session, before | legs if more else before - legs)
        return {}

    def _play(self, request: Request, call: Call) -> Reply:
        player, name, sound = self._player(), request.text("file"), blob(request.values)
        if name is None and sound is None:
            raise NgError("No media file specified: name one below media.prompts, or hand in a blob; db-id is not read")
        times, start = self._number(request, "repeat-times", 1), self._number(request, "start-pos", 0)
        longest = self._number(request, "repeat-duration", 0)
        order = _Order(0 if longest else max(times, 1), start, longest)
        hearers = list(self._hearers(request, call))
        if name is None:
            return {"duration": self._play_blob(hearers, sound or b"", order)}
        return {"duration": max([self._begin(*each, player.name_of(name), order) for each in hearers], default=0)}

    def _begin(self, session: str, leg: Leg, name: str, order: _Order) -> int:
        """Have one leg hear a sound; return how many milliseconds it lasts. Raises NgError."""
        player = self._player()
        self._forget(session, leg)
        with _refusals():
            found = player.play(session, leg, name, times=order.times, start_ms=order.start)
        self._began[found.token] = self.steady() - order.start / 1000
        if order.longest:
            self._later(order.longest / 1000, session, leg, found.token)
        return found.milliseconds

    def _play_blob(self, hearers: list[tuple[str, Leg]], sound: bytes, order: _Order) -> int:
        """Play a WAV file that came with the request, as soon as it is made ready. Raises NgError for what is none."""
        with _refusals():
            duration = self._player().duration_of(sound)
        for session, leg in hearers:
            self._forget(session, leg)
            task = asyncio.get_running_loop().create_task(self._prepare(session, leg, sound, order), name="ng blob")
            self._preparing[session, leg] = task
        return duration

    async def _prepare(self, session: str, leg: Leg, sound: bytes, order: _Order) -> None:
        try:
            name = await self._player().prepare(sound)
            self._preparing.pop((session, leg), None)
            self._begin(session, leg, name, order)
        except (MediaRefused, NgError) as refused:
            self._preparing.pop((session, leg), None)
            log.warning("a sound that was handed in is not played", session=session, why=str(refused))

    def _forget(self, session: str, leg: Leg) -> None:
        """What is not ready yet is not to be played any more."""
        task = self._preparing.pop((session, leg), None)
        if task:
            task.cancel()

    def _stop(self, request: Request, call: Call) -> Reply:
        player, place = self._player(), 0
        for session, leg in self._hearers(request, call):
            self._forget(session, leg)
            found = player.playing(session, leg)
            if found is None:
                continue
            elapsed = 1000 * (self.steady() - self._began.pop(found.token, self.steady()))
            place = round(elapsed) % max(found.milliseconds, 1)
            player.stop(session, leg, found.token)
        return {"last-frame-pos": place}

    def _dial(self, request: Request, call: Call) -> Reply:
        player, digit = self._player(), _digit(request)
        milliseconds = self._number(request, "duration", DIGIT_MILLISECONDS)
        pause, volume = self._number(request, "pause", PAUSE_MILLISECONDS), abs(self._number(request, "volume", VOLUME))
        if not 100 <= milliseconds <= 5000:
            raise NgError("duration: a digit lasts 100 to 5000 ms")
        chosen = self._chosen(call, request, tag=True)
        if not chosen:
            raise NgError("No participant specified: name who dials by from-tag, label or address")
        for dialogue, legs in _legs(call, chosen):
            for leg in legs:
                with _refusals():
                    player.send_digits(
                        dialogue.session, _other(leg), digit, ms=milliseconds, pause_ms=pause, volume=volume
                    )
        return {}

    def meant(self, request: Request, call: Call) -> Iterator[tuple[Dialogue, frozenset[Leg]]]:
        """Yield each dialogue with the legs of those who are meant as senders: by label, address or `directional`."""
        return _legs(call, self._chosen(call, request, tag=request.has("directional")))

    def _hearers(self, request: Request, call: Call) -> Iterator[tuple[str, Leg]]:
        chosen = self._chosen(call, request, tag=True)
        for dialogue, legs in _legs(call, chosen):
            for leg in sorted(legs):
                yield dialogue.session, leg

    def _chosen(self, call: Call, request: Request, *, tag: bool) -> list[Participant]:
        """Return who is meant: by label, by address, or if `tag` by from-tag; none is the whole call."""
        label, address = request.text("label"), request.text("address")
        if request.has("all"):
            return []
        if label is not None:
            found = call.label(label)
        elif address is not None:
            found = next((each for each in call.participants if self._listens_at(call, each, address)), None)
        elif tag and request.text("from-tag") is not None:
            found = call.find(request.text("from-tag"))
        elif request.has("directional"):
            raise NgError("No from-tag in message")
        else:
            return []
        if found is None:
            raise NgError("No participant of the call is meant by this")
        return [found]

    def _listens_at(self, call: Call, participant: Participant, address: str) -> bool:
        return any(
            view.leg == dialogue.leg_of(participant) and view.source[0] == address
            for dialogue in call.dialogues_of(participant)
            for view in self.sessions.query(dialogue.session)
        )

    def _player(self) -> MediaPlayer:
        if self.player is None:
            raise NgError("nothing can be played on this relay; see media.prompts")
        return self.player

    def _later(self, seconds: float, session: str, leg: Leg, token: int) -> None:
        """It ends by itself."""
        asyncio.get_running_loop().call_later(seconds, self._player().stop, session, leg, token)

    @staticmethod
    def _number(request: Request, key: str, usual: int) -> int:
        found = request.number(key)
        return usual if found is None else found


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell a proxy what the media sessions refuse."""
    try:
        yield
    except MediaRefused as refused:
        raise NgError(refused.reason) from None


def _legs(call: Call, chosen: list[Participant]) -> Iterator[tuple[Dialogue, frozenset[Leg]]]:
    """Yield each dialogue with the legs of it that are meant."""
    for dialogue in call.dialogues:
        legs = frozenset(dialogue.leg_of(each) for each in chosen or (dialogue.a, dialogue.b) if dialogue.has(each))
        if legs:
            yield dialogue, legs


def _frequency(request: Request) -> int:
    """Of the tone in place of digits, Hz; one for all of them."""
    said = request.values.get("frequency") or request.values.get("frequencies") or FREQUENCY
    found = said if isinstance(said, list) else str(said).split(",")
    if len(found) != 1 or not str(found[0]).isdecimal() or int(found[0]) not in AUDIBLE:
        raise NgError(f"frequency: one of {AUDIBLE[0]} to {AUDIBLE[-1]} Hz, for all digits")
    return int(found[0])


def _digit(request: Request) -> str:
    """Of a code, 0 to 15, or the digit itself."""
    digit, code = request.text("digit"), request.text("code")
    text = (digit if digit is not None else code or "").upper()
    if code is not None and digit is None and text.isdecimal() and int(text) < len(DIGITS):
        return DIGITS[int(text)]
    if len(text) != 1 or text not in DIGITS:
        raise NgError(f"Out of range DTMF code specified: {text!r:.20}; give one of {DIGITS} or a code of 0 to 15")
    return text


def _other(leg: Leg) -> Leg:
    return "b" if leg == "a" else "a"
