# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten phones of every codec and keying in one lab, of which any two can talk, and what is asked of their calls."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vm import audio, capture
from vm.baresip import Account, Baresip
from vm.capture import Capture
from vm.controller import DOMAIN, Controller
from vm.process import PATIENCE

TALK = 150
"""Packets of each direction, 20 ms each, before a call ends."""
TAIL = 50
"""Packets that a phone which is held up may not have taken yet when it is told that the call is over."""
LEAST_SNR = {"PCMU": 30.0, "PCMA": 30.0, "G722": 30.0, "opus": 10.0}
"""What a phone must hear of a tone, by its codec, in dB: Opus keeps no wave, and has 8 kHz of most of these callers."""
UNEVEN = 2.0
"""dB by which levels may differ: a phone that speaks G.722 or Opus makes its rate of 8 kHz itself, none too evenly."""


@dataclass(frozen=True)
class Kind:
    """What a phone has: the side that it is on, how it protects its media, its codec, and its tone in Hz."""

    side: str
    keying: str
    codec: str
    tone: int

    @property
    def name(self) -> str:
        """Of the codec alone."""
        return self.codec.partition("/")[0]


KINDS = {
    "alice": Kind("a", "srtp-mand", "PCMU/8000", 440),
    "anna": Kind("a", "dtls_srtp", "PCMA/8000", 520),
    "anton": Kind("a", "srtp-mand", "G722/16000", 610),
    "ada": Kind("a", "dtls_srtp", "opus/48000/2", 700),
    "axel": Kind("a", "", "PCMU/8000", 810),
    "bob": Kind("b", "dtls_srtp", "G722/16000", 1000),
    "bea": Kind("b", "srtp-mand", "opus/48000/2", 1130),
    "ben": Kind("b", "dtls_srtp", "PCMA/8000", 1270),
    "bo": Kind("b", "srtp-mand", "PCMU/8000", 1390),
    "bert": Kind("b", "", "PCMU/8000", 1490),
}
Pair = tuple[str, str]
"""Who calls, and whom."""


class Exchange:
    """The phones, registered, and the controller between them. more: further tables of its configuration."""

    def __init__(self, lab, more=""):
        self.lab = lab
        media = 'transcode = ["PCMU", "PCMA", "G722", "opus"]'
        self.controller = Controller(lab, media=media, more=more)
        self.controller.attach()
        self.controller.start()
        self.controller.ready()
        self.phones = {name: self.phone(name, kind) for name, kind in KINDS.items()}
        for phone in self.phones.values():
            phone.registered()

    def phone(self, name, kind, registrar=None):
        """A phone of that kind; registrar: host and port that it speaks to, where that is not voxdp."""
        end = {"a": self.lab.a, "b": self.lab.b}[kind.side]
        self.controller.add_user(name, "secret")
        slot = list(KINDS).index(name) % 5 if name in KINDS else 5
        account = Account(name, DOMAIN, "secret", registrar or end.relay, kind.codec, encryption=kind.keying)
        return Baresip(self.lab, end, account, kind.tone, slot)

    def watch(self):
        """Begin to capture both wires."""
        self._wires = [Capture(self.lab, end) for end in (self.lab.a, self.lab.b)]

    def seen(self):
        """What crossed the wires since then, by side."""
        return dict(zip("ab", (wire.stop() for wire in self._wires), strict=True))

    def connect(self, *pairs):
        """Place these calls at once, and wait until all phones have them."""
        for caller, callee in pairs:
            self.phones[caller].dial(f"sip:{callee}@{DOMAIN}")
        for name in (name for pair in pairs for name in pair):
            self.phones[name].established()

    def flows(self):
        """The flows of RTP by the phones that send them."""
        calls = {call["id"]: (call["caller"], call["dialled"]) for call in self.controller.look("call", "list")}
        flows = [flow for flow in self.controller.look("flow", "list") if flow["kind"] == "rtp"]
        return {calls[flow["call"]][flow["leg"] == "b"]: flow for flow in flows if flow["call"] in calls}

    def carried(self, least, *names, seconds=PATIENCE):
        """Wait until the flows of these phones have carried so many packets; return them."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.flows()
            if all(name in found and found[name]["packets"] >= least for name in names):
                return {name: found[name] for name in names}
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def part(self, *pairs):
        """End these calls."""
        for caller, _ in pairs:
            self.phones[caller].hangup()
        for name in (name for pair in pairs for name in pair):
            self.phones[name].closed()
        assert self.controller.until("flows", "flow", "list", count=0) == []

    def talk(self, *pairs):
        """Have these calls at once, for four seconds; return their flows, by the phones that send them."""
        names = [name for pair in pairs for name in pair]
        self.connect(*pairs)
        found = self.carried(TALK + TAIL, *names)
        self.part(*pairs)
        for caller, callee in pairs:
            self.hears(caller, callee)
            self.hears(callee, caller)
        return found

    def hears(self, name, other):
        """What a phone heard in its last call was the other's tone, as loud as it was said, without gaps and clicks."""
        heard = audio.judge(audio.read(self.phones[name].heard()[-1]))
        said = name, other, heard
        assert heard.is_tone(KINDS[other].tone, least_snr=LEAST_SNR[KINDS[name].name]), said
        assert abs(heard.level) < UNEVEN, said
        assert (heard.gap, heard.clicks) == (0, 0), said
        assert heard.seconds > 0.9 * TALK * 0.02, said


def streams(seen, end):
    """The RTP that reached an endpoint, by the port that it came to."""
    found = {}
    for each in capture.rtp(seen):
        if each.target[0] == end.address:
            found.setdefault(each.target[1], []).append(each)
    return found
