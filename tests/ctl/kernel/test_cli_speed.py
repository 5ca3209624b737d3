# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists stay quick with 2,000 flows in the kernel. `scripts/bench cli` measures; here the bounds are wider."""

import json
import subprocess
import time

import pytest

from tests.bench.cli import LISTED, VOXDP, look_seconds, serving


@pytest.fixture(scope="module")
def config():
    with serving(LISTED) as config:
        yield config


def listed(config, *options):
    return subprocess.run([VOXDP, "-c", config, *options], capture_output=True, check=True, text=True).stdout


@pytest.mark.alone
def test_two_thousand_flows_are_listed_in_time(config):
    """150 ms on an idle machine; on any, at most three times what starting a command takes."""
    started, took = [], []
    for _ in range(4):
        began = time.perf_counter()
        listed(config, "flow", "--help")
        started.append(time.perf_counter() - began)
        text = listed(config, "flow", "list", "-j")
        took.append(time.perf_counter() - began - started[-1])
    flows = json.loads(text)
    assert len({flow["id"] for flow in flows}) == LISTED
    assert min(took) < max(0.3, 3 * min(started))


def test_a_pipe_gets_every_column_whole(config):
    lines = listed(config, "flow", "list").splitlines()
    assert len(lines) == LISTED + 1
    assert lines[0].split()[:4] == ["ID", "CALL", "LEG", "KIND"]
    assert lines[0].split()[-1] == "WHY"
    assert not any("\x1b" in line or "…" in line for line in lines)
    assert lines[1].split()[1] == "0" * 24
    assert len(listed(config, "flow", "list", "--no-header").splitlines()) == LISTED


def test_filter_and_order_hold_for_json_too(config):
    flows = json.loads(listed(config, "flow", "list", "-j", "-f", "kind=rtp,src=192.0.2.0/24", "--sort", "-src"))
    assert {flow["leg"] for flow in flows} == {"a"}
    ports = [flow["source"]["port"] for flow in flows]
    assert ports == sorted(ports, reverse=True)
    assert len(ports) == LISTED // 4


def test_keys_are_stable(config):
    known = "id call leg stream kind codec path reason state ice local source egress target learned_port packets bytes "
    known += "packets_per_second lost loss_pct reordered duplicates resets ssrc ssrc_changes payload_type dscp "
    known += "jitter_ms jitter_max_ms largest_gap_ms idle_s mos mos_min mos_avg far_loss_pct far_jitter_ms leg_rtt_ms "
    known += "rtt_ms dtmf rejected rejected_source dropped policed security suite"
    known += " forged replayed received_by sent_by copies_dropped last_reason"
    flows = json.loads(listed(config, "flow", "list", "-j"))
    assert list(flows[0]) == known.split()
    assert {tuple(flow) for flow in flows} == {tuple(flows[0])}


@pytest.mark.alone
def test_quality_of_ten_thousand_directions_takes_little_of_a_core():
    assert look_seconds(10_000) < 5 * 0.10
