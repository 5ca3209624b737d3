# SPDX-License-Identifier: GPL-3.0-or-later
"""Kamailio and its rtpengine module, unchanged, with this relay in place of rtpengine: calls between real phones."""

import json
import re
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.ctl.world import sdp
from vm import audio, namespace
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
from vm.kamailio import WORDS, Kamailio
from vm.lab import Lab
from vm.process import PATIENCE, inside
from vm.process import run as run_inside
from vm.rtpengine import NgClient

NG = '\n[ng]\nlisten = ["127.0.0.1:2223"]\ndelete_delay = 0\n'
RECORDING = '\n[recording]\nconsent = "not-needed"\nkey = "' + "5a" * 32 + '"\n'
RELAY, DEAD = "udp:127.0.0.1:2223", "udp:127.0.0.1:2299"
TONES = {"alice": 440, "bob": 1000}


def ulaw(code):
    """The 16-bit sample of a byte in G.711's u-law."""
    magnitude = ((((~code & 0x0F) << 3) + 0x84) << ((~code & 0x70) >> 4)) - 0x84
    return magnitude if code & 0x80 else -magnitude


ULAW = [ulaw(code) for code in range(256)]


class Proxied:
    """A relay without users of its own, Kamailio before it, and two phones registered there."""

    def __init__(self, lab, relays, words, encryption, more):
        self.controller = Controller(lab, listen=["127.0.0.1:5080"], more=NG + more)
        self.lab = lab
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
        """The flows of the first session of the call, once each has had so many packets."""
        deadline = time.monotonic() + PATIENCE
        while True:
            listed = self.controller.look("flow", "list")
            flows = [flow for flow in listed if flow["kind"] == "rtp" and flow["call"].startswith("ng/1/")]
            if len(flows) == 2 and min(flow["packets"] for flow in flows) >= least:
                return flows
            assert time.monotonic() < deadline, flows
            time.sleep(0.1)

    def carried_more(self, packets):
        return self.carried(max(flow["packets"] for flow in self.carried(0)) + packets)

    def carried_by(self, path):
        """Wait until it is this that carries the same flows."""
        self.until(lambda flow: flow["path"] == path)

    def until(self, wanted):
        """Wait until all of them are as wanted."""
        deadline = time.monotonic() + PATIENCE
        while not all(map(wanted, flows := self.carried(0))):
            assert time.monotonic() < deadline, flows
            time.sleep(0.1)

    def talked(self):
        """Wait until the phones have heard each other's tone clearly."""
        for phone, tone in self._ears():
            heard = phone.hears(tone)
            assert heard.is_tone(tone), (phone.account.user, heard)

    def tones(self):
        heard = [(tone, audio.judge(audio.read(path))) for phone, tone in self._ears() for path in phone.heard()]
        return [(tone, each.is_tone(tone)) for tone, each in heard]

    def _ears(self):
        return (self.alice, TONES["bob"]), (self.bob, TONES["alice"])


class Recorder:
    """A session recording server of the only call, at an endpoint of the lab, which speaks to the relay by itself."""

    TAG = "recorder"

    def __init__(self, lab, end):
        self._end = end
        self._client = NgClient(lab.relay)
        with namespace.entered(end.namespace):
            self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in self._sockets:
            each.bind((end.address, 0))
            each.settimeout(0.2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.close()
        for each in self._sockets:
            each.close()

    def subscribe(self):
        (call,) = self._client.ask("list")["calls"]
        self._names = {"call_id": call, "to_tag": self.TAG}
        offered = self._ask("subscribe request", flags=["all", "siprec"])
        body = sdp(self._end.address, *["m=audio 9 RTP/AVP 0\r\na=recvonly\r\n"] * len(self._sockets)).decode()
        for each in self._sockets:
            body = body.replace("m=audio 9 ", f"m=audio {each.getsockname()[1]} ", 1)
        self._ask("subscribe answer", sdp=body)
        return offered

    def listen(self):
        """What comes to each of the sockets, judged once it is a clear tone at both, or is none in time."""
        coded = [b"", b""]
        deadline = time.monotonic() + PATIENCE
        while True:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                for place, each in enumerate(self._sockets):
                    with suppress(TimeoutError):
                        coded[place] += each.recv(2048)[12:]
            heard = [audio.judge([ULAW[code] for code in each]) for each in coded]
            if all(each.is_tone(round(each.frequency, -1)) for each in heard) or time.monotonic() > deadline:
                return heard

    def leave(self):
        self._ask("unsubscribe")

    def _ask(self, command, **keys):
        reply = self._client.ask(command, **self._names, **keys)
        assert reply["result"] == "ok", reply
        return reply


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
    world.until(lambda flow: (flow["mos"] or 0) >= 4.0)  # for a while: phones on a busy machine send late
    world.talked()
    assert {flow["path"] for flow in flows} == {"kernel"}
    assert {flow["call"].partition("/")[0] for flow in flows} == {"ng"}
    world.alice.hangup()
    world.bob.closed()
    totals, average, lowest, samples, highest, when = world.proxy.accounted()
    packets = int(totals.split()[1])
    assert packets >= 700, totals
    assert 1 <= float(lowest) <= float(average) <= float(highest) <= 4.5
    assert float(highest) >= 4.0
    assert re.fullmatch(r"\d:[0-5]\d", when)  # of the call
    assert int(samples) >= 1
    assert world.controller.until("flows", "flow", "list", count=0) == []
    assert world.tones() == [(1000, True), (440, True)]


def test_hold_and_resume_pass_through_the_proxy(proxied):
    world = proxied()
    world.connect()
    world.carried(50)
    for change in (world.alice.hold, world.alice.resume):
        change()
        assert world.bob.wait("CALL_REMOTE_SDP")["param"] == "offer"
        assert world.alice.wait("CALL_REMOTE_SDP")["param"] == "answer"
    world.carried_more(50)
    world.bob.hangup()
    world.alice.closed()
    assert world.controller.until("flows", "flow", "list", count=0) == []


def test_a_dead_relay_is_passed_over(proxied):
    world = proxied(DEAD, RELAY)
    world.connect()
    world.carried(150)
    world.talked()
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
    world.talked()
    world.alice.hangup()
    world.bob.closed()
    assert world.tones() == [(1000, True), (440, True)]


def test_phones_of_srtp_are_given_keys_of_another_suite(proxied):
    """By the caller's word it has one suite, and by the proxy's the callee is not offered that one."""
    keyings = dict.fromkeys(("alice", "bob"), "srtp-mand")
    world = proxied(words=f"{WORDS} RTP/SAVP SDES-no-AES_CM_128_HMAC_SHA1_80 DTLS=off", encryption=keyings)
    world.connect()
    flows = {flow["leg"]: flow for flow in world.carried(100)}
    assert {(flow["path"], flow["reason"]) for flow in flows.values()} == {("engine", "SRTP keys differ")}
    assert [flows[leg]["suite"] for leg in "ab"] == ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"]
    world.talked()
    world.alice.hangup()
    world.bob.closed()
    assert world.tones() == [(1000, True), (440, True)]


def test_a_call_is_recorded_as_the_proxy_asks(proxied):
    world = proxied(words=f"{WORDS} record-call=on", more=RECORDING)
    world.connect()
    assert {flow["path"] for flow in world.carried(160)} == {"kernel"}
    world.alice.hangup()
    world.bob.closed()
    (recording,) = world.controller.until("recordings", "recording", "list", count=1)
    assert recording["bytes"] > 2 * 3 * 8000


def test_a_recorder_subscribes_to_a_call_and_leaves_it_in_the_kernel(proxied):
    """As with SIPREC: both sides of a call that goes on come to somebody else, who may go again."""
    world = proxied()
    world.connect()
    assert {flow["path"] for flow in world.carried(50)} == {"kernel"}
    with Recorder(world.lab, world.lab.b) as recorder:
        offered = recorder.subscribe()
        assert [each["tag"] for each in offered["tag-medias"]] == offered["from-tags"]
        world.carried_by("engine")
        heard = recorder.listen()
        world.carried(250)
        recorder.leave()
    assert sorted(round(each.frequency, -1) for each in heard) == [440, 1000]
    assert all(each.is_tone(round(each.frequency, -1)) for each in heard)
    world.carried_by("kernel")
    world.carried_more(50)
    world.talked()
    world.alice.hangup()
    world.bob.closed()
    assert int(world.proxy.accounted()[0].split()[1]) >= 600  # of the kernel, the engine and the kernel again
    assert world.tones() == [(1000, True), (440, True)]
    assert world.controller.until("flows", "flow", "list", count=0) == []


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
    process.wait_for("start", lambda text: "serving" in text)
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
    assert "managedsessions: 1" in voxdp("ng", "ctl", "list", "totals")
    assert "198.18.1.1: 2 pairs used" in voxdp("ng", "ctl", "list", "interfaces")
    assert voxdp("ng", "ctl", "terminate", "c") == "1 call ended\n"
    assert json.loads(voxdp("-j", "flow", "list")) == []
    assert "ignored: table" in process.text()
    assert process.stop() == 0
    voxdp("detach")
