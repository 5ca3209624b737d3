# SPDX-License-Identifier: GPL-3.0-or-later
"""Every method by every transport from everybody: who reaches somebody is who the table lets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.admission import ADMISSION, Origin, Rule
from sip.agent import ALLOW
from sip.effects import Address, CallEnded, FindRoute, SaveBindings
from sip.message import Request, Response
from sip.trunk import Trunk, network
from tests.sip.conftest import OFFER, Peer, World

METHODS = (*ALLOW, "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "BREW")
TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss", "udp6")
IDENTITIES = ("stranger", "asserted", "wrong password", "user", "another's name", "trunk")
REACHING = {("INVITE", "user"), ("INVITE", "trunk")}
CHANGING = {("REGISTER", "user")}


def speaker(world: World, identity: str, transport: str) -> Peer:
    host = "203.0.113.77" if identity == "trunk" else "198.51.100.5"
    host = {"203.0.113.77": "2001:db8:7::1", "198.51.100.5": "2001:db8:5::1"}[host] if transport == "udp6" else host
    peer = Peer(world, "anna", host)
    peer.address = Address(host, 40000, transport.removesuffix("6"), inbound=transport not in ("udp", "udp6"))
    return peer


def say(peer: Peer, method: str, identity: str) -> None:
    """One request, and once more with credentials where it is challenged and the identity has some."""
    to = {"to": "sip:anna@example.org"} if method == "REGISTER" else {}
    extra = [("P-Asserted-Identity", "<sip:bert@example.org>")] if identity == "asserted" else []
    if identity == "another's name":
        peer.user, peer.world.passwords["bert"] = "bert", peer.world.passwords["anna"]
        to = {**to, "to": "sip:carl@example.org"}
    request = peer.request(method, "sip:bert@example.org", *extra, sdp=OFFER if method == "INVITE" else b"", **to)
    peer.say(request)
    challenges = [each for each in peer.heard() if isinstance(each, Response) and each.status in (401, 407)]
    if challenges and identity in ("user", "wrong password", "another's name"):
        peer.user = "anna"
        peer.say(peer.authorized(request, challenges[-1], password="wrong" if identity == "wrong password" else ""))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_reaches_anybody_but_by_the_table(identity, transport):
    for method in METHODS:
        world = World()
        networks = (network("203.0.113.0/24"), network("2001:db8:7::/48"))
        world.run(world.core.set_trunks([Trunk("carrier", "carrier.example", (), sources=networks)], world.now))
        bert = Peer(world, "bert", "192.0.2.99")
        bert.register()
        world.log.clear()
        say(speaker(world, identity, transport), method, identity)
        reached = [each for each in bert.heard() if isinstance(each, Request)]
        cell = (method, identity)
        assert bool(reached) == (cell in REACHING), cell
        assert bool(world.effects(FindRoute)) == (cell in REACHING), cell
        assert bool(world.effects(SaveBindings)) == (cell in CHANGING), cell
        assert not world.effects(CallEnded) or cell in REACHING, cell


def test_the_table_lets_in_unnamed_only_what_belongs_to_something():
    for (method, origin), rule in ADMISSION.items():
        assert rule is not Rule.TAKE or origin is not Origin.ANYBODY, method
    assert {method for method, _ in ADMISSION} | {"ACK", "CANCEL"} == {*ALLOW, "NOTIFY"}


def test_a_register_in_a_dialog_is_forbidden(world, talk, anna):
    anna.say(anna.within(talk.ok, "REGISTER"))
    anna.hears(403)


def test_a_made_up_dialog_is_none(world, anna):
    for method in ("INVITE", "BYE", "UPDATE", "INFO", "REFER", "PRACK", "OPTIONS"):
        anna.say(anna.request(method, "sip:bert@example.org", to_tag="guess", branch=f"x{method}"))
        anna.hears(481)
    assert replace(anna.address) == anna.address
    assert world.empty()
