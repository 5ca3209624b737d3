# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings: from copies of RTP to a file that can be played, sealed, and worth something even when cut short."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import struct
import sys
import time
import wave
from array import array
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from media._engine import ffi as engine_ffi

from media.recorder import Recorder
from media.recording_export import export
from media.recording_settings import (
    LegCodecs,
    RecorderError,
    RecordingSettings,
    settings_from_json,
    settings_to_json,
)
from media.recording_store import Store, fetch, open_store, stored
from media.sealed import Keys, SealedError, SealedReader
from media.spawn import spawn
from media.stages import TAP, Tap, TapStage
from tests.media.dsp import MS, Codec, Decoder, Rtp, Side, level, packets, sine, steady_level, timed, tone_level
from tests.patience import PATIENCE, unhindered

KEY = "ab" * 32
KEYS = Keys.parse(KEY)
START = 10**12
PCMU, PCMA, OPUS = Side(Codec("PCMU")), Side(Codec("PCMA")), Side(Codec("opus", 16000))
LEGS = (LegCodecs({0: "PCMU"}, 101, 13), LegCodecs({8: "PCMA", 0: "PCMU", 96: "opus"}, 101))


def settings(**changes: object) -> RecordingSettings:
    return replace(RecordingSettings(uuid4(), LEGS, about={"call": "a call"}), **changes)


class Bench:
    """A recorder with a clock of the test's, and a socket as taps have it."""

    def __init__(self, spool) -> None:
        self.spool = spool
        self.recorder = Recorder(spool, KEYS)
        self.ours, self.taps = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.now = START

    def feed(self, recording: UUID, arrivals: list[tuple[int, int, Rtp]], tail_ms: int = 300) -> None:
        """(ns since now, leg, packet)."""
        begun = self.now
        for at, leg, packet in sorted(arrivals, key=lambda one: one[0]):
            self.run(begun + at)
            data = packet.bytes()
            self.ours.send(struct.pack("=16sQII", recording.bytes, begun + at, leg, len(data)) + data)
            self.recorder.receive(self.taps.fileno())
        self.run(self.now + tail_ms * MS)

    def run(self, until: int) -> None:
        self.now = max(self.now, until)
        self.recorder.tick(self.now)
        self.recorder.drain()

    def stop(self, recording: UUID) -> bytes:
        self.recorder.stop(recording, self.now)
        until = time.monotonic() + PATIENCE
        while not self.recorder.finished():
            assert time.monotonic() < until
            time.sleep(0.001)
        return (self.spool / f"{recording}.vxr").read_bytes()

    def close(self) -> None:
        self.recorder.close(self.now)
        self.ours.close()
        self.taps.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "spool")
    yield bench
    bench.close()


def of_leg(leg: int, side: Side, pcm: array, first_ms: int = 0, **options: int) -> list[tuple[int, int, Rtp]]:
    stream = timed(packets(side, pcm, **options), side.codec.ptime, first_ms * MS)
    return [(at, leg, packet) for at, packet in stream]


def recorded(bench: Bench, wanted: RecordingSettings, ms: int = 1000, a: int = 440, b: int = 1000) -> bytes:
    bench.recorder.start(wanted, bench.now)
    both = of_leg(0, PCMU, sine(8000, a, ms)) + of_leg(1, PCMA, sine(8000, b, ms))
    bench.feed(wanted.id, both)
    return bench.stop(wanted.id)


def channels(sound: bytes) -> list[array]:
    with wave.open(io.BytesIO(sound)) as file:
        pcm = array("h", file.readframes(file.getnframes()))
        return [pcm[channel :: file.getnchannels()] for channel in range(file.getnchannels())]


def test_each_leg_is_a_channel(bench):
    made = export(recorded(bench, settings()), KEYS)
    left, right = channels(made.sound)
    assert len(left) == len(right) == pytest.approx(8 * 1300, abs=8 * 60)
    assert made.seconds == pytest.approx(1.3, abs=0.06)
    for channel, own, other in ((left, 440, 1000), (right, 1000, 440)):
        assert tone_level(channel[2000:7000], 8000, own) == pytest.approx(-15, abs=0.5)
        assert tone_level(channel[2000:7000], 8000, other) < -50
    assert made.complete
    assert (made.about["call"], made.about["layout"]) == ("a call", "stereo")


@pytest.mark.parametrize(("layout", "heard"), [("mixed", {440, 1000}), ("a", {440}), ("b", {1000})])
def test_layouts_of_one_channel(bench, layout, heard):
    (pcm,) = channels(export(recorded(bench, settings(layout=layout)), KEYS).sound)
    assert {tone for tone in (440, 1000) if tone_level(pcm[2000:7000], 8000, tone) > -20} == heard


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_sample_rates(bench, rate):
    made = export(recorded(bench, settings(rate=rate)), KEYS)
    left, _ = channels(made.sound)
    assert tone_level(left[rate // 4 : rate * 3 // 4], rate, 440) == pytest.approx(-15, abs=0.5)


def ogg_pages(data: bytes) -> list[tuple[int, int, bytes, list[bytes]]]:
    """(flags, granule, checksum as it should be, packets) of each page."""
    pages = []
    while data:
        assert data[:4] == b"OggS"
        flags, granule, *_, count = struct.unpack_from("<BqIIIB", data, 5)
        lacing, place, found, size = data[27 : 27 + count], 27 + count, [], 0
        for lace in lacing:
            size += lace
            if lace < 255:
                found.append(data[place : place + size])
                place, size = place + size, 0
        assert struct.unpack_from("<I", data, 22)[0] == ogg_sum(data[:22] + bytes(4) + data[26:place])
        pages.append((flags, granule, b"", found))
        data = data[place:]
    return pages


def ogg_sum(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1) ^ 0x04C11DB7 if total & 0x80000000 else total << 1
            total &= 0xFFFFFFFF
    return total


@pytest.mark.parametrize(("layout", "count"), [("mixed", 1), ("stereo", 2)])
def test_opus_in_ogg_can_be_decoded(bench, layout, count):
    """Our decoder is of one channel, which is both together."""
    made = export(recorded(bench, settings(layout=layout, format="opus", rate=16000), ms=1500), KEYS)
    pages = ogg_pages(made.sound)
    assert pages[0][3][0][:8] == b"OpusHead"
    assert pages[0][3][0][9] == count
    assert pages[1][3][0][:8] == b"OpusTags"
    assert (pages[0][0], pages[-1][0]) == (2, 4)
    decoder, pcm = Decoder(Codec("opus", 16000)), array("h")
    for _, _, _, found in pages[2:]:
        for packet in found:
            pcm += decoder.decode(packet)
    assert pages[-1][1] == 3 * len(pcm)
    for tone in (440, 1000):
        wanted = -15 if count == 1 else -21
        assert tone_level(pcm[8000:20000], 16000, tone) == pytest.approx(wanted, abs=1.5)


def test_a_leg_may_change_its_codec_at_any_packet(bench):
    wanted = settings(rate=16000)
    bench.recorder.start(wanted, bench.now)
    first = of_leg(1, PCMA, sine(8000, 700, 500))
    second = of_leg(1, OPUS, sine(16000, 700, 500), 500, sequence=25, timestamp=90_000)
    bench.feed(wanted.id, first + second)
    _, right = channels(export(bench.stop(wanted.id), KEYS).sound)
    for start in (3200, 11200):
        assert tone_level(right[start : start + 3200], 16000, 700) == pytest.approx(-15, abs=1)


def test_what_the_kernel_mirrors_is_recorded(bench):
    wanted = settings()
    bench.recorder.start(wanted, bench.now)
    bench.recorder.source(wanted.id, 70_000, 0)
    stream = timed(packets(PCMU, sine(8000, 440, 600)), 20)
    copies = engine_ffi.new("struct copy[]", len(stream))
    for place, (at, packet) in zip(copies, stream, strict=True):
        data = packet.bytes()
        place.time, place.flow, place.kind, place.length = START + at, 70_000, 3, len(data)
        place.captured = len(data)
        engine_ffi.memmove(place.bytes, data, len(data))
    for number, (at, _) in enumerate(stream):
        bench.recorder.mirror(int(engine_ffi.cast("uintptr_t", copies + number)), 1)
        bench.run(START + at)
    bench.run(bench.now + 300 * MS)
    left, right = channels(export(bench.stop(wanted.id), KEYS).sound)
    assert tone_level(left[1600:4400], 8000, 440) == pytest.approx(-15, abs=0.5)
    assert level(right) == -127
    bench.recorder.mirror(int(engine_ffi.cast("uintptr_t", copies)), len(stream))


def test_what_is_said_in_a_pause_is_left_out(bench):
    wanted = settings()
    bench.recorder.start(wanted, bench.now)
    bench.feed(wanted.id, of_leg(0, PCMU, sine(8000, 440, 500)), 100)
    bench.recorder.pause(wanted.id, True)
    assert bench.recorder.state(wanted.id)["paused"] is True
    bench.feed(wanted.id, of_leg(0, PCMU, sine(8000, 1700, 500), sequence=30, timestamp=4800), 100)
    bench.recorder.pause(wanted.id, False)
    bench.feed(wanted.id, of_leg(0, PCMU, sine(8000, 440, 500), sequence=60, timestamp=9600), 300)
    made = export(bench.stop(wanted.id), KEYS)
    left, _ = channels(made.sound)
    assert tone_level(left, 8000, 1700) < -35
    assert made.seconds == pytest.approx(1.5, abs=0.3)


def test_lost_packets_are_concealed_and_told(bench):
    wanted = settings()
    bench.recorder.start(wanted, bench.now)
    stream = of_leg(0, PCMU, sine(8000, 300, 1000))
    bench.feed(wanted.id, [one for number, one in enumerate(stream) if number % 10])
    state = bench.recorder.state(wanted.id)
    assert state["concealed_ms"] >= 60
    assert state["packets"] == 45
    bench.stop(wanted.id)


def test_codecs_that_were_not_named_are_told(bench):
    wanted = settings()
    bench.recorder.start(wanted, bench.now)
    bench.feed(wanted.id, [(0, 0, Rtp(1, 0, bytes(33), 3))])
    assert bench.recorder.state(wanted.id)["unknown_packets"] == 1
    changed = replace(wanted, legs=(LegCodecs({8: "PCMA"}), LEGS[1]))
    bench.recorder.change(changed)
    bench.feed(wanted.id, of_leg(0, PCMA, sine(8000, 440, 200)))
    assert bench.recorder.state(wanted.id)["unknown_packets"] == 1


def test_a_file_cut_short_anywhere_plays_up_to_there(bench):
    sealed = recorded(bench, settings(), ms=2500)
    whole = export(sealed, KEYS)
    dice = random.Random(1)
    for length in [len(sealed) - 1, *(dice.randrange(2000, len(sealed)) for _ in range(30))]:
        cut = export(sealed[:length], KEYS)
        assert not cut.complete
        assert whole.sound[44:].startswith(cut.sound[44:])
        if len(cut.sound) > 44:
            assert len(channels(cut.sound)) == 2


def test_a_file_that_was_changed_is_refused(bench):
    sealed = recorded(bench, settings())
    dice = random.Random(2)
    for _ in range(200):
        place = dice.randrange(len(sealed))
        changed = bytearray(sealed)
        changed[place] ^= 1 << dice.randrange(8)
        try:
            assert not export(bytes(changed), KEYS).complete, "a length may cut the file short, and no more"
        except SealedError:
            continue


def test_pieces_cannot_be_left_out_or_swapped(bench):
    sealed = recorded(bench, settings(), ms=3000)
    reader = SealedReader(io.BytesIO(sealed), KEYS)
    start = len(reader.header.encode())
    pieces, place = [], start
    while place < len(sealed):
        (length,) = struct.unpack_from(">I", sealed, place + 1)
        pieces.append(sealed[place : place + 5 + length])
        place += 5 + length
    assert len(pieces) > 4
    for order in ([0, 2, 1, 3], [0, 2], [0, 1, 1]):
        with pytest.raises(SealedError, match="was changed"):
            export(sealed[:start] + b"".join(pieces[number] for number in order), KEYS)


def test_nothing_of_a_call_is_readable_without_its_key(bench):
    sealed = recorded(bench, settings(about={"caller": "+15551234567"}))
    plain = export(sealed, KEYS).sound
    assert b"5551234567" not in sealed
    assert b"RIFF" not in sealed
    assert not any(plain[place : place + 16] in sealed for place in range(44, len(plain) - 16, 997))
    with pytest.raises(SealedError, match="is not there; add it"):
        export(sealed, Keys.parse("cd" * 32))


def test_each_tenant_has_its_own_key_and_old_keys_still_open(bench):
    keys = Keys.parse(f"acme {'11' * 32}\n# comment\nacme {'22' * 32}\ndefault {'33' * 32}\n")
    assert keys.in_use("acme") == bytes.fromhex("11" * 32)
    assert keys.in_use("other") == bytes.fromhex("33" * 32)
    bench.recorder._keys = Keys.parse(f"acme {'22' * 32}")
    sealed = recorded(bench, settings(tenant="acme"))
    assert export(sealed, keys).tenant == "acme"
    with pytest.raises(SealedError, match="is not there"):
        export(sealed, Keys.parse(f"default {'33' * 32}"))


@pytest.mark.parametrize("text", ["xyz", "ab", f"{KEY} {KEY} {KEY}", f"tenant {KEY}00"])
def test_keys_that_are_none_are_refused(text):
    with pytest.raises(SealedError, match="line 1"):
        Keys.parse(text)


def test_a_tenant_without_a_key_is_not_recorded(bench):
    bench.recorder._keys = Keys.parse(f"acme {KEY}")
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(8):
        with pytest.raises(RecorderError, match=r"no key for recordings of default; add one to recording.key_file"):
            bench.recorder.start(settings(), START)
    assert list(bench.spool.iterdir()) == [], "nothing is left to be taken for a recording"
    assert len(os.listdir("/proc/self/fd")) == opened


@pytest.mark.parametrize("data", [b"", b"RIFF", b"VOXREC1\n", b"VOXREC1\n\0\0\0\2{}", b"VOXREC1\n\xff\xff\xff\xff"])
def test_what_is_no_recording_is_refused(data):
    with pytest.raises(SealedError):
        export(data, KEYS)


def test_a_disk_that_fills_up_costs_the_rest_of_a_recording_and_the_next_one_is_whole(small_disk):
    bench = Bench(small_disk.directory / "spool")
    try:
        wanted, beside = settings(), settings()
        bench.recorder.start(wanted, bench.now)
        bench.feed(wanted.id, of_leg(0, PCMU, sine(8000, 440, 1500)))
        eventually(lambda: (bench.spool / f"{wanted.id}.vxr").stat().st_size > 30_000)
        small_disk.fill()
        with pytest.raises(RecorderError, match="No space left on device"):
            bench.recorder.start(beside, bench.now)
        assert [state["id"] for state in bench.recorder.states()] == [str(wanted.id)]
        assert [path.stem for path in bench.spool.glob("*.vxr")] == [str(wanted.id)]
        bench.feed(wanted.id, of_leg(0, PCMU, sine(8000, 440, 1500), sequence=75, timestamp=12_000))
        eventually(lambda: bench.recorder.state(wanted.id)["trouble"] == "No space left on device")
        made = export(bench.stop(wanted.id), KEYS)
        assert not made.complete
        left, _ = channels(made.sound)
        assert tone_level(left[2000:8000], 8000, 440) == pytest.approx(-15, abs=0.5)
        small_disk.empty()
        assert export(recorded(bench, beside), KEYS).complete
    finally:
        bench.close()


def eventually(done, seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_disk_that_hangs_costs_sound_and_no_time(bench):
    wanted = settings()
    bench.recorder.start(wanted, bench.now)
    recording = bench.recorder._recordings[wanted.id]
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", buffering=0) as hanging:
        recording.writer._file, recording.synced = hanging, float("inf")
        longest = 0.0
        for _ in range(600):
            began = unhindered()
            bench.run(bench.now + 100 * MS)
            longest = max(longest, unhindered() - began)
        assert longest < 0.25
        assert bench.recorder.state(wanted.id)["dropped_bytes"] > 0
        os.close(reader)
        until = time.monotonic() + PATIENCE
        while not bench.recorder.state(wanted.id)["trouble"]:
            assert time.monotonic() < until
            time.sleep(0.001)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../etc/passwd"},
        {"layout": "round"},
        {"legs": []},
        {"format": "mp3"},
        {"more": 1},
        {"legs": [{"codecs": {"0": "PCMX"}, "events": None, "noise": None}] * 2},
    ],
)
def test_hostile_settings_are_refused(change):
    with pytest.raises(RecorderError):
        settings_from_json({**settings_to_json(settings()), **change})


def test_settings_survive_json():
    wanted = settings(layout="mixed", format="opus", rate=16000, tenant="acme")
    assert settings_from_json(settings_to_json(wanted)) == wanted


def test_a_name_is_taken_once_and_never_followed(bench, tmp_path):
    wanted = settings()
    (tmp_path / "victim").write_text("precious")
    (bench.spool / f"{wanted.id}.vxr").symlink_to(tmp_path / "victim")
    with pytest.raises(RecorderError, match="exists"):
        bench.recorder.start(wanted, START)
    assert (tmp_path / "victim").read_text() == "precious"
    again = settings()
    bench.recorder.start(again, START)
    with pytest.raises(RecorderError):
        bench.recorder.start(again, START)


def test_questions_about_no_recording_are_refused(bench):
    for ask in (lambda: bench.recorder.state(uuid4()), lambda: bench.recorder.stop(uuid4(), START)):
        with pytest.raises(RecorderError, match="is under way"):
            ask()


def test_what_is_complete_moves_to_the_store(bench, tmp_path):
    wanted = settings()
    recorded(bench, wanted)
    url = f"file://{tmp_path}/store"
    store = Store(url, bench.spool)
    store.keep([wanted.id])
    store.close()
    (found,) = stored(open_store(url))
    assert found.id == wanted.id
    assert list(bench.spool.iterdir()) == []
    assert export(fetch(open_store(url), wanted.id), KEYS).complete
    with pytest.raises(RecorderError, match="see: voxdp recording list"):
        fetch(open_store(url), uuid4())


@pytest.fixture
def process(tmp_path, monkeypatch):
    monkeypatch.setenv("VOXDP_RECORDING__KEY", KEY)
    arguments = ["--spool", str(tmp_path / "spool"), "--store", f"file://{tmp_path}/store"]
    pid = spawn(tmp_path / "rec", sys.executable, arguments, tmp_path / "log", 10.0, "media.recorder_process")
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_a_killed_recorder_leaves_a_playable_file(process, tmp_path, engine, call):
    """An engine flow is tapped; the recorder dies by SIGKILL, and all but the last second is there."""
    from media.recorder_client import RecorderClient

    wanted = settings(layout="a")
    with RecorderClient(tmp_path / "rec") as client:
        client.start(wanted)
        call.open(engine)
        tap = Tap(wanted.id, 0, str(tmp_path / "rec.tap"))
        engine.set_stage(call.facing_a.key, TAP, TapStage(tap).pack())
        for packet in packets(PCMU, sine(8000, 440, 3000)):
            call.a.send(packet.bytes(), call.facing_a.key)
            time.sleep(0.02)
        (state,) = client.states()
        assert state["packets"] > 100
        assert state["dropped_bytes"] == 0
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    made = export((tmp_path / "spool" / f"{wanted.id}.vxr").read_bytes(), KEYS)
    assert not made.complete
    assert made.seconds > 1.9
    (pcm,) = channels(made.sound)
    assert steady_level(pcm[4000:12000], 440) == pytest.approx(-15, abs=1)


def test_a_recorder_without_a_key_does_not_start(tmp_path, monkeypatch):
    monkeypatch.delenv("VOXDP_RECORDING__KEY", raising=False)
    arguments = ["--spool", str(tmp_path / "spool"), "--store", f"file://{tmp_path}/store"]
    with pytest.raises(Exception, match=r"no key for recordings; set recording\.key_file"):
        spawn(tmp_path / "rec", sys.executable, arguments, tmp_path / "log", 10.0, "media.recorder_process")
