# SPDX-License-Identifier: GPL-3.0-or-later
"""voxdp between peers that SIPp plays: reliable 1xx, session timers, digest toward a trunk."""

from __future__ import annotations

from pathlib import Path

from vm import namespace
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


def test_messages_longer_than_a_packet_come_and_go_in_fragments(two):
    """Past the kernel relay, which sees that a fragment is none of its own."""
    controller = Controller(two)
    controller.attach()
    controller.start()
    with namespace.datagram_socket(two.a.namespace, (two.a.address, 5999)) as phone:
        phone.settimeout(10)
        vias = "".join(f"Via: SIP/2.0/UDP {number}.proxy.lab;branch=z9hG4bK{'f' * 80}\r\n" for number in range(20))
        head = f"OPTIONS sip:{two.a.relay} SIP/2.0\r\nVia: SIP/2.0/UDP {two.a.address}:5999;branch=z9hG4bKlong\r\n"
        rest = (
            "From: <sip:a@lab>;tag=1\r\nTo: <sip:b@lab>\r\nCall-ID: long\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\n\r\n"
        )
        phone.sendto((head + vias + rest).encode(), (two.a.relay, 5060))
        answer = phone.recv(65535)
    assert answer.startswith(b"SIP/2.0 200 ")
    assert len(head + vias) > len(answer.partition(b"From:")[0]) - 100 > 2000
    assert answer.count(b".proxy.lab;") == 20


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
