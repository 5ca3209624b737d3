# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser's WebRTC with a plain phone: SIP over a secure WebSocket, ICE, DTLS-SRTP, the sound both ways."""

import time

import pytest

from tests.ctl.certificates import Authority
from tests.lab.conftest import lab_with
from vm import audio
from vm.baresip import Account, Baresip
from vm.browser import Browser, Page
from vm.controller import DOMAIN, Controller
from vm.process import PATIENCE

BROWSERS, PHONES = 440, 1000
PORT = 8443
TLS = """
[sip.tls]
certificate = "{certificate}"
key = "{key}"
"""


class Call:
    """A browser and a phone, registered; one call after the other."""

    def __init__(self, lab):
        certificate, key = Authority(lab.directory).issue("voxdp", DOMAIN, lab.a.relay)
        self.controller = Controller(
            lab,
            listen=[f"wss:{lab.a.relay}:{PORT}", f"udp:{lab.b.relay}:5060"],
            more=TLS.format(certificate=certificate, key=key),
            media='transcode = ["PCMU", "opus"]',
        )
        self.controller.attach()
        self.controller.start()
        self.controller.ready()
        for name in ("wendy", "bob"):
            self.controller.add_user(name, "secret")
        self.relay = lab.a.relay
        self.bob = Baresip(lab, lab.b, Account("bob", DOMAIN, "secret", lab.b.relay), PHONES)
        self.browser = Browser(lab, lab.a, certificate, BROWSERS)
        self.bob.registered()

    def open(self, **told):
        self.browser.open(Page(f"wss://{self.relay}:{PORT}", "wendy", "secret", DOMAIN, **told))
        assert self.browser.run("phone.register()") == 200

    def dial(self):
        assert self.browser.run(f"phone.dial('sip:bob@{DOMAIN}')") == 200
        self.bob.established()

    def hangs_up(self, who):
        """One side ends the call, and the other one hears of it."""
        if who == "browser":
            assert self.browser.run("phone.hangup()") == 200
        else:
            self.bob.hangup()
            self.browser.until("idle")
        self.bob.closed()
        assert self.controller.until("flows", "flow", "list", count=0) == []

    def heard(self, codec):
        """The browser hears the phone, by this codec, and knows no address but ours."""
        flows = self.settled()
        assert {(flow["path"], flow["reason"], flow["security"]) for flow in flows} == {
            ("engine", "DTLS-SRTP ends here", "secure")
        }
        media = self.browser.media()
        assert media == {"address": self.relay, "codec": codec, "dtls": "connected"}
        heard = self.browser.until_hears(PHONES)
        assert heard.is_tone(PHONES), heard

    def phone_hears(self):
        heard = self.bob.hears(BROWSERS)
        assert heard.is_tone(BROWSERS), heard

    def settled(self):
        """The flows of RTP once checks have led to a pair, and packets were carried."""
        deadline = time.monotonic() + PATIENCE
        while True:
            flows = self.controller.carried(50)
            if {flow["ice"] for flow in flows} == {"selected", "off"}:
                return flows
            assert time.monotonic() < deadline, flows
            time.sleep(0.1)


def phone_heard(bob):
    return audio.judge(audio.read(bob.heard()[-1]))


@pytest.fixture
def call(cluster):
    with lab_with(cluster, "two") as lab:
        yield Call(lab)


def test_a_browser_and_a_phone_call_each_other(call):
    call.open()
    call.dial()
    call.heard("audio/PCMU")
    assert call.browser.run("phone.restart()") == 200, "ICE begins anew in the middle of the call"
    call.heard("audio/PCMU")
    call.phone_hears()
    call.hangs_up("browser")
    assert phone_heard(call.bob).is_tone(BROWSERS)

    call.bob.dial(f"sip:wendy@{DOMAIN}")
    call.bob.established()
    call.browser.until("talking")
    call.heard("audio/PCMU")
    call.phone_hears()
    call.hangs_up("phone")
    assert phone_heard(call.bob).is_tone(BROWSERS)

    call.open(codec="audio/opus", microphone=False)
    call.dial()
    call.heard("audio/opus")
    call.phone_hears()
    for change in (call.bob.hold, call.bob.resume):
        change()
        assert call.bob.wait("CALL_REMOTE_SDP")["param"] == "answer"
    call.heard("audio/opus")
    call.hangs_up("phone")

    call.browser.run("phone.socket.close()")
    call.controller.until("registrations", "reg", "list", count=1)
    call.controller.until("records", "cdr", "list", count=3)
    call.bob.dial(f"sip:wendy@{DOMAIN}")
    assert "480" in call.bob.closed()
