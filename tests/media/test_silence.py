# SPDX-License-Identifier: GPL-3.0-or-later
"""A pause that one leg leaves out of its stream, as the other one hears it: each codec's way toward each other's."""

from __future__ import annotations

import itertools
import random
from array import array
from dataclasses import replace
from functools import cache

import pytest

from tests.media.dsp import (
    MS,
    Codec,
    Decoder,
    Encoder,
    Rtp,
    Side,
    Transcoder,
    heard,
    level,
    packets,
    settings_of,
    sine,
    speech,
    timed,
    tone_level,
)

TALK, PAUSE = 600, 2400
STEADY = (2 * TALK + PAUSE) // 20
LEAVES_OUT = {
    "PCMU": Side(Codec("PCMU"), noise=13),
    "PCMA": Side(Codec("PCMA"), noise=13),
    "G722": Side(Codec("G722"), noise=13),
    "G729": Side(Codec("G729", dtx=True)),
    "opus": Side(Codec("opus", 16000, dtx=True)),
}
PCMU, PCMA, G722 = (Side(Codec(name)) for name in ("PCMU", "PCMA", "G722"))
SENDS_ALL = {name: Side(replace(side.codec, dtx=False)) for name, side in LEAVES_OUT.items()}


@cache
def stream_of(name: str) -> list[tuple[int, Rtp]]:
    """Tone, pause and tone again, as a leg sends them that leaves silence out; packets at their times."""
    side = LEAVES_OUT[name]
    rate, dice = side.codec.sound_rate, random.Random(3)
    hiss = array("h", (dice.randrange(-12, 13) for _ in range(rate * PAUSE // 1000)))
    pcm = sine(rate, 440, TALK) + hiss + sine(rate, 440, TALK)
    kept = [
        each
        for each in map(described(side), timed(packets(side, pcm), 20))
        if len(each[1].payload) > unsent_bytes(side)
    ]
    return [(at, replace(packet, sequence=number)) for number, (at, packet) in enumerate(kept)]


def described(side: Side):
    """What RFC 3389 puts in place of the pause; the others' encoders see to it themselves."""

    def put(each: tuple[int, Rtp]) -> tuple[int, Rtp]:
        at, packet = each
        into = at // MS - TALK
        if side.noise is None or not 0 <= into < PAUSE:
            return each
        return at, replace(packet, payload=b"" if into % 400 else bytes([70]), payload_type=side.noise)

    return put


def unsent_bytes(side: Side) -> int:
    """Opus says by a packet of one byte that nothing follows, and need not send it."""
    return 1 if side.codec.name == "opus" else 0


def played(side: Side, sent: list[Rtp]) -> array:
    """What is heard, by time stamps: what is left out is nothing."""
    rate, clock, decoder = side.codec.sound_rate, side.codec.clock, Decoder(side.codec)
    pcm = array("h", bytes(2 * rate * (2 * TALK + PAUSE + 1000) // 1000))
    for packet in sent:
        if packet.payload_type == side.payload_type:
            sound = decoder.decode(packet.payload)
            first = (packet.timestamp - sent[0].timestamp) * rate // clock
            pcm[first : first + len(sound)] = sound
    return pcm


@pytest.mark.parametrize("source", LEAVES_OUT)
@pytest.mark.parametrize(("target", "leaves_out"), [*itertools.product(LEAVES_OUT, (False, True))])
def test_a_pause_of_each_codec_is_a_pause_of_each_other(source: str, target: str, leaves_out: bool) -> None:
    side = (LEAVES_OUT if leaves_out else SENDS_ALL)[target]
    assert len(stream_of(source)) < 0.6 * STEADY
    transcoder = Transcoder(settings_of(LEAVES_OUT[source], side))
    sent = transcoder.feed(stream_of(source))
    assert {b.sequence - a.sequence for a, b in itertools.pairwise(sent)} == {1}
    steps = [(b.timestamp - a.timestamp) * 1000 // side.codec.clock for a, b in itertools.pairwise(sent)]
    if leaves_out:
        assert len(sent) < 0.8 * STEADY
        talks_again = [packet for packet, step in zip(sent[1:], steps, strict=True) if step > 20]
        assert talks_again, "it was left out"
        marked = [(packet.timestamp - sent[0].timestamp) * 1000 // side.codec.clock for packet in sent if packet.marker]
        assert any(abs(at - TALK - PAUSE) <= 100 for at in marked), "whoever hears it may adapt as talk begins"
    else:
        assert set(steps) == {20}
        assert len(sent) >= STEADY
    pcm, rate = played(side, sent), side.codec.sound_rate
    for begin in (300, TALK + PAUSE + 300):
        tone = pcm[rate * begin // 1000 : rate * (begin + 200) // 1000]
        assert tone_level(tone, rate, 440) == pytest.approx(-15, abs=1.5)
    assert level(pcm[rate * (TALK + 400) // 1000 : rate * (TALK + PAUSE - 200) // 1000]) < -60
    report = transcoder.report()
    assert (report.jitter.lost, report.jitter.late) == (0, 0)
    assert report.receiver.concealed <= 60
    assert report.receiver.silent > 0.75 * PAUSE


def test_silence_with_comfort_noise_stays_comfortable():
    source, target = Side(Codec("PCMU"), noise=13), Side(Codec("PCMA"), noise=13)
    hiss = random.Random(3)
    quiet = array("h", (hiss.randrange(-50, 51) for _ in range(16000)))
    transcoder = Transcoder(settings_of(source, target))
    talk = timed(packets(source, speech(8000, 1000)), 20)
    silence = timed(packets(source, quiet, sequence=50, timestamp=8000), 20, first=1000 * MS)
    sent = transcoder.feed(talk + silence)
    types = [packet.payload_type for packet in sent]
    assert types[:40].count(8) >= 35, "pauses between syllables are talk"
    assert types[-5:].count(13) >= 1
    assert len(types) < 120
    described = [packet for packet in sent if packet.payload_type == 13]
    assert 58 <= described[len(described) // 2].payload[0] <= 65
    assert len(described) >= 3


def test_comfort_noise_that_comes_is_heard():
    source = Side(Codec("PCMU"), noise=13)
    transcoder = Transcoder(settings_of(source, PCMA))
    stream = timed(packets(source, sine(8000, 440, 400)), 20)
    stream.append((400 * MS, Rtp(20, 3200, bytes([40]), 13)))
    stream.append((1400 * MS, Rtp(21, 11200, bytes([50]), 13)))
    resumed = packets(source, sine(8000, 440, 400), sequence=22, timestamp=8 * 2400)
    stream += timed(resumed, 20, first=2400 * MS)
    out = heard(PCMA, transcoder.feed(stream))
    assert level(out[6400:10000]) == pytest.approx(-40, abs=2)
    assert level(out[13600:17600]) == pytest.approx(-50, abs=2)
    assert tone_level(out[20800:22000], 8000, 440) == pytest.approx(-15, abs=1)
    assert transcoder.report().jitter.lost == 0


def test_annex_b_both_ways():
    """G.729 with silence left out becomes steady sound, and steady sound G.729 with silence left out."""
    silent = Side(Codec("G729", dtx=True))
    hiss = random.Random(3)
    pcm = array("h", (hiss.randrange(-60, 61) for _ in range(8000 * 4)))
    encoder, stream = packets_with_silence(silent, pcm), []
    for ticks, payload in encoder:
        stream.append((ticks // 8 * MS, Rtp(len(stream), ticks, payload, 18)))
    assert len(stream) < 350
    transcoder = Transcoder(settings_of(silent, PCMU))
    out = heard(PCMU, transcoder.feed(stream))
    assert len(out) > 8000 * 3
    assert level(out[-4000:]) == pytest.approx(level(pcm), abs=6)
    assert transcoder.report().receiver.silent > 500
    back = Transcoder(settings_of(PCMU, silent))
    sent = back.feed(timed(packets(PCMU, pcm), 20))
    assert {len(packet.payload) for packet in sent} >= {20}
    assert any(len(packet.payload) % 10 == 2 for packet in sent)
    assert len(sent) < 190


def packets_with_silence(side: Side, pcm: array) -> list[tuple[int, bytes]]:
    encoder = Encoder(side.codec)
    coded = [(start, encoder.encode(pcm[start : start + 80])) for start in range(0, len(pcm), 80)]
    return [(start, payload) for start, payload in coded if payload]


def test_opus_falls_silent_and_comes_back():
    source = Side(Codec("opus", 16000, dtx=True))
    pcm = speech(16000, 600) + array("h", [0] * 32000) + speech(16000, 600)
    talk = [(at, packet) for at, packet in timed(packets(source, pcm), 20) if packet.payload]
    stream = [(at, replace(packet, sequence=number)) for number, (at, packet) in enumerate(talk)]
    assert len(stream) < 120
    transcoder = Transcoder(settings_of(source, G722))
    sent = transcoder.feed(stream)
    assert len(sent) >= 150
    assert transcoder.report().jitter.lost <= 2
