# SPDX-License-Identifier: GPL-3.0-or-later
"""ICE of real phones (baresip's, by RFC 5245) with ours: the checks of the one, the answers of the other, and media."""

import itertools
import struct
import time

import pytest

from tests.media import stun_messages as stun
from vm import namespace
from vm.controller import Controller
from vm.lab import Lab
from vm.process import PATIENCE
from vm.rtpengine import NgClient

BOTH = [(1000, 1000), (440, 440)]
MOMENT = 0.3
"""Seconds until what has not come is taken to be refused."""


def settled(world, path):
    """The flows of RTP once each leg's checks have selected a pair and they are carried by `path`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        flows = world.flows()
        if len(flows) == 2 and all(flow["path"] == path and flow["ice"] in ("selected", "off") for flow in flows):
            return flows
        assert time.monotonic() < deadline, flows
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("ours", "speakers", "encryption", "path"),
    [
        ("lite", ("alice", "bob"), ("", ""), "kernel"),
        ("full", ("alice",), ("", ""), "kernel"),
        ("lite", ("alice", "bob"), ("dtls_srtp", "dtls_srtp"), "engine"),
    ],
    ids=["lite", "full-with-one", "dtls"],
)
def test_phones_that_check_are_heard_both_ways(world, ours, speakers, encryption, path):
    world = world(media=f'ice = "{ours}"', ice=speakers, encryption=encryption)
    world.connect(world.alice, world.bob)
    flows = settled(world, path)
    assert {flow["leg"]: flow["ice"] for flow in flows} == {
        "a": "selected",
        "b": "selected" if "bob" in speakers else "off",
    }
    assert {flow["source"]["address"] for flow in flows} == {world.lab.a.address, world.lab.b.address}
    world.carried(150)
    world.talked()
    world.finish(world.alice, world.bob)
    assert world.tones_heard() == BOTH


class Caller:
    """A full agent that is as good or as bad as a test wants it: two ports, and a name that it may change."""

    numbers = itertools.count()

    def __init__(self, lab):
        self.where = lab.a
        self.near, self.far = (
            namespace.datagram_socket(lab.a.namespace, (lab.a.address, port)) for port in (4000, 4002)
        )
        for each in (self.near, self.far):
            each.settimeout(PATIENCE)
            lab.own(each)
        self.name, self.password = "callers", "c" * 22

    def describe(self):
        host = self.where.address
        return (
            f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
            f"a=ice-ufrag:{self.name}\r\na=ice-pwd:{self.password}\r\na=rtcp-mux\r\n"
            f"a=candidate:1 1 UDP 2130706431 {host} 4000 typ host\r\n"
        )

    def answered(self, sdp):
        """Learn the relay's names and address."""
        found = dict(line[2:].split(":", 1) for line in sdp.split("\r\n") if line.startswith("a=") and ":" in line)
        self.ours = found["ice-ufrag"], found["ice-pwd"]
        _, _, _, _, host, port, *_ = found["candidate"].split()
        self.relay = (host, int(port))

    def check(self, source, use=False, password=None):
        """The answer to a check, None if there was none within a moment."""
        request = stun.check(f"{self.ours[0]}:{self.name}", use=use, priority=100)
        source.sendto(request.pack(password or self.ours[1]), self.relay)
        source.settimeout(PATIENCE if password is None else MOMENT)
        try:
            while (
                answer := stun.Message.parse(source.recv(2048))
            ) is None or answer.transaction != request.transaction:
                pass
        except TimeoutError:
            return None
        finally:
            source.settimeout(PATIENCE)
        return answer

    def talk(self, source):
        number = next(self.numbers)
        packet = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * 160, 7) + bytes([number]) * 160
        source.sendto(packet, self.relay)
        return packet


class Relayed:
    """A call of a proxy's between the caller and a peer without ICE."""

    def __init__(self, lab):
        self.controller = Controller(lab, listen=["127.0.0.1:5080"], more='\n[ng]\nlisten = ["127.0.0.1:2223"]\n')
        self.controller.attach()
        self.controller.start()
        self.ng = NgClient(lab.relay)
        lab.own(self.ng)
        self.caller = Caller(lab)
        self.callee = namespace.datagram_socket(lab.b.namespace, (lab.b.address, 5000))
        self.callee.settimeout(PATIENCE)
        lab.own(self.callee)
        self.where = lab.b.address
        self.relay = None

    def exchange(self, **again):
        call, words = (
            {"call_id": "c", "from_tag": "a"},
            {"ICE": "remove", "ICE_lite": "backward", "rtcp_mux": ["demux"]},
        )
        offered = self.ng.ask("offer", **call, **again, sdp=self.caller.describe(), **words)
        words = offered["sdp"].split()
        self.relay = words[words.index("m=audio") + 1]
        plain = (
            f"v=0\r\no=- 1 1 IN IP4 {self.where}\r\ns=-\r\nc=IN IP4 {self.where}\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"
        )
        self.caller.answered(self.ng.ask("answer", **call, to_tag="b", sdp=plain, ICE="force")["sdp"])

    def flow(self, **wanted):
        """The flow from the caller, once it is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            flows = [
                each for each in self.controller.look("flow", "list") if (each["leg"], each["kind"]) == ("a", "rtp")
            ]
            if flows and all(flows[0][name] == value for name, value in wanted.items()):
                return flows[0]
            assert time.monotonic() < deadline, (wanted, flows)
            time.sleep(0.1)

    def heard(self, source, seconds=PATIENCE):
        """Whether the callee gets what is said from there."""
        said, deadline = self.caller.talk(source), time.monotonic() + seconds
        self.callee.settimeout(seconds)
        try:
            while time.monotonic() < deadline:
                if self.callee.recv(2048)[12:] == said[12:]:
                    return True
        except TimeoutError:
            return False
        finally:
            self.callee.settimeout(PATIENCE)

    def answers_go_to(self, place):
        """What the callee says arrives there."""
        packet = struct.pack("!BBHII", 0x80, 0, next(self.caller.numbers), 0, 9) + b"b" * 160
        self.callee.sendto(packet, (self.callee_relay(), int(self.relay)))
        while told := stun.Message.parse(came := place.recv(2048)):  # keep-alives of a quiet pair (RFC 8445, 11)
            assert told.kind == stun.INDICATION
        return came[12:] == packet[12:]

    def callee_relay(self):
        return next(each["egress"]["address"] for each in self.controller.look("flow", "list") if each["leg"] == "a")


def test_media_follows_the_checks_and_nothing_else_through_the_kernel():
    with Lab("two") as lab:
        world = Relayed(lab)
        caller = world.caller
        world.exchange()
        world.flow(ice="checking", path="engine", state="checking")
        assert not world.heard(caller.near, MOMENT), "no address of a description is believed"
        assert caller.check(caller.near, use=True, password="guessed") is None
        assert caller.check(caller.near, use=True).mapped == (lab.a.address, 4000)
        world.flow(ice="selected", path="kernel", source={"address": lab.a.address, "port": 4000})
        assert world.heard(caller.near)
        assert world.answers_go_to(caller.near)

        before = world.flow()["rejected"]
        assert not world.heard(caller.far, MOMENT)
        assert caller.check(caller.far, use=True, password="guessed") is None
        world.flow(ice="selected", rejected=before + 1)
        assert caller.check(caller.near).mapped == (lab.a.address, 4000), "consent is answered beside media"

        assert caller.check(caller.far)
        assert caller.check(caller.far, use=True)
        world.flow(path="kernel", source={"address": lab.a.address, "port": 4002})
        assert world.heard(caller.far)
        assert world.answers_go_to(caller.far)
        assert not world.heard(caller.near, MOMENT)

        former = caller.ours
        caller.name, caller.password = "again", "d" * 22
        world.exchange(to_tag="b")
        assert caller.ours != former, "a restart of theirs is one of ours"
        assert world.heard(caller.far), "what was selected carries the media meanwhile"
        assert caller.check(caller.near, use=True).kind == stun.SUCCESS
        world.flow(path="kernel", source={"address": lab.a.address, "port": 4000})
        assert world.heard(caller.near)
        log = world.controller.log()
        assert log.count("ICE selected a pair") == 3

        world.ng.ask("delete", call_id="c", delete_delay="0")
        assert world.controller.until("flows", "flow", "list", count=0) == []
        assert caller.check(caller.near, password=caller.ours[1]) is None
