# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages of engine flows over real sockets, and their settings byte by byte as the C sees them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import struct
import threading
import time
from array import array
from dataclasses import replace
from uuid import UUID

import pytest

from media import stages
from media.engine_build import declarations
from media.flows import EngineError
from media.stages import (
    INSERT,
    TAP,
    TRANSCODE,
    Clip,
    ClipPlayed,
    CodecSettings,
    Cover,
    Dial,
    DigitHeard,
    InsertStage,
    ReportsStage,
    StageReport,
    Tap,
    TapStage,
    TranscodeStage,
    read_news,
)
from tests.media.dsp import (
    ROOM,
    Codec,
    Rtp,
    Side,
    clip_file,
    ffi,
    heard,
    level,
    packets,
    sine,
    steady_level,
    tone_level,
)
from tests.patience import PATIENCE

pytestmark = pytest.mark.alone  # what is said here is paced by the clock
PCMU = CodecSettings("PCMU", 0, events=101)
PCMA = CodecSettings("PCMA", 8, events=101)
STAGE = TranscodeStage(PCMU, PCMA)
RECORDING = UUID(int=0x1234)

ffi.cdef("".join(declarations(ROOM / name) for name in ("tap.h", "stage_parts.h", "stage_transcode.h")))


def test_settings_are_read_in_c_as_they_were_said():
    opus = CodecSettings(
        "opus", 96, rate=48000, bitrate=24000, complexity=7, dtx=True, fec=True, loss=9, events=97, noise=13
    )
    opus = replace(opus, event_rate=8000)
    stage = TranscodeStage(
        replace(opus, events=None),
        replace(opus, ptime=40, rate=16000),
        listen=True,
        block_digits=True,
        mute=True,
        fill=True,
        clip=Clip(5, "/run/clip", 3, 1500, mixed=True),
        dial=Dial(6, "19*D", 120, 12, 75),
        tap=Tap(RECORDING, 1, "/run/recorder"),
        cover=Cover("tone", 9, 1700, 20),
    )
    data = stage.pack()
    assert len(data) == ffi.sizeof("struct transcode_stage")
    read = ffi.from_buffer("struct transcode_stage *", data)
    receiver, sender = read.transcoder.receiver, read.transcoder.sender
    codec = receiver.codec
    assert (codec.rate, codec.bitrate, codec.complexity, codec.dtx, codec.fec, codec.loss) == (48000, 24000, 7, 1, 1, 9)
    assert (receiver.rate, receiver.number, receiver.payload_type) == (16000, 4, 96)
    assert (receiver.event_type, receiver.noise_type, receiver.listen) == (255, 13, 1)
    assert (sender.codec.rate, sender.ptime, sender.number, sender.payload_type) == (16000, 40, 4, 96)
    assert (sender.event_type, sender.noise_type) == (97, 13)
    assert (receiver.event_rate, sender.event_rate) == (8000, 8000)
    assert (read.transcoder.digits, read.transcoder.mute, read.transcoder.fill) == (4, 1, 1)
    check_cover(read.transcoder)
    check_orders(read)


def test_settings_of_an_insertion_are_read_in_c_as_they_were_said():
    stage = InsertStage(
        replace(PCMU, ptime=30, event_rate=8000),
        *(True, False, True, True),
        clip=Clip(5, "/run/clip", 3, 1500, mixed=True),
        dial=Dial(6, "19*D", 120, 12, 75),
        tap=Tap(RECORDING, 1, "/run/recorder"),
        cover=Cover("digit", 9, 1700, 20),
    )
    data = stage.pack()
    assert len(data) == ffi.sizeof("struct insert_stage")
    read = ffi.from_buffer("struct insert_stage *", data)
    inserter, sender = read.inserter, read.inserter.sender
    assert (sender.number, sender.payload_type, sender.event_type, sender.noise_type) == (0, 0, 101, 255)
    assert (sender.ptime, sender.event_rate) == (30, 8000)
    assert (inserter.block, inserter.mute, inserter.deaf, inserter.own) == (2, 0, 1, 1)
    check_cover(inserter)
    check_orders(read)


def check_cover(settings) -> None:
    assert (settings.cover.digit, settings.cover.frequency, settings.cover.volume) == (9, 1700, 20)


def check_orders(read) -> None:
    orders = read.orders
    assert (orders.play, orders.play_times, orders.play_start, orders.play_mixed) == (5, 3, 1500, 1)
    assert ffi.string(orders.play_path) == b"/run/clip"
    assert (orders.dial, orders.digit_ms, orders.digit_pause) == (6, 120, 75)
    assert (orders.digit_count, orders.digit_volume) == (4, 12)
    assert bytes(orders.digits)[:4] == bytes([1, 9, 10, 15])
    assert (bytes(read.tap.name), read.tap.leg, read.tap.on) == (RECORDING.bytes, 1, 1)
    assert ffi.string(read.tap.path) == b"/run/recorder"


def test_reports_of_our_own_are_asked_for_as_c_reads_it():
    read = ffi.new("struct reports_stage *")
    data = ReportsStage(48000, Tap(RECORDING, 1, "/run/recorder")).pack()
    assert len(data) == ffi.sizeof("struct reports_stage")
    ffi.memmove(read, data, len(data))
    assert (read.clock, read.tap.leg, ffi.string(read.tap.path)) == (48000, 1, b"/run/recorder")


def test_reports_are_read_in_python_as_they_were_counted():
    report = ffi.new("struct stage_report *")
    report.transcoder.jitter.received, report.transcoder.jitter.restarts = 1, 7
    report.transcoder.receiver.played, report.transcoder.receiver.unknown = 8, 16
    report.transcoder.receiver.decoded, report.transcoder.receiver.concealed = 90, 10
    report.transcoder.sender.packets, report.transcoder.sender.digits = 17, 20
    report.transcoder.codec_ns, report.transcoder.target_ms = 2_500_000_000, 40
    report.tap.copied, report.tap.dropped = 21, 22
    read = StageReport.unpack(bytes(ffi.buffer(report)))
    assert (read.received, read.restarts, read.played, read.unknown, read.sent, read.digits) == (1, 7, 8, 16, 17, 20)
    assert (read.codec_seconds, read.delay, read.copied, read.copies_dropped) == (2.5, 40, 21, 22)
    assert read.concealed_ratio == pytest.approx(0.1)


def test_news_is_read_in_python_as_it_was_told():
    news = ffi.new("struct transcoder_news *", {"kind": 1, "duration": 120, "digit": 11, "in_band": 1})
    assert read_news(bytes(ffi.buffer(news))) == DigitHeard("#", 120, True)
    news.kind, news.number = 2, 9
    assert read_news(bytes(ffi.buffer(news))) == ClipPlayed(9)
    with pytest.raises(struct.error):
        read_news(b"")


def test_what_cannot_be_said_is_refused_at_once():
    with pytest.raises(ValueError, match="17 digits"):
        TranscodeStage(PCMU, PCMA, dial=Dial(1, "1" * 17)).pack()
    with pytest.raises(ValueError, match="substring not found"):
        TranscodeStage(PCMU, PCMA, dial=Dial(1, "x")).pack()


def talk(call, sound: array, first: int = 0, side: Side | None = None) -> None:
    """Leg a speaks, PCMU where nothing else is said, in real time, 20 ms by 20 ms."""
    began = time.monotonic()
    stream = packets(side or Side(Codec("PCMU")), sound, sequence=first, timestamp=160 * first)
    for number, packet in enumerate(stream, 1):
        call.a.send(packet.bytes(), call.facing_a.key)
        time.sleep(max(0.0, began + 0.02 * number - time.monotonic()))


def listen(call, ms: int) -> list[Rtp]:
    """What reaches leg b until it has been silent for that long."""
    call.b.socket.settimeout(ms / 1000)
    received = []
    try:
        while True:
            received.append(Rtp.parse(call.b.receive()[0]))
    except TimeoutError:
        return received


def converse(call, sound: array) -> list[Rtp]:
    speaker = threading.Thread(target=talk, args=(call, sound))
    speaker.start()
    received = listen(call, 400)
    speaker.join()
    return received


def report_of(engine, call) -> StageReport:
    return StageReport.unpack(engine.read_stage(call.facing_a.key))


def test_a_flow_is_transcoded(engine, call, settled):
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    received = converse(call, sine(8000, 440, 600))
    assert {packet.payload_type for packet in received} == {8}
    out = heard(Side(Codec("PCMA")), received)
    assert steady_level(out[800:4000], 440) == pytest.approx(-15, abs=1)
    report = report_of(engine, call)
    assert (report.received, report.played) == (30, 30)
    assert report.codec_seconds > 0
    assert settled(engine, call.facing_a, 30).packets == 30


@pytest.mark.parametrize(("codec", "ptime"), [("PCMU", 40), ("PCMU", 10), ("G722", 60)])
def test_a_flow_of_one_codec_leaves_in_packets_of_another_length(engine, call, codec, ptime):
    settings = CodecSettings(codec, 0 if codec == "PCMU" else 9)
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, TranscodeStage(settings, replace(settings, ptime=ptime)).pack())
    side, rate = Side(Codec(codec)), settings.sound_rate
    speaker = threading.Thread(target=talk, args=(call, sine(rate, 440, 600)), kwargs={"side": side})
    speaker.start()
    received = listen(call, 400)
    speaker.join()
    assert {after.timestamp - before.timestamp for before, after in itertools.pairwise(received)} == {8 * ptime}
    assert {len(packet.payload) for packet in received} == {8 * ptime}
    assert len(received) >= 600 // ptime - 2
    out = heard(Side(Codec(codec, ptime=ptime)), received)
    assert tone_level(out[rate // 10 : rate // 2], rate, 440) == pytest.approx(-15, abs=1)


@pytest.mark.parametrize("sent", [PCMA, CodecSettings("G722", 9)], ids=["code by code", "sound"])
def test_a_hold_leaves_no_hole_in_the_numbers(engine, call, sent):
    """Who is held hears nothing for a while, and then the same stream: later, but with nothing lost in between."""
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, TranscodeStage(PCMU, sent).pack())
    speaker = threading.Thread(target=talk, args=(call, sine(8000, 440, 900)))
    speaker.start()
    received = [Rtp.parse(call.b.receive()[0]) for _ in range(10)]
    engine.set_pair(replace(call.facing_a, held=True), call.facing_b)
    received += listen(call, 300)
    engine.set_pair(call.facing_a, call.facing_b)
    received += listen(call, 400)
    speaker.join()
    steps = [(b.sequence - a.sequence, b.timestamp - a.timestamp, b.marker) for a, b in itertools.pairwise(received)]
    (pause,) = [step for step in steps if step[1:] != (160, False)]
    assert {step[0] for step in steps} == {1}
    assert 250 * 8 < pause[1] < 800 * 8
    assert pause[2], "the first packet after a pause says so"


def test_a_digit_is_told_and_relayed(engine, call):
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    for number, (ticks, end) in enumerate([(160, 0), (320, 0), (480, 128), (480, 128), (480, 128)]):
        payload = bytes([7, end | 10]) + struct.pack(">H", ticks)
        call.a.send(Rtp(number, 0, payload, 101).bytes(), call.facing_a.key)
        time.sleep(0.02)
    received = listen(call, 300)
    assert {packet.payload[0] for packet in received if packet.payload_type == 101} == {7}
    (event,) = [event for event in engine.events() if event.type == "stage"]
    assert event.flow == call.facing_a.key
    assert read_news(event.data) == DigitHeard("7", 60, False)


def test_digits_are_dialled_and_a_clip_is_played_mid_call(engine, call, tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 900, 300)).decode()
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    played = replace(STAGE, clip=Clip(1, clip))
    engine.set_stage(call.facing_a.key, TRANSCODE, played.pack())
    out = heard(Side(Codec("PCMA")), listen(call, 300))
    assert tone_level(out[200:2200], 8000, 900) == pytest.approx(-15, abs=1)
    engine.set_stage(call.facing_a.key, TRANSCODE, replace(played, dial=Dial(1, "42")).pack())
    engine.set_stage(call.facing_a.key, TRANSCODE, replace(played, dial=Dial(1, "42")).pack())
    events = [packet for packet in listen(call, 400) if packet.payload_type == 101]
    assert [packet.payload[0] for packet in events if packet.marker] == [4, 2]
    assert [read_news(event.data) for event in engine.events() if event.type == "stage"] == [ClipPlayed(1)]


def test_a_codec_changes_mid_call_under_the_same_name(engine, call):
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    before = converse(call, sine(8000, 440, 200))
    engine.set_stage(call.facing_a.key, TRANSCODE, TranscodeStage(PCMU, CodecSettings("G722", 9)).pack())
    after = converse(call, sine(8000, 440, 200))
    assert {packet.payload_type for packet in after} == {9}
    assert {packet.ssrc for packet in before + after} == {before[0].ssrc}
    assert after[0].sequence == (before[-1].sequence + 1) % 65536


@pytest.mark.parametrize(
    "settings",
    [
        b"",
        bytes(347),
        replace(STAGE, heard=replace(PCMU, rate=48000)).pack(),
        replace(STAGE, clip=Clip(1, "x" * 200)).pack(),
    ],
)
def test_bad_settings_are_refused_and_change_nothing(engine, call, settings):
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    with pytest.raises(EngineError, match=r"stage|settings"):
        engine.set_stage(call.facing_a.key, TRANSCODE, settings)
    assert {packet.payload_type for packet in converse(call, sine(8000, 440, 100))} == {8}


def test_a_missing_clip_is_refused_and_the_call_goes_on(engine, call):
    call.open(engine)
    engine.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    with pytest.raises(EngineError):
        engine.set_stage(call.facing_a.key, TRANSCODE, replace(STAGE, clip=Clip(1, "/nonexistent/clip")).pack())
    assert {packet.payload_type for packet in converse(call, sine(8000, 440, 100))} == {8}


def stream_of(call, first: int, count: int) -> None:
    """Leg a speaks as the kernel would pass it on."""
    talk(call, sine(8000, 440, 20 * count), first)


def test_a_prompt_is_put_into_a_stream_that_stays_the_same(engine, call, tmp_path):
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 900, 300)).decode()
    stage = InsertStage(PCMU)
    call.open(engine)
    engine.set_stage(call.facing_a.key, INSERT, stage.pack())
    speaker = threading.Thread(target=stream_of, args=(call, 0, 60))
    speaker.start()
    time.sleep(0.3)
    engine.set_stage(call.facing_a.key, INSERT, replace(stage, clip=Clip(7, clip)).pack())
    received = listen(call, 400)
    speaker.join()
    assert {(packet.ssrc, packet.payload_type) for packet in received} == {(7, 0)}
    sequences = [packet.sequence for packet in received]
    assert sequences == sorted(set(sequences))
    assert len(sequences) >= 56
    out = heard(Side(Codec("PCMU")), received)
    prompt = max(tone_level(out[start : start + 800], 8000, 900) for start in range(0, len(out) - 800, 400))
    assert prompt == pytest.approx(-15, abs=1)
    assert tone_level(out[-1600:], 8000, 440) == pytest.approx(-15, abs=1)
    assert [read_news(event.data) for event in engine.events() if event.type == "stage"] == [ClipPlayed(7)]
    assert report_of(engine, call).sent >= 14
    engine.set_stage(call.facing_a.key, 0)
    call.a.send(Rtp(100, 16000, b"x" * 160, 0).bytes(), call.facing_a.key)
    assert call.b.receive()[0] == Rtp(100, 16000, b"x" * 160, 0).bytes()


def test_a_missing_clip_is_refused_and_the_stream_goes_on(engine, call):
    call.open(engine)
    engine.set_stage(call.facing_a.key, INSERT, InsertStage(PCMU).pack())
    with pytest.raises(EngineError):
        engine.set_stage(call.facing_a.key, INSERT, InsertStage(PCMU, clip=Clip(1, "/nonexistent/clip")).pack())
    with pytest.raises(EngineError):
        engine.set_stage(call.facing_a.key, INSERT, bytes(300))
    assert {packet.payload_type for packet in converse(call, sine(8000, 440, 100))} == {0}


def test_a_worker_that_was_replaced_plays_on_but_dials_nothing_twice(process, call, tmp_path):
    client = process.client
    clip = clip_file(tmp_path / "clip", 8000, sine(8000, 900, 200)).decode()
    call.open(client)
    client.set_stage(call.facing_a.key, INSERT, InsertStage(PCMU).pack())
    stage = InsertStage(PCMU, clip=Clip(1, clip, 0), dial=Dial(1, "5"))
    client.set_stage(call.facing_a.key, INSERT, stage.pack())
    assert Rtp.parse(call.b.receive()[0]).payload_type in (0, 101)
    os.kill(client.summary().processes[0], signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while not client.summary().restarts:
        assert time.monotonic() < until
    call.b.waiting()
    time.sleep(0.4)
    call.b.socket.setblocking(False)
    after = []
    with contextlib.suppress(BlockingIOError):
        while True:
            after.append(Rtp.parse(call.b.receive()[0]))
    assert after
    assert {packet.payload_type for packet in after} == {0}


def test_a_tap_copies_and_passes_on(engine, call, tmp_path, rtp):
    recorder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    recorder.bind(str(tmp_path / "recorder"))
    recorder.settimeout(PATIENCE)
    call.open(engine)
    tap = Tap(RECORDING, 1, str(tmp_path / "recorder"))
    engine.set_stage(call.facing_a.key, TAP, TapStage(tap).pack())
    call.a.send(rtp(1), call.facing_a.key)
    assert call.b.receive()[0] == rtp(1)
    name, at, leg, length = struct.unpack_from("=16sQII", copy := recorder.recv(4096))
    assert (UUID(bytes=name), leg, length, copy[32:]) == (RECORDING, 1, 172, rtp(1))
    assert abs(at - time.monotonic_ns()) < 2_000_000_000
    recorder.close()


def test_a_recorder_that_does_not_read_costs_the_call_nothing(engine, call, tmp_path, rtp):
    recorder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    recorder.bind(str(tmp_path / "recorder"))
    call.open(engine)
    engine.set_stage(call.facing_a.key, TAP, TapStage(Tap(RECORDING, 0, str(tmp_path / "recorder"))).pack())
    for number in range(1500):
        call.a.send(rtp(number), call.facing_a.key)
        assert call.b.receive()[0] == rtp(number)
    report = report_of(engine, call)
    assert report.copied + report.copies_dropped == 1500
    assert report.copies_dropped > 0
    recorder.close()


def test_a_recorder_that_is_not_there_costs_the_call_nothing(engine, call, tmp_path, rtp):
    call.open(engine)
    engine.set_stage(call.facing_a.key, TAP, TapStage(Tap(RECORDING, 0, str(tmp_path / "none"))).pack())
    call.a.send(rtp(), call.facing_a.key)
    assert call.b.receive()[0] == rtp()
    assert report_of(engine, call).copies_dropped == 1


def test_transcoding_goes_on_after_a_worker_was_killed(process, call):
    client = process.client
    call.open(client)
    client.set_stage(call.facing_a.key, TRANSCODE, STAGE.pack())
    before = converse(call, sine(8000, 440, 100))
    os.kill(client.summary().processes[0], signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while not client.summary().restarts:
        assert time.monotonic() < until
    after = converse(call, sine(8000, 440, 300))
    assert {packet.payload_type for packet in after} == {8}
    assert after[0].ssrc != before[0].ssrc
    assert level(heard(Side(Codec("PCMA")), after)) > -25


def test_the_numbers_of_stages_are_those_of_the_header():
    header = (ROOM / "stage_transcode.h").read_text()
    assert f"#define STAGE_TRANSCODE {stages.TRANSCODE} " in header
    assert f"#define STAGE_TAP	{stages.TAP}" in header
    assert f"#define STAGE_INSERT	{stages.INSERT}" in header
