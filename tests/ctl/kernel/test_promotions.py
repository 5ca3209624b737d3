# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that moves between kernel and engine in mid-sentence: nothing is lost, nothing comes twice or late.

A packet every 2 ms, ten times as many as a voice has. VOXDP_MOVES=1000 makes it a campaign.
"""

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ctl.sessions.carriers import KernelCarrier
from ctl.sessions.engine_carrier import EngineCarrier
from media.client import EngineProcess
from tests.ctl.kernel import wired
from tests.ctl.kernel.wired import ALICE, BOB, Relay, Stream, Wiring, follow

plain_rtp = wired.rtp
MOVES = int(os.environ.get("VOXDP_MOVES", "40"))
LIMIT = 0.06
PAUSE = 0.05
RARE = MOVES // 100


@pytest.fixture
def engine(relay: Relay, state_dir: Path) -> Iterator[EngineProcess]:
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log")
    kernel = KernelCarrier(relay.table, relay.hops)
    relay.programmer.use(kernel, EngineCarrier(process.client, kernel))
    yield process
    process.stop()
    process.close()


STAMP = struct.Struct("=d")
RECEIVED = struct.Struct("=qq")  # struct timespec
SO_TIMESTAMPNS = 35  # linux: asm-generic/socket.h


def stamped(sequence: int) -> bytes:
    """A packet that tells when it was sent."""
    return plain_rtp(sequence)[:12] + STAMP.pack(time.time()) + bytes(152)


class Ear:
    """What Bob hears: sequence numbers, and the longest time that a packet was on its way, by the kernel's clock."""

    def __init__(self, stream: Stream) -> None:
        self.sequences: list[int] = []
        self.delay = 0.0
        self._stream = stream
        self._over = threading.Event()
        stream.receiver.settimeout(0.1)
        stream.receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                packet, ((_, _, received),), _, _ = self._stream.receiver.recvmsg(2048, 64)
            except TimeoutError:
                continue
            seconds, nanoseconds = RECEIVED.unpack(received)
            (sent,) = STAMP.unpack_from(packet, 12)
            self.sequences.append(struct.unpack_from("!H", packet, 2)[0])
            self.delay = max(self.delay, seconds + nanoseconds / 1e9 - sent)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


def test_moves_in_mid_call_lose_nothing(
    wiring: Wiring, relay: Relay, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wired, "rtp", stamped)
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
    late = sum(one > other for one, other in itertools.pairwise(heard))
    print(f"{MOVES} moves, {len(heard)} packets, {missing} lost, {late} late, longest way {ear.delay * 1000:.1f} ms")
    assert len(heard) == len(set(heard))
    assert missing == 0
    assert late <= RARE, "the engine may still have one in hand when the kernel forwards the next"
    assert ear.delay <= LIMIT
    paths = [each.path for each in relay.sessions.delete("call", 0.0) if (each.leg, each.kind) == ("a", "rtp")]
    assert sorted(paths) == ["engine"] * (MOVES // 2) + ["kernel"] * (MOVES // 2 + 1)
