# SPDX-License-Identifier: GPL-3.0-or-later
"""Kamailio and its rtpengine module, unchanged, with this relay in place of rtpengine: calls between real phones."""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.ctl.world import sdp
from vm import audio
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
from vm.kamailio import WORDS, Kamailio
from vm.lab import Lab
from vm.process import inside
from vm.process import run as run_inside
from vm.rtpengine import NgClient

NG = '\n[ng]\nlisten = ["127.0.0.1:2223"]\ndelete_delay = 0\n'
RECORDING = '\n[recording]\nconsent = "not-needed"\nkey = "' + "5a" * 32 + '"\n'
RELAY, DEAD = "udp:127.0.0.1:2223", "udp:127.0.0.1:2299"
TONES = {"alice": 440, "bob": 1000}


class Proxied:
    """A relay without users of its own, Kamailio before it, and two phones registered there."""

    def __init__(self, lab, relays, words, encryption, more):
        self.controller = Controller(lab, listen=["127.0.0.1:5080"], more=NG + more)
        self.controller.attach()
        self.controller.start()
        self.proxy = Kamailio(lab, DOMAIN, relays, words)
        self._encryption = encryption
        self.alice, self.bob = (self._phone(lab, *each) for each in (("alice", lab.a), ("bob", lab.b)))

    def _phone(self, lab, name, endpoint):
        phone = Baresip(
            lab,
            endpoint,
            Account(name, DOMAIN, "none", endpoint.relay, encryption=self._encryption.get(name, "")),
            TONES[name],
        )
        phone.registered()
        return phone

    def connect(self):
        self.alice.dial(f"sip:bob@{DOMAIN}")
        self.alice.established()
        self.bob.established()

    def carried(self, least):
        deadline = time.monotonic() + 15
        while True:
            flows = [flow for flow in self.controller.look("flow", "list") if flow["kind"] == "rtp"]
            if len(flows) == 2 and min(flow["packets"] for flow in flows) >= least:
                return flows
            assert time.monotonic() < deadline, flows
            time.sleep(0.1)

    def tones(self):
        pairs = ((self.alice, TONES["bob"]), (self.bob, TONES["alice"]))
        heard = [(tone, audio.judge(audio.read(path))) for phone, tone in pairs for path in phone.heard()]
        return [(tone, each.is_tone(tone)) for tone, each in heard]


@pytest.fixture
def proxied():
    def make(*relays, words=WORDS, encryption=None, more=""):
        return Proxied(lab, relays or (RELAY,), words, encryption or {}, more)

    with Lab("two") as lab:
        yield make


def test_a_call_is_carried_by_the_kernel_and_accounted_by_the_proxy(proxied):
    world = proxied()
    world.connect()
    flows = world.carried(350)
    assert {flow["path"] for flow in flows} == {"kernel"}
    assert {flow["call"].partition("/")[0] for flow in flows} == {"ng"}
    world.alice.hangup()
    world.bob.closed()
    totals, average, lowest, samples = world.proxy.accounted()
    packets = int(totals.split()[1])
    assert packets >= 700, totals
    assert 4.0 <= float(average) <= 4.5
    assert 4.0 <= float(lowest) <= float(average)
    assert int(samples) >= 1
    assert world.controller.until("flows", "flow", "list", count=0) == []
    assert world.tones() == [(1000, True), (440, True)]


def test_hold_and_resume_pass_through_the_proxy(proxied):
    world = proxied()
    world.connect()
    world.carried(50)
    world.alice.hold()
    time.sleep(0.5)
    (before,) = (flow["packets"] for flow in world.carried(0) if flow["leg"] == "b")
    world.alice.resume()
    world.carried(before + 50)
    world.bob.hangup()
    world.alice.closed()
    assert world.controller.until("flows", "flow", "list", count=0) == []


def test_a_dead_relay_is_passed_over(proxied):
    world = proxied(DEAD, RELAY)
    world.connect()
    world.carried(150)
    world.bob.hangup()
    world.alice.closed()
    assert world.tones() == [(1000, True), (440, True)]


def test_a_killed_controller_goes_on_with_the_proxys_calls(proxied):
    world = proxied()
    world.connect()
    world.carried(50)
    world.controller.kill()
    world.controller.start()
    world.carried(150)
    world.alice.hangup()
    world.bob.closed()
    totals = world.proxy.accounted()[0]
    assert int(totals.split()[1]) >= 300
    assert world.controller.until("flows", "flow", "list", count=0) == []


def test_plain_rtp_is_bridged_to_srtp(proxied):
    world = proxied(words=f"{WORDS} RTP/SAVP", encryption={"bob": "srtp-mand"})
    world.connect()
    assert {flow["path"] for flow in world.carried(100)} == {"engine"}
    world.alice.hangup()
    world.bob.closed()
    assert world.tones() == [(1000, True), (440, True)]


def test_a_call_is_recorded_as_the_proxy_asks(proxied):
    world = proxied(words=f"{WORDS} record-call=on", more=RECORDING)
    world.connect()
    assert {flow["path"] for flow in world.carried(150)} == {"kernel"}
    world.alice.hangup()
    world.bob.closed()
    (recording,) = world.controller.until("recordings", "recording", "list", count=1)
    assert recording["bytes"] > 2 * 3 * 8000


def test_the_relay_runs_by_rtpengines_own_options(two):
    """Without a word of our own configuration: attached, without users, seen by ng ctl, ended by it."""
    run = two.directory / "alone"
    arguments = [
        *(
            "voxdp",
            "-c",
            two.directory / "base.toml",
            "ng",
            "--interface=a/198.18.1.1;b/198.18.2.1",
            "--listen-ng=2223",
        ),
        *("--port-min=20000", "--port-max=20999", "--timeout=60", "--table=0", "-f"),
    ]
    (two.directory / "base.toml").write_text(
        f'[run]\ndirectory = "{run}"\nstate = "{run}"\n[xdp]\nbpffs = "{two.bpffs}"\n'
    )
    process = two.spawn(two.relay, *arguments, log="voxdp.log")
    process.wait_for("start", lambda text: "serving" in text, 30.0)
    client = NgClient(two.relay)
    two.own(client)
    for command, end, tags in (("offer", two.a, {}), ("answer", two.b, {"to_tag": "b"})):
        body = sdp(end.address).decode()
        assert client.ask(command, call_id="c", from_tag="a", sdp=body, **tags)["result"] == "ok"

    def voxdp(*words):
        return run_inside(*inside(two.relay, [Path(sys.executable).with_name("voxdp"), "-c", run / "ng.toml", *words]))

    assert {flow["path"] for flow in json.loads(voxdp("-j", "flow", "list"))} == {"kernel"}
    assert "callid: c |" in voxdp("ng", "ctl", "list", "sessions")
    assert "sessionstotal: 1" in voxdp("ng", "ctl", "list", "numsessions")
    assert "198.18.1.1: 2 pairs used" in voxdp("ng", "ctl", "list", "interfaces")
    assert voxdp("ng", "ctl", "terminate", "c") == "1 call ended\n"
    assert json.loads(voxdp("-j", "flow", "list")) == []
    assert "ignored: table" in process.text()
    assert process.stop() == 0
    voxdp("detach")
