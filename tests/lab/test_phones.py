# SPDX-License-Identifier: GPL-3.0-or-later
"""All that telephones do, by each transport: between baresip phones of which each has something to say."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.ctl.certificates import Authority
from tests.lab.conftest import lab_with
from vm import audio
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
from vm.process import PATIENCE
from vm.sipp import Sipp

SCENARIOS = Path(__file__).parent / "scenarios"
PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
TONES = {"alice": 440, "bob": 1000, "carol": 700, "dave": 550}
TLS = """
[sip.tls]
certificate = "{certificate}"
key = "{key}"
"""
SIX = """
[[media.interfaces]]
name = "{name}"
address = "{address}"
"""
pytestmark = pytest.mark.xdist_group("shared lab")


RECORDS = [
    ("alice", "bob", 200, ""),
    ("alice", "bob", 200, ""),
    ("alice", "bob", 200, "Transferred"),
    ("alice", "bob", 200, "Transferred"),
    ("alice", "carol", 200, ""),
    ("alice", "carol", 200, "Transferred"),
    ("alice", "dave", 486, "Rejected"),
    ("alice", "dave", 487, ""),
    ("alice", "nobody", 404, "Not Found"),
]


class Phones:
    """Four phones that are registered by one transport; the users' names end with it."""

    def __init__(self, lab, controller, kind):
        self.lab, self.controller, self.kind = lab, controller, kind
        self.alice = self.add("alice", lab.a)
        self.bob = self.add("bob", lab.b)
        self.carol = self.add("carol", lab.b, slot=1)
        self.dave = self.add("dave", lab.a, slot=1, answer="manual")
        self.all = (self.alice, self.bob, self.carol, self.dave)
        for phone in self.all:
            phone.registered()

    def add(self, name, place, slot=0, password="secret", **options):
        user, ipv6 = f"{name}-{self.kind}", self.kind == "ipv6"
        self.controller.add_user(user, "secret")
        host, transport = (f"[{place.relay6}]", "udp") if ipv6 else (place.relay, self.kind)
        account = Account(user, DOMAIN, password, host, transport=transport, **options)
        return Baresip(self.lab, place, account, TONES.get(name, 300), slot, ipv6, trace=True)

    def uri(self, name):
        return f"sip:{name}-{self.kind}@{DOMAIN}"

    def connect(self, caller, callee):
        caller.dial(f"sip:{callee.account.user}@{DOMAIN}")
        caller.established()
        callee.established()


@pytest.fixture(scope="module")
def exchange(cluster):
    """A lab and a controller that listens by every transport, in both families."""
    with lab_with(cluster, "two") as lab:
        places = (lab.a, lab.b)
        certificate, key = Authority(lab.directory).issue("voxdp", DOMAIN, *(place.relay for place in places))
        hosts = [host for place in places for host in (place.relay, f"[{place.relay6}]")]
        listen = [f"{transport}:{host}:{port}" for host in hosts for transport, port in PORTS.items()]
        more = TLS.format(certificate=certificate, key=key)
        more += "".join(SIX.format(name=place.relay6, address=place.relay6) for place in places)
        controller = Controller(lab, listen=listen, more=more)
        controller.attach()
        controller.start()
        controller.ready()
        yield lab, controller


@pytest.fixture(params=["udp", "tcp", "tls", "ipv6"])
def phones(request, exchange):
    found = Phones(*exchange, request.param)
    yield found
    for phone in found.all:
        phone.kill()


def test_what_phones_do(phones):
    for scene in (who_may_not, given_up_and_busy, held_and_keyed, transferred_blindly, transferred_after_asking):
        scene(phones)
    phones.controller.until("flows", "flow", "list", count=0)
    deadline = time.monotonic() + PATIENCE
    while (found := recorded(phones)) != RECORDS:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_call_without_an_offer_is_heard_both_ways(exchange):
    """SIPp calls, lets the phone offer, twice, and sends back the sound that comes: what the phone hears is itself."""
    lab, controller = exchange
    for user in ("late", "echoed"):
        controller.add_user(user, "secret")
    phone = Baresip(lab, lab.b, Account("echoed", DOMAIN, "secret", lab.b.relay), TONES["bob"], slot=2)
    phone.registered()
    target = ["-s", "echoed", "-auth_uri", f"echoed@{DOMAIN}", "-m", "1", f"{lab.a.relay}:5060"]
    scenario = ["-sf", str(SCENARIOS / "late.xml"), "-rtp_echo", "-mp", "16000"]
    caller = Sipp(lab, lab.a, "late", [*scenario, *target], port=5090)
    phone.established()
    assert phone.wait("CALL_REMOTE_SDP")["param"] == "answer", "to the second offer"
    controller.carried(200)
    phone.hangup()
    outcome = caller.finish()
    assert (outcome.successful, outcome.failed) == (1, 0)
    (path,) = phone.heard()
    heard = audio.judge(audio.read(path))
    assert heard.is_tone(TONES["bob"])
    assert heard.seconds > 2.5
    phone.kill()


def test_keys_by_info_become_telephone_events(exchange):
    """SIPp tells two keys, in both forms; the phone hears them in its media."""
    lab, controller = exchange
    for user in ("keys", "pressed"):
        controller.add_user(user, "secret")
    controller.command("user", "set", "keys", "dtmf=info")
    phone = Baresip(lab, lab.b, Account("pressed", DOMAIN, "secret", lab.b.relay), TONES["bob"], slot=2)
    phone.registered()
    target = ["-s", "pressed", "-auth_uri", f"pressed@{DOMAIN}", "-m", "1", f"{lab.a.relay}:5060"]
    caller = Sipp(lab, lab.a, "keys", ["-sf", str(SCENARIOS / "keys.xml"), "-rtp_echo", "-mp", "16100", *target], 5090)
    assert [phone.wait("CALL_DTMF_START")["param"] for _ in range(2)] == ["7", "5"]
    phone.hangup()
    outcome = caller.finish()
    assert (outcome.successful, outcome.failed) == (1, 0)
    phone.kill()


def recorded(phones):
    rows = phones.controller.ask("cdr", "list")
    ours = [row for row in rows if row["caller"].endswith(phones.kind)]
    names = [(row["caller"].partition("-")[0], row["dialled"].partition("-")[0]) for row in ours]
    return sorted((*name, row["sip_status"], row["reason"]) for name, row in zip(names, ours, strict=True))


def who_may_not(phones):
    eve = phones.add("eve", phones.lab.a, slot=2, password="guess")
    eve.process.wait_for("refusal", lambda text: "403 Forbidden" in text)
    eve.kill()
    phones.alice.dial(phones.uri("nobody"))
    assert "404" in phones.alice.closed()


def given_up_and_busy(phones):
    alice, dave = phones.alice, phones.dave
    alice.dial(phones.uri("dave"))
    dave.wait("CALL_INCOMING")
    alice.hangup()
    dave.closed()
    alice.closed()
    alice.dial(phones.uri("dave"))
    dave.wait("CALL_INCOMING")
    dave.hangup()
    assert "486" in alice.closed()


def held_and_keyed(phones):
    alice, bob = phones.alice, phones.bob
    phones.connect(alice, bob)
    before = max(flow["packets"] for flow in phones.controller.carried(60))
    alice.hold()
    bob.wait("CALL_REMOTE_SDP")
    assert settles(phones, {"a": "pinned", "b": "held"}), "nothing of bob's goes to who holds"
    alice.resume()
    bob.wait("CALL_REMOTE_SDP")
    assert settles(phones, {"a": "pinned", "b": "pinned"})
    phones.controller.carried(before + 20)
    alice.dtmf("7")
    assert bob.wait("CALL_DTMF_START")["param"] == "7"
    part(alice, bob)
    for phone, tone in ((alice, "bob"), (bob, "alice")):
        assert audio.judge(audio.read(phone.heard()[-1])).is_tone(TONES[tone])


def settles(phones, states):
    """Whether the flows of sound come to these states, by leg."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        flows = phones.controller.look("flow", "list")
        if {flow["leg"]: flow["state"] for flow in flows if flow["kind"] == "rtp"} == states:
            return True
        time.sleep(0.05)
    return False


def transferred_blindly(phones):
    alice, bob, carol = phones.alice, phones.bob, phones.carol
    phones.connect(alice, bob)
    phones.controller.carried(80)
    alice.transfer(phones.uri("carol"))
    carol.established()
    alice.closed()
    phones.controller.carried(90)
    part(carol, bob)
    heard = audio.read(bob.heard()[-1])
    assert audio.judge(heard[: 3 * audio.RATE // 2]).is_tone(TONES["alice"])
    ends_with(bob, "carol")
    ends_with(carol, "bob")


def transferred_after_asking(phones):
    alice, bob, carol = phones.alice, phones.bob, phones.carol
    phones.connect(alice, bob)
    first = alice.dialog()
    phones.connect(alice, carol)
    alice.transfer(f"<{phones.uri('bob')}?Replaces={quote(first, safe='')}>")
    alice.closed()
    phones.controller.carried(90)
    part(bob, carol)
    ends_with(bob, "carol")
    ends_with(carol, "bob")


def part(first, second):
    first.hangup()
    second.closed()
    first.closed()


def ends_with(phone, other):
    """What a phone heard in its last call ends with the other's tone."""
    heard = audio.read(phone.heard()[-1])
    assert audio.judge(heard[-3 * audio.RATE // 2 :]).is_tone(TONES[other])
