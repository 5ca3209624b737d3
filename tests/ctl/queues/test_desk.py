# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues at work: what signalling tells comes to the board, and what the board wants comes to signalling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from ctl.queues.desk import CALLED_BACK, Change, Desk
from ctl.queues.services import duty_of, duty_service, queue_of, queue_service
from ctl.queues.sounds import Sounds
from ctl.queues.waiting import calls_back, entry_of
from ctl.sessions.media_sessions import MediaRefused
from provisioning.acd import Agent, Board, Effect, QueueRule
from provisioning.errors import DatabaseUnavailable
from provisioning.routing import Refusal
from sip.effects import CallEnded, Joined, Target, Unreached, UserTarget, Waiting
from sip.views import CallView, LegView
from tests.sip.streams import until

SALES = queue_service(1, "sales")


class Boards:
    """One board in memory, as the database would keep it."""

    def __init__(self, **rule: Any) -> None:
        agents = {"anna": Agent("anna", user="201"), "bert": Agent("bert", user="202")}
        known: dict[str, Any] = {"agents": {"anna": 1, "bert": 2}, "wrap_up_seconds": 0}
        self.board = Board("n1", {"sales": QueueRule("sales", **(known | rule))}, agents)
        self.away = False

    async def act(self, tenant: int, change: Change) -> tuple[list[Effect], Board]:
        await asyncio.sleep(0)
        if self.away:
            raise DatabaseUnavailable("the database is not there")
        assert tenant == 1
        return change(self.board), self.board

    async def occupied(self) -> set[int]:
        return {1} if self.board.callers else set()


class Signalling:
    """Notes what is wanted; a call waits unless somebody is sought for it."""

    def __init__(self) -> None:
        self.wanted: list[tuple[Any, ...]] = []
        self.sought: set[str] = set()

    def connect(self, call: str, targets: Iterable[Target], peer: str = "") -> None:
        self.sought.add(call)
        self.wanted.append(("connect", call, tuple(targets), peer))

    def give_up(self, call: str) -> None:
        self.sought.discard(call)
        self.wanted.append(("give up", call))

    def originate(self, call: str, targets: Iterable[Target], user: str, shown: str, service: str) -> None:
        self.wanted.append(("originate", call, tuple(targets), user, shown, service))

    def hang_up(self, call: str, cause: int) -> None:
        self.wanted.append(("hang up", call, cause))

    def waits(self, call: str) -> bool:
        return call not in self.sought

    def take(self) -> list[tuple[Any, ...]]:
        taken, self.wanted = self.wanted, []
        return taken


class Ways:
    """Where calls go."""

    def agent(self, username: str, seconds: float) -> Target:
        return UserTarget(username, ring=seconds)

    def onward(self, _call: str, _tenant: int, _caller: str, dialled: str) -> tuple[Target, ...] | Refusal:
        return Refusal(404, "No Route") if dialled == "nowhere" else (UserTarget(dialled),)


class Player:
    """Notes what each call hears; sounds under `missing/` are not there."""

    def __init__(self) -> None:
        self.hears: dict[str, tuple[str, int]] = {}
        self.ends: dict[str, Any] = {}

    def play(self, call: str, leg: str, sounds: str, *, times: int = 1, on_end: Any = None) -> None:
        assert leg == "a"
        if sounds.startswith("missing/"):
            raise MediaRefused(404, f"no sound {sounds}")
        self.hears[call], self.ends[call] = (sounds, times), on_end

    def stop(self, call: str, _leg: str) -> bool:
        return self.hears.pop(call, None) is not None

    def end(self, call: str) -> None:
        """The clip is over."""
        self.ends.pop(call)(call, "a", 1, True)


class Office:
    """A desk with everything around it."""

    def __init__(self, **rule: Any) -> None:
        self.boards, self.signalling, self.player = Boards(**rule), Signalling(), Player()
        self.desk = Desk(self.boards, self.signalling, Ways(), Sounds(self.player))

    @property
    def board(self) -> Board:
        return self.boards.board

    def enter(self, *calls: str) -> None:
        for call in calls:
            self.desk.told(Waiting(call, SALES, f"+33{call}"))

    async def wants(self, *expected: tuple[Any, ...]) -> None:
        await until(lambda: len(self.signalling.wanted) >= len(expected))
        assert self.signalling.take() == list(expected)

    async def sees(self, state: str, agent: str = "anna") -> None:
        await until(lambda: self.board.agents[agent].state == state)


def rings(call: str, agent: str = "anna", user: str = "201") -> tuple[Any, ...]:
    return ("connect", call, (UserTarget(user, ring=20),), agent)


def over(call: str, **more: Any) -> CallEnded:
    return CallEnded(call, "x", "y", "1", None, 0, None, 1, 2, 200, 16, "a", "", service=SALES, **more)


@asynccontextmanager
async def working(*agents: str, **rule: Any) -> AsyncIterator[Office]:
    office = Office(**rule)
    for name in agents:
        office.board.agents[name].state = "available"
    task = asyncio.create_task(office.desk.run())
    try:
        yield office
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_caller_hears_music_until_an_agent_takes_the_call() -> None:
    async with working("anna") as office:
        office.enter("1")
        await office.wants(rings("1"))
        assert office.player.hears == {"1": ("tone/music", 0)}
        office.desk.told(Joined("1", "anna"))
        assert office.player.hears == {}
        await office.sees("talking")
        assert office.board.callers["1"].caller == "+331"
        office.desk.told(over("1", joined=True, peer="anna"))
        await office.sees("available")
        assert not office.board.callers
        assert office.desk.counts == {"entered": 1, "answered": 1}


async def test_who_does_not_answer_is_followed_by_the_next() -> None:
    async with working("anna", "bert") as office:
        office.enter("1")
        await office.wants(rings("1"))
        office.signalling.sought.clear()
        office.desk.told(Unreached("1", 480, 19, "No Answer"))
        await office.wants(("give up", "1"), rings("1", "bert", "202"))
        await office.sees("wrap_up")
        assert office.player.hears == {"1": ("tone/music", 0)}


async def test_a_caller_who_goes_is_counted_and_its_agent_rests_from_nothing() -> None:
    async with working("anna") as office:
        office.enter("1")
        await office.wants(rings("1"))
        office.desk.told(over("1"))
        await office.sees("available")
        assert office.desk.counts == {"entered": 1, "abandoned": 1}


async def test_welcome_and_position_are_said_and_then_there_is_music_again() -> None:
    async with working(welcome="hello", announce_seconds=0.01, position_prompts="place", music="jazz") as office:
        office.enter("1", "2")
        await until(lambda: len(office.player.hears) == 2)
        assert set(office.player.hears.values()) <= {("hello", 1), ("place/1", 1), ("place/2", 1)}
        await until(lambda: office.player.hears == {"1": ("place/1", 1), "2": ("place/2", 1)})
        office.player.end("2")
        assert office.player.hears["2"] == ("jazz", 0)


async def test_a_sound_that_is_not_there_costs_nobody_the_place() -> None:
    async with working(welcome="missing/hello", music="missing/jazz") as office:
        office.enter("1")
        await until(lambda: "1" in office.board.callers)
        office.board.agents["anna"].state = "available"
        await office.wants(rings("1"))


@pytest.mark.parametrize(("to", "expected"), [("300", "connect"), ("nowhere", "hang up"), (None, "hang up")])
async def test_overflow(to: str | None, expected: str) -> None:
    async with working(max_length=0, overflow=to) as office:
        office.enter("1")
        if to is None:
            await until(lambda: office.player.hears.get("1") == ("tone/busy", 1))
            office.player.end("1")
        await until(lambda: bool(office.signalling.wanted))
        (wanted,) = office.signalling.take()
        assert wanted[:2] == (expected, "1")
        if expected == "connect":
            office.desk.told(Unreached("1", 480, 19, "No Answer"))
            await office.wants(("hang up", "1", 19))
        office.desk.told(over("1"))
        assert office.desk.counts["abandoned"] == 0


async def test_a_queue_is_full_as_long_as_as_many_wait_as_may() -> None:
    async with working(max_length=1) as office:
        office.enter("1")
        await until(lambda: office.desk.full == {(1, "sales")})
        office.desk.told(over("1"))
        await until(lambda: office.desk.full == set())


async def test_a_caller_comes_to_another_queue() -> None:
    async with working() as office:
        office.enter("1")
        await until(lambda: "1" in office.board.callers)
        office.board.queues = {**office.board.queues, "late": QueueRule("late", agents={"bert": 1})}
        office.desk.told(Waiting("1", queue_service(1, "late"), "+331"))
        await until(lambda: office.board.callers["1"].queue == "late")
        assert office.desk.here() == {(1, "late"): 1}


async def test_a_caller_who_presses_the_digit_is_called_back_when_an_agent_is_free() -> None:
    async with working(callback=True) as office:
        office.enter("1")
        await until(lambda: bool(office.player.hears))
        office.desk.digit("1", "a", "2", 100)
        office.desk.digit("1", "a", "1", 100)
        assert office.player.hears["1"] == (CALLED_BACK, 1)
        office.player.end("1")
        await office.wants(("hang up", "1", 16))
        office.desk.told(over("1"))
        await until(lambda: office.board.callers["1"].number == "+331")
        office.board.agents["anna"].state = "available"
        await until(lambda: bool(office.signalling.wanted))
        ((what, call, targets, user, shown, service),) = office.signalling.take()
        assert (what, targets, user, shown, service) == (
            "originate", (UserTarget("201", ring=20),), "201", "+331", SALES
        )  # fmt: skip
        assert calls_back(call)
        assert entry_of(call) == "1"
        office.desk.told(Waiting(call, SALES, "201"))
        await office.wants(("connect", call, (UserTarget("+331"),), "anna"))
        assert office.player.hears[call] == ("tone/ringback", 0)
        await office.sees("talking")
        office.desk.told(Joined(call, "anna"))
        assert call not in office.player.hears
        await until(lambda: office.board.callers["1"].number is None)
        office.desk.told(over(call, joined=True, peer="anna"))
        await office.sees("available")
        assert not office.board.callers


@pytest.mark.parametrize(("cause", "kept"), [(19, True), (17, True), (1, False)])
async def test_who_does_not_answer_its_callback_keeps_its_place_unless_nobody_can(cause: int, kept: bool) -> None:
    async with working("anna", callback=True) as office:
        office.board.node = ""
        office.board.book("b1", "sales", "+331", time.time())
        office.board.node = "n1"
        await until(lambda: bool(office.signalling.wanted))
        ((_, call, *_),) = office.signalling.take()
        office.desk.told(Waiting(call, SALES, "201"))
        await office.wants(("connect", call, (UserTarget("+331"),), "anna"))
        office.desk.told(Unreached(call, 480, cause, ""))
        await office.wants(("hang up", call, cause))
        office.desk.told(over(call))
        if not kept:
            await until(lambda: "b1" not in office.board.callers)
        else:
            await until(lambda: office.board.callers["b1"].tries == 1)
            assert office.board.callers["b1"].not_before > time.time() + 200


async def test_an_agent_who_does_not_take_a_callback_loses_nobody_the_place() -> None:
    async with working("anna", callback=True) as office:
        office.board.node = ""
        office.board.book("b1", "sales", "+331", time.time())
        office.board.node = "n1"
        await until(lambda: bool(office.signalling.wanted))
        (wanted,) = office.signalling.take()
        office.desk.told(over(wanted[1]))
        await office.sees("wrap_up")
        assert office.board.callers["b1"].number == "+331"


async def test_nobody_loses_a_place_while_the_database_is_away() -> None:
    async with working() as office:
        office.enter("1")
        await until(lambda: "1" in office.board.callers)
        office.boards.away = True
        office.enter("2")
        await until(lambda: set(office.player.hears) == {"1", "2"})
        office.board.callers.clear()  # by another host, as the lease was over
        office.board.agents["anna"].state = "available"
        office.boards.away = False
        await office.wants(rings("1"))
        assert office.board.position("2") == 1


async def test_calls_of_a_former_process_are_taken_up_again() -> None:
    async with working() as office:
        leg = LegView("confirmed", "c", None, None)

        def view(call: str, **more: Any) -> CallView:
            return CallView(call, "waiting", "+331", "900", 50, None, 60, leg, None, SALES, 60, **more)

        back = "3.back.1"
        office.desk.restore(
            [view("1"), view("2", joined=70, peer="bert"), view(back), view("4", joined=80, peer="")], 100, 1_000_000
        )
        await office.wants(("hang up", back, 41))
        await until(lambda: set(office.board.callers) == {"1", "2"})
        assert office.board.callers["1"].joined == 999_960
        assert (office.board.callers["2"].agent, office.board.agents["bert"].state) == ("bert", "talking")
        await until(lambda: office.player.hears == {"1": ("tone/music", 0)})


@pytest.mark.parametrize(("caller", "sound", "cause"), [("201", "queue/agent/available", 16), ("9", "tone/busy", 50)])
async def test_agents_come_by_dialling_a_code(caller: str, sound: str, cause: int) -> None:
    async with working() as office:
        office.desk.told(Waiting("d1", duty_service(1, "available"), caller))
        await until(lambda: office.player.hears.get("d1") == (sound, 1))
        assert office.board.agents["anna"].state == ("available" if caller == "201" else "off")
        office.player.end("d1")
        await office.wants(("hang up", "d1", cause))


def test_services_are_read_as_they_were_written() -> None:
    assert queue_of(SALES) == (1, "sales")
    assert duty_of(duty_service(3, "paused")) == (3, "paused")
    assert queue_of(duty_service(3, "off")) is None
    assert duty_of(SALES) is None
    assert queue_of("") is None
