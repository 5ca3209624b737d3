# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, one cause out."""

from dataclasses import replace

import pytest

from ctl.observe.explain import Facts, explain

FLOWING = Facts(
    path="kernel",
    path_reason="",
    state="pinned",
    local=("192.0.2.1", 20000),
    interface="eth0",
    source=("192.0.2.10", 4000),
    target=("198.51.100.20", 6000),
    packets=500,
    idle=0.02,
    rejected=0,
    rejected_source=None,
    dropped=0,
    last_reason=None,
    route=True,
    neighbour=True,
    back_packets=490,
    back_idle=0.01,
    back_held=False,
)
SILENT = {"packets": 0, "idle": None}
STRANGER = {"rejected": 7, "rejected_source": ("203.0.113.9", 4000)}


@pytest.mark.parametrize(
    ("changes", "cause", "said", "failed"),
    [
        ({}, "flowing", "packets come from 192.0.2.10:4000 and go to 198.51.100.20:6000", None),
        ({"state": "held"}, "held", "on hold", "direction"),
        ({"path": "none", "path_reason": "no engine runs"}, "not_carried", "no engine runs", "path"),
        (SILENT, "no_packet_in", "nothing has come from 192.0.2.10:4000 yet", "packets in"),
        ({"idle": 30.0}, "stopped", "for 30 s", "packets in"),
        (
            {**SILENT, "path": "engine", "path_reason": "ICE has selected no pair yet", "dropped": 2},
            *("no_pair", "no pair yet", "verdicts"),
        ),
        ({**SILENT, **STRANGER}, "wrong_source", "come from 203.0.113.9:4000, but only 192.0.2.10:4000", "packets in"),
        (STRANGER, "flowing", "packets come from", None),
        ({**SILENT, "dropped": 3, "last_reason": "bad_version"}, "dropped", "the last for bad_version", "verdicts"),
        ({**SILENT, "dropped": 3, "last_reason": "no_nexthop"}, "no_neighbour", "next hop", "verdicts"),
        ({"route": False}, "no_route", "no route to 198.51.100.20:6000", "route"),
        ({"neighbour": False}, "no_neighbour", "does not answer ARP", "next hop"),
        ({"neighbour": None, "path": "engine", "path_reason": "it transcodes"}, "flowing", "packets come", None),
        ({"back_packets": 0, "back_idle": None}, "far_side_silent", "nothing has come back yet", "far side"),
        ({"back_idle": 12.0}, "far_side_silent", "silent for 12 s", "far side"),
        ({"back_packets": 0, "back_idle": None, "back_held": True}, "flowing", "packets come", None),
        ({**SILENT, "route": False, **STRANGER}, "wrong_source", "203.0.113.9", "route"),
        ({**SILENT, "source": ("2001:db8::7", None)}, "no_packet_in", "[2001:db8::7], any port,", "packets in"),
    ],
)
def test_a_cause(changes, cause, said, failed):
    found = explain(replace(FLOWING, **changes))
    assert found.cause == cause
    assert said in found.text
    assert (found.failed.name if found.failed else None) == failed


@pytest.mark.parametrize("path", ["kernel", "engine", "none"])
def test_each_path_is_told(path):
    text = explain(replace(FLOWING, path=path, path_reason="XDP is not attached to eth0")).path_text
    assert ("XDP is not attached to eth0" in text) == (path != "kernel")


def test_what_is_wrong_has_a_remedy():
    wrong = [SILENT, {"idle": 30.0}, {"route": False}, {"neighbour": False}, {"path": "none"}, {"back_idle": 12.0}]
    assert all(explain(replace(FLOWING, **changes)).remedy for changes in wrong)
    assert "tcpdump -ni eth0 udp port 20000" in explain(replace(FLOWING, **SILENT)).remedy
