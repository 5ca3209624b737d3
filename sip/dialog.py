# SPDX-License-Identifier: GPL-3.0-or-later
"""A dialog: what two peers must remember to send each other requests (RFC 3261 §12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sip.effects import Address
from sip.errors import ProtocolError
from sip.headers import NameAddr
from sip.message import Message, Request, Response
from sip.params import EMPTY
from sip.reach import NEEDS_TLS, breaks_promise, literal, reach, request_uri
from sip.uri import Uri

DialogKey = tuple[str, str, str]
"""Call-ID, our tag, the peer's tag."""


@dataclass(slots=True)
class Dialog:
    """One peer's dialog with us. `ours` and `theirs` are From and To of our requests, without the tags.

    target: the peer's Contact URI. routes: the Route values of our requests, in order. peer: where messages of this
    dialog last came from, or were first sent to; local: the address of ours that it speaks with. routed: whether its
    routes may lead to any address, as those of a trunk; else they lead to whoever the peer's messages come from.
    """

    call_id: str
    our_tag: str
    their_tag: str
    ours: str
    theirs: str
    target: str
    routes: tuple[str, ...]
    our_cseq: int
    their_cseq: int
    peer: Address
    local: Address
    routed: bool = False

    @property
    def key(self) -> DialogKey:
        """What requests of this dialog are found by."""
        return self.call_id, self.our_tag, self.their_tag

    def next_cseq(self) -> int:
        """The number of our next request. ACK and CANCEL use that of their INVITE."""
        self.our_cseq += 1
        return self.our_cseq

    def accept(self, request: Request) -> None:
        """Take the CSeq of the peer's request. Raises ProtocolError (500) on one out of order (§12.2.2)."""
        if request.cseq.number <= self.their_cseq:
            raise ProtocolError(500, "CSeq Out Of Order")
        self.their_cseq = request.cseq.number

    def refresh(self, message: Message, source: Address) -> bool:
        """Take the remote target from a target refresh request or its 2xx; whether anything changed.

        What we could not follow is not taken; of a request it has to be refused before, by `check_target`.
        """
        if not message.contacts:
            return False
        uri = message.contacts[0].uri
        if not uri.is_sip or breaks_promise(uri, source):
            return False
        before = self.target, self.peer
        self.target, self.peer = request_uri(uri), reach(uri, source)
        return (self.target, self.peer) != before

    def request_line(self) -> tuple[str, tuple[str, ...]]:
        """Request URI and Route values of our requests (§12.2.1.1, the strict router's case included)."""
        if not self.routes:
            return self.target, ()
        first = NameAddr.parse(self.routes[0]).uri
        if first.is_loose_router:
            return self.target, self.routes
        return request_uri(first), (*self.routes[1:], f"<{self.target}>")

    def next_hop(self) -> Address:
        """Where our requests go: the first route if it is an address, and may be; else the peer."""
        if not self.routes:
            return self.peer
        first = NameAddr.parse(self.routes[0]).uri
        hop = literal(first)
        if hop is None or self.routed:
            return hop or self.peer
        return reach(first, self.peer) if hop.host == self.peer.host else self.peer

    def state(self) -> Mapping[str, Any]:
        """The dialog as JSON can carry it."""
        return {
            "call_id": self.call_id,
            "our_tag": self.our_tag,
            "their_tag": self.their_tag,
            "ours": self.ours,
            "theirs": self.theirs,
            "target": self.target,
            "our_cseq": self.our_cseq,
            "their_cseq": self.their_cseq,
            "routes": self.routes,
            "peer": self.peer.packed,
            "local": self.local.packed,
            "routed": self.routed,
        }


def restored(state: Mapping[str, Any]) -> Dialog:
    """The dialog that gave `state`."""
    peer, local = Address(*state["peer"]), Address(*state["local"])
    return Dialog(**{**state, "routes": tuple(state["routes"]), "peer": peer, "local": local})


def dialog_of_request(request: Request, our_tag: str, source: Address, local: Address, routed: bool = False) -> Dialog:
    """The dialog that our answer to an INVITE makes (§12.1.1). Raises ProtocolError (400) without a Contact."""
    contact = contact_of(request, source)
    return Dialog(
        call_id=request.call_id,
        our_tag=our_tag,
        their_tag=request.from_.tag or "",
        ours=str(_without_tag(request.to)),
        theirs=str(_without_tag(request.from_)),
        target=request_uri(contact),
        routes=_routes(request.record_routes),
        our_cseq=0,
        their_cseq=request.cseq.number,
        peer=reach(contact, source),
        local=local,
        routed=routed,
    )


def dialog_of_response(
    invite: Request, response: Response, peer: Address, local: Address, routed: bool = False
) -> Dialog:
    """The dialog that a 2xx to our INVITE makes (§12.1.2); the request URI stands in for a Contact of no use."""
    contact = response.contacts[0].uri if response.contacts else invite.request_uri
    if not contact.is_sip or breaks_promise(contact, peer):
        contact = invite.request_uri
    return Dialog(
        call_id=invite.call_id,
        our_tag=invite.from_.tag or "",
        their_tag=response.to.tag or "",
        ours=str(_without_tag(invite.from_)),
        theirs=str(_without_tag(invite.to)),
        target=request_uri(contact),
        routes=_routes(reversed(response.record_routes)),
        our_cseq=invite.cseq.number,
        their_cseq=-1,
        peer=reach(contact, peer),
        local=local,
        routed=routed,
    )


def key_of(message: Message) -> DialogKey:
    """The key of the dialog that a peer's request belongs to: its To tag is ours."""
    return message.call_id, message.to.tag or "", message.from_.tag or ""


def contact_of(request: Request, source: Address) -> Uri:
    """Where the sender of an INVITE is reached. Raises ProtocolError (400) where it does not say (§8.1.1.8).

    A sender of before RFC 3261, which writes no magic cookie, may leave that to From.
    """
    check_target(request, source)
    if not request.contacts and not request.via.has_cookie and request.from_.uri.is_sip:
        return request.from_.uri
    if len(request.contacts) != 1 or not request.contacts[0].uri.is_sip:
        raise ProtocolError(400, "INVITE Needs One SIP Contact")
    return request.contacts[0].uri


def check_target(request: Request, source: Address) -> None:
    """Raises ProtocolError (400) where the sender wants to be reached by TLS, and is not (RFC 5630 §5.1.1)."""
    if any(breaks_promise(contact.uri, source) for contact in request.contacts):
        raise ProtocolError(400, NEEDS_TLS)


def _routes(values: Iterable[NameAddr]) -> tuple[str, ...]:
    """Route values; one that is no SIP URI leads nowhere."""
    return tuple(str(value) for value in values if value.uri.is_sip)


def _without_tag(value: NameAddr) -> NameAddr:
    params = EMPTY if value.has_tag_alone else value.params.without("tag")
    return NameAddr(value.uri, params, value.display)
