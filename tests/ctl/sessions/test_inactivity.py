# SPDX-License-Identifier: GPL-3.0-or-later
"""One call each, looked at every second, as its life is told; and what many calls make of a look."""

from collections.abc import Callable

import pytest

from ctl.sessions.inactivity import READ_AT_ONCE, Inactivity, Life

TIMEOUT, HOLD_TIMEOUT = 120.0, 400.0
Told = Callable[[float], float | None]


def never(_: float) -> float | None:
    return None


def always(now: float) -> float | None:
    return now


def between(first: float, last: float) -> Told:
    return lambda now: None if now < first else min(now, last)


def ended_at(
    answered: float | None,
    packets: Told = never,
    hold: tuple[float, float] = (0, 0),
    start: int = 0,
    timeout: float = TIMEOUT,
    away: tuple[float, float] = (0, 0),
    hold_timeout: float = HOLD_TIMEOUT,
) -> tuple[float, float] | None:
    """When a call of 1,000 seconds is ended, and the seconds for which it was silent then; None: it is not."""
    inactivity = Inactivity(timeout, hold_timeout, start)
    for now in map(float, range(start, 1000)):
        if away[0] <= now < away[1]:
            continue
        held = {"call"} if hold[0] <= now < hold[1] else set()
        due = inactivity.due({"call"}, held, now)
        assert set(due) <= {"call"}
        life = Life(answered if answered is not None and answered <= now else None, packets(now) or 0.0)
        silent = inactivity.silent(dict.fromkeys(due, life), now)
        if silent:
            return now, silent["call"]
    return None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"answered": 10, "packets": always}, None),
        ({"answered": 10}, (130, 120)),  # never a packet: from the answer
        ({"answered": 10.5}, (131, 120.5)),
        ({"answered": None}, None),  # rings
        ({"answered": None, "packets": between(5, 6)}, None),
        ({"answered": 500, "packets": between(5, 6)}, (620, 120)),  # early media does not count against the answer
        ({"answered": 10, "packets": between(11, 40)}, (160, 120)),
        ({"answered": 10, "packets": between(11, 40.25)}, (161, 120.75)),
        ({"answered": 10, "packets": between(129, 600)}, (720, 120)),  # the first one came in time
        ({"answered": 10, "packets": between(131, 600)}, (130, 120)),
        ({"answered": 10, "packets": between(11, 40), "hold": (41, 1000)}, (441, 400)),  # from the hold on
        ({"answered": 10, "packets": between(11, 40), "hold": (41, 1000), "hold_timeout": 0.0}, None),
        ({"answered": 10, "packets": between(11, 300), "hold": (41, 1000)}, (700, 400)),  # music that ended
        ({"answered": 10, "packets": between(11, 40), "hold": (150, 500)}, (620, 120)),  # from the end of the hold
        ({"answered": 10, "hold": (50, 51)}, (171, 120)),
        ({"answered": 10, "hold": (200, 1000), "timeout": 0.0}, (600, 400)),
        ({"answered": 10, "packets": always, "hold": (50, 1000)}, None),
        ({"answered": 10, "start": 300}, (420, 120)),  # a restarted controller, from its own start
        ({"answered": 10, "packets": between(11, 250), "start": 300}, (420, 120)),
        ({"answered": 10, "packets": between(11, 350), "start": 300}, (470, 120)),
        ({"answered": 10, "away": (100, 200), "packets": between(11, 100)}, (320, 120)),  # so does one that stood still
        ({"answered": 10, "away": (100, 200), "packets": always}, None),
        ({"answered": 10, "away": (100, 130)}, (130, 120)),
        ({"answered": 10, "timeout": 0.0}, None),
        ({"answered": 10, "timeout": 1.0}, (11, 1)),
        ({"answered": 10, "timeout": 1.0, "packets": always}, None),
        ({"answered": 10, "timeout": 4.0, "packets": between(11, 99)}, (103, 4)),
    ],
)
def test_when_a_call_is_silent(given: dict[str, float], expected: tuple[float, float] | None) -> None:
    assert ended_at(**given) == expected


def test_a_carrier_that_starts_anew_makes_no_call_silent() -> None:
    """Its counters are lost: what was seen at 50 can be told no more, and media stopped for a while."""
    inactivity = Inactivity(TIMEOUT, HOLD_TIMEOUT, 0.0)
    inactivity.due({"call"}, set(), 1.0)
    inactivity.begin_anew(100.0)
    assert inactivity.due({"call"}, set(), 121.0) == []
    assert inactivity.due({"call"}, set(), 170.0) == []
    assert inactivity.due({"call"}, set(), 220.0) == ["call"]
    assert inactivity.silent({"call": Life(1.0, 0.0)}, 220.0) == {"call": 120.0}


def test_counters_that_restart_take_no_life_back() -> None:
    inactivity = Inactivity(TIMEOUT, HOLD_TIMEOUT, 0.0)
    for now in (50.0, 100.0, 121.0):
        due = inactivity.due({"call"}, set(), now)
    assert due == ["call"]
    assert inactivity.silent({"call": Life(1.0, 110.0)}, 121.0) == {}
    for now in (170.0, 229.0):
        assert inactivity.due({"call"}, set(), now) == []
    assert inactivity.due({"call"}, set(), 230.0) == ["call"]
    assert inactivity.silent({"call": Life(1.0, 0.0)}, 230.0) == {"call": 120.0}


def test_a_call_of_which_nothing_can_be_told_is_not_ended_but_asked_for_again() -> None:
    inactivity = Inactivity(TIMEOUT, HOLD_TIMEOUT, 0.0)
    inactivity.due({"call"}, set(), 60.0)
    for now in (120.0, 121.0):
        assert inactivity.due({"call"}, set(), now) == ["call"]
        assert inactivity.silent({}, now) == {}


def test_a_call_with_life_is_read_once_in_the_timeout() -> None:
    inactivity = Inactivity(TIMEOUT, HOLD_TIMEOUT, 0.0)
    reads = 0
    for now in map(float, range(1000)):
        due = inactivity.due({"call"}, set(), now)
        inactivity.silent(dict.fromkeys(due, Life(1.0, now)), now)
        reads += len(due)
    assert reads == 999 // TIMEOUT


def test_of_many_due_at_once_a_look_takes_some_and_the_next_goes_on() -> None:
    calls = {str(number) for number in range(3 * READ_AT_ONCE)}
    inactivity = Inactivity(TIMEOUT, HOLD_TIMEOUT, 0.0)
    inactivity.due(calls, set(), 60.0)
    looks = [inactivity.due(calls, set(), 120.0 + number) for number in range(3)]
    assert [len(look) for look in looks] == [READ_AT_ONCE] * 3
    assert set().union(*looks) == calls
    assert inactivity.due(calls, set(), 123.0) == looks[0]


def test_what_is_over_is_forgotten() -> None:
    inactivity = Inactivity(TIMEOUT, HOLD_TIMEOUT, 0.0)
    inactivity.due({"one", "two"}, set(), 1.0)
    inactivity.due({"two"}, {"one"}, 2.0)
    assert set(inactivity._since) == {"two"}
    for now in (50.0, 100.0):
        assert inactivity.due({"one", "two"}, set(), now) == []
    assert inactivity.due({"one", "two"}, set(), 121.0) == ["two"]
