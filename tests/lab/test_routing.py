# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are led somewhere: by a queue with two agents, by trunks of which one fails, by the time of day."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def office(world):
    """A queue of two agents: bob, whose phone nobody answers, and carol."""
    office = world()
    office.carol = office.phone("carol", office.lab.b, slot=1)
    office.carol.registered()
    command = office.controller.command
    for name in ("bob", "carol"):
        command("agent", "add", name, f"user={name}")
    agents = [{"agent": "bob"}, {"agent": "carol", "tier": 2}]
    command(
        "queue", "add", "sales", "extension=500", "ring_seconds=5", "wrap_up_seconds=1", f"agents={json.dumps(agents)}"
    )
    return office


def test_a_queue(office):
    ask, command = office.controller.ask, office.controller.command
    office.alice.dial("sip:500@voxdp.lab")
    office.alice.established()
    (caller,) = office.controller.until("callers", "queue", "board", count=1)
    assert (caller["queue"], caller["position"], caller["caller"]) == ("sales", 1, "alice")
    office.controller.kill()
    office.controller.start()
    command("agent", "state", "carol", "available")
    office.carol.established()
    flows = office.carried(100)
    assert {flow["path"] for flow in flows} == {"kernel"}
    print(ask("call", "list"))
    record = office.finish(office.alice, office.carol)
    print(record)
    assert (record["queue"], record["agent"], record["abandoned"]) == ("sales", "carol", False)
