# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits over all workers: asked of one desk, given back when a call ends or its worker goes on without it."""

from datetime import UTC, datetime

import pytest

from ctl.workers.admission import AdmissionDesk, RemoteAdmission, _limited
from provisioning.admission import Admission, Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRUNK = (1, "paris")


@pytest.fixture
def books():
    return Admission()


@pytest.fixture
def desk(books):
    return AdmissionDesk(books)


def wishes(call, user="anna", channels=None, spend=None, price=None):
    told = []
    remote = RemoteAdmission(lambda *message: told.append(message))
    assert remote.begin(call, (1, Limits(channels, spend)), (user, Limits())) is None
    if price is not None:
        assert remote.take_trunk(call, TRUNK, None, price, NOW) is None
    found = remote.wishes()
    assert remote.wishes() == []
    return found


def test_channels_hold_over_workers(desk):
    assert desk.admit(0, "c1", wishes("c1", channels=2)) is None
    assert desk.admit(1, "c2", wishes("c2", channels=2)) is None
    assert desk.admit(0, "c3", wishes("c3", channels=2)) == (503, "All 2 channels of the tenant are in use")
    desk.end("c2", 0.0)
    assert desk.admit(0, "c3", wishes("c3", channels=2)) is None


def test_money_holds_over_workers_and_what_was_denied_holds_nothing(desk, books):
    assert desk.admit(0, "c1", wishes("c1", spend=15, price=10)) is None
    assert desk.admit(1, "c2", wishes("c2", spend=15, price=10)) == (403, "Spending Limit Reached")
    assert list(books.calls()) == ["c1"]
    assert not desk.renew("c1")
    desk.end("c1", 30.0)
    assert list(books.calls()) == []


def test_a_worker_that_comes_back_holds_what_it_goes_on_with(desk, books):
    for call in ("c1", "c2"):
        desk.admit(0, call, wishes(call))
    desk.admit(1, "c3", wishes("c3"))
    desk.taken_up(0, wishes("c2"))
    assert sorted(books.calls()) == ["c2", "c3"]


def test_the_worker_tells_of_minutes_and_ends():
    told = []
    remote = RemoteAdmission(lambda *message: told.append(message))
    assert remote.renew("c1", NOW)
    assert remote.end("c1", 12.5) == 0
    assert told == [("renew", "c1"), ("end", "c1", 12.5)]


def test_only_what_can_be_denied_is_asked_for():
    assert not any(map(_limited, wishes("c1")))
    assert not any(map(_limited, wishes("c1", price=0)))
    for given in ({"channels": 1}, {"spend": 5}, {"price": 3}):
        assert any(map(_limited, wishes("c1", **given)))
