# SPDX-License-Identifier: GPL-3.0-or-later
"""Legs between workers: who is asked, what goes where, and that nothing stays behind."""

from types import SimpleNamespace

import pytest

from ctl.workers.affinity import Affinity
from ctl.workers.loans import NOBODY, Loans
from sip.effects import Address, BorrowLeg, EndLoan, LentLeg
from sip.steering import drawn_for, slot_of
from tests.sip.conftest import write_invite

WORKERS = 3
ASKER, LENDER, THIRD = range(WORKERS)
CALL_ID = drawn_for(THIRD, WORKERS, lambda: "leg")
DIALOG = (drawn_for(LENDER, WORKERS, lambda: "anna"), "ours", "theirs")
PEER = Address("203.0.113.9", 40000, "tcp", inbound=True)
LEG = {"name": "b", "call_id": CALL_ID, "dialog": {"peer": PEER.packed}}
STATE = {"call": "c1", "leg": LEG}
PARTY = ("anna", "")


class Core:
    """Writes down what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        def told(*arguments):
            self.told.append((name, *arguments[:-1]))
            return []

        return told


class Worker:
    def __init__(self, number, others):
        self.number, self.others, self.core, self.connected = number, others, Core(), {}
        self.affinity = Affinity(number, WORKERS, self.tell)
        steered = SimpleNamespace(way=lambda _: number, connected=self.connected.__setitem__)
        self.loans = Loans(self.core, lambda _: None, self.affinity, steered, self.tell, 1000 * number)

    def tell(self, name, *message):
        """As the controller passes it on."""
        match name:
            case "borrow":
                number, dialog, party = message
                owner = self.others[slot_of(dialog[0].encode()) % WORKERS]
                owner.loans.lend(self.number, number, dialog, party)
            case "lent":
                to, *rest = message
                self.others[to].loans.lent(self.number, *rest)
            case "loan ends":
                to, *rest = message
                self.others[to].loans.ends(*rest)
            case "served":
                call_id, worker = message
                owner = slot_of(call_id) % WORKERS
                if owner != self.number:
                    self.others[owner].affinity.serve(call_id, worker)


@pytest.fixture
def workers():
    found = []
    found += [Worker(number, found) for number in range(WORKERS)]
    return found


def served(workers):
    """Who has the messages of the leg, as each worker knows or the owner says."""
    return workers[THIRD].affinity.place(write_invite({"Call-ID": CALL_ID}))


@pytest.fixture
def lent(workers):
    """A leg that the second worker has lent to the first; the third is that of its Call-ID."""
    asker, lender, _ = workers
    lender.affinity.claim(CALL_ID.encode())
    asker.loans.take(BorrowLeg(7, DIALOG, PARTY))
    assert lender.core.told.pop() == ("lend", (ASKER, 1), DIALOG, PARTY)
    lender.loans.take(LentLeg((ASKER, 1), STATE))
    assert asker.core.told.pop() == ("lent", 7, STATE)
    assert (served(workers), asker.connected) == (ASKER, {PEER: LENDER})
    return workers


def test_a_leg_that_stays(lent):
    asker, lender, _ = lent
    asker.loans.take(EndLoan("c1", "b", None))
    assert lender.core.told == [("end_loan", "c1", "b", None)]
    assert served(lent) == ASKER
    assert asker.loans.borrowed() == []
    lender.loans.bereft(ASKER)
    assert len(lender.core.told) == 1


def test_a_leg_that_comes_back(lent):
    asker, lender, _ = lent
    for _ in range(3):
        asker.affinity.look([], asker.loans.borrowed())
    assert served(lent) == ASKER, "it may be in no call by then"
    asker.loans.take(EndLoan("c1", "b", LEG))
    assert lender.core.told == [("end_loan", "c1", "b", LEG)]
    assert (served(lent), lender.connected) == (LENDER, {PEER: ASKER})


def test_a_leg_whose_borrower_dies(lent):
    _, lender, _ = lent
    lender.loans.bereft(THIRD)
    assert lender.core.told == []
    lender.loans.bereft(ASKER)
    assert lender.core.told == [("loan_lost", "c1", "b")]
    assert served(lent) == LENDER


def test_a_refusal(workers):
    asker, lender, _ = workers
    asker.loans.take(BorrowLeg(7, DIALOG, PARTY))
    lender.loans.take(LentLeg((ASKER, 1), None, 481, "Nothing To Replace"))
    assert asker.core.told == [("refused", 7, 481, "Nothing To Replace")]


def test_an_answer_to_somebody_who_was_here_before_finds_no_question(workers):
    """What the core makes of a leg for nobody: it goes back."""
    asker, lender, _ = workers
    lender.loans.take(LentLeg((ASKER, 99), STATE))
    assert asker.core.told == [("lent", NOBODY, STATE)]
    asker.loans.take(EndLoan("c1", "b", LEG))
    assert lender.core.told == [("end_loan", "c1", "b", LEG)]
