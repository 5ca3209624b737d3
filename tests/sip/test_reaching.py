# SPDX-License-Identifier: GPL-3.0-or-later
"""By which transport a peer is reached, and what happens where a message does not go out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.effects import Address, Send, UriTarget
from sip.reach import literal, reach
from sip.trunk import Trunk
from sip.uri import Uri
from tests.sip.conftest import OFFER, Peer, World
from tests.sip.talk import ANSWER
from tests.sip.test_restore import die
from tests.sip.test_trunks import CARRIER, carrier

LONG = OFFER + b"".join(b"a=candidate:%d 1 UDP 2130706431 192.0.2.7 %d typ host\r\n" % (n, n) for n in range(40))


@pytest.fixture
def world() -> World:
    return World(connects=True)


def connected(world: World, user: str, host: str, port: int = 49152, transport: str = "tcp") -> Peer:
    """A phone whose connection comes from that port; its Contact names another."""
    peer = Peer(world, user, host, port)
    peer.address = replace(peer.address, transport=transport, inbound=True)
    assert peer.register(contact=f"<sip:{user}@{host}:5060;transport={transport}>").status == 200
    return peer


def last_sent(world: World) -> Send:
    return world.wire[-1][1]


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_a_registered_phone_is_reached_by_its_connection(world, anna, transport):
    bert = connected(world, "bert", "203.0.113.9", transport=transport)
    anna.invite("bert")
    (invite,) = bert.hears("INVITE")
    assert invite.via.protocol == transport
    assert f";transport={transport}" in invite.get("Contact")
    bert.reply(invite, 200, ANSWER)
    (ack,) = bert.hears("ACK")
    assert ack.via.protocol == transport


def test_a_phone_whose_connection_is_gone_leaves_the_search_to_the_next(world, anna):
    gone = connected(world, "bert", "203.0.113.9")
    other = Peer(world, "bert", "203.0.113.10")
    assert other.register(call_id="other", contact="<sip:bert@203.0.113.10>;q=0.5").status == 200
    anna.invite("bert")
    invite = last_sent(world)
    assert invite.target == gone.address
    world.run(world.core.undelivered(invite, world.now))
    assert [message.method for message in other.heard()] == ["INVITE"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_request_too_long_for_a_datagram_goes_by_tcp_and_back_to_udp_where_nobody_listens(world, anna, bert, taken):
    anna.invite("bert", LONG)
    first = last_sent(world)
    assert (first.target, len(first.data) > 1300) == (replace(bert.address, transport="tcp"), True)
    assert b"Via: SIP/2.0/TCP" in first.data
    if not taken:
        world.run(world.core.undelivered(first, world.now))
        assert (last_sent(world).target, b"Via: SIP/2.0/UDP" in last_sent(world).data) == (bert.address, True)
        world.wire.clear()
        world.pass_time(0.6)
        assert last_sent(world).target == bert.address
    bert.address = last_sent(world).target
    (invite,) = bert.hears("INVITE")
    bert.reply(invite, 486)
    (ack,) = bert.hears("ACK")
    assert ack.via == invite.via
    if not taken:
        anna.heard()
        anna.invite("bert", LONG, call_id="again")
        assert last_sent(world).target.transport == "udp"


@pytest.mark.parametrize(("length", "transport"), [(1299, "udp"), (1300, "udp"), (1301, "tcp"), (2000, "tcp")])
def test_a_datagram_has_1300_bytes_at_most(length, transport):
    """RFC 3261 §18.1.1, where the largest packet of the path is not known."""

    def sent(pad: int) -> Send:
        world = World(connects=True)
        anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
        bert.register()
        anna.invite("bert", OFFER + b"a=x:" + b"x" * pad + b"\r\n")
        return last_sent(world)

    pad = length - len(sent(200).data) + 200
    assert pad > 100
    assert sent(pad).target.transport == transport
    assert transport == "tcp" or len(sent(pad).data) == length


def test_a_long_request_to_a_phone_behind_nat_stays_a_datagram(world, anna):
    bert = Peer(world, "bert", "203.0.113.9", 40000)
    assert bert.register(contact="<sip:bert@192.168.1.9:5060>").status == 200
    anna.invite("bert", LONG)
    assert last_sent(world).target == bert.address


def test_without_tcp_of_ours_a_long_request_stays_a_datagram(anna, bert):
    world = World()
    anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
    bert.register()
    anna.invite("bert", LONG)
    assert last_sent(world).target == bert.address


def test_a_lost_answer_or_ack_changes_nothing(world, anna, bert):
    anna.invite("bert")
    (invite,) = bert.hears("INVITE")
    before = world.core.counts()
    world.run(world.core.undelivered(Send(b"SIP/2.0 180 Ringing\r\n\r\n", anna.address), world.now))
    assert world.core.counts() == before
    bert.reply(invite, 486)
    world.run(world.core.undelivered(last_sent(world), world.now))


def test_a_target_with_a_transport_is_dialled_by_it(world, anna):
    world.routes["out"] = (UriTarget("sip:out@198.51.100.7;transport=tcp"),)
    anna.invite("out")
    assert last_sent(world).target == Address("198.51.100.7", 5060, "tcp")
    assert not last_sent(world).target.inbound


def test_where_a_uri_leads():
    assert literal(Uri.parse("sip:x@198.51.100.7;transport=TLS")) == Address("198.51.100.7", 5061, "tls")
    assert literal(Uri.parse("sips:x@[2001:db8::1]")) == Address("2001:db8::1", 5061, "tls")
    assert literal(Uri.parse("sip:x@example.org")) is None
    natted = reach(Uri.parse("sip:x@10.0.0.1:5060"), Address("192.0.2.1", 4000))
    assert (natted, natted.inbound) == (Address("192.0.2.1", 4000), True)
    direct = reach(Uri.parse("sip:x@192.0.2.1:5062"), Address("192.0.2.1", 4000))
    assert (direct, direct.inbound) == (Address("192.0.2.1", 5062), False)


def test_who_is_connected_and_needed(world, anna):
    bert = connected(world, "bert", "203.0.113.9")
    assert world.core.peers() == {bert.address}
    anna.address = replace(anna.address, transport="tls", inbound=True)
    anna.invite("bert")
    assert world.core.peers() == {bert.address, anna.address}
    trunk = Trunk("carrier", "carrier.example", (Address("203.0.113.70", 5061, "tls"), Address("203.0.113.70", 5060)))
    world.run(world.core.set_trunks([trunk], world.now))
    assert world.core.peers() == {bert.address, anna.address, trunk.addresses[0]}


@pytest.mark.parametrize("by_trunk", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_whose_record_route_is_followed(world, anna, bert, by_trunk, restarted):
    """A trunk's, for it may be many hosts; a user could aim us at anybody with it."""
    if by_trunk:
        callee, _ = carrier(world)
        called = "49301"
    else:
        callee, called = bert, "bert"
    elsewhere = Peer(world, "proxy", "203.0.113.77")
    invite = anna.invite(called, OFFER, ("Record-Route", "<sip:203.0.113.78;lr>"))
    anna.hears(100)
    (out,) = callee.hears("INVITE")
    callee.reply(out, 200, ANSWER, ("Record-Route", "<sip:203.0.113.77;lr>"), ("Contact", "<sip:x@203.0.113.77>"))
    (ok,) = anna.hears(200)
    (ack,) = (elsewhere if by_trunk else callee).hears("ACK")
    assert ack.get("Route") == "<sip:203.0.113.77;lr>"
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    if restarted:
        die(world, [CARRIER])
    (call,) = world.core.calls()
    world.run(world.core.hang_up(call.id, world.now))
    (elsewhere if by_trunk else callee).hears("BYE")
    anna.hears("BYE")
    assert not world.wire
