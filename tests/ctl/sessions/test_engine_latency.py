# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller has an engine do against deep sleep, and what it tells of it."""

import json
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ctl.sessions.engine_latency import OLDER, LatencyBound
from media.client import EngineClient, EngineProcess
from media.control_socket import ControlSocket
from media.flows import EngineFlow
from media.wire_opener import LATENCY_DEVICE
from tests.patience import PATIENCE

BOUND = 100_000
"""More than any test measures by, so that holding it disturbs none."""
NOWHERE = Path("/nowhere")


@pytest.fixture
def engine(tmp_path):
    process = EngineProcess.ensure(tmp_path / "engine.sock", arguments=["--workers", "1"], timeout=PATIENCE)
    yield process
    process.stop()
    process.close()


def device_open(process):
    return LATENCY_DEVICE in [entry.readlink() for entry in Path(f"/proc/{process.pid}/fd").iterdir()]


def test_it_is_held_for_flows_and_let_go_by_a_controller_that_wants_none(engine):
    bound = LatencyBound(BOUND, NOWHERE)
    bound.look(engine.client, engine.pid)
    assert (bound.held, bound.description) == (False, "processors wake within 100000 µs once there are flows")
    a, b = ("127.77.1.8", 4000), ("127.77.2.8", 4000)
    engine.client.set_pair(EngineFlow("127.77.0.8", 30000, *a, *b), EngineFlow("127.77.0.8", 30002, *b, *a))
    until(lambda: (bound.look(engine.client, engine.pid), bound.held)[1])
    assert bound.description == "processors wake within 100000 µs"
    assert device_open(engine)
    without = LatencyBound(-1, NOWHERE)
    without.look(engine.client, engine.pid)
    assert (without.held, without.trouble, without.description) == (False, "", "")
    assert not device_open(engine), "the engine of a controller that was told otherwise"


def test_what_keeps_it_from_that_is_told_once_and_again_when_it_is_over(tmp_path):
    """An engine of before the key, and in its place one that knows it."""
    refusal = json.dumps({"ok": False, "code": "bad-request", "text": "unknown op; known are ping"}).encode()
    with Answering(tmp_path / "engine.sock", refusal) as path, EngineClient(path) as client, capture_logs() as lines:
        bound, without = LatencyBound(BOUND, NOWHERE), LatencyBound(-1, NOWHERE)
        for _ in range(4):
            bound.look(client, 1)
            without.look(client, 1)
        assert (bound.held, bound.description) == (False, f"processors may sleep deeply: {OLDER}")
        assert (without.trouble, without.description) == ("", "")
    with Answering(tmp_path / "engine.sock", b'{"ok":true,"held":true,"trouble":""}') as path, capture_logs() as later:
        with EngineClient(path) as client:
            bound.look(client, 2)
        assert bound.held
    told = [(each["log_level"], each["event"], each.get("why")) for each in (*lines, *later)]
    assert told == [
        ("warning", "processors are not kept from deep sleep", OLDER),
        ("info", "processors are kept from deep sleep while the engine has flows", None),
    ]


def test_an_engine_that_is_gone_is_somebody_elses_to_tell(tmp_path):
    bound = LatencyBound(BOUND, NOWHERE)
    with EngineClient(tmp_path / "engine.sock") as client, capture_logs() as lines:
        bound.look(client, 1)
    assert (bound.held, bound.trouble, lines) == (False, "", [])


class Answering:
    """Somebody at a control socket who has one answer to everything."""

    def __init__(self, path, answer):
        self._socket = ControlSocket(path)
        self._socket.answer = lambda _: answer
        self._path, self._over = path, False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self._path

    def __exit__(self, *_):
        self._over = True
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._over:
            self._socket.wait(0.02)


def until(condition, patience=30.0):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < patience
        time.sleep(0.02)
