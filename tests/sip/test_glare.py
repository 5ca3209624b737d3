# SPDX-License-Identifier: GPL-3.0-or-later
"""Both parties change a call at nearly the same time, again and again, and go by RFC 3261 §14.1 when told to wait."""

from __future__ import annotations

from collections import Counter

import pytest

from sip.build import response_to
from sip.call_table import CallState
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.link import Link
from tests.sip.talk import settle

ROUNDS = 100
DESCRIPTION = b"v=0\r\nm=audio 40000 RTP/AVP 8\r\n"


class Party:
    """A phone in a call. owner: whether the Call-ID is its own, which says how long it waits after a 491."""

    def __init__(self, link, peer, last, method, owner) -> None:
        self.link, self.peer, self.last, self.method, self.owner = link, peer, last, method, owner
        self.ours = self.theirs = DESCRIPTION
        self.pending: Request | None = None
        self.heard: Counter[int] = Counter()
        self.refused = 0
        self.acks = 0
        link.phones[peer.address] = self

    def change(self, description: bytes) -> None:
        if self.pending:
            self.again(description, 0.1)
            return
        self.pending = self.peer.within(self.last, self.method, sdp=description)
        self.say(self.pending)

    def again(self, description: bytes, seconds: float) -> None:
        self.link.later(seconds, self.change, description)

    def say(self, message: Request | Response) -> None:
        self.link.carry(self.link.world.receive, message.to_bytes(), self.peer.address)

    def receive(self, data: bytes) -> None:
        message = parse(data)
        if isinstance(message, Response):
            self.told(message)
        elif message.method != "ACK":
            self.asked(message)

    def asked(self, request: Request) -> None:
        """A change of the other party's: two cannot be under way at once (RFC 3261 §14.2)."""
        if self.pending:
            self.refused += 1
            self.say(response_to(request, 491, to_tag=f"{self.peer.user}-tag"))
            return
        self.theirs = request.body
        contact = ("Contact", f"<sip:{self.peer.user}@{self.peer.address.host}>")
        headers = [contact, ("Content-Type", "application/sdp")]
        self.say(response_to(request, 200, headers=headers, body=self.ours))

    def told(self, response: Response) -> None:
        sent = self.pending
        if sent is None or response.cseq != sent.cseq or response.status < 200:
            return
        self.pending = None
        self.heard[response.status] += 1
        if self.method == "INVITE":
            self.acknowledge(sent, response)
        if response.status == 200:
            self.ours, self.theirs = sent.body, response.body
            return
        dice = self.link.dice
        owners = response.status == 491 and self.owner
        self.again(sent.body, dice.uniform(2.1, 4.0) if owners else dice.uniform(0.0, 2.0))

    def acknowledge(self, invite: Request, response: Response) -> None:
        self.acks += 1
        branch = f"ack{self.peer.user}{self.acks}" if response.status == 200 else ""
        self.say(self.peer.beside(invite, "ACK", to=str(response.to), branch=branch))


@pytest.mark.parametrize("methods", [("INVITE", "INVITE"), ("UPDATE", "INVITE"), ("UPDATE", "UPDATE")])
def test_both_change_within_five_milliseconds_and_agree_in_the_end(world, anna, bert, talk, methods):
    link = Link(world, loss=0, seed=ROUNDS)
    near = Party(link, anna, talk.ok, methods[0], owner=True)
    far = Party(link, bert, talk.out, methods[1], owner=False)
    for number in range(ROUNDS):
        near_wish, far_wish = (DESCRIPTION + f"a=wish:{who} {number}\r\n".encode() for who in "ab")
        link.later(link.dice.uniform(0, 0.005), near.change, near_wish)
        link.later(link.dice.uniform(0, 0.005), far.change, far_wish)
        link.run(40)
        assert (near.ours, far.ours) == (near_wish, far_wish)
        assert near.theirs == far.ours + b"a=via-b\r\n"
        assert far.theirs == near.ours + b"a=via-a\r\n"
        (call,) = world.core.calls()
        assert call.state == CallState.TALKING
        assert world.core.counts()["transactions"] == 0
    assert near.heard.keys() <= {200, 491, 500} >= far.heard.keys()
    assert near.heard[200] == far.heard[200] == ROUNDS
    assert near.heard[491] + far.heard[491] >= ROUNDS / 2
    assert near.refused + far.refused >= ROUNDS / 10
    anna.say(anna.within(talk.ok, "BYE"))
    settle(world, 200, 16, "a")
