# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings in S3: by the recorder's own process into a bucket over HTTP, and out of it by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from media.engine import Engine
from media.recorder_client import RecorderClient
from media.recording_settings import SUFFIX, LegCodecs, RecorderError, RecordingSettings
from media.recording_store import Store, fetch, open_store, stored
from media.spawn import spawn
from media.stages import TAP, Tap, TapStage
from tests.media.conftest import Call
from tests.media.dsp import Codec, Side, packets, sine
from tests.media.s3 import Bucket
from tests.patience import PATIENCE

KEY = "ab" * 32
URL = "s3://calls/north/recordings"
LEGS = (LegCodecs({0: "PCMU"}), LegCodecs({0: "PCMU"}))
PCMU = Side(Codec("PCMU"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    bucket = Bucket()
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    yield bucket
    bucket.away()


@pytest.fixture
def client(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecorderClient]:
    monkeypatch.setenv("VOXDP_RECORDING__KEY", KEY)
    arguments = ["--spool", str(tmp_path / "spool"), "--store", URL]
    pid = spawn(tmp_path / "rec", sys.executable, arguments, tmp_path / "log", 10.0, "media.recorder_process")
    with RecorderClient(tmp_path / "rec") as client:
        yield client
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


class Talk:
    """A call through the engine, recorded as often as is asked for; all that Alice says reaches Bob."""

    def __init__(self, client: RecorderClient, engine: Engine, call: Call, taps: Path) -> None:
        self._client, self._engine, self._call, self._taps = client, engine, call, taps
        self._sequence = 0

    def record(self) -> RecordingSettings:
        wanted = RecordingSettings(uuid4(), LEGS, layout="a", about={"call": "a call"})
        self._client.start(wanted)
        key = self._call.facing_a.key
        self._engine.set_stage(key, TAP, TapStage(Tap(wanted.id, 0, str(self._taps))).pack())
        said = list(packets(PCMU, sine(8000, 440, 1000), sequence=self._sequence, timestamp=160 * self._sequence))
        self._sequence += len(said)
        for packet in said:
            self._call.a.send(packet.bytes(), key)
            assert self._call.b.receive()[0] == packet.bytes()
            time.sleep(0.02)
        self._client.stop(wanted.id)
        return wanted


def eventually(done: Callable[[], object], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def spooled(folder: Path, size: int = 3000) -> UUID:
    """A file as the recorder leaves it; what is in it is nothing to the store."""
    recording = uuid4()
    folder.mkdir(exist_ok=True)
    (folder / f"{recording}{SUFFIX}").write_bytes(os.urandom(size))
    return recording


def command(tmp_path: Path, *arguments: str) -> str:
    file = tmp_path / "voxdp.toml"
    file.write_text(f'[recording]\nurl = "{URL}"\n')
    asked = [sys.executable, "-m", "ctl.cli", "-c", str(file), "recording", *arguments]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_call_is_recorded_into_the_bucket_and_played_from_there(client, bucket, tmp_path, engine, call):
    talk = Talk(client, engine, call.open(engine), tmp_path / "rec.tap")
    wanted = talk.record()
    eventually(lambda: bucket.objects)
    eventually(lambda: not list((tmp_path / "spool").iterdir()))
    ((key, sealed),) = bucket.objects.items()
    day = time.strftime("%Y/%m/%d", time.gmtime())
    assert key == f"north/recordings/{day}/{wanted.id}{SUFFIX}"
    assert b"RIFF" not in sealed
    (row,) = json.loads(command(tmp_path, "list", "-j"))
    assert (row["id"], row["bytes"]) == (str(wanted.id), len(sealed))
    told = json.loads(command(tmp_path, "verify", "-j", str(wanted.id)))
    assert (told["complete"], told["call"]) == (True, "a call")
    command(tmp_path, "export", str(wanted.id), "-w", str(tmp_path / "call.wav"))
    with wave.open(str(tmp_path / "call.wav")) as sound:
        assert sound.getnframes() / sound.getframerate() > 0.9
    assert bucket.refused == 0


def test_while_the_bucket_is_away_calls_go_on_and_the_next_recording_brings_the_last(
    client, bucket, tmp_path, engine, call
):
    talk = Talk(client, engine, call.open(engine), tmp_path / "rec.tap")
    bucket.away()
    first = talk.record()
    eventually(lambda: (tmp_path / "log").read_text().startswith(f"recording {first.id} stays in "))
    second = talk.record()
    bucket.open()
    third = talk.record()
    eventually(lambda: not list((tmp_path / "spool").iterdir()))
    assert {each.id for each in stored(open_store(URL))} == {first.id, second.id, third.id}
    assert len((tmp_path / "log").read_text().splitlines()) in (2, 4), "two that stayed, or one; and that they moved"
    for each in (first, second, third):
        command(tmp_path, "verify", str(each.id))


def test_a_long_recording_goes_up_in_parts(bucket, tmp_path):
    recording = spooled(tmp_path / "spool", 12 << 20)
    sealed = (tmp_path / "spool" / f"{recording}{SUFFIX}").read_bytes()
    store = Store(URL, tmp_path / "spool")
    store.keep([recording])
    store.close()
    assert bucket.requests.count("PUT partNumber") == 3
    assert fetch(open_store(URL), recording) == sealed


def test_what_the_store_could_not_take_waits_and_is_taken_later(bucket, tmp_path, capfd):
    spool = tmp_path / "spool"
    first, second = spooled(spool), spooled(spool)
    bucket.away()
    store = Store(URL, spool, again=0.1)
    store.keep([first, second])
    said = ""

    def waiting() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return said.count("\n") == 2

    eventually(waiting)
    for line, recording in zip(said.splitlines(), (first, second), strict=True):
        assert line.startswith(f"recording {recording} stays in {spool}: ")
        assert "error sending request" in line
    time.sleep(0.5)
    assert capfd.readouterr().err == "", "each try anew is no news"
    bucket.open()
    eventually(lambda: not list(spool.iterdir()))
    store.close()
    assert {each.id for each in stored(open_store(URL))} == {first, second}
    assert capfd.readouterr().err.splitlines() == [f"recording {each} is in the store now" for each in (first, second)]


@pytest.mark.parametrize(
    ("name", "value", "url", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", URL, "answers SignatureDoesNotMatch; see AWS_ACCESS_KEY_ID"),
        ("AWS_ACCESS_KEY_ID", "nobody", URL, "answers InvalidAccessKeyId; see AWS_ACCESS_KEY_ID"),
        ("AWS_REGION", "elsewhere-1", URL, "answers SignatureDoesNotMatch; see AWS_ACCESS_KEY_ID"),
        ("AWS_REGION", "eu-test-1", "s3://absent/x", "answers NoSuchBucket; make the bucket, or set recording.url"),
    ],
)
def test_a_store_that_refuses_is_told_in_a_line(bucket, tmp_path, monkeypatch, capfd, name, value, url, said):
    recording = spooled(tmp_path / "spool")
    monkeypatch.setenv(name, value)
    store = Store(url, tmp_path / "spool")
    store.take_over()
    store.close()
    (line,) = capfd.readouterr().err.splitlines()
    assert said in line
    with pytest.raises(RecorderError, match=said) as refused:
        list(stored(open_store(url)))
    assert "\n" not in str(refused.value)
    monkeypatch.setenv("AWS_REGION", "eu-test-1")
    for right, its in bucket.environment.items():
        monkeypatch.setenv(right, its)
    store = Store(URL, tmp_path / "spool")
    store.take_over()
    store.close()
    assert [each.id for each in stored(open_store(URL))] == [recording]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_url_of_no_store_is_refused(tmp_path):
    with pytest.raises(RecorderError, match=r"^recording\.url ftp://x/y: .*Unable to recognise URL[^\n]*$"):
        Store("ftp://x/y", tmp_path)
