# SPDX-License-Identifier: GPL-3.0-or-later
"""How routing leads calls to queues, past full ones, and agents' codes to what they do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ctl.queues.section import QueuesSection
from ctl.queues.services import duty_service, queue_service
from ctl.signalling.directory import QUEUE_FULL, Directory
from provisioning.plan import Number, Queue, TenantPlan
from provisioning.routing import NO_ROUTE
from provisioning.snapshot import Account, Snapshot
from sip.effects import FindRoute, ServiceTarget, UserTarget

SALES = Queue("sales")
LATE = Queue("late", overflow="bert", answer=False)
NUMBER = "+4930555"


@pytest.fixture
def directory() -> Directory:
    accounts = [Account("example.org", name, True, "", "") for name in ("anna", "bert")]
    plan = TenantPlan(
        1,
        queues={"sales": SALES, "late": LATE},
        extensions={"500": SALES, "501": LATE},
        numbers={NUMBER: Number(NUMBER, queue="late")},
    )
    snapshot = Snapshot.of("example.org", accounts).planned({1: plan})
    keeper: Any = SimpleNamespace(current=snapshot, ready=True)
    return Directory(keeper, codes=QueuesSection(pause_code="").codes)


def ask(dialled: str, trunk: str = "") -> FindRoute:
    return FindRoute(1, "c1", "+331" if trunk else "anna", dialled, "example.org", trunk)


def test_a_queue_is_ourselves(directory: Directory) -> None:
    assert directory.route(ask("500")) == (ServiceTarget(queue_service(1, "sales")),)
    late = (ServiceTarget(queue_service(1, "late"), early=True),)
    assert directory.route(ask("501")) == directory.route(ask(NUMBER, "1/paris")) == late


def test_a_full_queue_is_not_entered(directory: Directory) -> None:
    directory.full = {(1, "sales"), (1, "late")}
    assert directory.route(ask("500")) == QUEUE_FULL
    assert directory.route(ask(NUMBER, "1/paris")) == (UserTarget("bert", ring=30.0),)


def test_codes_are_for_users(directory: Directory) -> None:
    assert directory.route(ask("*45")) == (ServiceTarget(duty_service(1, "available")),)
    assert directory.route(ask("*46")) == (ServiceTarget(duty_service(1, "off")),)
    for question in (ask("*47"), ask("*45", "1/paris")):
        assert not isinstance(directory.route(question), tuple)


def test_what_a_tenant_sends_on_is_dialled_as_it_dials(directory: Directory) -> None:
    assert directory.onward("c1", 1, "+331", "anna") == (UserTarget("anna", ring=30.0),)
    assert directory.onward("c1", 1, "anna", "+33123456789") == NO_ROUTE
    assert directory.agent("bert", 7) == UserTarget("bert", ring=7)


def test_codes_must_differ() -> None:
    with pytest.raises(ValueError, match="must differ"):
        QueuesSection(login_code="*46")
    assert cast(Any, QueuesSection()).codes == {"*45": "available", "*46": "off", "*47": "paused"}
