# SPDX-License-Identifier: GPL-3.0-or-later
"""What a flow of the engine does with RTP, as the controller says it and as media/stage_transcode.h reads it.

Knows nothing of C, so that a client need not load the engine; a test compares every offset with the header's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

TRANSCODE, TAP, INSERT, REPORTS = 1, 2, 3, 4
"""Kinds of stages: one with codecs, one that passes on and copies, one that passes on and can put things in, one that
passes on and has RTCP of our own in place of the legs'.
"""

NO_TYPE = 255
NUMBERS = {"PCMU": 0, "PCMA": 1, "G722": 2, "G729": 3, "opus": 4}
"""enum codec_number."""

RATES = {"PCMU": 8000, "PCMA": 8000, "G722": 16000, "G729": 8000, "opus": 48000}
"""Hz of a codec's sound; that of Opus is the most of several."""

DIGITS = "0123456789*#ABCD"
MOST_DIGITS = 16
_CODEC = struct.Struct("=IIBBBB")
_RECEIVER = struct.Struct("=12sIIBBBBB3x")
_SENDER = struct.Struct("=12sIIIHBBBBBx")
_TRANSCODER = struct.Struct("=28s32sBBBxHBB")
_INSERTER = struct.Struct("=32sBBBBHBB")
_ORDERS = struct.Struct("=IIIIHHBBBx16s128s")
_TAP = struct.Struct("=16sBB6x104s")
_CLOCK = struct.Struct("=I4x")
_JITTER = struct.Struct("=7Q")
_RECEIVED = struct.Struct("=9Q")
_SENT = struct.Struct("=4Q")
_REPORT = struct.Struct("=56s72s32sQIxxxxQQQ")
_NEWS = struct.Struct("=IIBBxxI")


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """A codec by its name in session descriptions. rate: Hz of the sound, for Opus 8000, 16000 or 48000."""

    name: str
    payload_type: int
    rate: int = 0
    """0: the codec's own."""
    bitrate: int = 0
    """bit/s of Opus; 0: libopus chooses."""
    complexity: int = 5
    dtx: bool = False
    fec: bool = False
    loss: int = 0
    """Percent of packets that Opus should reckon with losing."""
    events: int | None = None
    """Payload type of telephone events (RFC 4733)."""
    event_rate: int = 0
    """Hz that events last by; 0: the codec's clock."""
    noise: int | None = None
    """Payload type of comfort noise (RFC 3389)."""
    ptime: int = 20
    """Milliseconds in a packet that is sent."""

    @property
    def sound_rate(self) -> int:
        """Hz."""
        return self.rate or RATES[self.name]


@dataclass(frozen=True, slots=True)
class Clip:
    """Sound from a prepared file (`media.clips`). number: another one begins anew. times 0: until it is stopped."""

    number: int
    path: str
    times: int = 1
    start: int = 0
    """Milliseconds of it that are left out the first time."""
    mixed: bool = False
    """Laid over what the leg sends, not in its place; only where it is transcoded."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Digits to send once; number: another one sends anew."""

    number: int
    digits: str
    ms: int = 160
    volume: int = 10
    """-dBm0."""
    pause: int = 0
    """Milliseconds between two digits; 0: 60."""


@dataclass(frozen=True, slots=True)
class Cover:
    """What becomes of a leg's digits. digit: the other one, 0-15. frequency, Hz; volume, -dBm0, of what is made."""

    mode: Literal["silence", "digit", "random", "tone"] = "silence"
    digit: int = 0
    frequency: int = 400
    volume: int = 10


SILENCE = Cover()
_PASS, _MODES = 0, {"silence": 1, "digit": 2, "random": 3, "tone": 4}
"""enum dtmf_mode."""


@dataclass(frozen=True, slots=True)
class Tap:
    """Copies for a recording. path: the recorder's socket."""

    recording: UUID
    leg: int
    path: str

    def pack(self) -> bytes:
        """As struct tap_settings."""
        return _TAP.pack(self.recording.bytes, self.leg, 1, self.path.encode())


@dataclass(frozen=True, slots=True)
class TranscodeStage:
    """What the leg sends as `heard`, sent on as `sent`."""

    heard: CodecSettings
    sent: CodecSettings
    listen: bool = False
    """For tones in the sound, which become events."""
    block_digits: bool = False
    mute: bool = False
    fill: bool = False
    """Send silence where there is no stream."""
    clip: Clip | None = None
    dial: Dial | None = None
    tap: Tap | None = None
    cover: Cover = SILENCE
    """Of digits that are blocked."""

    kind = TRANSCODE

    def pack(self) -> bytes:
        """As struct transcode_stage. Raises KeyError for an unknown codec, ValueError for digits that are none."""
        return (
            _TRANSCODER.pack(
                self._receiver(),
                sender_settings(self.sent),
                _mode(self.cover, self.block_digits),
                self.mute,
                self.fill,
                *_cover(self.cover),
            )
            + _orders(self.clip, self.dial)
            + (self.tap.pack() if self.tap else bytes(_TAP.size))
        )

    def _receiver(self) -> bytes:
        codec, rate = self.heard, self.sent.sound_rate
        types = codec.payload_type, _type(codec.events), _type(codec.noise)
        return _RECEIVER.pack(_codec(codec), rate, codec.event_rate, NUMBERS[codec.name], *types, self.listen)


@dataclass(frozen=True, slots=True)
class InsertStage:
    """Passes on what the leg sends as `codec` and others, with clip and digits put in its place."""

    codec: CodecSettings
    block_digits: bool = False
    mute: bool = False
    """What the leg says becomes silence."""
    deaf: bool = False
    """Nothing of the leg passes."""
    own: bool = False
    """Never under the leg's SSRC: the leg has encrypted other packets under the same key."""
    clip: Clip | None = None
    dial: Dial | None = None
    tap: Tap | None = None
    cover: Cover = SILENCE
    """Of digits that are blocked."""

    kind = INSERT

    def pack(self) -> bytes:
        """As struct insert_stage. Raises as TranscodeStage.pack."""
        return (
            _INSERTER.pack(
                sender_settings(self.codec),
                _mode(self.cover, self.block_digits),
                self.mute,
                self.deaf,
                self.own,
                *_cover(self.cover),
            )
            + _orders(self.clip, self.dial)
            + (self.tap.pack() if self.tap else bytes(_TAP.size))
        )


@dataclass(frozen=True, slots=True)
class TapStage:
    """Passes packets on as they are, and copies of them to the recorder; takes them in where they go to nobody."""

    tap: Tap | None

    kind = TAP

    def pack(self) -> bytes:
        """As struct tap_stage."""
        return self.tap.pack() if self.tap else bytes(_TAP.size)


@dataclass(frozen=True, slots=True)
class ReportsStage:
    """Passes packets on as they are; RTCP of both sides ends here, and each is reported to. clock: of RTP, Hz."""

    clock: int
    tap: Tap | None = None

    kind = REPORTS

    def pack(self) -> bytes:
        """As struct reports_stage."""
        return (self.tap.pack() if self.tap else bytes(_TAP.size)) + _CLOCK.pack(self.clock)


Stage = TranscodeStage | InsertStage | TapStage | ReportsStage


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage counted. Times are milliseconds but for `codec_seconds`."""

    received: int
    late: int
    lost: int
    duplicates: int
    discarded: int
    refused: int
    restarts: int
    played: int
    decoded: int
    concealed: int
    recovered: int
    silent: int
    shortened: int
    lengthened: int
    malformed: int
    unknown: int
    sent: int
    sent_bytes: int
    left_out: int
    digits: int
    codec_seconds: float
    delay: int
    """What the jitter buffer asks for."""
    copied: int
    copies_dropped: int
    rides: bool
    """Numbers of the leg's packets are used up for what is put in, or were and have still to come."""

    @property
    def concealed_ratio(self) -> float:
        """Share of the sound that was made up, as a judgement of quality wants it; 0 where nothing was heard."""
        heard = self.decoded + self.concealed
        return self.concealed / heard if heard else 0.0

    @classmethod
    def unpack(cls, data: bytes) -> StageReport:
        """From struct stage_report. Raises struct.error if it is none."""
        jitter, received, sent, nanoseconds, delay, copied, dropped, rides = _REPORT.unpack(data)
        counts: list[Any] = [*_JITTER.unpack(jitter), *_RECEIVED.unpack(received), *_SENT.unpack(sent)]
        counts += [nanoseconds / 1e9, delay, copied, dropped, bool(rides)]
        return cls(*counts)


@dataclass(frozen=True, slots=True)
class DigitHeard:
    """A digit that a leg sent. duration: ms. in_band: heard as a tone."""

    digit: str
    duration: int
    in_band: bool


@dataclass(frozen=True, slots=True)
class ClipPlayed:
    """A clip has been played to its end."""

    number: int


News = DigitHeard | ClipPlayed


def read_news(data: bytes) -> News:
    """What a transcoding stage tells, from struct transcoder_news. Raises struct.error or IndexError if it is none."""
    kind, duration, digit, in_band, number = _NEWS.unpack(data)
    return DigitHeard(DIGITS[digit], duration, bool(in_band)) if kind == 1 else ClipPlayed(number)


def sender_settings(codec: CodecSettings) -> bytes:
    """As struct sender_settings; SSRC, time stamp and sequence number are drawn by the stage."""
    types = codec.payload_type, _type(codec.events), _type(codec.noise)
    return _SENDER.pack(_codec(codec), 0, 0, codec.event_rate, 0, NUMBERS[codec.name], codec.ptime, *types)


def _orders(wanted: Clip | None, digits: Dial | None) -> bytes:
    clip, dial = wanted or Clip(0, "", 0), digits or Dial(0, "")
    if len(dial.digits) > MOST_DIGITS:
        raise ValueError(f"{len(dial.digits)} digits; send at most {MOST_DIGITS} at once")
    numbers = bytes(DIGITS.index(digit) for digit in dial.digits.upper())
    played = clip.number, clip.times, clip.start
    dialled = dial.number, dial.ms, dial.pause, len(numbers), dial.volume
    return _ORDERS.pack(*played, *dialled, clip.mixed, numbers, clip.path.encode())


def _mode(cover: Cover, block: bool) -> int:
    return _MODES[cover.mode] if block else _PASS


def _cover(cover: Cover) -> tuple[int, int, int]:
    return cover.frequency, cover.digit, cover.volume


def _type(payload_type: int | None) -> int:
    return NO_TYPE if payload_type is None else payload_type


def _codec(codec: CodecSettings) -> bytes:
    return _CODEC.pack(codec.rate, codec.bitrate, codec.complexity, codec.dtx, codec.fec, codec.loss)
