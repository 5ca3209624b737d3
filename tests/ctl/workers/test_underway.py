# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a leg that goes from worker to worker, in every order in which links can be slow: none misses it."""

from __future__ import annotations

import random
from collections import deque

import pytest

from ctl.workers.affinity import Affinity
from ctl.workers.loans import Loans
from ctl.workers.steering import Steered, pack
from sip.effects import Address, BorrowLeg, EndLoan, LentLeg
from sip.steering import drawn_for, slot_of
from tests.sip.conftest import write_invite

WORKERS = 3
LENDER, BORROWER, THIRD = range(WORKERS)
PEER, US = Address("192.0.2.7", 5060), Address("198.51.100.1", 5060)
WAYS = ("kept", "back", "back and lent again")


class Exchange:
    """A controller, and links to its workers that pass on one message at a time, each in its order."""

    def __init__(self, owner, dice):
        self.dice = dice
        self.call_id = drawn_for(owner, WORKERS, lambda: "x")
        self.state = {"call": "c1", "leg": {"name": "b", "call_id": self.call_id, "dialog": None}}
        self.up = [deque() for _ in range(WORKERS)]
        self.down = [deque() for _ in range(WORKERS)]
        self.known = {self.call_id.encode(): LENDER} if owner != LENDER else {}
        self.missed, self.heard = 0, 0
        self.workers = [Worker(number, self) for number in range(WORKERS)]
        self.workers[LENDER].has = True
        if owner != LENDER:
            self.workers[LENDER].affinity.claim(self.call_id.encode())
            self.settle()

    def arrive(self):
        """A datagram comes to any of them."""
        self.dice.choice(self.workers).steered.received(write_invite({"Call-ID": self.call_id}), PEER, US)

    def step(self):
        """Some link passes on its next message; whether there was one."""
        busy = [(links, number) for links in (self.up, self.down) for number in range(WORKERS) if links[number]]
        if not busy:
            return False
        links, number = self.dice.choice(busy)
        name, *message = links[number].popleft()
        if links is self.up:
            self.pass_on(number, name, *message)
        else:
            self.workers[number].hear(name, *message)
        return True

    def settle(self):
        while self.step():
            pass

    def pass_on(self, teller, name, *message):
        """As the controller does."""
        match name:
            case "borrow":
                number, dialog, party = message
                lender = self.known.get(dialog[0].encode(), slot_of(dialog[0].encode()) % WORKERS)
                self.down[lender].append(("lend", teller, number, dialog, party))
            case "served":
                call_id, worker = message
                self.known[call_id] = worker
                if worker < 0:
                    del self.known[call_id]
                owner = slot_of(call_id) % WORKERS
                if owner != teller:
                    self.down[owner].append(("serve", call_id, worker))
            case "lent":
                to, *rest = message
                self.down[to].append((name, teller, *rest))
            case "hand" | "loan ends":
                to, *rest = message
                self.down[to].append((name, *rest))


class Worker:
    """One of them; the leg is as much of a core as it needs."""

    def __init__(self, number, exchange):
        self.exchange, self.has = exchange, False
        tell = lambda *message: exchange.up[number].append(message)  # noqa: E731
        self.affinity = Affinity(number, WORKERS, tell)
        self.steered = Steered(number, self.affinity, self, tell, lambda _: None, lambda _: False)
        self.loans = Loans(self, lambda _: None, self.affinity, self.steered, tell, 1000 * number)

    def hear(self, name, *message):
        handlers = {
            "hand": self.steered.handed_over,
            "serve": self.affinity.serve,
            "lend": self.loans.lend,
            "lent": self.loans.lent,
            "loan ends": self.loans.ends,
        }
        handlers[name](*message)

    # the conductor

    def received(self, data, source, local):
        self.exchange.heard += 1
        self.exchange.missed += not self.has

    # the core

    def lend(self, asker, dialog, party, now):
        assert self.has
        self.has = False
        self.loans.take(LentLeg(asker, self.exchange.state))

    def lent(self, token, state, now):
        self.has = True

    def end_loan(self, call, leg, state, now):
        self.has = self.has or state is not None


def borrow(exchange):
    dialog = (exchange.call_id, "a", "b")
    exchange.workers[BORROWER].loans.take(BorrowLeg(7, dialog, None))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("owner", range(WORKERS))
def test_a_message_meets_the_leg_wherever_it_comes_to(owner, way):
    dice = random.Random(f"{owner} {way}")
    for _ in range(100):
        exchange = Exchange(owner, dice)
        come = 0
        borrow(exchange)
        for turn in range(2 if way == WAYS[2] else 1):
            if turn:
                exchange.settle()
                borrow(exchange)
            while not exchange.workers[BORROWER].has:
                come += arrive_perhaps(exchange)
                assert exchange.step()
            if way != WAYS[0]:
                exchange.workers[BORROWER].has = False
                exchange.workers[BORROWER].loans.take(EndLoan("c1", "b", exchange.state["leg"]))
                while not exchange.workers[LENDER].has:
                    come += arrive_perhaps(exchange)
                    assert exchange.step()
        for _ in range(10):
            come += arrive_perhaps(exchange)
            exchange.step()
        exchange.settle()
        assert (exchange.heard, exchange.missed) == (come, 0)
        exchange.arrive()
        exchange.settle()
        assert exchange.missed == 0


def arrive_perhaps(exchange):
    if exchange.dice.random() < 0.5:
        return 0
    exchange.arrive()
    return 1


def test_a_message_by_a_connection_goes_after_the_leg_with_its_way():
    exchange = Exchange(THIRD, random.Random(1))
    exchange.workers[LENDER].has = False
    exchange.workers[LENDER].affinity.give(exchange.call_id.encode(), BORROWER)
    peer = Address("192.0.2.7", 40000, "tcp", inbound=True)
    data = write_invite({"Call-ID": exchange.call_id})
    exchange.workers[LENDER].steered.handed_over(THIRD, data, pack(peer), pack(US))
    exchange.workers[BORROWER].has = True
    exchange.settle()
    assert (exchange.heard, exchange.missed) == (1, 0)
    assert exchange.workers[BORROWER].steered.way(peer) == THIRD
