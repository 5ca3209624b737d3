# SPDX-License-Identifier: GPL-3.0-or-later
"""voxdp between clients of others: what calls can do beside being answered, over each transport."""

from __future__ import annotations

from pathlib import Path

from tests.ctl.certificates import Authority
from vm import audio
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
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
TLS = """
[sip.tls]
certificate = "{certificate}"
key = "{key}"
"""


def judged(phone):
    """The tones that a phone has heard, one for each call."""
    return [round(audio.judge(audio.read(path)).frequency) for path in phone.heard()]


def test_transfer_decline_and_cancel(world):
    world = world()
    carol = world.phone("carol", world.lab.b, slot=1)
    dave = world.phone("dave", world.lab.a, slot=1, answer="manual")
    for phone in (carol, dave):
        phone.registered()

    world.alice.dial(f"sip:dave@{DOMAIN}")
    dave.wait("CALL_INCOMING", 10)
    world.alice.hangup()
    dave.closed()
    world.alice.closed()

    world.alice.dial(f"sip:dave@{DOMAIN}")
    dave.wait("CALL_INCOMING", 10)
    dave.hangup()
    assert "486" in world.alice.closed()

    world.connect(world.alice, world.bob)
    world.carried(100)
    world.alice.transfer(f"sip:carol@{DOMAIN}")
    carol.established()
    world.alice.closed()
    world.carried(150)
    carol.hangup()
    world.bob.closed()
    assert judged(carol) == [1000]
    # Bob's phone goes on with the same file when its peer changes: first alice's tone, then carol's.
    (path,) = world.bob.heard()
    heard = audio.read(path)
    assert audio.judge(heard[: len(heard) // 4]).is_tone(440)
    assert audio.judge(heard[-len(heard) // 4 :]).is_tone(700)
    records = world.controller.until("records", "cdr", "list", count=4)
    assert sorted((each["caller"], each["dialled"], each["sip_status"]) for each in records) == [
        ("alice", "bob", 200),
        ("alice", "carol", 200),
        ("alice", "dave", 486),
        ("alice", "dave", 487),
    ]


def test_phones_by_tcp_and_by_tls(two):
    certificate, key = Authority(two.directory).issue("voxdp", "voxdp.lab", two.a.relay, two.b.relay)
    listen = [f"{kind}:{address}:{port}" for address in (two.a.relay, two.b.relay) for kind, port in PORTS.items()]
    controller = Controller(two, listen=listen, more=TLS.format(certificate=certificate, key=key))
    controller.attach()
    controller.start()
    phones = []
    for name, place, tone, transport in (("alice", two.a, 440, "tls"), ("bob", two.b, 1000, "tcp")):
        controller.add_user(name, "secret")
        account = Account(name, DOMAIN, "secret", place.relay, transport=transport)
        phones.append(Baresip(two, place, account, tone))
    alice, bob = phones
    for phone in phones:
        phone.registered()
    bob.dial(f"sip:alice@{DOMAIN}")
    bob.established()
    alice.established()
    alice.hold()
    bob.wait("CALL_REMOTE_SDP", 5)
    alice.resume()
    bob.wait("CALL_REMOTE_SDP", 5)
    alice.dtmf("7")
    assert bob.wait("CALL_DTMF_START", 5)["param"] == "7"
    alice.hangup()
    bob.closed()
    (record,) = controller.until("records", "cdr", "list", count=1)
    assert (record["sip_status"], record["ended_by"]) == (200, "b")
    assert controller.ask("sip", "status")["connections"]["open"] == 2


PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}


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
