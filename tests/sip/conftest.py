# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages and addresses shared by the tests of signalling."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from sip.build import response_to
from sip.core import Core
from sip.digest import authorization, choose, ha1
from sip.effects import (
    Address,
    AnswerMedia,
    AttendMedia,
    Authenticate,
    CallEnded,
    Effect,
    FindRoute,
    OfferMedia,
    Pressed,
    Send,
    Target,
    UserTarget,
)
from sip.message import Request, Response
from sip.parser import parse
from sip.settings import Settings
from sip.uri import host_port
from tests.sip.talk import Talk

CORPUS = os.environ.get("VOXDP_CORPUS")
collect_ignore = [] if CORPUS else ["test_corpus.py"]

OFFER = (
    b"v=0\r\no=anna 2890844526 2890844526 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 9 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
)
FIELDS = {
    "Via": "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-1a2b3c;rport",
    "Max-Forwards": "70",
    "From": '"Anna" <sip:anna@example.org>;tag=a-1',
    "To": "<sip:bert@example.org>",
    "Call-ID": "f81d4fae@192.0.2.7",
    "CSeq": "7 INVITE",
    "Contact": "<sip:anna@192.0.2.7:5060;transport=UDP>",
    "Content-Type": "application/sdp",
}


def write_invite(
    changes: dict[str, str | None] | None = None,
    *,
    start: str = "INVITE sip:bert@example.org SIP/2.0",
    extra: str = "",
    length: str | None = None,
    body: bytes = OFFER,
) -> bytes:
    """An INVITE of Anna to Bert; a change to None takes a header out, `extra` are more lines with their CRLF."""
    fields = {**FIELDS, **(changes or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    size = str(len(body)) if length is None else length
    head = f"{start}\r\n{lines}{extra}Content-Length: {size}\r\n\r\n"
    return head.encode("utf-8", "surrogateescape") + body


@pytest.fixture
def invite() -> Callable[..., bytes]:
    return write_invite


@pytest.fixture
def offer() -> bytes:
    return OFFER


SERVER = Address("198.51.100.1", 5060)
REALM = "example.org"


UNLIMITED = {"requests_per_source": 0.0, "ban": 0.0, "amplification": 0.0, "calls_per_user": 0.0}
"""What tests say at one moment would take phones minutes."""


MediaQuestion = OfferMedia | AnswerMedia | AttendMedia


class World:
    """A core with everything around it: a clock, users, routes, media that marks what went through it, and a wire."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings(realm=REALM, secret=b"k" * 32, **{**UNLIMITED, **settings})
        self.now = 1000.0
        self.core = self.fresh_core()
        self.passwords = {"anna": "pa", "bert": "pb", "carl": "pc"}
        self.routes: dict[str, tuple[Target, ...] | tuple[int, str]] = {}
        self.media: Callable[[MediaQuestion], bytes | tuple[int, str] | None] = mark
        self.asked: list[MediaQuestion] = []
        self.shapes = 1
        self.takes_keys = False
        self.log: list[Effect] = []
        self.wire: list[tuple[float, Send]] = []

    def fresh_core(self) -> Core:
        count = iter(range(10**9))
        start = f"{self.now:.0f}"
        return Core(
            self.settings, lambda: f"t{start}x{next(count)}", lambda peer: replace(SERVER, transport=peer.transport)
        )

    def receive(self, data: bytes, source: Address) -> None:
        self.run(self.core.receive(data, source, SERVER, self.now))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.core.next_expiry()) is not None and due <= end:
            self.now = max(self.now, due)
            self.run(self.core.expire(self.now))
        self.now = end

    def run(self, effects: Iterable[Effect]) -> None:
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            self.log.append(effect)
            queue.extend(self._perform(effect))

    def _perform(self, effect: Effect) -> list[Effect]:
        match effect:
            case Send():
                self.wire.append((self.now, effect))
            case Authenticate():
                word = self.passwords.get(effect.username)
                names = self.settings.algorithms
                known = {name: ha1(name, effect.username, effect.realm, word) for name in names} if word else None
                return self.core.authenticated(effect.token, known, self.now)
            case FindRoute():
                route = self.routes.get(effect.dialled, (UserTarget(effect.dialled),))
                if route and isinstance(route[0], int):
                    return self.core.refused(effect.token, route[0], str(route[1]), self.now)
                return self.core.routed(effect.token, route, self.now)
            case OfferMedia() | AnswerMedia() | AttendMedia():
                result = self.media(effect)
                if result is None:
                    self.asked.append(effect)
                elif isinstance(result, bytes):
                    return self.core.media_ready(effect.token, result, self.now, self.shapes)
                else:
                    return self.core.refused(effect.token, *result, self.now)
            case Pressed():
                return self.core.pressed(effect.token, self.takes_keys, self.now)
        return []

    def sent(self, to: Address | None = None) -> list[Request | Response]:
        """What went out since the last look, to this address alone if one is given; the rest stays."""
        wanted = [entry for entry in self.wire if to in (None, entry[1].target)]
        self.wire = [entry for entry in self.wire if entry not in wanted]
        return [parse(entry[1].data) for entry in wanted]

    def schedule(self, since: float) -> list[tuple[float, str]]:
        """When each message went out, relative to `since`, and its start line."""
        return [(round(at - since, 3), send.data.split(b"\r\n")[0].decode()) for at, send in self.wire]

    def effects(self, kind: type) -> list[Effect]:
        return [effect for effect in self.log if isinstance(effect, kind)]

    def ended(self) -> list[CallEnded]:
        return [effect for effect in self.log if isinstance(effect, CallEnded)]

    def empty(self) -> bool:
        """Whether the core holds nothing but contacts."""
        counts = self.core.counts()
        return not any(counts[name] for name in ("calls", "dialogs", "transactions", "questions"))


def mark(effect: MediaQuestion) -> bytes:
    """Media that shows in the description which leg it came from."""
    return effect.sdp + f"a=via-{effect.leg}\r\n".encode()


class Peer:
    """A client that says just what a test wants it to say."""

    def __init__(self, world: World, user: str, host: str, port: int = 5060) -> None:
        self.world = world
        self.user = user
        self.address = Address(host, port)
        self.cseq = 0
        self.branches = 0

    def say(self, message: Request | Response) -> None:
        self.world.receive(message.to_bytes(), self.address)

    def heard(self) -> list[Request | Response]:
        return self.world.sent(self.address)

    def hears(self, *expected: str | int) -> list[Request | Response]:
        """What came since the last look; it must be these methods and statuses."""
        messages = self.heard()
        shown = [message.method if isinstance(message, Request) else message.status for message in messages]
        assert shown == list(expected), [message.start_line for message in messages]
        return messages

    def request(self, method: str, uri: str, *extra: tuple[str, str], sdp: bytes = b"", **fields: str) -> Request:
        """fields: call_id, to_tag, cseq, branch, from_tag replace what is made up."""
        self.branches += 1
        self.cseq += 1
        number = fields.get("cseq", str(self.cseq))
        to_tag = f";tag={fields['to_tag']}" if fields.get("to_tag") else ""
        headers = [
            ("Via", self._via(fields.get("branch", self._branch()))),
            ("From", f"<sip:{self.user}@{REALM}>;tag={fields.get('from_tag', self.user)}"),
            ("To", f"<{fields.get('to', uri)}>{to_tag}"),
            ("Call-ID", fields.get("call_id", f"{self.user}-call")),
            ("CSeq", f"{number} {method}"),
            ("Contact", fields.get("contact", f"<sip:{self.user}@{host_port(self.address.host, self.address.port)}>")),
            ("Max-Forwards", fields.get("hops", "70")),
            *extra,
        ]
        if sdp:
            headers.append(("Content-Type", "application/sdp"))
        return Request(method, uri, [field for field in headers if field[1]], sdp)

    def _via(self, branch: str) -> str:
        return f"SIP/2.0/UDP {host_port(self.address.host, 5060)};rport;branch=z9hG4bK{branch}"

    def _branch(self) -> str:
        return f"{self.user}{self.branches}"

    def authorized(self, request: Request, challenge: Response, password: str = "", nc: int = 1) -> Request:
        """The request again, as the challenge asks, with a new branch and CSeq."""
        proxy = challenge.status == 407
        values = challenge.proxy_authenticate if proxy else challenge.www_authenticate
        chosen = choose(values)
        assert chosen
        word = password or self.world.passwords[self.user]
        secret = ha1(chosen.algorithm, self.user, chosen.realm, word)
        value = authorization(chosen, request.method, request.uri, self.user, ha1=secret, cnonce="c0", nc=nc)
        self.branches += 1
        self.cseq += 1
        again = request.replaced("CSeq", [f"{self.cseq} {request.method}"])
        again = again.replaced(
            "Via", [f"SIP/2.0/UDP {host_port(self.address.host, 5060)};rport;branch=z9hG4bK{self._branch()}"]
        )
        return again.replaced("Proxy-Authorization" if proxy else "Authorization", [value])

    def register(self, *extra: tuple[str, str], **fields: str) -> Response:
        """REGISTER with the right password; the final response."""
        fields.setdefault("to", f"sip:{self.user}@{REALM}")
        fields.setdefault("call_id", f"{self.user}-reg")
        request = self.request("REGISTER", f"sip:{REALM}", *extra, **fields)
        self.say(request)
        self.say(self.authorized(request, self.hears(401)[0]))
        return self.heard()[-1]

    def invite(self, user: str, sdp: bytes = OFFER, *extra: tuple[str, str], **fields: str) -> Request:
        """INVITE with the right password, already challenged; what comes next is for the test to hear."""
        request = self.request("INVITE", f"sip:{user}@{REALM}", *extra, sdp=sdp, **fields)
        self.say(request)
        again = self.authorized(request, self.hears(407)[0])
        self.say(again)
        return again

    def reply(self, request: Request, status: int, sdp: bytes = b"", *extra: tuple[str, str], tag: str = "") -> None:
        tag = tag or f"{self.user}-tag"
        contact = [("Contact", f"<sip:{self.user}@{host_port(self.address.host, self.address.port)}>")]
        if any(name == "Contact" for name, _ in extra):
            contact = []
        headers = [*contact, *extra, *([("Content-Type", "application/sdp")] if sdp else [])]
        self.say(response_to(request, status, to_tag=tag, headers=headers, body=sdp))

    def beside(
        self, invite: Request, method: str, to: str | None = None, branch: str = "", sdp: bytes = b""
    ) -> Request:
        """ACK or CANCEL of an INVITE of ours; with a branch of its own it is the ACK of a 2xx."""
        via = str(invite.via)
        if branch:
            via = via.replace(invite.via.branch or "", f"z9hG4bK{branch}")
        headers = [
            ("Via", via),
            ("From", str(invite.from_)),
            ("To", to or str(invite.to)),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{invite.cseq.number} {method}"),
        ]
        if sdp:
            headers.append(("Content-Type", "application/sdp"))
        return Request(method, invite.uri, headers, sdp)

    def within(self, message: Request | Response, method: str, *extra: tuple[str, str], sdp: bytes = b"") -> Request:
        """A request in the dialog of `message`, which we received: the server's tag and Contact are in it."""
        ours, theirs = (message.to, message.from_) if isinstance(message, Request) else (message.from_, message.to)
        tag = ours.tag or f"{self.user}-tag"
        uri = str(message.contacts[0].uri)
        return self.request(
            method,
            uri,
            *extra,
            sdp=sdp,
            call_id=message.call_id,
            from_tag=tag,
            to=str(theirs.uri),
            to_tag=theirs.tag or "",
        )


@pytest.fixture
def anna(world: World) -> Peer:
    return Peer(world, "anna", "192.0.2.7")


@pytest.fixture
def bert(world: World) -> Peer:
    """A phone that is registered."""
    peer = Peer(world, "bert", "203.0.113.9")
    assert peer.register().status == 200
    return peer


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def talk(world: World, anna: Peer, bert: Peer) -> Talk:
    return Talk(world, anna, bert)
