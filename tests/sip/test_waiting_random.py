# SPDX-License-Identifier: GPL-3.0-or-later
"""Callers that wait, agents and operators do anything at any moment: no call is stranded, each has one record."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from sip.call_table import CallState
from sip.effects import CallEnded, CloseMedia, Joined, SaveCall, Unreached, UserTarget, Waiting
from sip.message import Request, Response
from tests.sip.conftest import OFFER, Peer, World
from tests.sip.test_waiting import ANSWER, media, waiting

__all__ = ["waiting"]
STEPS = 40


class Play:
    """One caller, one agent, and a die that says what happens next."""

    def __init__(self, world: World, anna: Peer, bert: Peer, seed: int) -> None:
        self.world, self.anna, self.bert = world, anna, bert
        self.dice = random.Random(seed)
        self.rung: list[Request] = []
        self.ok: Response | None = None
        self.invite = anna.invite("sales", OFFER if self.dice.random() < 0.8 else b"")
        self.state: dict[str, object] | None = None

    @property
    def call(self) -> str:
        return next((view.id for view in self.world.core.calls()), "")

    def listen(self) -> None:
        """Take in what both heard; whatever asks for an answer gets one, now or, for an INVITE of the agent, later."""
        for message in self.anna.heard():
            if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
                self.ok = message
                sdp = b"" if self.invite.body else ANSWER
                self.anna.say(self.anna.beside(self.invite, "ACK", to=str(message.to), branch="ack", sdp=sdp))
            elif isinstance(message, Request) and message.method in ("BYE", "INVITE"):
                self.anna.reply(message, 200, OFFER if message.method == "INVITE" else b"")
        for message in self.bert.heard():
            if isinstance(message, Request) and message.method == "INVITE":
                self.rung.append(message)
            elif isinstance(message, Request) and message.method in ("BYE", "CANCEL"):
                self.bert.reply(message, 200)
                if message.method == "CANCEL":
                    for invite in self.rung:
                        if invite.call_id == message.call_id:
                            self.bert.reply(invite, 487)

    def step(self) -> None:
        """Let one thing happen."""
        world, dice = self.world, self.dice
        match dice.randrange(9):
            case 0 | 1 if self.call:
                world.run(world.core.connect(self.call, (UserTarget(dice.choice(["bert", "carl"])),), world.now, "x"))
            case 2 if self.rung:
                self.bert.reply(dice.choice(self.rung), 180)
            case 3 if self.rung:
                invite = self.rung.pop()
                self.bert.reply(invite, 200, dice.choice([ANSWER, ANSWER.replace(b"AVP 8", b"AVP 0")]))
            case 4 if self.rung:
                self.bert.reply(self.rung.pop(), dice.choice([486, 488, 603]))
            case 5 if self.call:
                world.run(world.core.give_up(self.call, world.now))
            case 6 if self.ok and self.invite.body:
                self.anna.say(self.anna.within(self.ok, "UPDATE", sdp=dice.choice([OFFER, b""])))
            case 7 if dice.random() < 0.3:
                self.restart()
            case _:
                world.pass_time(dice.choice([0.01, 1.0, 20.0]))
        self.listen()

    def restart(self) -> None:
        """The process is killed, and the next one has what the journal holds."""
        self.listen()
        world, saved = self.world, self.world.effects(SaveCall)
        over = {effect.call for effect in world.ended()}
        world.core = world.fresh_core()
        assert self.bert.register(call_id=f"again{self.dice.random()}").status == 200
        live = {effect.call: effect.state for effect in saved if effect.call not in over}
        for state in live.values():
            world.run(world.core.restore_call(json.loads(json.dumps(state)), world.now))

    def finish(self) -> None:
        """Whoever is left hangs up."""
        if self.call and self.dice.random() < 0.5 and self.ok:
            self.anna.say(self.anna.within(self.ok, "BYE"))
        else:
            self.world.run(self.world.core.hang_up(self.call, self.world.now))
        for _ in range(8):
            self.listen()
            self.world.pass_time(20)


@pytest.mark.parametrize("seed", range(120))
def test_no_caller_is_stranded_whatever_happens(waiting: World, seed: int) -> None:
    waiting.media = media
    anna, bert = Peer(waiting, "anna", "192.0.2.7"), Peer(waiting, "bert", "203.0.113.9")
    assert bert.register().status == 200
    play = Play(waiting, anna, bert, seed)
    play.listen()
    for _ in range(STEPS):
        play.step()
        for view in waiting.core.calls():
            assert view.state != CallState.WAITING or view.b is None
    play.finish()
    assert waiting.empty(), (waiting.core.counts(), [view.state for view in waiting.core.calls()])
    ended = Counter(effect.call for effect in waiting.effects(CallEnded))
    assert set(ended.values()) == {1}
    assert {effect.call for effect in waiting.effects(CloseMedia)} == set(ended)
    (record,) = waiting.ended()
    assert record.joined == bool(waiting.effects(Joined))
    assert len(waiting.effects(Waiting)) == 1
    assert record.waited is not None
    assert all(effect.status >= 400 for effect in waiting.effects(Unreached))
