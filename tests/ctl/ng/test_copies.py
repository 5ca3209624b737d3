# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies through a real engine: what subscribers hear of a call, sealed for them, and of one who publishes."""

import os
import random
from base64 import b64decode, b64encode
from ipaddress import ip_network

import pylibsrtp
import pytest

from ctl.network.nexthop import Route
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from media.client import EngineProcess
from tests.ctl.ng.test_relay import ask
from tests.ctl.world import rtp_port
from tests.media.conftest import Peer, build_rtp
from tests.patience import PATIENCE

RELAY = "127.77.8.1"
FIRST = 32000 + os.getpid() % 300 * 100
"""Others may run the same test."""


class Loopback:
    """Every address is next door."""

    def route(self, target, source=""):
        return Route(1, "lo", target, RELAY, True)

    def resolve(self, target, source=""):
        return None

    def forget(self, target, source=""): ...


@pytest.fixture
def relay(tmp_path):
    process = EngineProcess.ensure(tmp_path / "engine", timeout=PATIENCE)
    ports = Ports({RELAY: "lo"}, FIRST, FIRST + 99, random.Random(1).randrange)
    plane = DataPlane({RELAY: "lo"}, frozenset(), allowed=(ip_network("127.0.0.0/8"),), srtp="preferred")
    programmer = Programmer(Loopback(), None, EngineCarrier(process.client))
    yield Relay(MediaSessions(ports, Loopback(), programmer, plane), lambda: 0.0, b"", limits=Limits(delete_delay=0))
    process.stop()
    process.close()


@pytest.fixture
def peers():
    found = [Peer(f"127.77.8.{number}") for number in (11, 12, 13)]
    yield found
    for each in found:
        each.socket.close()


def said(peer, direction="sendrecv", formats="0", protocol="RTP/AVP", *lines):
    address, port = peer.name
    head = f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    more = "".join(f"{line}\r\n" for line in lines)
    return f"{head}m=audio {port} {protocol} {formats}\r\n{more}a={direction}\r\n"


def done(reply):
    assert reply["result"] == "ok", reply
    return reply


def subscribe(relay, listener, call="c", tag="a", answer=("recvonly",), **keys):
    offered = done(ask(relay, "subscribe request", call_id=call, from_tag=tag, to_tag="rec", **keys))
    done(ask(relay, "subscribe answer", call_id=call, to_tag="rec", sdp=said(listener, *answer)))
    return offered["sdp"]


def test_a_subscriber_hears_one_side_of_a_call(relay, peers):
    alice, bob, carol = peers
    done(ask(relay, "offer", call_id="c", from_tag="a", sdp=said(alice)))
    toward = (RELAY, rtp_port(done(ask(relay, "answer", call_id="c", from_tag="a", to_tag="b", sdp=said(bob)))["sdp"]))
    leaves = (RELAY, rtp_port(subscribe(relay, carol)))
    for number in range(3):
        alice.send(build_rtp(number), toward)
        assert bob.receive()[0] == build_rtp(number)
        assert carol.receive() == (build_rtp(number), leaves)
    (media,) = ask(relay, "query", call_id="c")["tags"]["rec"]["medias"]
    assert media["streams"][0]["stats_out"]["packets"] == 3
    done(ask(relay, "unsubscribe", call_id="c", to_tag="rec"))
    alice.send(build_rtp(3), toward)
    assert bob.receive()[0] == build_rtp(3)
    assert carol.waiting() == 0


def test_a_subscriber_is_sealed_for_where_it_wants_srtp(relay, peers):
    alice, bob, carol = peers
    done(ask(relay, "offer", call_id="c", from_tag="a", sdp=said(alice)))
    toward = (RELAY, rtp_port(done(ask(relay, "answer", call_id="c", from_tag="a", to_tag="b", sdp=said(bob)))["sdp"]))
    own = b64encode(bytes(30)).decode()
    line = f"a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{own}"
    body = subscribe(relay, carol, answer=("recvonly", "0", "RTP/SAVP", line), transport_protocol="RTP/SAVP")
    (key,) = [each.split("inline:")[1] for each in body.decode().split("\r\n") if each.startswith("a=crypto:4 ")]
    policy = pylibsrtp.Policy(key=b64decode(key), ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND)
    alice.send(build_rtp(7), toward)
    sealed, _ = carol.receive()
    assert sealed != build_rtp(7)
    assert pylibsrtp.Session(policy=policy).unprotect(sealed) == build_rtp(7)
    assert bob.receive()[0] == build_rtp(7)


def test_srtp_of_the_same_keys_on_both_sides_is_opened_for_the_subscriber(relay, peers):
    alice, bob, carol = peers
    keys = {name: b64encode(bytes([number]) * 30).decode() for number, name in enumerate("ab")}
    lines = {name: f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}" for name, key in keys.items()}
    done(ask(relay, "offer", call_id="c", from_tag="a", sdp=said(alice, "sendrecv", "0", "RTP/SAVP", lines["a"])))
    body = said(bob, "sendrecv", "0", "RTP/SAVP", lines["b"])
    toward = (RELAY, rtp_port(done(ask(relay, "answer", call_id="c", from_tag="a", to_tag="b", sdp=body))["sdp"]))
    subscribe(relay, carol, transport_protocol="RTP/AVP")
    policy = pylibsrtp.Policy(key=b64decode(keys["a"]), ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
    sealed = pylibsrtp.Session(policy=policy).protect(build_rtp(5))
    alice.send(sealed, toward)
    assert bob.receive()[0] == sealed
    assert carol.receive()[0] == build_rtp(5)


def test_who_publishes_is_heard_by_who_subscribes(relay, peers):
    alice, _, carol = peers
    answer = done(ask(relay, "publish", call_id="p", from_tag="pub", sdp=said(alice, "sendonly")))
    toward = (RELAY, rtp_port(answer["sdp"]))
    alice.send(build_rtp(0), toward)
    subscribe(relay, carol, "p", "pub")
    alice.send(build_rtp(1), toward)
    assert carol.receive()[0] == build_rtp(1)
    (media,) = ask(relay, "query", call_id="p")["tags"]["pub"]["medias"]
    assert media["streams"][0]["stats"]["packets"] == 2
