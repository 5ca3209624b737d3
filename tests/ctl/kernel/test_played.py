# SPDX-License-Identifier: GPL-3.0-or-later
"""Music amid a call that the kernel carries before and after: whoever hears it gets no packet's number twice."""

import random
import select
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.treatment import Sound
from media.client import EngineClient, EngineProcess
from media.clips import write
from media.flows import EngineStatistics, FlowKey
from tests.ctl.kernel import wired
from tests.ctl.kernel.wired import ALICE, BOB, Relay, Stream, Wiring, follow
from tests.media.dsp import sine
from tests.patience import PATIENCE

TURNS = 40
PACKET = 0.02
SSRC, SILENCE = wired.rtp(1)[8:12], bytes(160)


class Slow:
    """An engine that, as on a busy machine, needs a while to give up what the kernel forwards already."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def remove(self, keys: Sequence[FlowKey]) -> Sequence[EngineStatistics]:
        time.sleep(1.5 * PACKET)
        return self._client.remove(keys)


@pytest.fixture
def engine(relay: Relay, state_dir: Path) -> Iterator[EngineProcess]:
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log", timeout=PATIENCE)
    kernel = KernelCarrier(relay.table, relay.hops)
    relay.programmer.use(kernel, EngineCarrier(Slow(process.client), kernel))
    relay.sessions.data_plane = replace(relay.sessions.data_plane, engine=True)
    yield process
    process.stop()
    process.close()


def play(relay: Relay, sound: Sound | None) -> None:
    relay.sessions.treat("call", relay.sessions.treatments("call").playing("a", sound))


def paths(relay: Relay) -> set[str]:
    return {view.path for view in relay.sessions.query("call") if view.kind == "rtp"}


def back_in_the_kernel(relay: Relay) -> None:
    deadline = time.monotonic() + PATIENCE
    while paths(relay) != {"kernel"}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        relay.programmer.let_go()


def heard(stream: Stream) -> list[bytes]:
    found = []
    while select.select([stream.receiver], [], [], 0)[0]:
        found.append(stream.receiver.recv(2048))
    return found


def test_music_ends_at_any_moment_and_no_number_comes_twice(
    wiring: Wiring, relay: Relay, engine: EngineProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wired, "INTERVAL", PACKET)
    write(state_dir / "music.8000", 8000, sine(8000, 500, 1000))
    dice, got = random.Random(7), []
    stream = Stream(wiring, relay.call(ALICE, BOB))
    try:
        assert follow(relay, stream, PATIENCE, lambda: True), "no packet reached Bob"
        for number in range(1, TURNS + 1):
            play(relay, Sound(number, str(state_dir / "music"), times=0))
            assert paths(relay) == {"engine"}
            time.sleep(5 * PACKET + dice.random() * PACKET)
            play(relay, None)
            back_in_the_kernel(relay)
            time.sleep(2 * PACKET)
            got += heard(stream)
    finally:
        stream.stop()
    alices = [packet for packet in got if packet[8:12] == SSRC]
    numbers = [struct.unpack_from("!H", packet, 2)[0] for packet in alices]
    assert sum(packet[12:] != SILENCE for packet in alices) > TURNS, "the music goes on in her stream"
    assert sum(packet[12:] == SILENCE for packet in alices) > TURNS, "and she before and after it"
    assert len(numbers) == len(set(numbers))
