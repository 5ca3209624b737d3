# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worker serves a Call-ID: that of its slot, or the one to whose call its leg has gone over."""

from dataclasses import replace

import pytest

from ctl.workers.affinity import Affinity
from sip.steering import drawn_for
from sip.views import CallView, LegView
from tests.sip.conftest import write_invite

WORKERS = 2
HERE, THERE = 0, 1


def named(worker, word="x"):
    """A Call-ID of this worker."""
    return drawn_for(worker, WORKERS, lambda: word)


def leg(call_id):
    return LegView("confirmed", call_id, None, None)


def call(call_id):
    return CallView("c1", "talking", "anna", "bert", 0.0, None, 1.0, leg(call_id), leg(named(HERE, "b")))


@pytest.fixture
def told():
    return []


@pytest.fixture
def affinity(told):
    return Affinity(HERE, WORKERS, lambda *message: told.append(message))


def test_usually_the_call_id_says_whose_a_message_is(affinity, told):
    for number, worker in enumerate((HERE, THERE)):
        message = write_invite({"Call-ID": named(worker, str(number))})
        assert (affinity.place(message), affinity.place_again(message)) == (worker, HERE)
    without = write_invite({"Call-ID": None})
    assert (affinity.place(without), affinity.place_again(without)) == (HERE, HERE)
    assert told == []


def test_messages_of_a_leg_that_has_gone_go_after_it(affinity, told):
    ours = write_invite({"Call-ID": named(HERE)})
    affinity.give(named(HERE).encode(), THERE)
    assert (affinity.place(ours), affinity.place_again(ours)) == (THERE, THERE)
    affinity.claim(named(HERE).encode())
    assert affinity.place(ours) == HERE
    assert told == [("served", named(HERE).encode(), -1)]
    affinity.serve(named(HERE).encode(), THERE)
    assert affinity.place(ours) == THERE
    affinity.serve(named(HERE).encode(), -1)
    assert affinity.place(ours) == HERE


def test_what_is_handed_to_one_who_has_given_it_away_goes_after_it_for_a_moment(affinity):
    theirs = write_invite({"Call-ID": named(THERE)})
    affinity.claim(named(THERE).encode())
    affinity.give(named(THERE).encode(), 2)
    assert (affinity.place(theirs), affinity.place_again(theirs)) == (THERE, 2)
    affinity.look([])
    assert affinity.place_again(theirs) == 2
    affinity.look([])
    assert affinity.place_again(theirs) == HERE
    affinity.give(named(THERE).encode(), 2)
    affinity.claim(named(THERE).encode())
    assert affinity.place_again(theirs) == HERE


def test_a_call_id_of_others_is_served_until_its_call_is_over(affinity, told):
    affinity.claim(named(THERE).encode())
    assert told.pop() == ("served", named(THERE).encode(), HERE)
    view = call(named(THERE))
    for calls in ([view], [view], []):
        affinity.look(calls)
    assert told == []
    affinity.look([])
    affinity.look([])
    assert told == [("served", named(THERE).encode(), -1)]


def test_what_was_given_away_is_not_said_to_be_over(affinity, told):
    affinity.claim(named(THERE).encode())
    affinity.give(named(THERE).encode(), 2)
    told.clear()
    for _ in range(3):
        affinity.look([])
    assert told == []


def test_who_takes_up_a_call_says_that_it_serves_it(affinity, told):
    affinity.restored([call(named(THERE)), replace(call(named(HERE)), b=None)])
    assert told == [("served", named(THERE).encode(), HERE)]
