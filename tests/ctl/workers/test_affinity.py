# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worker serves a call: that of its Call-ID, or the one where a party of it talks already."""

from dataclasses import replace

import pytest

from ctl.workers.affinity import Affinity
from sip.steering import drawn_for
from sip.views import CallView, LegView
from tests.sip.conftest import write_invite

WORKERS = 2
HERE, THERE = 0, 1
NOW = 100.0


def named(worker, word="x"):
    """A Call-ID of this worker."""
    return drawn_for(worker, WORKERS, lambda: word)


def leg(call_id):
    return LegView("confirmed", call_id, None, None)


def call(call_id, caller="anna", answered=1.0):
    return CallView("c1", "talking", caller, "bert", 0.0, None, answered, leg(call_id), leg(named(HERE, "b")))


@pytest.fixture
def told():
    return []


@pytest.fixture
def affinity(told):
    return Affinity(HERE, WORKERS, lambda *message: told.append(message))


def test_usually_the_call_id_says_whose_a_message_is(affinity, told):
    assert affinity.place(write_invite({"Call-ID": named(HERE)})) == HERE
    assert affinity.place(write_invite({"Call-ID": named(THERE)})) == THERE
    assert affinity.place(write_invite({"Call-ID": None})) == HERE
    assert told == []


def test_a_user_who_talks_elsewhere_has_further_calls_there(affinity, told):
    affinity.talk(THERE, [b"anna"])
    first = write_invite({"Call-ID": named(HERE)})
    assert affinity.place(first) == THERE
    assert told == [("served", named(HERE).encode(), THERE)]
    bye = first.replace(b"INVITE", b"BYE")
    assert affinity.place(bye) == THERE
    affinity.serve(named(HERE).encode(), -1)
    assert affinity.place(bye) == HERE


def test_so_has_who_is_called_but_not_who_talks_here_too_nor_a_call_that_is_up(affinity, told):
    affinity.talk(THERE, [b"bert"])
    assert affinity.place(write_invite({"Call-ID": named(HERE, "one")})) == THERE
    up = write_invite({"Call-ID": named(HERE, "two"), "To": "<sip:bert@example.org>;tag=b-1"})
    assert affinity.place(up) == HERE
    affinity.look([call(named(HERE, "three"))], NOW)
    assert affinity.place(write_invite({"Call-ID": named(HERE, "four")})) == HERE
    affinity.talk(THERE, [])
    assert affinity.place(write_invite({"Call-ID": named(HERE, "five")})) == HERE


def test_what_replaces_a_dialog_goes_to_where_that_is(affinity):
    there = f"Replaces: {named(THERE)};to-tag=1;from-tag=2\r\n"
    assert affinity.place(write_invite({"Call-ID": named(HERE)}, extra=there)) == THERE
    here = f"Replaces: {named(HERE, 'y')};to-tag=1;from-tag=2\r\n"
    assert affinity.place(write_invite({"Call-ID": named(HERE, "z")}, extra=here)) == HERE


def test_who_talks_is_told_when_it_changes(affinity, told):
    affinity.look([call(named(HERE)), call(named(HERE, "y"), caller="carol", answered=None)], NOW)
    affinity.look([call(named(HERE))], NOW)
    assert [(name, sorted(users)) for name, users in told] == [("talking", [b"anna", b"bert"])]
    affinity.look([], NOW)
    assert told[1:] == [("talking", [])]


def test_who_has_just_begun_to_talk_or_talks_to_many_is_served_by_all(affinity, told):
    affinity.look([call(named(HERE), answered=NOW - 0.1)], NOW)
    affinity.look([call(named(HERE, f"c{number}")) for number in range(4)], NOW)
    affinity.answered("c1", NOW - 1)
    affinity.tell_begun(lambda _: call(named(HERE)), NOW)
    assert told == []
    affinity.look([call(named(HERE, f"c{number}")) for number in range(3)], NOW)
    assert [(name, sorted(users)) for name, users in told] == [("talking", [b"anna", b"bert"])]


def test_who_has_begun_to_talk_is_told_as_soon_as_it_has_lasted(affinity, told):
    there = {"c1": call(named(HERE))}
    affinity.answered("c1", NOW)
    affinity.answered("over", NOW)
    affinity.tell_begun(there.get, NOW + 0.4)
    assert told == []
    affinity.tell_begun(there.get, NOW + 0.5)
    assert [(name, sorted(users)) for name, users in told] == [("talks", [b"anna", b"bert"])]
    affinity.look([call(named(HERE))], NOW + 1)
    affinity.tell_begun(there.get, NOW + 1)
    assert len(told) == 1, "it is known by now"
    affinity.look([], NOW + 2)
    assert told[1:] == [("talking", [])]


def test_the_others_hear_of_it_at_once(affinity):
    affinity.talk(THERE, [b"carol"])
    affinity.add(THERE, [b"anna"])
    for number, user in enumerate(("anna", "carol")):
        from_ = {"Call-ID": named(HERE, f"n{number}"), "From": f"<sip:{user}@example.org>;tag=a"}
        assert affinity.place(write_invite(from_)) == THERE


def test_who_was_called_by_a_number_is_known_by_its_name(affinity, told):
    dialled = replace(call(named(HERE)), dialled="4930555", b=replace(leg(named(HERE, "b")), user="bert"))
    affinity.look([dialled], NOW)
    assert [(name, sorted(users)) for name, users in told] == [("talking", [b"4930555", b"anna", b"bert"])]


def test_who_talks_elsewhere_is_found_by_a_number_too():
    affinity = Affinity(HERE, WORKERS, lambda *_: None, {"4930555": "bert", "4930556": "carol"}.get)
    affinity.talk(THERE, [b"bert"])
    for number, place in (("4930555", THERE), ("4930556", HERE), ("4930557", HERE)):
        invite = write_invite({"Call-ID": named(HERE, number)}).replace(
            b"INVITE sip:bert@", b"INVITE sip:%b@" % number.encode()
        )
        assert number.encode() in invite
        assert affinity.place(invite) == place


def test_a_call_id_of_others_is_served_until_its_call_is_over(affinity, told):
    foreign = write_invite({"Call-ID": named(THERE)})
    assert not affinity.is_ours(foreign)
    assert affinity.is_ours(write_invite({"Call-ID": named(HERE)}))
    view = call(named(THERE), answered=None)
    for calls in ([view], [view], []):
        affinity.look(calls, NOW)
    assert told == []
    affinity.look([], NOW)
    assert told == [("served", named(THERE).encode(), -1)]


def test_who_takes_up_a_call_says_that_it_serves_it(affinity, told):
    affinity.restored([call(named(THERE)), replace(call(named(HERE)), b=None)])
    assert told == [("served", named(THERE).encode(), HERE)]
