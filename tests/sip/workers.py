# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes that share a wire, and calls of both: where the tests of transfers between them begin."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from itertools import count

import pytest

from sip.call_table import CallState
from sip.core import Core
from sip.effects import BorrowLeg, EndLoan, LentLeg, SaveBindings
from sip.message import Request
from sip.sharing import Among, OwnChannels
from sip.steering import call_id_of, drawn_for, kin, slot_of
from tests.sip.conftest import SERVER, Peer, World
from tests.sip.talk import Talk
from tests.sip.test_transfer import consult, refer, replaces

WORKERS = 2
ONE, OTHER = drawn_for(0, WORKERS, lambda: "one"), drawn_for(1, WORKERS, lambda: "other")


class Workers(World):
    """Two cores, one wire: a message goes to the core of its Call-ID, or to the one that its leg has gone to."""

    def __init__(self) -> None:
        self._made = count()
        self.channels = OwnChannels()
        self.served: dict[str, int] = {}
        self.lenders: dict[tuple[str, str], int] = {}
        self.holding = False
        self.held: list[tuple[int, object]] = []
        super().__init__()
        self.cores = [self.core, self.fresh_core(1)]

    def fresh_core(self, number: int = 0) -> Core:
        def token() -> str:
            return f"t{number}x{next(self._made):06}"

        def call_id(other: str) -> str:
            slot = slot_of(other.encode())
            return kin(token(), slot) if other and slot % WORKERS == number else drawn_for(number, WORKERS, token)

        among = Among(call_id, self.channels, leads=number == 0)
        return Core(self.settings, token, lambda peer: replace(SERVER, transport=peer.transport), among)

    def place(self, call_id: str) -> int:
        return self.served.get(call_id, slot_of(call_id.encode()) % WORKERS)

    def receive(self, data, source):
        core = self.cores[self.place(call_id_of(data).decode())]
        self.run_of(core, core.receive(data, source, SERVER, self.now))

    def pass_time(self, seconds):
        end = self.now + seconds
        while dues := [due for core in self.cores if (due := core.next_expiry()) is not None and due <= end]:
            self.now = max(self.now, min(dues))
            for core in self.cores:
                self.run_of(core, core.expire(self.now))
        self.now = end

    def run(self, effects):
        self.run_of(self.core, effects)

    def run_of(self, core, effects):
        queue = deque((core, effect) for effect in effects)
        while queue:
            self.core, effect = queue.popleft()
            self.log.append(effect)
            number = self.cores.index(self.core)
            if self.holding and isinstance(effect, LentLeg | EndLoan):
                self.held.append((number, effect))
            elif isinstance(effect, BorrowLeg | LentLeg | EndLoan | SaveBindings):
                queue.extend(self.passed_on(number, effect))
            else:
                queue.extend((self.core, more) for more in self._perform(effect))

    def release(self):
        held, self.held, self.holding = self.held, [], False
        for number, effect in held:
            for core, more in self.passed_on(number, effect):
                self.run_of(core, [more])

    def passed_on(self, number, effect):
        """What another core makes of it, whatever is said going through JSON."""
        match effect:
            case BorrowLeg():
                to = self.cores[self.place(effect.dialog[0])]
                return [(to, each) for each in to.lend((number, effect.token), effect.dialog, effect.party, self.now)]
            case LentLeg(state=None):
                to, token = self.cores[effect.asker[0]], effect.asker[1]
                return [(to, each) for each in to.refused(token, effect.status, effect.reason, self.now)]
            case LentLeg():
                borrower, token = effect.asker
                to, state = self.cores[borrower], json.loads(json.dumps(effect.state))
                self.served[state["leg"]["call_id"]] = borrower
                self.lenders[state["call"], state["leg"]["name"]] = number
                return [(to, each) for each in to.lent(token, state, self.now)]
            case EndLoan():
                lender = self.lenders.pop((effect.call, effect.leg))
                to, state = self.cores[lender], json.loads(json.dumps(effect.state))
                if state:
                    self.served[state["call_id"]] = lender
                return [(to, each) for each in to.end_loan(effect.call, effect.leg, state, self.now)]
            case SaveBindings():
                to = self.cores[1 - number]
                state = [binding.state for binding in effect.bindings]
                kept = to.restore_binding(effect.username, state, self.now)
                assert not any(isinstance(each, SaveBindings) for each in kept)
        return []

    def views(self):
        return [[view.state for view in core.calls()] for core in self.cores]

    def empty(self):
        """Whether the cores hold nothing but contacts, and no call has been told of twice."""
        kinds = ("calls", "dialogs", "transactions", "questions")
        ended = [end.call for end in self.ended()]
        return not any(core.counts()[kind] for core in self.cores for kind in kinds) and len(ended) == len(set(ended))


@pytest.fixture
def world():
    return Workers()


@pytest.fixture
def carl(world):
    peer = Peer(world, "carl", "203.0.113.30")
    assert peer.register().status == 200
    return peer


@pytest.fixture
def asked(world, anna, bert, carl):
    """Anna talks to Bert by one core, and has asked Carl by the other: Talk, and what she and Carl have heard."""
    talk = Talk(world, anna, bert, call_id=ONE)
    ok, out = consult(world, anna, bert, carl, OTHER)
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    return talk, ok, out


def transfer(anna, talk, ok):
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")


def methods(peer):
    return [message.method for message in peer.heard() if isinstance(message, Request)]


def bye(world, peer, last, other):
    """A party hangs up, and so the other hears; nothing is left then."""
    peer.say(peer.within(last, "BYE"))
    assert [message.status for message in peer.heard() if not isinstance(message, Request)] == [200]
    other.reply([m for m in other.heard() if isinstance(m, Request) and m.method == "BYE"][-1], 200)
    world.pass_time(70)
