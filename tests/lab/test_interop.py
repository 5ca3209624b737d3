# SPDX-License-Identifier: GPL-3.0-or-later
"""voxdp between peers that SIPp plays: reliable 1xx, session timers, digest toward a trunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ctl.certificates import Authority
from vm import namespace
from vm.controller import Controller
from vm.process import PATIENCE
from vm.sipp import Sipp
from vm.tunnel import Tunnel

SCENARIOS = Path(__file__).parent / "scenarios"
CALLS = 10
INTERFACE = """
[[media.interfaces]]
name = "{address}"
address = "{address}"
"""
TLS = """
[sip.tls]
certificate = "{certificate}"
key = "{key}"
authorities = "{authorities}"
"""
CARRIER = """
[[sip.trunks]]
name = "carrier"
domain = "carrier.lab"
proxies = ["sip:{host}:{way}"]
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
    controller.ready()
    with namespace.datagram_socket(two.a.namespace, (two.a.address, 5999)) as phone:
        phone.settimeout(PATIENCE)
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


WAYS = {"udp": "5060", "ipv6": "5060", "tcp": "5060;transport=tcp", "tls": "5061;transport=tls"}
"""Port and transport of the carrier."""


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls", "ipv6"])
def test_prack_session_timers_and_a_trunks_digest(two, kind):
    """What Debian has of SIPp speaks no TLS: there both of them have it from tunnels."""
    near, far = (f"[{two.a.relay6}]", f"[{two.b.address6}]") if kind == "ipv6" else (two.a.relay, two.b.address)
    port = "5061" if kind == "tls" else "5060"
    transports = ("tls",) if kind == "tls" else ("udp", "tcp")
    listen = [f"{transport}:{host}:{port}" for host in listening(two, kind) for transport in transports]
    more = CARRIER.format(host=far, way=WAYS[kind])
    through: list[str] = []
    if kind == "tls":
        more += tunnelled(two)
        through = ["-rsa", f"{two.a.address}:5070"]
    if kind == "ipv6":
        more += "".join(INTERFACE.format(address=place.relay6) for place in (two.a, two.b))
    controller = Controller(two, listen=listen, more=more)
    controller.attach()
    controller.start()
    controller.ready()
    controller.add_user("alice", "secret-of-alice")
    contact = ["-key", "contact", WAYS[kind]]
    answering = ["-sf", str(SCENARIOS / "carrier.xml"), "-m", str(CALLS), *contact]
    carrier = Sipp(two, two.b, "carrier", answering, kind=kind).listening()
    target = ["-s", "0301", "-auth_uri", f"0301@{near}:{port}", f"{near}:{port}"]
    scenario = ["-sf", str(SCENARIOS / "caller.xml"), "-r", "5", "-m", str(CALLS), *through]
    caller = Sipp(two, two.a, "caller", [*scenario, *target], kind=kind)
    outcome = caller.finish()
    assert (outcome.successful, outcome.failed) == (CALLS, 0)
    assert carrier.finish().successful == CALLS
    records = controller.until("records", "cdr", "list", count=CALLS)
    assert {(each["sip_status"], each["q850_cause"], each["ended_by"]) for each in records} == {(200, 16, "a")}
    assert controller.until("calls", "call", "list", count=0) == []
    (trunk,) = controller.ask("trunk", "status")
    assert (trunk["name"], trunk["calls"]) == ("carrier", 0)


def tunnelled(lab):
    """TLS before the caller and before the carrier; what the controller has to know of it."""
    authority = Authority(lab.directory)
    ours = authority.issue("voxdp", "voxdp.lab", *listening(lab, "tls"))
    theirs = authority.issue("carrier", "carrier.lab", lab.b.address)
    Tunnel(lab, lab.a, (lab.a.address, 5070), (lab.a.relay, 5061), "connect", authority.certificate)
    Tunnel(lab, lab.b, (lab.b.address, 5061), (lab.b.address, 5060), "accept", *theirs)
    return TLS.format(certificate=ours[0], key=ours[1], authorities=authority.certificate)


def listening(lab, kind):
    places = (lab.a, lab.b)
    return [f"[{each.relay6}]" if kind == "ipv6" else each.relay for each in places]
