# SPDX-License-Identifier: GPL-3.0-or-later
"""Many calls at once: given up at any step, over a link that loses packets: nothing stays, each has one record."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sip.agent import Agent
from sip.effects import Address, CallEnded, CloseMedia, OfferMedia
from sip.leg import Leg
from sip.leg_table import LegSignal, LegState
from sip.message import Request, Response
from sip.parser import parse
from sip.settings import Settings
from sip.transaction import server_key
from tests.sip.conftest import UNLIMITED
from tests.sip.link import Link

SDP = b"v=0\r\nm=audio 40000 RTP/AVP 8\r\n"


def test_calls_given_up_at_every_step_leave_nothing(world, anna, bert):
    world.settings = Settings(realm="example.org", secret=b"k" * 32, ring_time=30.0, **UNLIMITED)
    world.core = world.fresh_core()
    assert bert.register(call_id="again").status == 200
    dice = random.Random(1)
    world.log.clear()
    steps = Counter(given_up_at(anna, bert, number, dice) for number in range(10_000))
    assert min(steps.values()) > 100
    started = sum(count for step, count in steps.items() if step > 0)
    world.pass_time(64)
    assert world.empty(), world.core.counts()
    assert world.core.counts()["timers"] == 1
    ended = Counter(effect.call for effect in world.effects(CallEnded))
    assert set(ended.values()) == {1}
    assert len(ended) == started == len(world.effects(CloseMedia))


def given_up_at(anna, bert, number, dice):
    """Play one call in steps 10 ms apart, of which one in ten is the last; the number of that step."""
    world = anna.world
    step = -1

    def gone() -> bool:
        nonlocal step
        step += 1
        world.pass_time(0.01)
        return dice.random() < 0.1

    request = anna.request("INVITE", "sip:bert@example.org", sdp=SDP, call_id=f"c{number}")
    anna.say(request)
    again = anna.authorized(request, next(m for m in anna.heard() if of(m, f"c{number}")))
    if gone():
        return step
    anna.say(again)
    out = next(m for m in reversed(bert.heard()) if isinstance(m, Request) and m.method == "INVITE")
    if gone():
        return step
    bert.reply(out, 180)
    if gone():
        return step
    if dice.random() < 0.1:
        anna.say(anna.beside(again, "CANCEL"))
        return 3
    bert.reply(out, 200, SDP)
    ok = next(m for m in anna.heard() if of(m, f"c{number}") and m.status == 200)
    if gone():
        return step + 1
    anna.say(anna.beside(again, "ACK", to=str(ok.to), branch=f"ack{number}"))
    anna.say(anna.within(ok, "BYE"))
    bye = next(m for m in bert.heard() if isinstance(m, Request) and m.method == "BYE" and m.call_id == out.call_id)
    if gone():
        return step + 1
    bert.reply(bye, 200)
    return 6


def of(message, call_id):
    return isinstance(message, Response) and message.call_id == call_id


class Phone:
    """A client with timers of its own, made of the same legs as the server's."""

    def __init__(self, link: Link, user: str, host: str) -> None:
        self.link = link
        self.user = user
        self.address = Address(host, 5060)
        count = iter(range(10**9))
        settings = Settings(realm="example.org", secret=b"p" * 32, **UNLIMITED)
        self.agent = Agent(settings, lambda: f"{user}{next(count)}", lambda peer: self.address)
        self.legs: dict[str, Leg] = {}
        self.due: float | None = None
        link.phones[self.address] = self

    def flush(self) -> None:
        for send in self.agent.effects:
            self.link.carry(self.link.world.receive, send.data, self.address)
        self.agent.effects.clear()
        due = self.agent.timers.next_due()
        if due is not None and (self.due is None or due < self.due):
            self.due = due
            self.link.later(max(0.0, due - self.link.world.now), self.tick)

    def tick(self) -> None:
        now = self.link.world.now
        self.due = None
        for owner, name in self.agent.timers.due(now):
            owner.ring(name, now)
        self.flush()

    def receive(self, data: bytes) -> None:
        message = parse(data)
        now = self.link.world.now
        if isinstance(message, Response):
            leg = self.legs.get(message.call_id)
            if not self.agent.layer.response(message, now) and leg and message.cseq.method == "INVITE":
                leg.asking.acknowledge_again(message)
        elif not self.agent.layer.absorb(message, now):
            self.take(message, now)
        self.flush()

    def take(self, request: Request, now: float) -> None:
        leg = self.legs.get(request.call_id)
        if request.method == "ACK":
            if leg:
                leg.acknowledged(request, now)
            return
        transaction = self.agent.layer.serve(request, SERVER, self.address, now)
        match request.method:
            case "INVITE" if leg is None:
                leg = self.legs[request.call_id] = Leg("a", self.agent, self, LegState.INCOMING)
                leg.receive(request, transaction, SERVER)
                leg.alert(180, None, b"", now)
                self.link.later(self.link.dice.uniform(0.1, 3), self.decide, leg)
            case "CANCEL" if self.agent.layer.find_server(server_key(request, "INVITE")) and leg:
                self.agent.respond(transaction, request, 200, now)
                leg.end((487, None), (), now) if leg.state is LegState.INCOMING else None
            case "BYE" if leg:
                self.agent.respond(transaction, request, 200, now)
                leg.feed(LegSignal.BYE, now, request)
            case _:
                self.agent.respond(transaction, request, 481, now)

    def decide(self, leg: Leg) -> None:
        now = self.link.world.now
        if leg.state is LegState.INCOMING and self.link.dice.random() < 0.2:
            leg.end((486, None), (), now)
        elif leg.state is LegState.INCOMING:
            leg.answer(SDP, now)
            self.link.later(self.link.dice.uniform(1, 20), self.hang_up, leg)
        self.flush()

    def call(self, anna, number: int) -> None:
        """Call Bert; the challenge is asked for beforehand, without loss."""
        request = anna.request("INVITE", "sip:bert@example.org", sdp=SDP, call_id=f"c{number}")
        anna.say(request)
        request = anna.authorized(request, anna.heard()[-1])
        leg = self.legs[request.call_id] = Leg("b", self.agent, self, LegState.CALLING)
        leg.call(request, SERVER, self.address, self.link.world.now)
        self.flush()
        self.link.later(self.link.dice.uniform(0.05, 25), self.hang_up, leg)

    def hang_up(self, leg: Leg) -> None:
        leg.end((480, None), (), self.link.world.now)
        self.flush()

    def told(self, leg, signal, message, now) -> None:
        if signal is LegSignal.ACCEPT:
            leg.confirm(b"", now)

    def joined(self, leg, key) -> None:
        pass

    def left(self, leg, now) -> None:
        pass


SERVER = Address("198.51.100.1", 5060)


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_over_a_lossy_link_ends_once(world, anna, bert, loss, seed):
    link = Link(world, loss, seed)
    caller, callee = Phone(link, "anna", anna.address.host), Phone(link, "bert", bert.address.host)
    for number in range(150):
        caller.call(anna, number)
        link.run(0.3)
    link.run(300)
    assert world.empty(), world.core.counts()
    assert {leg.state for phone in (caller, callee) for leg in phone.legs.values()} == {LegState.GONE}
    ended = world.ended()
    assert set(Counter(end.call for end in ended).values()) == {1}
    assert {end.call for end in ended} == {offer.call for offer in world.effects(OfferMedia)}
    assert len(ended) == 150 or loss
    assert {200, 486, 487} <= {end.status for end in ended}
