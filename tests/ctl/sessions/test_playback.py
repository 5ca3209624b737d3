# SPDX-License-Identifier: GPL-3.0-or-later
"""Who hears what, who is told of its end, and what is refused, with the kernel and the engine played."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ctl.observe.media_watch import MediaWatch
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.playback import Playback
from ctl.sessions.prompts import Prompts
from ctl.sessions.treatment import NOTHING
from media.clips import write
from media.flows import EngineEvent
from tests.ctl.world import ALICE, AUDIO, BOB, World, sdp
from tests.media.dsp import sine


class Journal:
    """Keeps nothing."""

    def put(self, *_: object) -> None: ...
    def remove(self, *_: object) -> None: ...


class Room:
    """A playback over a world, and what its callers were told."""

    def __init__(self, world: World, cache: Path) -> None:
        for name in ("tone-music", "tone-ringback"):
            for rate in (8000, 16000):
                write(cache / f"{name}.{rate}", rate, sine(rate, 500, 100))
        self.world = world
        self.watch = MediaWatch(world.programmer, Journal(), lambda _: None)
        self.playback = Playback(world.sessions, Prompts(None, cache), self.watch)
        self.told: list[tuple[str, str, int, bool]] = []

    def ended(self, *told: Any) -> None:
        self.told.append(told)

    def play(self, **wanted: Any) -> int:
        return self.playback.play("call", "a", "tone/music", on_end=self.ended, **wanted).token

    def tell(self, number: int) -> None:
        """The engine says that a sound has ended, as a stage tells it."""
        data = struct.pack("=IIBBxxI", 2, 0, 0, 0, number)
        self.playback.staged(EngineEvent(("192.0.2.1", 20000), "stage", 2, data))

    def paths(self) -> set[str]:
        return {view.path for view in self.world.sessions.query("call") if view.kind == "rtp"}


Scene = Callable[[Room], Coroutine[Any, Any, None]]


@pytest.fixture
def run(world: World, tmp_path: Path) -> Callable[[Scene], Room]:
    def play(scene: Scene) -> Room:
        room = Room(world, tmp_path)
        asyncio.run(scene(room))
        return room

    return play


def test_a_sound_is_over_when_the_engine_says_so(run: Callable[[Scene], Room]) -> None:
    async def scene(room: Room) -> None:
        room.world.call()
        token = room.play()
        assert room.paths() == {"engine"}
        assert room.playback.playing("call", "a") == room.playback.playing("call", "a")
        room.tell(token + 1)
        assert room.told == []
        room.tell(token)
        room.tell(token)
        assert room.told == [("call", "a", token, True)]
        assert room.paths() == {"kernel"}
        assert room.playback.playing("call", "a") is None

    run(scene)


def test_the_next_sound_follows_without_the_other_leg_between(run: Callable[[Scene], Room]) -> None:
    async def scene(room: Room) -> None:
        room.world.call()
        seen: list[set[str]] = []

        def go_on(*_: object) -> None:
            room.playback.play("call", "a", "tone/ringback")
            seen.append(room.paths())

        token = room.playback.play("call", "a", "tone/music", on_end=go_on).token
        flows = dict(room.world.engine.flows)
        room.tell(token)
        assert seen == [{"engine"}]
        assert room.world.engine.flows == flows
        assert room.playback.playing("call", "a")

    run(scene)


def test_another_sound_a_stop_and_the_end_of_the_call_end_it(run: Callable[[Scene], Room]) -> None:
    async def scene(room: Room) -> None:
        room.world.call()
        first, second = room.play(), room.play(times=0)
        assert room.told == [("call", "a", first, False)]
        assert not room.playback.stop("call", "a", first)
        assert not room.playback.stop("call", "b")
        assert room.playback.stop("call", "a")
        assert room.told[1:] == [("call", "a", second, False)]
        assert room.paths() == {"kernel"}
        third = room.play()
        room.playback.send_digits("call", "a", "1")
        room.world.sessions.delete("call", 0.0)
        assert room.told[2:] == [("call", "a", third, False)]

    run(scene)


def test_a_sound_whose_end_nobody_tells_is_over_in_time(
    run: Callable[[Scene], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctl.sessions.playback.GRACE", 0.01)

    async def scene(room: Room) -> None:
        room.world.call()
        token = room.play()
        while not room.told:
            await asyncio.sleep(0.01)
        assert room.told == [("call", "a", token, True)]

    run(scene)


def test_digits_take_the_call_to_the_engine_for_as_long_as_they_take(
    run: Callable[[Scene], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctl.sessions.playback._SETTLE", 0.01)

    async def scene(room: Room) -> None:
        room.world.call()
        assert room.playback.send_digits("call", "b", "1#", ms=40, pause_ms=20) == 120
        room.playback.send_digits("call", "b", "a", ms=40, pause_ms=20)
        assert room.paths() == {"engine"}
        while room.paths() == {"engine"}:
            await asyncio.sleep(0.01)
        assert room.world.sessions.treatments("call") == NOTHING

    run(scene)


def test_who_is_not_heard_is_known(run: Callable[[Scene], Room]) -> None:
    async def scene(room: Room) -> None:
        room.world.call()
        room.playback.block_digits("call", "a")
        room.playback.silence("call", "ab")
        assert room.playback.digits_blocked("call") == {"a"}
        assert room.playback.silenced("call") == {"a", "b"}
        room.playback.block_digits("call", ())
        room.playback.silence("call", ())
        assert room.paths() == {"kernel"}

    run(scene)


def test_what_cannot_be_played_is_refused(run: Callable[[Scene], Room]) -> None:
    async def scene(room: Room) -> None:
        def refused(**wanted: Any) -> int:
            with pytest.raises(MediaRefused) as caught:
                room.playback.play(**{"call": "call", "leg": "a", "sounds": "tone/music", **wanted})
            return caught.value.status

        assert refused() == 481
        room.world.call()
        assert refused(call="other") == 481
        assert refused(sounds="nobody") == 404
        assert refused(sounds="tone/busy") == 425
        assert refused(sounds=()) == 400
        assert refused(times=-1) == 400
        for digits, more in (("", {}), ("x", {}), ("1" * 17, {}), ("1", {"ms": 1}), ("1", {"volume": 64})):
            with pytest.raises(MediaRefused, match="digit"):
                room.playback.send_digits("call", "a", digits, **more)
        amr = AUDIO.replace("RTP/AVP 0 101", "RTP/AVP 96 101") + "a=rtpmap:96 AMR/8000\r\n"
        room.world.call("other", a=sdp(ALICE, amr), b=sdp(BOB, amr))
        assert refused(call="other") == 488
        assert room.paths() == {"kernel"}

    run(scene)


def test_digits_of_every_call_are_told(run: Callable[[Scene], Room]) -> None:
    async def scene(room: Room) -> None:
        heard: list[tuple[Any, ...]] = []
        room.world.call()
        room.playback.on_digit(lambda *told: heard.append(told))
        local = next(view.local for view in room.world.sessions.query("call") if view.leg == "b" and view.kind == "rtp")
        data = struct.pack("=IIBBxxI", 1, 120, 11, 0, 0)
        room.watch.staged(EngineEvent(local, "stage", 1, data))
        assert heard == [("call", "b", "#", 120)]

    run(scene)
