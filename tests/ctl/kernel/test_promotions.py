# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that moves between kernel and engine in mid-sentence: nothing is lost, nothing comes twice or late.

VOXDP_MOVES=1000 makes it a campaign.
"""

import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ctl.carriers import EngineCarrier, KernelCarrier
from media.client import EngineProcess
from tests.ctl.kernel.wired import ALICE, BOB, Relay, Stream, Wiring, follow

MOVES = int(os.environ.get("VOXDP_MOVES", "40"))
LIMIT = 0.06
PAUSE = 0.05


@pytest.fixture
def engine(relay: Relay, state_dir: Path) -> Iterator[EngineProcess]:
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log")
    kernel = KernelCarrier(relay.table, relay.hops)
    relay.programmer.use(kernel, EngineCarrier(process.client, kernel))
    yield process
    process.stop()
    process.close()


class Ear:
    """What Bob hears: sequence numbers, and the longest time between two of them."""

    def __init__(self, stream: Stream) -> None:
        self.sequences: list[int] = []
        self.gap = 0.0
        self._stream = stream
        self._over = threading.Event()
        stream.receiver.settimeout(0.1)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        last = 0.0
        while not self._over.is_set():
            try:
                packet = self._stream.receiver.recv(2048)
            except TimeoutError:
                continue
            now = time.monotonic()
            self.sequences.append(struct.unpack_from("!H", packet, 2)[0])
            self.gap = max(self.gap, now - last if last else 0.0)
            last = now

    def close(self) -> None:
        self._over.set()
        self._thread.join()


def test_moves_in_mid_call_lose_nothing(wiring: Wiring, relay: Relay, engine: EngineProcess) -> None:
    here = relay.sessions.data_plane
    there = replace(here, attached=frozenset(), engine=True)
    stream = Stream(wiring, relay.call(ALICE, BOB))
    assert follow(relay, stream, 5.0, lambda: True), "no packet reached Bob"
    ear = Ear(stream)
    try:
        for move in range(MOVES):
            relay.sessions.data_plane = here if move % 2 else there
            assert relay.sessions.replan() == {}
            time.sleep(PAUSE)
        time.sleep(0.1)
    finally:
        ear.close()
        stream.stop()
    heard = [number - ear.sequences[0] & 0xFFFF for number in ear.sequences]
    missing = len(set(range(heard[-1] + 1)) - set(heard))
    print(f"{MOVES} moves, {len(heard)} packets, {missing} lost, longest gap {ear.gap * 1000:.1f} ms")
    assert heard == sorted(set(heard))
    assert missing <= MOVES // 100, "a packet may be in hand while its socket closes, hardly ever"
    assert ear.gap <= LIMIT
    paths = [each.path for each in relay.sessions.delete("call", 0.0) if (each.leg, each.kind) == ("a", "rtp")]
    assert sorted(paths) == ["engine"] * (MOVES // 2) + ["kernel"] * (MOVES // 2 + 1)
