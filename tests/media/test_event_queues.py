# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers that share an engine: each hears of its own flows."""

from media.event_queues import MOST, EventQueues
from media.flows import EngineEvent

ONE, OTHER, NOBODYS = ("192.0.2.1", 10000), ("192.0.2.1", 10002), ("192.0.2.1", 10004)


def event(flow: tuple[str, int], kind: int = 0) -> EngineEvent:
    return EngineEvent(flow, "stage", kind, b"")


def test_each_owner_hears_of_the_flows_that_it_set_last() -> None:
    queues = EventQueues()
    queues.own([ONE], "worker-1")
    queues.own([OTHER], "worker-2")
    queues.sort_in([event(ONE), event(OTHER), event(NOBODYS), event(ONE, 1)])
    assert queues.take("worker-1") == (event(ONE), event(ONE, 1))
    assert queues.take("worker-1") == ()
    assert queues.take("") == (event(NOBODYS),)
    queues.own([OTHER], "worker-1")
    queues.sort_in([event(OTHER, 2)])
    assert queues.take("worker-2") == (event(OTHER),)
    assert queues.take("worker-1") == (event(OTHER, 2),)
    queues.own([OTHER], "")
    queues.sort_in([event(OTHER, 3)])
    assert queues.take("") == (event(OTHER, 3),)


def test_a_flow_that_is_no_more_is_nobodys_and_one_that_never_asks_costs_little() -> None:
    queues = EventQueues()
    queues.own([ONE, OTHER], "worker-1")
    queues.disown([ONE, NOBODYS])
    queues.sort_in([event(ONE), *(event(OTHER, number) for number in range(MOST + 1))])
    assert queues.take("") == (event(ONE),)
    assert [each.kind for each in queues.take("worker-1")] == list(range(1, MOST + 1))


def test_what_waits_is_handed_out_by_pieces_and_rtcp_leaves_room_for_the_rest():
    queues = EventQueues()
    queues.own([ONE], "worker-1")
    queues.sort_in(EngineEvent(ONE, "rtcp", kind, b"") for kind in range(MOST))
    assert [each.kind for each in queues.take("worker-1", 250)] == list(range(250))
    assert [each.kind for each in queues.take("worker-1")] == list(range(250, MOST // 2))
    assert queues.take("worker-1") == ()
