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


SEVERAL = "m=audio 4000 RTP/AVP {}\r\na=rtpmap:97 AMR/8000\r\na=rtpmap:101 telephone-event/8000\r\n"


@pytest.mark.parametrize(
    ("answer", "left"),
    [("0 8 101", "0 101"), ("8 0", "8"), ("97 8 0 101", "8 101"), ("9 8", "8"), ("97 101", "97 101")],
)
def test_of_several_codecs_one_is_left_where_digits_are_tones(
    run: Callable[[Scene], None], answer: str, left: str
) -> None:
    """For the engine decodes one, and who spoke another would not be heard."""

    async def scene(desk: Desk) -> None:
        said = SEVERAL.format(answer)
        _, to_alice = desk.call("inband", a=SEVERAL.format("0 8 97 101"), b=said)
        formats = next(line for line in to_alice.decode().split("\r\n") if line.startswith("m=")).split()[3:]
        assert [each for each in formats if each != "101"] == [each for each in left.split() if each != "101"]
        name = {"0": "PCMU", "8": "PCMA"}.get(left.split()[0])
        heard = {leg: plan.transcoding for plan in desk.world.programmer.rtp_of("call") for leg in plan.leg}
        assert {each.heard.name if each else None for each in heard.values()} == {name}

    run(scene)


def test_of_several_codecs_all_are_left_where_no_digit_is_a_tone(run: Callable[[Scene], None]) -> None:
    async def scene(desk: Desk) -> None:
        _, to_alice = desk.call("auto", a=SEVERAL.format("0 8 97 101"), b=SEVERAL.format("8 0 101"))
        assert b" RTP/AVP 8 0 101\r\n" in to_alice

    run(scene)


@pytest.mark.parametrize(("tones", "other"), [("a", "b"), ("b", "a")])
def test_tones_of_one_leg_and_info_of_the_other_become_each_other(
    run: Callable[[Scene], None], tones: str, other: str
) -> None:
    async def scene(desk: Desk) -> None:
        here, there = (Facing(dtmf="inband" if leg == tones else "info") for leg in "ab")
        sessions = desk.world.sessions
        sessions.offer("call", "a", sdp(ALICE, SILENT), ALICE, 0.0, toward=BOB, here=here, there=there)
        sessions.answer("call", "b", sdp(BOB, SILENT), BOB, 0.0)
        bare = CodecSettings("PCMU", 0, event_rate=8000)
        heard = TranscodeStage(bare, bare, listen=True, block_digits=True)
        assert stages(desk.world)[tones] == (TRANSCODE, heard.pack()), "told, and not in the sound as well"
        desk.event(tones, 7)
        assert desk.informed == [("call", other, "7", 120)]
        before = stages(desk.world)[other]
        assert desk.press(other, "5"), "it goes on as a tone, not as INFO"
        assert stages(desk.world)[other] != before
        desk.event(other, 5)
        assert len(desk.informed) == 1

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
