# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that do whatever comes to their mind: nothing breaks, nothing stays, each call has one record."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sip.effects import CallEnded, CloseMedia, OfferMedia, TrunkTarget, UserTarget
from sip.message import Request, Response
from tests.sip.conftest import OFFER, Peer, World
from tests.sip.talk import ANSWER, HOLD
from tests.sip.test_trunks import CARRIER, FIRST

CALLS = 100
RELIABLE = ("Supported", "100rel, timer")
REL = NEEDS = ("Require", "100rel")
UPDATES = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, REFER")


class Whim:
    """A peer that answers what it hears by chance, and sometimes not at all."""

    def __init__(self, peer: Peer, dice: random.Random) -> None:
        self.peer, self.dice = peer, dice
        self.rseq = 0
        self.dialogs: list[Request | Response] = []
        self.invites: list[Request] = []

    def live(self) -> None:
        """Read the mail, and perhaps do something."""
        for message in self.peer.heard():
            if self.dice.random() < 0.05:
                continue
            if isinstance(message, Request):
                self.asked(message)
            else:
                self.told(message)
        if self.dialogs and self.dice.random() < 0.3:
            self.act(self.dice.choice(self.dialogs))

    def asked(self, request: Request) -> None:
        match request.method:
            case "ACK":
                pass
            case "INVITE":
                self.dialogs.append(request)
                self.invited(request)
            case "UPDATE" | "PRACK":
                self.peer.reply(request, self.pick(200, 200, 200, 491, 488), ANSWER if request.body else b"")
            case _:
                self.peer.reply(request, self.pick(200, 200, 200, 481))

    def invited(self, request: Request) -> None:
        for _ in range(self.dice.randrange(3)):
            sdp = self.pick(b"", ANSWER)
            tag = self.pick("", "", "fork") if not request.to.tag else ""
            extra = [UPDATES]
            if "100rel" in request.supported and self.dice.random() < 0.5:
                self.rseq += 1
                extra += [REL, ("RSeq", str(self.rseq))]
            self.peer.reply(request, self.pick(180, 183), sdp, *extra, tag=request.to.tag or tag)
        status = self.pick(200, 200, 200, 200, 302, 404, 422, 486, 491, 500, 503, 603, 0)
        if status == 200:
            self.peer.reply(request, 200, self.pick(ANSWER, ANSWER, HOLD, b""), UPDATES, tag=request.to.tag or "")
        elif status:
            extra = {302: [("Contact", "<sip:carl@example.org>")], 422: [("Min-SE", "3600")]}.get(status, [])
            self.peer.reply(request, status, b"", *extra, tag=request.to.tag or "")

    def told(self, response: Response) -> None:
        if response.cseq.method != "INVITE":
            return
        invite = next((each for each in self.invites if each.call_id == response.call_id), None)
        if response.status == 407 and invite:
            again = self.peer.authorized(invite, response)
            self.invites[self.invites.index(invite)] = again
            self.peer.say(again)
        elif response.rseq and self.dice.random() < 0.9:
            rack = ("RAck", f"{response.rseq} {response.cseq}")
            self.peer.say(self.peer.within(response, "PRACK", rack, sdp=self.pick(b"", b"", ANSWER)))
            self.dialogs.append(response)
        elif response.status == 200 and self.dice.random() < 0.95:
            self.dialogs.append(response)
            ack = self.peer.within(response, "ACK", sdp=self.pick(b"", b"", ANSWER))
            self.peer.say(ack.replaced("CSeq", [f"{response.cseq.number} ACK"]))

    def act(self, last: Request | Response) -> None:
        to_carl = ("Refer-To", "<sip:carl@example.org>")
        match self.pick("BYE", "INVITE", "INVITE", "UPDATE", "UPDATE", "REFER", "INFO", "CANCEL"):
            case "CANCEL" if self.invites:
                self.peer.say(self.peer.beside(self.dice.choice(self.invites), "CANCEL"))
            case "REFER":
                self.peer.say(self.peer.within(last, "REFER", to_carl))
            case "INVITE" | "UPDATE" as method:
                self.peer.say(self.peer.within(last, method, UPDATES, sdp=self.pick(b"", HOLD, OFFER)))
            case "BYE" | "INFO" as method:
                self.peer.say(self.peer.within(last, method))
            case _:
                pass

    def pick(self, *choices):
        return self.dice.choice(choices)


@pytest.mark.parametrize("seed", range(4))
def test_calls_of_whimsical_peers(seed):
    dice = random.Random(seed)
    world = World(ring_time=30.0, redirections=2, session_expires=600, calls_per_user=0.0, requests_per_source=0.0)
    world.run(world.core.set_trunks([CARRIER], world.now))
    world.routes["out"] = (TrunkTarget("carrier", "1"), UserTarget("bert"))
    world.routes["both"] = (UserTarget("bert"), UserTarget("carl", beside=True))
    peers = [Peer(world, name, f"203.0.113.{place}") for place, name in enumerate(("anna", "bert", "carl"), 10)]
    for peer in peers:
        assert peer.register(("Expires", "7200")).status == 200
    whims = [Whim(peer, dice) for peer in (*peers, Peer(world, "carrier", FIRST.host))]
    for number in range(CALLS):
        caller = whims[dice.randrange(2)]
        fields = {"call_id": f"c{number}", "from_tag": f"f{number}"}
        target = dice.choice(["bert", "carl", "out", "both"])
        extra = dice.choice([[], [RELIABLE], [RELIABLE, NEEDS]])
        sdp = dice.choice([OFFER, OFFER, b""])
        invite = caller.peer.request("INVITE", f"sip:{target}@example.org", *extra, sdp=sdp, **fields)
        caller.invites.append(invite)
        caller.peer.say(invite)
        for _ in range(12):
            for whim in whims:
                whim.live()
            world.pass_time(dice.choice([0.01, 0.2, 2.0]))
        for whim in whims:
            whim.dialogs, whim.invites = whim.dialogs[-4:], whim.invites[-2:]
    for view in world.core.calls():
        world.run(world.core.hang_up(view.id, world.now))
    for _ in range(100):
        for peer in peers:
            for message in peer.heard():
                if isinstance(message, Request) and message.method != "ACK":
                    peer.reply(message, 487 if message.method == "INVITE" else 200)
        world.pass_time(2)
    assert world.empty(), world.core.counts()
    ended = Counter(effect.call for effect in world.effects(CallEnded))
    assert set(ended.values()) == {1}
    opened = {effect.call for effect in world.effects(OfferMedia)}
    assert opened == {effect.call for effect in world.effects(CloseMedia)} <= ended.keys()
    assert {view.calls for view in world.core.trunks()} == {0}
