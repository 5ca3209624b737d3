# SPDX-License-Identifier: GPL-3.0-or-later
"""Who carries a pair on after something was put into it, while the leg has not come beyond what that used up."""

import struct
from dataclasses import replace
from typing import Any

import pytest

from ctl.kernel.flowrule import FlowAction
from ctl.sessions.riding import riding_on
from ctl.sessions.treatment import Sound
from media.flows import EngineError
from media.stages import INSERT
from tests.ctl.world import World

SOUND = Sound(5, "/run/music", times=0)


class Riding:
    """A call in which leg b hears music, and what the engine says of the numbers of leg a."""

    def __init__(self, world: World, engine: Any) -> None:
        self.world, self.engine = world, engine
        world.call()
        self.play(SOUND)
        self.local = next(plan.local for plan in world.programmer.rtp_of("call") if plan.handling)

    def play(self, sound: Sound | None) -> None:
        self.world.sessions.treat("call", self.world.sessions.treatments("call").playing("a", sound))

    def rides(self, rides: bool) -> None:
        self.engine.reports[self.local] = struct.pack("=20QQIxxxxQQQ", *(0,) * 24, rides)

    @property
    def paths(self) -> set[tuple[str, str]]:
        return {(view.path, view.reason) for view in self.world.sessions.query("call") if view.kind == "rtp"}

    @property
    def action(self) -> FlowAction:
        return self.world.table.at(self.local).action


@pytest.fixture
def riding(world: World, engine: Any) -> Riding:
    return Riding(world, engine)


def test_the_engine_goes_on_without_the_sound_until_the_leg_is_beyond_it(riding: Riding, engine: Any) -> None:
    before = engine.stages[riding.local]
    riding.rides(True)
    riding.play(None)
    kind, settings = engine.stages[riding.local]
    assert kind == before[0] == INSERT
    assert b"/run/music" in before[1]
    assert b"/run/music" not in settings
    assert (riding.paths, riding.action) == ({("engine", "playback")}, FlowAction.ENGINE)
    riding.world.programmer.let_go()
    assert riding.paths == {("engine", "playback")}
    riding.rides(False)
    riding.world.programmer.let_go()
    assert (riding.paths, riding.action) == ({("kernel", "")}, FlowAction.FORWARD)
    assert riding.local not in engine.flows
    engine.requests = 0
    riding.world.programmer.let_go()
    assert engine.requests == 0


def test_where_nothing_is_used_up_the_kernel_has_it_at_once(riding: Riding) -> None:
    riding.rides(False)
    riding.play(None)
    assert riding.paths == {("kernel", "")}


def test_a_change_of_the_call_meanwhile_does_not_hurry_it(riding: Riding) -> None:
    riding.rides(True)
    riding.play(None)
    assert riding.world.sessions.replan() == {}
    assert riding.paths == {("engine", "playback")}
    riding.play(SOUND)
    riding.rides(False)
    riding.world.programmer.let_go()
    assert riding.paths == {("engine", "playback")}, "there is a sound again"
    assert b"/run/music" in riding.engine.stages[riding.local][1]


def test_what_stays_with_the_engine_keeps_its_stage_as_long(riding: Riding) -> None:
    """Where XDP was taken off meanwhile, no other carrier follows, but the same one would forget what is used up."""
    riding.rides(True)
    riding.play(None)
    plane = riding.world.sessions.data_plane
    riding.world.sessions.data_plane = replace(plane, attached=frozenset())
    assert riding.world.sessions.replan() == {}
    ((path, reason),) = riding.paths
    assert (path, reason) == ("engine", "XDP is not attached to eth0 and eth1")
    assert riding.engine.stages[riding.local][0] == INSERT
    riding.rides(False)
    riding.world.programmer.let_go()
    assert riding.engine.stages[riding.local][0] == 0
    assert riding.paths == {(path, reason)}


def test_a_call_that_ends_meanwhile_is_over(riding: Riding, engine: Any) -> None:
    riding.rides(True)
    riding.play(None)
    riding.world.sessions.delete("call", 0.0)
    riding.world.programmer.let_go()
    assert (engine.flows, riding.world.programmer.calls()) == ({}, set())


def test_an_engine_that_is_gone_knows_of_nothing(riding: Riding, engine: Any) -> None:
    riding.rides(True)
    engine.gone = True
    riding.play(None)
    assert riding.paths == {("kernel", "")}


def test_an_engine_that_does_not_answer_keeps_what_it_has(riding: Riding, monkeypatch: pytest.MonkeyPatch) -> None:
    riding.rides(True)
    riding.play(None)

    def busy(_key: object) -> bytes:
        raise EngineError("timeout", "no answer in time")

    monkeypatch.setattr(riding.engine, "read_stage", busy)
    riding.world.programmer.let_go()
    assert riding.paths == {("engine", "playback")}


def test_a_controller_killed_amid_it_leaves_nobody_who_plays_on_beside_the_kernel(riding: Riding, engine: Any) -> None:
    """Not even until all calls have been taken up."""
    state = riding.world.sessions.snapshot("call")
    riding.world.restart()
    assert riding.world.sessions.restore("call", state) == 1
    assert (riding.paths, riding.action) == ({("kernel", "")}, FlowAction.FORWARD)
    assert engine.flows == {}


def test_where_the_legs_share_their_keys_nothing_of_theirs_is_used_up(riding: Riding) -> None:
    there, back = riding.world.programmer.rtp_of("call")
    assert there.handling
    after = tuple(replace(plan, path="kernel", reason="", handling=None) for plan in (there, back))
    between = riding_on((there, back), (after[0], after[1]))
    assert between
    assert [plan.path for plan in between] == ["engine", "engine"]
    own = replace(there, handling=replace(there.handling, own=True))
    assert riding_on((own, back), (after[0], after[1])) is None
