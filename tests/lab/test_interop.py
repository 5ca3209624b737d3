# SPDX-License-Identifier: GPL-3.0-or-later
"""voxdp between peers that SIPp plays: reliable 1xx, session timers, digest toward a trunk."""

from __future__ import annotations

from pathlib import Path

from vm.controller import Controller
from vm.sipp import Sipp

SCENARIOS = Path(__file__).parent / "scenarios"
CALLS = 10
CARRIER = """
[[sip.trunks]]
name = "carrier"
domain = "carrier.lab"
proxies = ["sip:{address}:5060"]
username = "4930555"
password = "secret"
realm = "carrier.lab"
probe = 0
dial = ["0"]
"""


def test_prack_session_timers_and_a_trunks_digest(two):
    controller = Controller(two, more=CARRIER.format(address=two.b.address))
    controller.attach()
    controller.start()
    controller.add_user("alice", "secret-of-alice")
    carrier = Sipp(two, two.b, "carrier", ["-sf", str(SCENARIOS / "carrier.xml")])
    target = ["-s", "0301", "-auth_uri", f"0301@{two.a.relay}:5060", f"{two.a.relay}:5060"]
    caller = Sipp(two, two.a, "caller", ["-sf", str(SCENARIOS / "caller.xml"), "-r", "5", "-m", str(CALLS), *target])
    outcome = caller.finish(30)
    assert (outcome.successful, outcome.failed) == (CALLS, 0)
    assert carrier.stop().successful == CALLS
    records = controller.until("records", "cdr", "list", count=CALLS)
    assert {(each["sip_status"], each["q850_cause"], each["ended_by"]) for each in records} == {(200, 16, "a")}
    (trunk,) = controller.ask("trunk", "status")
    assert (trunk["name"], trunk["calls"]) == ("carrier", 0)
