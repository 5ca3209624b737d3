# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to the media of a leg beyond carrying it: played over, dialled into, silenced, stripped of digits.

It is wished for by leg, and comes true when a call is planned: a direction that something is done to goes through the
engine until nothing is any more. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ctl.sessions.codecs import Dtmf, Transcoding, inserted, toned, with_events
from media.stages import SILENCE, Clip, CodecSettings, Cover, Dial, InsertStage, Stage, Tap, TranscodeStage
from sip.effects import Leg

if TYPE_CHECKING:
    from ctl.sessions.streams import Stream

NOBODY: frozenset[Leg] = frozenset()
_KEPT = ("blocked", "silenced", "digits_blocked")
"""What a leg takes along to another call."""
_SAVED = (*_KEPT, "dropped", "echoed")
"""What outlives the controller: who is not heard, but not what is played, for nobody would know its end."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What is played in place of a leg. stem: the prepared file's path without its rate; start: ms left out."""

    number: int
    stem: str
    times: int = 1
    start: int = 0

    def clip(self, rate: int) -> Clip:
        """As the engine plays it to a codec of that rate, Hz."""
        return Clip(self.number, f"{self.stem}.{rate}", self.times, self.start)


@dataclass(frozen=True, slots=True)
class Copy:
    """What a leg sends in an m-line goes to another flow of ours, too. local: that flow's address and port."""

    leg: Leg
    stream: int
    local: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Treatments:
    """What is done to a call's media, by the leg that sends it; what replaces it (sounds, dials) reaches the other leg.

    blocked: none of it passes. silenced: it becomes silence. digits_blocked: its telephone events do, or what `covers`
    has for the leg. copies: for whom subscribed to it. dropped: neither does its RTCP. echoed: its RTP goes back to it
    instead, and no RTCP anywhere.
    """

    blocked: frozenset[Leg] = NOBODY
    silenced: frozenset[Leg] = NOBODY
    digits_blocked: frozenset[Leg] = NOBODY
    sounds: Mapping[Leg, Sound] = field(default_factory=dict)
    dials: Mapping[Leg, Dial] = field(default_factory=dict)
    covers: Mapping[Leg, Cover] = field(default_factory=dict)
    copies: tuple[Copy, ...] = ()
    dropped: frozenset[Leg] = NOBODY
    echoed: frozenset[Leg] = NOBODY

    @property
    def any(self) -> bool:
        """Whether something is wished for that changes what the other leg gets."""
        return bool(self.blocked or self.silenced or self.digits_blocked or self.sounds or self.dials)

    def mutes(self, leg: Leg) -> bool:
        """Whether nothing that a leg says passes."""
        return leg in self.blocked or leg in self.dropped

    def playing(self, leg: Leg, sound: Sound | None) -> Treatments:
        """The same with another sound, or none, in place of a leg."""
        return replace(self, sounds=_with(self.sounds, leg, sound))

    def dialling(self, leg: Leg, dial: Dial | None) -> Treatments:
        """The same with other digits, or none, in place of a leg."""
        return replace(self, dials=_with(self.dials, leg, dial))

    def copies_of(self, leg: Leg, stream: int) -> tuple[tuple[str, int], ...]:
        """Return the flows that get what a leg sends in an m-line."""
        return tuple(each.local for each in self.copies if (each.leg, each.stream) == (leg, stream))

    def to_json(self) -> dict[str, Any]:
        """What is saved of it."""
        kept = [(name, getattr(self, name)) for name in _SAVED]
        covers = {leg: list(astuple(cover)) for leg, cover in self.covers.items()}
        copies = [[each.leg, each.stream, *each.local] for each in self.copies]
        more = (("copies", copies), ("covers", covers))
        return {name: value for name, value in ((*((n, sorted(legs)) for n, legs in kept), *more)) if value}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Treatments:
        """What `to_json` was called on, as far as it was kept."""
        blocked, silenced, digits, dropped, echoed = (frozenset(state.get(name, ())) for name in _SAVED)
        return cls(
            blocked,
            silenced,
            digits,
            dropped=dropped,
            echoed=echoed,
            covers={leg: Cover(*cover) for leg, cover in state.get("covers", {}).items()},
            copies=tuple(Copy(leg, stream, (address, port)) for leg, stream, address, port in state.get("copies", ())),
        )


def treated(one: tuple[Treatments, Leg], other: tuple[Treatments, Leg]) -> Treatments:
    """Return what keeps two legs of different calls from being heard, once they are legs a and b of one."""
    legs: tuple[tuple[Leg, Treatments, Leg], ...] = (("a", *one), ("b", *other))
    blocked, silenced, digits = (
        frozenset(now for now, wished, was in legs if was in getattr(wished, name)) for name in _KEPT
    )
    covers = {now: wished.covers[was] for now, wished, was in legs if was in wished.covers}
    return Treatments(blocked, silenced, digits, covers=covers)


def _with(mapping: Mapping[Leg, Any], leg: Leg, value: Any) -> dict[Leg, Any]:
    changed = {**mapping, leg: value}
    return {leg: value for leg, value in changed.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Handling:
    """What a stage of the engine does with one direction. codec: what sound and silence are sent in."""

    codec: CodecSettings
    clip: Clip | None = None
    dial: Dial | None = None
    cover: Cover | None = None
    """What becomes of digits; None: they pass."""
    silence: bool = False
    deaf: bool = False
    own: bool = False
    house: bool = False
    informs: bool = False
    """The other leg is told digits by INFO, and not by its media."""
    listens: bool = False
    """For tones in the leg's sound, which are digits."""

    @property
    def reason(self) -> str:
        """Why the direction is not in the kernel."""
        if self.clip:
            return "playback"
        if self.dial:
            return "digits sent"
        if self.silence:
            return "silenced"
        return "digits by INFO" if self.informs else "digits blocked" if self.cover else ""

    @property
    def inserts(self) -> bool:
        """Whether something is sent that the leg did not."""
        return bool(self.clip or self.dial)

    def passing(self) -> Handling:
        """The same, but that nothing is put in or taken out any more."""
        return Handling(self.codec, own=self.own)

    def stage(self, through: Transcoding | None, tap: Tap | None, reports: bool = False) -> Stage:
        """The engine's settings. through: what the direction is transcoded from and to, if it is.

        reports: RTCP ends here, as it does where a codec makes another stream of what comes.
        """
        if through is None and (self.house or reports):
            through = Transcoding(self.codec, self.codec)
        if through is None:
            flags = (bool(self.cover) or self.informs, self.silence, self.deaf, self.own)
            cover = self.cover or SILENCE
            return InsertStage(self.codec, *flags, clip=self.clip, dial=self.dial, tap=tap, cover=cover)
        return TranscodeStage(
            through.heard,
            through.sent,
            listen=self.listens,
            block_digits=bool(self.cover) or self.informs,
            mute=self.silence or self.deaf,
            fill=self.house,
            clip=self.clip,
            dial=self.dial,
            tap=tap,
            cover=self.cover or SILENCE,
        )


NOTHING = Treatments()


def tones(sender: Stream, receiver: Stream, from_it: Dtmf, to_it: Dtmf) -> Transcoding | None:
    """Return how a direction is to go through its codec for the sake of digits in its sound; None: it need not."""
    return toned(sender, receiver, to_it == "inband") if "inband" in (from_it, to_it) else None


def handling(
    wished: Treatments,
    leg: Leg,
    sender: Stream,
    receiver: Stream,
    through: Transcoding | None,
    same_keys: bool,
    digits: tuple[Dtmf, Dtmf] = ("auto", "auto"),
) -> Handling | None:
    """Return what is to be done with what `leg`, the sender, sends; None for nothing, and where nothing can be done.

    same_keys: both legs have the same keys, so that what is put in may neither use the leg's SSRC nor pass with it.
    digits: how they come from the sender, and reach the receiver.
    """
    if not (wished.any or sender.house or receiver.house or digits != ("auto", "auto")):
        return None
    codec = through.sent if through else inserted(sender, receiver)
    if codec is None:
        return None
    sound, dial = wished.sounds.get(leg), wished.dials.get(leg)
    if through is None and digits[1] == "info":
        codec = with_events(codec, sender, receiver)
    mute = wished.mutes(leg) or sender.held or sender.direction not in ("sendrecv", "sendonly")
    made = Handling(
        codec,
        clip=sound.clip(codec.sound_rate) if sound else None,
        dial=dial,
        cover=wished.covers.get(leg, SILENCE) if leg in wished.digits_blocked else None,
        silence=leg in wished.silenced,
        own=same_keys,
        house=sender.house,
        informs=digits[1] == "info",
        listens=digits[0] == "inband",
    )
    if made.inserts:
        return replace(made, deaf=mute or same_keys)
    heard_by_us = sender.house or receiver.house
    return made if made.reason or made.listens or heard_by_us else None
