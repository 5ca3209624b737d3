# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's sound-processing C, function by function: its headers and the built module, without the engine."""

from __future__ import annotations

import itertools
import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import cffi

import media
from media.engine_build import TYPES, declarations

ROOM = Path(media.__file__).parent
HEADERS = (
    "codec.h", "g711.h", "plc.h", "correlate.h", "timescale.h", "resample.h", "noise.h", "talk.h", "tone.h", "dtmf.h",
    "rtp.h", "delay.h", "jitterbuffer.h", "receiver.h", "sender.h", "clip.h", "transcoder.h", "inserter.h", "nap.h",
)  # fmt: skip

ffi = cffi.FFI()
ffi.cdef(TYPES + "".join(declarations(ROOM / name) for name in HEADERS))
lib: Any = ffi.dlopen(str(next(ROOM.glob("_engine*.so"))))
CLOSERS = lib.transcoder_close, lib.inserter_close
"""Looked up now: a destructor that is the first to want them, amid another look-up, waits for cffi's lock for ever."""

NO_TYPE = 255
MS = 1_000_000
RATES = {"PCMU": 8000, "PCMA": 8000, "G722": 16000, "G729": 8000, "opus": 48000}
NUMBERS = {"PCMU": 0, "PCMA": 1, "G722": 2, "G729": 3, "opus": 4}
TYPES_OF = {"PCMU": 0, "PCMA": 8, "G722": 9, "G729": 18, "opus": 96}
CLOCKS = {**RATES, "G722": 8000}


def block(size: int) -> Any:
    """Memory of a coder, aligned as it wants."""
    assert size
    return ffi.new("char[]", size + 64)


def aligned(memory: Any) -> Any:
    address = int(ffi.cast("uintptr_t", memory))
    return ffi.cast("void *", (address + 63) // 64 * 64)


@dataclass(frozen=True)
class Codec:
    """A codec and how it is set. rate 0: its own."""

    name: str
    rate: int = 0
    ptime: int = 20
    dtx: bool = False
    fec: bool = False
    complexity: int = 5
    bitrate: int = 0
    loss: int = 0

    @property
    def sound_rate(self) -> int:
        return self.rate or RATES[self.name]

    @property
    def clock(self) -> int:
        return CLOCKS[self.name]

    def fill(self, place: Any) -> None:
        place.rate, place.bitrate, place.complexity = self.rate, self.bitrate, self.complexity
        place.dtx, place.fec, place.loss = self.dtx, self.fec, self.loss

    def settings(self) -> Any:
        settings = ffi.new("struct codec_settings *")
        self.fill(settings)
        return settings

    def facts(self) -> Any:
        facts = ffi.new("struct codec_facts *")
        assert lib.codec_look_up(NUMBERS[self.name], self.settings(), facts) == 0
        return facts


class Encoder:
    """Sound to payloads."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._memory = block(codec.facts().encoder_bytes)
        self.handle = lib.encoder_open(aligned(self._memory), NUMBERS[codec.name], codec.settings())
        assert self.handle != ffi.NULL

    def encode(self, pcm: array[int]) -> bytes:
        room = ffi.new("uint8_t[1500]")
        skipped, rest = ffi.new("unsigned *"), ffi.new("unsigned *")
        length = lib.encoder_encode(self.handle, samples(pcm), len(pcm), room, 1472, skipped, rest)
        assert length >= 0
        return bytes(ffi.buffer(room, length))

    def __del__(self) -> None:
        lib.encoder_close(self.handle)


class Decoder:
    """Payloads to sound; None is a packet that is missing."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._memory = block(codec.facts().decoder_bytes)
        self.handle = lib.decoder_open(aligned(self._memory), NUMBERS[codec.name], codec.settings())
        assert self.handle != ffi.NULL

    def decode(self, payload: bytes) -> array[int]:
        room = ffi.new("int16_t[5760]")
        count = lib.decoder_decode(self.handle, payload, len(payload), room, 5760)
        if count < 0:
            raise ValueError(count)
        return array("h", bytes(ffi.buffer(room, 2 * count)))

    def conceal(self, count: int, following: bytes | None = None) -> tuple[array[int], bool]:
        room = ffi.new("int16_t[]", count)
        carried = ffi.NULL if following is None else ffi.from_buffer(following)
        recovered = lib.decoder_conceal(self.handle, carried, len(following or b""), room, count)
        return array("h", bytes(ffi.buffer(room, 2 * count))), bool(recovered)

    def __del__(self) -> None:
        lib.decoder_close(self.handle)


@dataclass(frozen=True)
class Side:
    """What one leg's RTP is made of. payload types None: not negotiated."""

    codec: Codec
    events: int | None = None
    noise: int | None = None

    @property
    def payload_type(self) -> int:
        return TYPES_OF[self.codec.name]


def settings_of(
    heard: Side, sent: Side, *, listen: bool = False, digits: int = 0, mute: bool = False, sequence: int = 100
) -> Any:
    settings = ffi.new("struct transcoder_settings *")
    receiver, sender = settings.receiver, settings.sender
    heard.codec.fill(receiver.codec)
    sent.codec.fill(sender.codec)
    receiver.rate, receiver.number, receiver.payload_type = (
        sent.codec.sound_rate,
        NUMBERS[heard.codec.name],
        heard.payload_type,
    )
    receiver.listen = listen
    sender.number, sender.payload_type, sender.ptime = NUMBERS[sent.codec.name], sent.payload_type, sent.codec.ptime
    for place, side in ((receiver, heard), (sender, sent)):
        place.event_type = NO_TYPE if side.events is None else side.events
        place.noise_type = NO_TYPE if side.noise is None else side.noise
    sender.ssrc, sender.sequence, sender.timestamp = 0x5EED, sequence, 1000
    settings.digits, settings.mute = digits, mute
    return settings


@dataclass(frozen=True)
class Rtp:
    """A packet with its payload."""

    sequence: int
    timestamp: int
    payload: bytes
    payload_type: int
    ssrc: int = 7
    marker: bool = False

    def bytes(self) -> bytes:
        second = self.payload_type | (128 if self.marker else 0)
        head = struct.pack(
            ">BBHII", 0x80, second, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc & 0xFFFFFFFF
        )
        return head + self.payload

    @classmethod
    def parse(cls, data: bytes) -> Rtp:
        _, second, sequence, timestamp, ssrc = struct.unpack(">BBHII", data[:12])
        return cls(sequence, timestamp, data[12:], second & 127, ssrc, second >= 128)


@dataclass
class Direction:
    """One direction, with a clock of the test's and a list to send to."""

    settings: Any
    now: int = 10**12
    sent: list[tuple[int, Rtp]] = field(default_factory=list)
    news: list[tuple[int, int, int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._room = ffi.new("uint8_t[1500]")
        self._callbacks = (
            ffi.callback("uint8_t *(void *)", lambda _: self._room),
            ffi.callback("void(void *, size_t)", self._send),
            ffi.callback("void(void *, struct transcoder_news *)", self._tell),
        )
        self._sink = ffi.new("struct packet_sink *", [self._callbacks[0], self._callbacks[1], ffi.NULL])
        self._ear = ffi.new(
            "struct transcoder_ear *",
            [ffi.cast("void(*)(void *, struct transcoder_news *)", self._callbacks[2]), ffi.NULL],
        )
        self.handle = self._open()
        assert self.handle != ffi.NULL
        self.due = self.now

    def _open(self) -> Any:
        raise NotImplementedError

    def _tick(self) -> int:
        raise NotImplementedError

    def put(self, packet: Rtp | bytes) -> None:
        raise NotImplementedError

    def _send(self, _context: Any, length: int) -> None:
        self.sent.append((self.now, Rtp.parse(bytes(ffi.buffer(self._room, length)))))

    def _tell(self, _context: Any, news: Any) -> None:
        self.news.append((news.kind, news.digit, news.duration, bool(news.in_band)))

    def run(self, until: int) -> None:
        """Let time pass to `until`, ns."""
        while self.due <= until:
            self.now = max(self.now, self.due)
            self.due = self._tick()
        self.now = max(self.now, until)

    def feed(self, arrivals: Iterable[tuple[int, Rtp]], tail_ms: int = 300) -> list[Rtp]:
        """Packets at their times, ns after now; what was sent."""
        start = self.now
        for at, packet in arrivals:
            self.run(start + at)
            self.put(packet)
        self.run(self.now + tail_ms * MS)
        return [packet for _, packet in self.sent]


class Transcoder(Direction):
    """Through the codecs."""

    def _open(self) -> Any:
        self.bytes = lib.transcoder_bytes(self.settings)
        self._memory = block(self.bytes)
        return lib.transcoder_open(aligned(self._memory), self.settings, self.now)

    def _tick(self) -> int:
        return int(lib.transcoder_tick(self.handle, self.now, self._sink, self._ear))

    def put(self, packet: Rtp | bytes) -> None:
        data = packet if isinstance(packet, bytes) else packet.bytes()
        lib.transcoder_put(self.handle, data, len(data), self.now, self._ear)

    def report(self) -> Any:
        report = ffi.new("struct transcoder_report *")
        lib.transcoder_report(self.handle, report)
        return report

    def __del__(self) -> None:
        lib.transcoder_close(self.handle)


class Inserter(Direction):
    """Packets that pass as they are, but for what is put in."""

    def _open(self) -> Any:
        self._memory = block(lib.inserter_bytes(self.settings))
        return lib.inserter_open(aligned(self._memory), self.settings)

    def _tick(self) -> int:
        return int(lib.inserter_tick(self.handle, self.now, self._sink, self._ear))

    def put(self, packet: Rtp | bytes) -> None:
        data = packet if isinstance(packet, bytes) else packet.bytes()
        lib.inserter_put(self.handle, data, len(data), self.now, self._sink, self._ear)

    def play(self, path: bytes, times: int = 1, start_ms: int = 0) -> None:
        rate = self.handle.sender.rate
        assert lib.clip_open(ffi.addressof(self.handle.clip), path, rate, times) == 0
        self.handle.clip.number = 1
        lib.clip_skip(ffi.addressof(self.handle.clip), start_ms)
        self.due = self.now

    def stop(self) -> None:
        lib.clip_close(ffi.addressof(self.handle.clip))

    def dial(self, digit: int, ms: int = 100, pause: int = 0) -> None:
        digits = ffi.addressof(self.handle.sender.digits)
        assert lib.dtmf_queue(digits, ffi.new("struct dtmf_digit *", [digit, 10, ms, pause])) == 0
        self.due = self.now

    def __del__(self) -> None:
        lib.inserter_close(self.handle)


def clip_file(path: Path, rate: int, pcm: array[int]) -> bytes:
    """A clip as the engine maps it; its name as C wants it."""
    path.write_bytes(struct.pack("=IIII", 0x50434C56, rate, len(pcm), 0) + pcm.tobytes())
    return str(path).encode()


def samples(pcm: array[int]) -> Any:
    return ffi.cast("int16_t *", ffi.from_buffer(pcm)) if pcm else ffi.new("int16_t[1]")


def sine(rate: int, frequency: float, ms: int, dbov: float = -12.0) -> array[int]:
    peak = 32767 * 10 ** (dbov / 20)
    step = 2 * math.pi * frequency / rate
    return array("h", (round(peak * math.sin(step * i)) for i in range(rate * ms // 1000)))


@cache
def speech(rate: int, ms: int) -> array[int]:
    """Something like a voice: a pitch that glides, with harmonics in formants, syllables and pauses between them."""
    out, phase = array("h"), 0.0
    for i in range(rate * ms // 1000):
        t = i / rate
        pitch = 120 + 25 * math.sin(2 * math.pi * 0.7 * t)
        phase += 2 * math.pi * pitch / rate
        loud = max(0.0, math.sin(2 * math.pi * 2.1 * t)) ** 0.6
        value = 0.0
        for harmonic in range(1, 24):
            at = harmonic * pitch
            if at > 3400:
                break
            gain = 1 / (1 + ((at - 550) / 220) ** 2) + 0.5 / (1 + ((at - 1500) / 250) ** 2) + 0.02
            value += gain * math.sin(harmonic * phase)
        out.append(max(-32767, min(32767, round(5200 * loud * value))))
    return out


def packets(side: Side, pcm: array[int], *, sequence: int = 0, timestamp: int = 0, ssrc: int = 7) -> Iterator[Rtp]:
    """The sound as its leg sends it."""
    encoder, codec = Encoder(side.codec), side.codec
    count = codec.sound_rate * codec.ptime // 1000
    for number, start in enumerate(range(0, len(pcm) - count + 1, count)):
        payload = encoder.encode(pcm[start : start + count])
        ticks = timestamp + number * codec.clock * codec.ptime // 1000
        yield Rtp(sequence + number, ticks, payload, side.payload_type, ssrc)


def timed(stream: Iterable[Rtp], ptime: int, first: int = 0) -> list[tuple[int, Rtp]]:
    """Each packet at its time, ns."""
    return [(first + number * ptime * MS, packet) for number, packet in enumerate(stream)]


def heard(side: Side, stream: Sequence[Rtp]) -> array[int]:
    """What the other leg hears of packets without loss."""
    decoder, pcm = Decoder(side.codec), array("h")
    for packet in stream:
        if packet.payload_type == side.payload_type:
            pcm += decoder.decode(packet.payload)
    return pcm


def level(pcm: Sequence[int]) -> float:
    """dBov of a full-scale square wave."""
    power = sum(value * value for value in pcm) / max(1, len(pcm))
    return 10 * math.log10(power / 32768**2) if power else -127.0


def tone_level(pcm: Sequence[int], rate: int, frequency: float) -> float:
    """dBov of the sine of that frequency in the sound (Goertzel's way, by direct sums)."""
    step = 2 * math.pi * frequency / rate
    real = sum(value * math.cos(step * i) for i, value in enumerate(pcm))
    imaginary = sum(value * math.sin(step * i) for i, value in enumerate(pcm))
    power = 2 * (real * real + imaginary * imaginary) / len(pcm) ** 2
    return 10 * math.log10(power / 32768**2) if power else -127.0


def steady_level(pcm: Sequence[int], frequency: float) -> float:
    """As tone_level, the median over pieces of 25 ms.

    What comes late, for want of a CPU, is made up for. That breaks the tone: over the whole it would cancel itself out.
    """
    return median(tone_level(pcm[at : at + 200], 8000, frequency) for at in range(0, len(pcm) - 199, 200))


def largest_step(pcm: Sequence[int]) -> int:
    """Between two samples that follow each other: a click is a large one."""
    return max(abs(after - before) for before, after in itertools.pairwise(pcm))


def alignment(reference: array[int], pcm: array[int], most: int) -> int:
    """By how many samples `pcm` is later than `reference`."""
    window = min(len(reference), len(pcm) - most)
    best, lag = -math.inf, 0
    step = max(1, window // 4000)
    places = range(0, window, step)
    for candidate in range(most):
        score = sum(reference[i] * pcm[i + candidate] for i in places)
        if score > best:
            best, lag = score, candidate
    return lag


def noise_ratio(reference: array[int], pcm: array[int], lag: int) -> float:
    """Segmental signal-to-noise ratio in dB over pieces of 20 ms at 8 kHz in which somebody speaks."""
    ratios = []
    for start in range(0, min(len(reference), len(pcm) - lag) - 160, 160):
        clean = reference[start : start + 160]
        dirty = pcm[start + lag : start + lag + 160]
        signal = sum(value * value for value in clean)
        if signal < 160 * 300**2:
            continue
        noise = sum((a - b) ** 2 for a, b in zip(clean, dirty, strict=True)) or 1
        ratios.append(max(-10.0, min(60.0, 10 * math.log10(signal / noise))))
    return sum(ratios) / len(ratios)
