# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace
from typing import Any

import pytest

from ctl.kernel.flowrule import FlowAction, FlowFlag, FlowState
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.programmer import Programmer
from media.flows import EngineError

A_RTP, A_RTCP = ("192.0.2.1", 30000), ("192.0.2.1", 30001)
B_RTP, B_RTCP = ("198.51.100.1", 40000), ("198.51.100.1", 40001)
PHONE_A, PHONE_B = ("192.0.2.10", 4000), ("198.51.100.20", 5000)


@pytest.fixture
def kernel(table: Any, hops: Any) -> KernelCarrier:
    return KernelCarrier(table, hops)


@pytest.fixture
def programmer(kernel: KernelCarrier, hops: Any, engine: Any) -> Programmer:
    return Programmer(hops, kernel, EngineCarrier(engine, kernel))


def test_a_plan_becomes_rules_that_know_their_partner_and_next_hop(
    programmer: Programmer, table: Any, hops: Any
) -> None:
    programmer.apply("call", plans())
    rule = table.at(A_RTP)
    assert (rule.state, rule.action, rule.flags) == (FlowState.PINNED, FlowAction.FORWARD, FlowFlag.NONE)
    assert (rule.source, rule.egress, rule.target) == (PHONE_A, B_RTP, PHONE_B)
    assert (rule.ifindex, rule.target_mac, rule.clock_rate) == (2, hops.macs["eth1"], 8000)
    assert rule.partner == table.index(*B_RTP)
    assert (table.at(A_RTCP).flags, table.at(A_RTCP).partner) == (FlowFlag.RTCP, table.index(*B_RTCP))
    assert [fresh for _, fresh in table.writes] == [True] * 4


def test_a_learning_flow_and_a_held_one(programmer: Programmer, table: Any) -> None:
    programmer.apply("call", plans(source=("192.0.2.10", None), held_b=True))
    assert (table.at(A_RTP).state, table.at(A_RTP).source) == (FlowState.LEARNING, ("192.0.2.10", 0))
    assert table.at(B_RTP).state == FlowState.OFF
    table.count(A_RTP, learned_port=4711)
    seen = {flow.local: flow for flow in programmer.flows("call")}
    assert (seen[A_RTP].state, seen[A_RTP].source) == ("pinned", ("192.0.2.10", 4711))
    assert (seen[A_RTCP].state, seen[A_RTCP].source) == ("learning", ("192.0.2.10", None))
    assert seen[B_RTP].state == "held"


def test_a_latching_flow_shows_the_address_that_it_found(programmer: Programmer, table: Any) -> None:
    rtp_a, rtp_b, *_ = plans(source=("192.0.2.10", None))
    programmer.apply("call", (replace(rtp_a, latch=True), rtp_b))
    assert {(flow.leg, flow.state) for flow in programmer.flows("call")} == {("a", "latching"), ("b", "pinned")}
    table.count(A_RTP, learned_port=4711, learned_source=("203.0.113.9", 4711))
    (found,) = (flow for flow in programmer.flows("call") if flow.leg == "a")
    assert (found.state, found.source) == ("pinned", ("203.0.113.9", 4711))


def test_sums_are_by_path_and_leg(programmer: Programmer, table: Any) -> None:
    programmer.apply("one", plans())
    table.count(A_RTP, packets=10, lost=2)
    table.count(A_RTCP, packets=1)
    table.count(B_RTP, packets=7)
    found = {(each.path, each.leg): (each.flows, each.counts.packets, each.counts.lost) for each in programmer.sums()}
    assert found == {("kernel", "a"): (2, 11, 2), ("kernel", "b"): (2, 7, 0)}


def test_without_a_next_hop_the_kernel_looks_for_itself(programmer: Programmer, table: Any, hops: Any) -> None:
    hops.unknown.add(PHONE_B[0])
    programmer.apply("call", plans())
    assert (table.at(A_RTP).ifindex, table.at(A_RTP).target_mac) == (0, bytes(6))
    hops.unknown.clear()
    table.writes.clear()
    assert programmer.next_hops_changed({PHONE_B[0]}) == 2
    assert table.at(A_RTP).target_mac == hops.macs["eth1"]
    assert {fresh for _, fresh in table.writes} == {False}


def test_a_next_hop_that_moves_touches_the_flows_to_it_alone(programmer: Programmer, table: Any, hops: Any) -> None:
    programmer.apply("call", plans())
    table.writes.clear()
    assert programmer.next_hops_changed({"203.0.113.1"}) == 0
    assert programmer.next_hops_changed({PHONE_A[0], PHONE_B[0]}) == 0
    hops.macs["eth0"] = b"\x02\0\0\0\0\x99"
    assert programmer.next_hops_changed({PHONE_A[0]}) == 2
    assert table.at(B_RTP).target_mac == b"\x02\0\0\0\0\x99"


def test_a_change_writes_only_the_pair_that_differs_and_goes_on_counting(programmer: Programmer, table: Any) -> None:
    programmer.apply("call", plans())
    table.writes.clear()
    programmer.apply("call", plans(source=("192.0.2.11", 4000)))
    assert table.writes == [(A_RTP, False), (B_RTP, False), (A_RTCP, False), (B_RTCP, False)]
    table.writes.clear()
    programmer.apply("call", plans(source=("192.0.2.11", 4000)))
    assert table.writes == []


def test_holding_one_direction_leaves_the_other_untouched(programmer: Programmer, table: Any) -> None:
    programmer.apply("call", plans())
    table.writes.clear()
    programmer.apply("call", plans(held_b=True))
    assert (table.writes, table.offs, table.at(B_RTP).state) == ([], [B_RTP], FlowState.OFF)
    programmer.apply("call", plans())
    assert (table.writes, table.at(B_RTP).state) == ([(A_RTP, False), (B_RTP, False)], FlowState.PINNED)


def test_a_stream_that_ends_is_off_and_its_count_is_in_the_last_report(programmer: Programmer, table: Any) -> None:
    programmer.apply("call", plans())
    table.count(A_RTCP, packets=3)
    programmer.apply("call", plans()[:2])
    assert table.offs == [A_RTCP, B_RTCP]
    table.count(A_RTP, packets=100)
    reports = programmer.remove("call")
    assert {flow.local: flow.statistics and flow.statistics.packets for flow in reports} == {
        A_RTP: 100,
        B_RTP: 0,
        A_RTCP: 3,
        B_RTCP: 0,
    }
    assert table.active() == []
    assert programmer.flows() == []
    assert programmer.remove("call") == ()


def test_counters_are_read_after_the_flow_is_off(programmer: Programmer, table: Any) -> None:
    programmer.apply("call", plans())
    order: list[str] = []
    off, read = table.off, table.read
    table.off = lambda index: order.append("off") or off(index)
    table.read = lambda index: (order.append("read"), read(index))[1]
    programmer.remove("call")
    assert order == ["off", "off", "read", "read"] * 2


def test_peers_that_no_flow_goes_to_are_forgotten(programmer: Programmer, hops: Any) -> None:
    programmer.apply("one", plans())
    programmer.apply("two", shifted(100))
    programmer.apply("one", plans(held_b=True))
    programmer.remove("one")
    assert hops.forgotten == []
    programmer.remove("two")
    assert set(hops.forgotten) == {(PHONE_A[0], A_RTP[0]), (PHONE_B[0], B_RTP[0])}


def test_the_engine_gets_the_flow_and_the_kernel_hands_up(programmer: Programmer, table: Any, engine: Any) -> None:
    programmer.apply("call", plans(path="engine", source=("192.0.2.10", None), held_b=True))
    flow = engine.flows[A_RTP]
    assert (flow.source_address, flow.source_port, flow.target_address, flow.target_port) == (
        "192.0.2.10",
        None,
        *PHONE_B,
    )
    assert (flow.kind, flow.clock_rate, flow.held, engine.flows[B_RTP].held) == ("rtp", 8000, False, True)
    assert engine.flows[A_RTCP].kind == "rtcp"
    assert {rule.action for rule in table.rules.values()} == {FlowAction.ENGINE}
    assert {rule.state for rule in table.rules.values()} == {FlowState.PINNED}
    seen = programmer.flows()[0]
    assert (seen.path, seen.reason, seen.statistics and seen.statistics.packets) == ("engine", "no XDP", 7)
    assert seen.statistics is not None
    assert (seen.statistics.jitter_ms, seen.statistics.dscp) == (1.0, 46)
    assert [flow.statistics and flow.statistics.packets for flow in programmer.remove("call")] == [7] * 4
    assert (engine.flows, table.active()) == ({}, [])


def test_the_engine_works_without_a_kernel_relay(hops: Any, engine: Any) -> None:
    programmer = Programmer(hops, None, EngineCarrier(engine))
    programmer.apply("call", plans(path="engine"))
    assert set(engine.flows) == {A_RTP, A_RTCP, B_RTP, B_RTCP}
    assert programmer.reconcile({"call"}) == 0
    assert programmer.reconcile(set()) == 4


def test_a_flow_moves_from_the_engine_to_the_kernel(programmer: Programmer, table: Any, engine: Any) -> None:
    programmer.apply("call", plans(path="engine"))
    programmer.apply("call", plans())
    assert engine.flows == {}
    assert table.at(A_RTP).action == FlowAction.FORWARD
    assert [flow.path for flow in programmer.remove("call")] == ["engine"] * 4 + ["kernel"] * 4


def test_an_engine_that_dies_gets_its_flows_back(programmer: Programmer, engine: Any) -> None:
    programmer.apply("call", plans(path="engine"))
    engine.gone = True
    assert [flow.statistics for flow in programmer.flows()] == [None] * 4
    engine.gone, engine.flows = False, {}
    programmer.engine_restarted()
    assert set(engine.flows) == {A_RTP, A_RTCP, B_RTP, B_RTCP}
    engine.gone = True
    assert [flow.statistics for flow in programmer.remove("call")] == [None] * 4


def test_what_the_engine_refuses_is_said(programmer: Programmer, engine: Any) -> None:
    engine.refusal = EngineError("no-files", "limit of open files reached")
    with pytest.raises(EngineError, match="limit of open files"):
        programmer.apply("call", plans(path="engine"))
    assert programmer.remove("call") == ()


def test_a_path_that_is_not_there_is_our_own_fault(hops: Any) -> None:
    with pytest.raises(LookupError, match="planned for the kernel, which is not there"):
        Programmer(hops).apply("call", plans())


def test_xdp_that_is_attached_later_carries_what_comes_later(
    kernel: KernelCarrier, table: Any, hops: Any, engine: Any
) -> None:
    programmer = Programmer(hops, None, EngineCarrier(engine))
    programmer.apply("old", plans(path="engine"))
    programmer.use(kernel, EngineCarrier(engine, kernel))
    programmer.apply("new", shifted(100))
    assert len(engine.flows) == len(table.rules) == 4
    assert [flow.path for flow in programmer.flows()] == ["engine"] * 4 + ["kernel"] * 4


def test_all_flows_of_the_engine_are_read_at_once(programmer: Programmer, engine: Any) -> None:
    for number in range(10):
        programmer.apply(str(number), shifted(2 * number, path="engine"))
    engine.requests = 0
    assert len(programmer.flows()) == 40
    assert engine.requests == 1


def test_a_restart_writes_nothing_that_is_in_place(programmer: Programmer, table: Any, hops: Any) -> None:
    programmer.apply("call", plans(source=("192.0.2.10", None)))
    table.writes.clear()
    later = Programmer(hops, KernelCarrier(table, hops))
    assert later.adopt("call", plans(source=("192.0.2.10", None))) == 0
    assert later.reconcile({"call"}) == 0
    assert (table.writes, table.offs) == ([], [])
    assert len(later.flows("call")) == 4


def test_a_restart_keeps_next_hops_that_it_cannot_tell_yet(programmer: Programmer, table: Any, hops: Any) -> None:
    programmer.apply("call", plans())
    hops.unknown |= {PHONE_A[0], PHONE_B[0]}
    table.writes.clear()
    assert Programmer(hops, KernelCarrier(table, hops)).adopt("call", plans()) == 0
    assert table.writes == []


def test_a_restart_mends_what_differs_and_goes_on_counting(programmer: Programmer, table: Any, hops: Any) -> None:
    programmer.apply("call", plans())
    hops.macs["eth0"] = b"\x02\0\0\0\0\x99"
    table.writes.clear()
    later = Programmer(hops, KernelCarrier(table, hops))
    assert later.adopt("call", plans()) == 2
    assert {fresh for _, fresh in table.writes} == {False}


def test_a_restart_adopts_engine_flows_too(programmer: Programmer, hops: Any, engine: Any) -> None:
    programmer.apply("call", plans(path="engine"))
    later = Programmer(hops, None, EngineCarrier(engine))
    assert later.adopt("call", plans(path="engine")) == 0
    engine.flows.clear()
    assert Programmer(hops, None, EngineCarrier(engine)).adopt("call", plans(path="engine")) == 2


def test_the_last_packet_of_a_call_is_that_of_any_of_its_flows(programmer: Programmer, table: Any, engine: Any) -> None:
    programmer.apply("kernel", plans())
    programmer.apply("engine", shifted(100, path="engine"))
    assert programmer.last_seen(["kernel", "engine", "unknown"]) == {"kernel": 0.0, "engine": 0.0, "unknown": 0.0}
    table.count(A_RTP, last_seen=4.25)
    table.count(B_RTCP, last_seen=5.5)
    engine.seen = 7.0
    engine.requests = 0
    assert programmer.last_seen(["kernel", "engine"]) == {"kernel": 5.5, "engine": 7.0}
    assert engine.requests == 1


def test_a_flow_that_moves_takes_its_last_packet_along(programmer: Programmer, table: Any, engine: Any) -> None:
    programmer.apply("call", plans())
    table.count(B_RTP, last_seen=40.0)
    programmer.apply("call", plans(path="engine"))
    assert programmer.last_seen(["call"]) == {"call": 40.0}
    engine.seen = 41.0
    programmer.apply("call", plans())
    engine.seen = None
    assert programmer.last_seen(["call"]) == {"call": 41.0}


def test_of_a_call_whose_carrier_knows_it_no_more_no_last_packet_is_told(
    programmer: Programmer, hops: Any, engine: Any
) -> None:
    programmer.apply("kernel", plans())
    programmer.apply("engine", shifted(100, path="engine"))
    engine.gone = True
    assert programmer.last_seen(["kernel", "engine"]) == {"kernel": 0.0}
    programmer.use(None, EngineCarrier(engine))
    assert programmer.last_seen(["kernel", "engine"]) == {}


def test_a_call_whose_kernel_relay_is_gone_is_shown_moved_and_ended_all_the_same(
    programmer: Programmer, engine: Any
) -> None:
    for call, by in (("moved", 0), ("ended", 100)):
        programmer.apply(call, shifted(by))
    programmer.use(None, EngineCarrier(engine))
    assert {(flow.path, flow.statistics) for flow in programmer.flows()} == {("kernel", None)}
    assert programmer.next_hops_changed([PHONE_A[0], PHONE_B[0]]) == 0
    assert [flow.statistics for flow in programmer.remove("ended")] == [None] * 4
    programmer.apply("moved", shifted(0, path="engine"))
    assert {flow.path for flow in programmer.flows()} == {"engine"}
    assert len(engine.flows) == 4


def test_a_call_is_held_when_no_stream_flows_both_ways(programmer: Programmer) -> None:
    def both_held() -> list[FlowPlan]:
        return [replace(plan, held=plan.kind == "rtp") for plan in plans()]

    programmer.apply("call", plans())
    assert programmer.held() == set()
    programmer.apply("call", plans(held_b=True))
    assert programmer.held() == {"call"}
    programmer.apply("call", both_held())
    assert programmer.held() == {"call"}
    programmer.apply("call", plans())
    assert programmer.held() == set()
    programmer.adopt("call", both_held())
    assert programmer.held() == {"call"}
    programmer.remove("call")
    assert programmer.held() == set()


def test_flows_of_no_known_call_are_removed(programmer: Programmer, table: Any, hops: Any) -> None:
    programmer.apply("known", plans())
    programmer.apply("stranger", shifted(100))
    later = Programmer(hops, KernelCarrier(table, hops))
    later.adopt("known", plans())
    assert later.reconcile({"known"}) == 4
    assert sorted(map(table.local, table.active())) == [A_RTP, A_RTCP, B_RTP, B_RTCP]


def shifted(ports: int, path: Any = "kernel") -> list[FlowPlan]:
    """The plans of another call, that many ports above."""
    return [replace(plan, local=(plan.local[0], plan.local[1] + ports)) for plan in plans(path)]


def plans(path: Any = "kernel", source: tuple[str, int | None] = PHONE_A, held_b: bool = False) -> tuple[FlowPlan, ...]:
    reason = "" if path == "kernel" else "no XDP"
    rtp_a = FlowPlan("a", 0, "rtp", A_RTP, source, B_RTP, PHONE_B, 8000, path, reason)
    rtp_b = FlowPlan("b", 0, "rtp", B_RTP, PHONE_B, A_RTP, PHONE_A, 8000, path, reason, held_b)
    above = source[0], source[1] and source[1] + 1
    rtcp_a = FlowPlan("a", 0, "rtcp", A_RTCP, above, B_RTCP, (PHONE_B[0], 5001), 0, path, reason)
    rtcp_b = FlowPlan("b", 0, "rtcp", B_RTCP, (PHONE_B[0], 5001), A_RTCP, (PHONE_A[0], 4001), 0, path, reason)
    return rtp_a, rtp_b, rtcp_a, rtcp_b


def test_it_is_known_which_ways_are_in_use(programmer: Programmer) -> None:
    assert not programmer.uses("kernel")
    programmer.apply("call", plans())
    assert (programmer.uses("kernel"), programmer.uses("engine")) == (True, False)
    programmer.apply("call", [replace(plan, path="engine", reason="as asked") for plan in plans()])
    assert (programmer.uses("kernel"), programmer.uses("engine")) == (False, True)
    programmer.remove("call")
    assert not programmer.uses("engine")
