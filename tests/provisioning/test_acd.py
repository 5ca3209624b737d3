# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioning.acd import (
    CALLBACK_PAUSES,
    CALLBACK_SECONDS,
    LEASE,
    Agent,
    Announce,
    Board,
    CallBack,
    Here,
    Offer,
    Overflow,
    QueueRule,
    StopRinging,
)


def board(*names: str, node: str = "n1", **rule: Any) -> Board:
    """One queue, sales, with these agents, who are there."""
    known: dict[str, Any] = {"agents": dict.fromkeys(names, 1)}
    queues = {"sales": QueueRule("sales", **(known | rule))}
    return Board(node, queues, {name: Agent(name, "available", since=place) for place, name in enumerate(names)})


def test_first_come_first_served_and_the_longest_idle_serves() -> None:
    b = board("anna", "bert")
    b.agents["anna"].since = 50
    assert b.join("c1", "sales", 100) == [Offer("c1", "bert", 20)]
    assert b.join("c2", "sales", 101) == [Offer("c2", "anna", 20)]
    assert b.join("c3", "sales", 102) == []
    assert b.join("c4", "sales", 103) == []
    assert [b.position(each) for each in ("c1", "c3", "c4", "none")] == [0, 1, 2, 0]
    assert b.answered("c1", 104) == []
    assert b.agents["bert"].state == "talking"
    b.renew(110)
    assert b.leave("c1", 110) == []
    assert (b.agents["bert"].state, b.agents["bert"].until) == ("wrap_up", 120)
    assert b.renew(119) == []
    assert b.tick(120) == [Offer("c3", "bert", 20)]


def test_strategies_tiers_and_skills() -> None:
    b = board("anna", "bert", strategy="top_down", wrap_up_seconds=0)
    b.agents["anna"].since = 9
    assert b.join("c1", "sales", 10) == [Offer("c1", "anna", 20)]
    b = board("anna", "bert", strategy="round_robin", wrap_up_seconds=0)
    chosen = []
    for number in range(4):
        (offer,) = b.join(f"c{number}", "sales", 10 + number)
        assert isinstance(offer, Offer)
        chosen.append(offer.agent)
        b.answered(offer.caller, 10 + number)
        b.leave(offer.caller, 10.5 + number)
    assert chosen == ["anna", "bert", "anna", "bert"]
    b = board(agents={"anna": 2, "bert": 1})
    b.agents = {name: Agent(name, "available") for name in ("anna", "bert")}
    assert b.join("c1", "sales", 10) == [Offer("c1", "bert", 20)]
    b = board("anna", "bert", skills={"french": 3})
    b.agents["anna"].skills = {"french": 2}
    assert b.join("c1", "sales", 10) == []
    b.agents["bert"].skills = {"french": 3, "german": 1}
    assert b.tick(11) == [Offer("c1", "bert", 20)]


def test_priority_goes_first_only_where_the_queue_says_so() -> None:
    for by_priority, expected in ((True, "c2"), (False, "c1")):
        b = board(by_priority=by_priority, agents={"anna": 1})
        b.join("c1", "sales", 1)
        b.join("c2", "sales", 2, priority=5)
        b.agents["anna"] = Agent("anna", "available")
        assert b.tick(3) == [Offer(expected, "anna", 20)]


def test_who_does_not_answer_is_passed_over_and_the_caller_keeps_its_place() -> None:
    b = board("anna", "bert", ring_seconds=5)
    assert b.join("c1", "sales", 100) == [Offer("c1", "anna", 5)]
    assert b.tick(105) == [StopRinging("c1", "anna"), Offer("c1", "bert", 5)]
    assert b.refused("c1", 106) == [StopRinging("c1", "bert")]
    assert b.agents["anna"].state == b.agents["bert"].state == "wrap_up"
    assert b.position("c1") == 1
    b.renew(109)
    assert b.tick(115) == [Offer("c1", "anna", 5)]


def test_overflow_by_length_and_time() -> None:
    b = board(max_length=2, max_wait_seconds=30, overflow="500")
    for number in (1, 2):
        assert b.join(f"c{number}", "sales", number) == []
    assert b.join("c3", "sales", 3) == [Overflow("c3", "500")]
    for now in range(4, 31, 5):
        assert b.renew(now) == []
    assert b.renew(31) == [Overflow("c1", "500")]
    assert b.join("c4", "none", 31) == [Overflow("c4", None)]


def test_positions_are_announced() -> None:
    b = board(announce_seconds=10)
    for number in (1, 2):
        b.join(f"c{number}", "sales", number)
    b.renew(8)
    assert b.renew(12) == [Announce("c1", 1), Announce("c2", 2)]
    assert b.renew(13) == []


def test_agents_come_pause_and_go() -> None:
    b = board("anna")
    assert b.set_agent("anna", "paused", 1) == []
    assert b.join("c1", "sales", 2) == []
    assert b.set_agent("anna", "available", 3) == [Offer("c1", "anna", 20)]
    b.answered("c1", 4)
    b.set_agent("anna", "off", 5)
    assert b.agents["anna"].state == "talking"
    b.leave("c1", 6)
    assert b.agents["anna"].state == "off"
    assert b.set_agent("nobody", "available", 7) == []


def test_a_callback_keeps_its_place_without_its_call() -> None:
    b = board(agents={"anna": 1}, callback=True)
    b.join("c1", "sales", 1)
    b.join("c2", "sales", 2)
    b.ask_for_callback("c1", "+33123456789", 3)
    for now in range(3, 1000, 5):
        b.renew(now)
    other = Board("n2", b.queues, {"anna": Agent("anna", "available")}, b.callers)
    assert other.tick(1000) == [CallBack("c1", "anna", "+33123456789", 20)]
    other.answered("c1", 1001)
    other.leave("c1", 1002)
    assert list(b.callers) == ["c2"]
    refusing = board(agents={})
    refusing.join("c1", "sales", 1)
    refusing.ask_for_callback("c1", "+33123456789", 2)
    assert refusing.callers["c1"].number is None


def test_a_node_that_dies_while_it_rings_for_a_callback_loses_neither() -> None:
    b = board("anna", callback=True)
    b.agents["anna"].state = "paused"
    b.join("c1", "sales", 1)
    b.ask_for_callback("c1", "+33123456789", 2)
    b.set_agent("anna", "available", 3)
    assert b.agents["anna"].state == "ringing"
    other = Board("n2", b.queues, b.agents, b.callers)
    assert other.tick(3 + LEASE + 0.1) == []
    assert other.agents["anna"].state == "wrap_up"
    assert other.tick(3 + LEASE + 11) == [CallBack("c1", "anna", "+33123456789", 20)]


def test_a_node_tells_the_board_of_calls_that_it_has_lost() -> None:
    b = board("anna", "bert", wrap_up_seconds=0)
    b.join("c1", "sales", 100)
    b.answered("c1", 101)
    later = Board("n1", b.queues, b.agents, b.callers)
    Board("n2", b.queues, b.agents, b.callers).tick(150)  # the database was away for longer than the lease
    assert not b.callers
    calls = {"c1": Here("sales", 100, agent="anna"), "c2": Here("sales", 90, caller="+331"), "c3": Here("none", 90)}
    assert later.keep(calls, 151) == [Offer("c2", "bert", 20)]
    assert later.agents["anna"].state == "talking"
    assert (later.callers["c2"].joined, later.callers["c2"].caller) == (90, "+331")
    assert later.keep({"c2": calls["c2"]}, 152) == []
    assert later.agents["anna"].state == "available"
    assert later.keep({}, 153) == [StopRinging("c2", "bert")]
    assert not later.callers


def test_a_callback_is_owed_until_both_have_answered() -> None:
    b = board("anna", wrap_up_seconds=0)
    b.book("b1", "sales", "+331", 10)
    b.answered("b1", 11)
    assert b.keep({}, 12) == [StopRinging("b1", "anna")], "killed while it called back"
    assert b.callers["b1"].number == "+331"
    assert b.keep({}, 20) == [CallBack("b1", "anna", "+331", 20)]
    b.answered("b1", 21)
    b.called_back("b1", 22)
    assert b.keep({}, 23) == []
    assert (list(b.callers), b.agents["anna"].state) == ([], "available")


def test_who_does_not_answer_a_callback_is_called_back_later_but_not_for_ever() -> None:
    b = board("anna", wrap_up_seconds=0)
    b.book("b1", "sales", "+331", 10)
    now = 10.0
    for pause in CALLBACK_PAUSES:
        b.answered("b1", now)
        b.missed("b1", now)
        assert b.agents["anna"].state == "wrap_up"
        assert b.tick(now + pause - 1) == []
        assert b.agents["anna"].state == "available"
        now += pause
        assert b.tick(now) == [CallBack("b1", "anna", "+331", 20)]
    b.answered("b1", now)
    b.missed("b1", now)
    assert not b.callers
    b.missed("b1", now)


def test_a_callback_that_both_have_answered_is_none_any_more() -> None:
    b = board("anna", wrap_up_seconds=0)
    b.book("b1", "sales", "+331", 10)
    b.answered("b1", 11)
    b.called_back("b1", 12)
    b.missed("b1", 13)
    assert not b.callers


def test_an_agent_who_answers_late_has_the_call_all_the_same() -> None:
    b = board("anna", "bert", ring_seconds=5)
    b.join("c1", "sales", 100)
    assert b.tick(105) == [StopRinging("c1", "anna"), Offer("c1", "bert", 5)]
    assert b.answered("c1", 105.1, "anna") == [StopRinging("c1", "bert")]
    assert (b.callers["c1"].agent, b.agents["anna"].state, b.agents["bert"].state) == ("anna", "talking", "wrap_up")
    b.join("c2", "sales", 120)
    assert b.callers["c2"].agent == "bert"
    b.join("c3", "sales", 121)
    assert b.answered("c3", 122, "bert") == [StopRinging("c2", "bert")]
    assert (b.callers["c3"].agent, b.position("c2")) == ("bert", 1)


def test_somebody_without_a_call_can_be_booked_to_be_called_back() -> None:
    b = board("anna")
    assert b.book("b1", "sales", "+331", 10) == [CallBack("b1", "anna", "+331", 20)]
    assert b.book("b2", "none", "+331", 11) == []
    assert b.keep({}, 12) == [StopRinging("b1", "anna")]
    assert b.callers["b1"].number == "+331", "its call was lost, its place was not"
    assert b.keep({}, 40) == [CallBack("b1", "anna", "+331", 20)]


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_no_crash_strands_an_agent_or_a_caller(seed: int) -> None:
    """Three nodes do random things on one board and die at any moment, with what they were told to do undone."""
    chance = random.Random(seed)
    queues = {
        "sales": QueueRule("sales", ring_seconds=6, wrap_up_seconds=3, agents={"a": 1, "b": 2, "c": 1}, callback=True),
        "help": QueueRule("help", by_priority=True, max_wait_seconds=40, overflow="9", agents={"b": 1, "c": 1},
                          skills={"x": 1}, wrap_up_seconds=0),
    }  # fmt: skip
    skills = {"a": {}, "b": {"x": 1}, "c": {"x": 2}}
    shared = Board("", queues, {name: Agent(name, skills=skill) for name, skill in skills.items()})
    alive, now, count = {"n1", "n2", "n3"}, 1000.0, 0
    for _ in range(60):
        now += chance.choice([0, 0.1, 1, 3])
        node = chance.choice(sorted(alive))
        view = Board(node, queues, shared.agents, shared.callers)
        mine = [each.id for each in view.callers.values() if each.node == node]
        match chance.randrange(13):
            case 0 | 1:
                count += 1
                view.join(f"c{count}", chance.choice(["sales", "help"]), now, priority=chance.randrange(3))
            case 2:
                view.set_agent(chance.choice("abc"), chance.choice(["available", "available", "paused", "off"]), now)
            case 3 if mine:
                view.answered(chance.choice(mine), now)
            case 4 if mine:
                view.refused(chance.choice(mine), now)
            case 5 if mine:
                view.leave(chance.choice(mine), now)
            case 6 if mine:
                view.ask_for_callback(chance.choice(mine), "+331", now)
            case 7 if len(alive) > 1:
                alive.discard(node)
            case 8 if mine:
                view.answered(chance.choice(mine), now, chance.choice("abc"))
            case 9:
                kept = [each for each in mine if chance.random() < 0.8]
                agents = {each: view.callers[each].agent or "" for each in kept if view.callers[each].answered}
                here = {each: Here(view.callers[each].queue, view.callers[each].joined) for each in kept}
                late = (
                    {f"late{count}": Here("sales", now - 5, agent=chance.choice("abc"))}
                    if chance.random() < 0.3
                    else {}
                )
                view.keep(here | late | {each: replace(here[each], agent=agents[each]) for each in agents}, now)
            case 11 if mine:
                view.called_back(chance.choice(mine), now)
            case 10:
                count += 1
                view.book(f"c{count}", "sales", "+332", now)
            case _:
                view.renew(now)
        check(shared)
    last = sorted(alive)[0]
    settled = Board(last, queues, shared.agents, shared.callers)
    for _ in range(40):  # the others have died; this one lives on, and its callers have hung up
        now += 1
        live = [each.id for each in settled.callers.values() if each.node == last]
        for caller in [each for each in live if settled.callers[each].number is None or settled.callers[each].answered]:
            settled.leave(caller, now)
        before = copy.deepcopy(settled.agents)
        settled.renew(now)
        check(settled)
    assert all(each.number is not None for each in settled.callers.values()), "a caller is stranded"
    for agent in settled.agents.values():
        waited = now - before[agent.name].since
        assert agent.state not in ("talking",), (agent, waited)
        assert agent.state != "ringing" or waited <= 7, (agent, waited)
        assert agent.state != "wrap_up" or waited <= 10, (agent, waited)
    for agent in settled.agents.values():
        agent.state = "available"
    settled.tick(now + CALLBACK_SECONDS + 1)
    settled.tick(now + CALLBACK_SECONDS + 60)
    assert not settled.callers


def check(b: Board) -> None:
    """At every moment: who rings or talks has one caller, and no caller has an agent who does not know of it."""
    held = [caller.agent for caller in b.callers.values() if caller.agent is not None]
    assert len(held) == len(set(held)), "an agent has two callers"
    busy = {agent.name for agent in b.agents.values() if agent.state in ("ringing", "talking")}
    assert busy == set(held)
    for caller in b.callers.values():
        if caller.agent is not None:
            assert b.agents[caller.agent].state == ("talking" if caller.answered else "ringing")
