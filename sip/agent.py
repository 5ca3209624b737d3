# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own side of every dialog: writes our requests and responses and hands them to the transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2s

from sip.build import REASONS, response_bytes
from sip.client_auth import ClientAuth
from sip.dialog import Dialog
from sip.effects import Address, Effect
from sip.headers import COOKIE
from sip.message import Request, Response
from sip.parser import parse
from sip.questions import Questions
from sip.settings import Settings
from sip.timers import Timers
from sip.transaction import OnResponse, Transaction, TransactionLayer
from sip.uri import host_port

ALLOW = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK", "REFER")
ALLOWED = ("Allow", ", ".join(ALLOW))
EXTENSIONS = ("100rel", "timer", "replaces", "norefersub")
SUPPORTED = ("Supported", ", ".join(EXTENSIONS))
SDP = "application/sdp"
MAX_FORWARDS = 70
MAX_DATAGRAM = 1300
"""Bytes of a request beyond which it goes by a connection: the path's MTU is not known (RFC 3261 §18.1.1)."""
MAX_REMEMBERED = 4096
EXPLAINED = (488, 606)
"""Failures whose own words go into a Warning, so that programs read the usual ones (RFC 3261 §21.4.26)."""
Fields = Iterable[tuple[str, str]]


class Agent:
    """Builds messages; shared by all legs of a core.

    token: a source of random text, good for tags and branches. local_for: the address of ours that faces a peer.
    call_id: makes the Call-ID of a dialog of ours; it is told that of the call's other leg, "" where there is none.
    """

    def __init__(
        self,
        settings: Settings,
        token: Callable[[], str],
        local_for: Callable[[Address], Address],
        call_id: Callable[[str], str] | None = None,
    ) -> None:
        self.settings = settings
        self.token = token
        self.call_id = call_id or (lambda kin: token())
        self.local_for = local_for
        self.effects: list[Effect] = []
        self.names: Mapping[str, str] = {}
        """What trunks know us as, by their own names: the user of our Contact toward them."""
        self.digits_blocked: Callable[[str, str], bool] = lambda _call, _leg: False
        """Whether keys that this leg of this call tells by INFO are for nobody."""
        self.serves: Callable[[str], bool] = lambda _host: True
        """Whether those whom we register are users of this domain; any is where nobody says otherwise."""
        self.informed: Callable[[], bool] = lambda: True
        """Whether users and trunks are known by now."""
        self.timers = Timers()
        self.layer = TransactionLayer(self.timers, settings.intervals, self.effects)
        self.questions = Questions(self.timers)
        self._tags = blake2s(key=settings.secret[:32], digest_size=8)
        self._datagrams_only: set[tuple[str, int]] = set()

    def respond(
        self,
        transaction: Transaction,
        request: Request,
        status: int,
        now: float,
        reason: str | None = None,
        tag: str | None = None,
        headers: Fields = (),
        body: bytes = b"",
    ) -> bytes:
        """Answer in a server transaction; returns what was sent. tag: ours, made up where None is given."""
        to_tag = None if status == 100 else tag or self.tag_for(request)
        content_type = SDP if body else None
        if status in EXPLAINED and reason not in (None, REASONS[status]):
            headers, reason = [*headers, self.warning(reason or "")], None
        data = response_bytes(
            request, status, reason, to_tag=to_tag, headers=self.signed(headers), body=body, content_type=content_type
        )
        transaction.respond(status, data, now)
        return data

    def warning(self, text: str) -> tuple[str, str]:
        """A Warning header that says what cannot be had of a session (RFC 3261 §20.43)."""
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        return "Warning", f'399 {self.settings.host} "{quoted}"'

    def tag_for(self, request: Request) -> str:
        """The To tag of our answers to a request outside a dialog: the same for each retransmission (§8.2.7).

        It reads raw values alone, so that what could not be parsed has one as well.
        """
        values = request.values
        return self.tag_of(*values("call-id"), *values("from"), *values("cseq"))

    def tag_of(self, *values: str) -> str:
        """The tag for these raw values of Call-ID, From and CSeq."""
        tag = self._tags.copy()
        tag.update("\n".join(values).encode("utf-8", "surrogateescape"))
        return tag.hexdigest()

    def chance(self) -> float:
        """A random number from 0 to 1."""
        return int.from_bytes(self.randomness()[:4], "big") / 2**32

    def randomness(self) -> bytes:
        """8 random bytes, which tell nothing of the tokens that peers see."""
        seed = self._tags.copy()
        seed.update(self.token().encode())
        return seed.digest()

    def send(
        self,
        dialog: Dialog,
        method: str,
        now: float,
        on_response: OnResponse | None = None,
        headers: Fields = (),
        body: bytes = b"",
        content_type: str = SDP,
        auth: ClientAuth | None = None,
    ) -> tuple[Request, Transaction]:
        """Send a request in a dialog; returns it and its transaction. auth: what to answer a challenge with.

        The challenge of an INVITE is its sender's to answer, by `repeated`.
        """
        request = self.in_dialog(dialog, method, dialog.next_cseq(), headers, body, content_type)
        if auth is None:
            return request, self.begin(request, dialog.next_hop(), dialog.local, now, on_response)
        request = auth.sign(request, self.token())
        if method == "INVITE":
            return request, self.begin(request, dialog.next_hop(), dialog.local, now, on_response)

        def answered(response: Response | None, when: float) -> None:
            if response and response.status >= 200 and auth.answers(response):
                again = self.repeated(request, dialog.next_cseq(), dialog.local, auth)
                self.begin(again, dialog.next_hop(), dialog.local, when, on_response)
            elif on_response:
                on_response(response, when)

        return request, self.begin(request, dialog.next_hop(), dialog.local, now, answered)

    def repeated(self, request: Request, cseq: int, local: Address, auth: ClientAuth | None) -> Request:
        """A request of ours once more, in a transaction of its own, with credentials if there are any."""
        again = request.replaced("Via", [self.via(local)]).replaced("CSeq", [f"{cseq} {request.method}"])
        return auth.sign(again, self.token()) if auth else again

    def begin(
        self, request: Request, target: Address, local: Address, now: float, on_response: OnResponse | None = None
    ) -> Transaction:
        """Put a request of ours into a client transaction."""
        branch = request.via.branch or ""
        ack = partial(self.failure_ack, request) if request.method == "INVITE" else None
        data, fallback = request.to_bytes(), None
        if len(data) > MAX_DATAGRAM and self._takes_connections(target):
            fallback, target = (data, target), replace(target, transport="tcp")
            data = _by(request, target).to_bytes()
        return self.layer.request(data, branch, request.method, target, local, now, on_response, ack, fallback)

    def undelivered(self, data: bytes, target: Address, now: float) -> None:
        """A message of ours did not go out; that of a response is the client's to find out."""
        if data.startswith(b"SIP/"):
            return
        request = parse(data)
        assert isinstance(request, Request)
        if target.transport == "tcp" and len(self._datagrams_only) < MAX_REMEMBERED:
            self._datagrams_only.add((target.host, target.port))
        self.layer.undelivered(request, now)

    def _takes_connections(self, target: Address) -> bool:
        """Whether a request too long for a datagram may try a connection (RFC 3261 §18.1.1)."""
        if target.reliable or target.inbound or not self.settings.connects:
            return False
        return (target.host, target.port) not in self._datagrams_only

    def in_dialog(
        self,
        dialog: Dialog,
        method: str,
        cseq: int,
        headers: Fields = (),
        body: bytes = b"",
        content_type: str = SDP,
    ) -> Request:
        """A request of ours in a dialog, with a new branch."""
        uri, routes = dialog.request_line()
        fields = [
            ("Via", self.via(dialog.local)),
            ("Max-Forwards", str(MAX_FORWARDS)),
            *(("Route", route) for route in routes),
            ("From", f"{dialog.ours};tag={dialog.our_tag}"),
            ("To", f"{dialog.theirs};tag={dialog.their_tag}" if dialog.their_tag else dialog.theirs),
            ("Call-ID", dialog.call_id),
            ("CSeq", f"{cseq} {method}"),
            *self.signed(headers, "User-Agent"),
        ]
        if body:
            fields.append(("Content-Type", content_type))
        return Request(method, uri, fields, body)

    def failure_ack(self, invite: Request, response: Response, target: Address) -> bytes:
        """The ACK of a failed INVITE: same branch, the response's To (RFC 3261 §17.1.1.3)."""
        return _by(self._beside(invite, "ACK", response.get("To") or str(invite.to)), target).to_bytes()

    def cancel(self, invite: Request, target: Address, local: Address, now: float, headers: Fields = ()) -> None:
        """Send the CANCEL of our INVITE (RFC 3261 §9.1)."""
        self.begin(_by(self._beside(invite, "CANCEL", str(invite.to), headers), target), target, local, now)

    def via(self, local: Address) -> str:
        """A Via of ours with a new branch."""
        sent_by = host_port(local.host, local.port)
        return f"SIP/2.0/{local.transport.upper()} {sent_by};rport;branch={COOKIE}{self.token()}"

    def contact(self, local: Address, user: str = "") -> tuple[str, str]:
        """Our Contact header toward a peer that knows us by `local`, and by this name, spelled as a URI spells it."""
        transport = f";transport={local.transport}" if local.reliable else ""
        at = f"{user}@" if user else ""
        return "Contact", f"<sip:{at}{host_port(local.host, local.port)}{transport}>"

    def _beside(self, invite: Request, method: str, to: str, headers: Fields = ()) -> Request:
        fields = [
            ("Via", str(invite.via)),
            ("Max-Forwards", str(MAX_FORWARDS)),
            *(("Route", str(route)) for route in invite.routes),
            ("From", str(invite.from_)),
            ("To", to),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{invite.cseq.number} {method}"),
            *headers,
        ]
        return Request(method, invite.uri, fields)

    def signed(self, headers: Fields, name: str = "Server") -> list[tuple[str, str]]:
        """These headers, and what we are."""
        return [*headers, (name, self.settings.server)]


def _by(request: Request, target: Address) -> Request:
    """The request with the target's transport in its Via, which the peer answers by."""
    if request.via.protocol == target.transport:
        return request
    return request.replaced("Via", [str(replace(request.via, transport=target.transport.upper()))])
