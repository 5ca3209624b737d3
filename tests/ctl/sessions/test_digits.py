# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in each form to each form: by telephone event, by INFO, as tones; blocked, and where a leg has no events."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ctl.sessions.digits import Digits
from ctl.sessions.relay_choice import Facing
from media.flows import EngineEvent
from media.stages import INSERT, TRANSCODE, CodecSettings, InsertStage, TranscodeStage
from sip.effects import Pressed
from tests.ctl.sessions.test_playback import Room
from tests.ctl.sessions.test_treatment import PCMU, paths, stages
from tests.ctl.world import ALICE, AUDIO, BOB, World, sdp

SILENT = AUDIO.replace(" 101\r\na=rtpmap:101 telephone-event/8000", "")
"""Audio without telephone events."""


class Desk(Room):
    """Alice calls Bob, whom digits reach in one form or another; what he is told by INFO."""

    def __init__(self, world: World, cache: Path) -> None:
        super().__init__(world, cache)
        self.informed: list[tuple[str, str, str, int]] = []
        self.digits = Digits(world.sessions, self.playback, self.watch, lambda *told: self.informed.append(told))

    def call(self, bob: str, *, a: str = AUDIO, b: str = AUDIO) -> tuple[bytes, bytes]:
        sessions = self.world.sessions
        to_bob = sessions.offer("call", "a", sdp(ALICE, a), ALICE, 0.0, toward=BOB, there=Facing(dtmf=bob))
        return to_bob, sessions.answer("call", "b", sdp(BOB, b), BOB, 0.0)

    def press(self, leg: str, digit: str, ms: float | None = None) -> bool:
        """A key by INFO; whether the other leg does not get that INFO."""
        return self.digits.pressed(Pressed("call", leg, digit, ms))

    def event(self, leg: str, digit: int) -> None:
        """A stage tells a digit of a leg."""
        local = next(view.local for view in self.world.sessions.query("call") if view.leg == leg and view.kind == "rtp")
        data = struct.pack("=IIBBxxI", 1, 120, digit, 0, 0)
        self.watch.staged(EngineEvent(local, "stage", 1, data))


Scene = Callable[[Desk], Coroutine[Any, Any, None]]


@pytest.fixture
def run(world: World, tmp_path: Path) -> Callable[[Scene], None]:
    return lambda scene: asyncio.run(scene(Desk(world, tmp_path)))


def test_info_becomes_an_event_where_the_other_leg_has_events(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        desk.call("auto")
        assert desk.press("a", "5", 10.0)
        assert paths(desk.world) == {("engine", "digits sent")}
        kind, settings = stages(desk.world)["a"]
        assert kind == INSERT
        assert bytes([5]) in settings
        assert desk.informed == []

    run(scene)


@pytest.mark.parametrize(("form", "taken"), [("auto", False), ("rfc4733", True), ("info", False), ("inband", True)])
def test_info_to_a_leg_without_events(run: Callable[[Scene], None], form: str, taken: bool) -> None:
    async def scene(desk: Desk) -> None:
        desk.call(form, b=SILENT)
        assert desk.press("a", "5") == taken

    run(scene)


def test_events_become_info_and_reach_the_other_leg_by_nothing_else(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        desk.call("info")
        assert paths(desk.world) == {("engine", "digits by INFO")}
        assert stages(desk.world)["a"] == (INSERT, InsertStage(PCMU, block_digits=True).pack())
        assert "b" not in stages(desk.world)
        desk.event("a", 7)
        assert desk.informed == [("call", "b", "7", 120)]
        desk.event("b", 8)
        assert len(desk.informed) == 1, "alice gets events"
        desk.playback.block_digits("call", "a")
        desk.event("a", 9)
        assert len(desk.informed) == 1
        assert desk.press("a", "9"), "blocked, in this form too"

    run(scene)


def test_digits_sent_to_a_leg_go_by_info_one_after_the_other(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        desk.call("info")
        assert desk.playback.send_digits("call", "b", "12", ms=40, pause_ms=20) == 120
        while len(desk.informed) < 2:
            await asyncio.sleep(0.01)
        assert desk.informed == [("call", "b", "1", 40), ("call", "b", "2", 40)]

    run(scene)


def test_tones_are_made_for_and_heard_from_a_leg_that_has_them(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        _, to_alice = desk.call("inband", b=SILENT)
        assert b"telephone-event/8000" in to_alice, "she goes on by events"
        assert paths(desk.world) == {("engine", "digits as tones")}
        bare = CodecSettings("PCMU", 0, event_rate=8000)
        assert stages(desk.world)["a"] == (TRANSCODE, TranscodeStage(PCMU, bare).pack())
        back = CodecSettings("PCMU", 0, events=101, event_rate=8000)
        kind, settings = stages(desk.world)["b"]
        assert (kind, settings) == (TRANSCODE, TranscodeStage(back, back, listen=True).pack())

    run(scene)


def test_a_caller_who_has_no_events_may_want_info(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        sessions = desk.world.sessions
        to_bob = sessions.offer("call", "a", sdp(ALICE, SILENT), ALICE, 0.0, toward=BOB, here=Facing(dtmf="info"))
        assert b"telephone-event/8000" in to_bob, "he is offered them"
        to_alice = sessions.answer("call", "b", sdp(BOB, AUDIO.replace("101", "96")), BOB, 0.0)
        assert b"telephone-event" not in to_alice, "she did not offer them"
        desk.event("b", 3)
        assert desk.informed == [("call", "a", "3", 120)]

    run(scene)


def test_the_house_hears_every_key(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        desk.world.sessions.attend("call", "a", sdp(ALICE), ALICE, 0.0)
        assert desk.press("a", "1")

    run(scene)


def test_who_gets_digits_how_outlives_the_controller(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        desk.call("info")
        state = desk.world.sessions.snapshot("call")
        desk.world.restart()
        desk.world.sessions.restore("call", state)
        assert desk.world.sessions.dtmf("call", "b") == "info"
        assert paths(desk.world) == {("engine", "digits by INFO")}

    run(scene)
