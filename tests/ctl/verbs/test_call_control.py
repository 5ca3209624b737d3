# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator may do with a call, and what is said where that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.live import CallControl, LiveRefused
from ctl.queues.sounds import Sounds
from ctl.verbs.call_control import CallController
from ctl.verbs.call_verbs import CallVerbs
from ctl.verbs.control import ControlError
from ctl.verbs.live import LiveCalls
from provisioning.routing import NOT_FOUND, Refusal
from provisioning.snapshot import Snapshot
from sip.call_table import CallState
from sip.effects import Target, UserTarget
from sip.views import CallView, LegView
from tests.ctl.world import World

LEG = LegView("confirmed", "c", None, None)
CALL = CallView("call", CallState.TALKING, "anna", "bert", 0, None, 1, LEG, LEG)


@dataclass
class Controller:
    """Notes what is wanted of the parts that a call is controlled by; `free`: whether a leg can be lent now."""

    done: list[tuple[Any, ...]] = field(default_factory=list)
    free: bool = True

    def hang_up(self, *what: Any) -> None:
        self.done.append(("hang up", *what))

    def connect(self, call: str, ways: tuple[Target, ...]) -> None:
        self.done.append(("connect", call, ways))

    def send_on(self, call: str, leg: str, made: str, ways: tuple[Target, ...], dialled: str, user: str) -> bool:
        self.done.append(("send on", call, leg, ways, dialled, user))
        return self.free and made != call

    def onward(self, _call: str, tenant: int, caller: str, dialled: str) -> tuple[Target, ...] | Refusal:
        assert (tenant, caller) == (1, "anna")
        return NOT_FOUND if dialled == "nobody" else (UserTarget(dialled),)

    def release(self, call: str) -> bool:
        self.done.append(("release", call))
        return True

    def start(self, call: str, consent: str, **wanted: str) -> None:
        self.done.append(("record", call, consent, wanted))

    def pause(self, call: str) -> None:
        raise ControlError(f"call {call} is not recorded")

    def state(self, call: str) -> dict[str, Any]:
        return {"call": call}

    def play(self, call: str, leg: str, sound: str, **more: Any) -> None:
        self.done.append(("play", call, leg, sound, more["times"]))

    def stop(self, call: str, leg: str) -> bool:
        self.done.append(("quiet", call, leg))
        return True


@pytest.fixture
def parts() -> Controller:
    return Controller()


@pytest.fixture
def control(parts: Controller, world: World) -> CallController:
    world.call()
    keeper = SimpleNamespace(current=Snapshot.of("example.org", [], []))
    return CallController(
        cast(Any, parts),
        world.sessions,
        cast(Any, parts),
        cast(Any, parts),
        cast(Any, keeper),
        parts,
        Sounds(cast(Any, parts)),
    )


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(ControlError) as raised:
        act()
    return str(raised.value)


def test_transfer(control: CallController, parts: Controller) -> None:
    made = control.transfer(CALL, "b", "carl")
    assert made != "call"
    assert parts.done == [("send on", "call", "b", (UserTarget("carl"),), "carl", "anna")]
    assert "404 Not Found" in refused(lambda: control.transfer(CALL, "a", "nobody"))
    parts.free = False
    assert "try again" in refused(lambda: control.transfer(CALL, "a", "carl"))
    assert "is calling" in refused(lambda: control.transfer(replace(CALL, state=CallState.CALLING), "a", "carl"))


def test_one_who_waits_leaves_its_queue_for_the_target(control: CallController, parts: Controller) -> None:
    assert control.transfer(replace(CALL, state=CallState.WAITING), "a", "carl") == "call"
    assert parts.done == [("release", "call"), ("connect", "call", (UserTarget("carl"),))]


def test_hold_and_resume(control: CallController, parts: Controller, world: World) -> None:
    control.hold(CALL, "b")
    assert {view.state for view in world.sessions.query("call") if view.kind == "rtp"} == {"held"}
    assert parts.done == [("play", "call", "b", "tone/music", 0)]
    assert "on hold already" in refused(lambda: control.hold(CALL, "a"))
    control.resume(CALL)
    assert world.sessions.blocked("call") == frozenset()
    assert parts.done[1:] == [("quiet", "call", "a"), ("quiet", "call", "b")]
    assert "not on hold" in refused(lambda: control.resume(CALL))
    assert "is waiting" in refused(lambda: control.hold(replace(CALL, state=CallState.WAITING), "a"))
    assert "no media" in refused(lambda: control.hold(replace(CALL, id="other"), "a"))


def test_recording(control: CallController, parts: Controller) -> None:
    assert control.record(CALL, "start", "given", layout="mixed", format="") == {"call": "call"}
    assert parts.done == [("record", "call", "given", {"layout": "mixed", "format": ""})]
    assert "not recorded" in refused(lambda: control.record(CALL, "pause", ""))
    assert "action is" in refused(lambda: control.record(CALL, "burn", ""))


@pytest.fixture
def core() -> Any:
    return SimpleNamespace(calls=lambda: [CALL])


def test_the_command_line_names_calls_by_their_beginning(control: CallController, parts: Controller, core: Any) -> None:
    verbs = CallVerbs(core, control).table()
    answer = verbs["call.transfer"]({"id": "ca", "target": "carl", "leg": "b"})
    assert cast(dict[str, str], answer)["call"] == "call"
    assert verbs["call.hold"]({"id": "call"}) == verbs["call.resume"]({"id": "call"}) == "call"
    assert verbs["call.record"]({"id": "call", "action": "start"}) == {"call": "call"}
    for arguments in ({"id": "call"}, {"id": "call", "target": "x", "leg": "c"}, {"id": "x", "target": "y"}):
        refused(lambda arguments=arguments: verbs["call.transfer"](arguments))  # type: ignore[misc]


def test_the_api_says_what_came_of_it_and_refuses_with_the_reason(
    control: CallController, world: World, core: Any
) -> None:
    keeper = SimpleNamespace(current=Snapshot.of("example.org", [], []))
    live = LiveCalls(core, control, world.programmer, cast(Any, keeper), cast(Any, None))

    def ask(**wanted: Any) -> dict[str, Any]:
        return asyncio.run(live.control(1, "call", CallControl(**wanted)))

    assert ask(action="transfer", target="carl", leg="b")["transferred_as"]
    assert ask(action="record_start", layout="mixed")["recording"] == {"call": "call"}
    assert ask(action="hold")["id"] == ask(action="resume")["id"] == ask(action="hangup")["id"] == "call"
    with pytest.raises(LiveRefused, match="not recorded"):
        ask(action="record_pause")
