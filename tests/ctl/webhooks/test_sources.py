# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on a host, as events of the tenant it concerns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ctl.queues.services import queue_service
from ctl.webhooks.sources import FORMER, Sources
from provisioning.snapshot import Snapshot
from sip.effects import Address, CallAnswered, CallEnded, CallStarted, Joined, SaveBindings, Waiting
from sip.registrar import Binding
from sip.views import CallView, LegView, TrunkView

LEG = LegView("confirmed", "c", None, None)
VIEW = CallView("c1", "talking", "+331", "900", 1, None, 2, LEG, LEG, queue_service(3, "sales"), trunk="3/paris")
ENDED = CallEnded("c1", "+331", "900", "a", None, 1, None, 2, 5.5, 200, 16, "a", "", from_trunk="3/paris")


class Heard:
    """Sources, and what they told."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.calls = {"c1": VIEW}
        snapshot = Snapshot.of("example.org", [], [])
        self.sources = Sources(self.tell, lambda: snapshot, self.calls.get)

    def tell(self, tenant: int, kind: str, **data: Any) -> None:
        self.events.append((tenant, kind, data))

    def take(self) -> list[tuple[int, str, dict[str, Any]]]:
        taken, self.events = self.events, []
        return taken


@pytest.fixture
def heard() -> Heard:
    return Heard()


CALL = {"call": "c1", "caller": "+331", "dialled": "900"}


def test_calls(heard: Heard) -> None:
    heard.sources.told(CallStarted("c1", "+331", "900", "3/paris"))
    heard.sources.told(CallAnswered("c1"))
    heard.sources.told(CallAnswered("gone"))
    heard.sources.told(ENDED)
    ending = {"status": 200, "cause": 16, "ended_by": "a", "reason": "", "talked_seconds": 3.5, "trunk": "3/paris"}
    assert heard.take() == [
        (3, "call.started", CALL | {"trunk": "3/paris"}),
        (3, "call.answered", CALL),
        (3, "call.ended", CALL | ending),
    ]
    heard.sources.told(CallStarted("c2", "nobody", "nothing"))
    assert heard.take()[0][:2] == (1, "call.started")


def test_queues(heard: Heard) -> None:
    service = queue_service(3, "sales")
    heard.sources.told(Waiting("c1", service, "+331"))
    heard.sources.told(Joined("c1", "anna"))
    heard.sources.told(replace(ENDED, service=service, waited=4.0, joined=True))
    heard.sources.told(replace(ENDED, service=service, waited=4.0))
    queued = {"call": "c1", "queue": "sales", "caller": "+331"}
    events = heard.take()
    assert [each for each in events if each[1].startswith("queue.")] == [
        (3, "queue.entered", queued),
        (3, "queue.answered", queued | {"agent": "anna"}),
        (3, "queue.abandoned", queued | {"waited_seconds": 4.0}),
    ]


def test_a_user_comes_with_the_first_contact_and_goes_with_the_last(heard: Heard) -> None:
    heard.sources.restore(["anna"])
    one = Binding("sip:x@192.0.2.7", 1.0, 60.0, "r1", 1, Address("192.0.2.7", 5060), Address("192.0.2.1", 5060))
    for user, contacts in (("anna", 1), ("bert", 1), ("bert", 2), ("bert", 0), ("carl", 0)):
        heard.sources.told(SaveBindings(user, (one,) * contacts))
    assert [(kind, data) for _, kind, data in heard.take()] == [
        ("registration.added", {"user": "bert"}),
        ("registration.removed", {"user": "bert"}),
    ]


def test_trunks_that_come_up_and_go_down(heard: Heard) -> None:
    address = Address("192.0.2.1", 5060)
    up = TrunkView("3/paris", "d", ((address, True),), None, "", 0, 0)
    refused = replace(up, registered=False, error="403 Forbidden")
    for view in (up, up, replace(up, addresses=((address, False),)), up, refused, refused):
        heard.sources.trunks([view])
    assert heard.take() == [
        (3, "trunk.down", {"trunk": "paris", "error": None}),
        (3, "trunk.up", {"trunk": "paris", "error": None}),
        (3, "trunk.down", {"trunk": "paris", "error": "403 Forbidden"}),
    ]


def test_a_recording_belongs_to_the_tenant_of_its_call_even_after_that(heard: Heard) -> None:
    heard.sources.recorded("c1", {"id": "r1", "seconds": 1.26})
    assert heard.take() == [(3, "recording.finished", {"call": "c1", "recording": "r1", "seconds": 1.3})]
    heard.sources.told(ENDED)
    heard.calls.clear()
    heard.take()
    heard.sources.recorded("c1", {"id": "r2", "seconds": 2})
    assert heard.take()[0][0] == 3
    for number in range(FORMER):
        heard.sources.told(replace(ENDED, call=f"later{number}"))
    heard.take()
    heard.sources.recorded("c1", {"id": "r3"})
    assert heard.take() == [(1, "recording.finished", {"call": "c1", "recording": "r3", "seconds": 0.0})]
