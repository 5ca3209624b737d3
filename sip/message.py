# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP messages: header lines as they came, typed views of them read when asked for and kept (RFC 3261 §7, §20).

A message is immutable. Values are text, UTF-8 with surrogate escapes, so that each byte comes out as it came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar, cast

from sip import readings
from sip.errors import ForbiddenCharacter, ParseError
from sip.headers import AuthValue, CSeq, NameAddr, Via, is_cookie, split_list
from sip.names import KEYS, NAMES, header_key, header_name
from sip.uri import Uri

T = TypeVar("T")
Fields = Iterable[tuple[str, str]]
Read = tuple[list[str], dict[str, list[str]]]
"""Header lines, and their values by key."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNREAD = object()


def server_key_of(method: str, branch: str, host: str, port: int) -> str:
    """The `transaction_key` of a request whose top Via has this branch, and names this host and port."""
    return f"{method}\n{branch}\n{host}:{port}"


class Message:
    """What requests and responses have in common. No ABC, for asking which of both it is would cost ten times as much.

    After `parser.parse` these views never raise: via, vias, from_, to, call_id, cseq, contacts, routes,
    record_routes, max_forwards, content_length, expires, token lists, credentials. The others raise ParseError (400,
    the message itself as `partial`) at their first access. Of a `ParseError.partial` use `values` alone.
    """

    body: bytes
    _lines: list[str]
    _values: dict[str, list[str]]
    _known: dict[str, Any]

    def __init__(self, body: bytes, read: Read | None) -> None:
        self.body = body
        self._lines, self._values = read or ([], {})
        self._known = {}

    @property
    def vias(self) -> tuple[Via, ...]:
        """Each Via, the topmost first."""
        return self._view("vias", "via", readings.vias)

    @property
    def from_(self) -> NameAddr:
        """Who sends."""
        return self._view("from_", "from", readings.from_)

    @property
    def to(self) -> NameAddr:
        """Whom it is to."""
        return self._view("to", "to", readings.to)

    @property
    def call_id(self) -> str:
        """As it is."""
        return self._view("call_id", "call-id", readings.call_id)

    @property
    def cseq(self) -> CSeq:
        """Number and method."""
        return self._view("cseq", "cseq", readings.cseq)

    @property
    def contacts(self) -> tuple[NameAddr, ...]:
        """Those of Contact; none for `*`."""
        return self._view("contacts", "contact", readings.contacts)

    @property
    def is_star_contact(self) -> bool:
        """Whether Contact is `*` alone."""
        return self._view("is_star_contact", "contact", readings.is_star)

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        """Route, in order."""
        return self._view("routes", "route", readings.addresses)

    @property
    def record_routes(self) -> tuple[NameAddr, ...]:
        """Record-Route, in order."""
        return self._view("record_routes", "record-route", readings.addresses)

    @property
    def path(self) -> tuple[NameAddr, ...]:
        """Path, in order (RFC 3327)."""
        return self._view("path", "path", readings.addresses)

    @property
    def max_forwards(self) -> int | None:
        """Hops that are left."""
        return self._view("max_forwards", "max-forwards", readings.max_forwards)

    @property
    def content_length(self) -> int | None:
        """Bytes, as said."""
        return self._view("content_length", "content-length", readings.content_length)

    @property
    def content_type(self) -> str | None:
        """Type and subtype in lower case."""
        return self._view("content_type", "content-type", readings.media_type)

    @property
    def expires(self) -> int | None:
        """Seconds."""
        return self._view("expires", "expires", readings.delta)

    @property
    def min_expires(self) -> int | None:
        """Seconds."""
        return self._view("min_expires", "min-expires", readings.delta)

    @property
    def session_expires(self) -> int | None:
        """Seconds (RFC 4028)."""
        return self._view("session_expires", "session-expires", readings.delta)

    @property
    def min_se(self) -> int | None:
        """Seconds (RFC 4028)."""
        return self._view("min_se", "min-se", readings.delta)

    @property
    def retry_after(self) -> int | None:
        """Seconds."""
        return self._view("retry_after", "retry-after", readings.delay)

    @property
    def date(self) -> str | None:
        """As it is."""
        return self._view("date", "date", readings.moment)

    @property
    def allow(self) -> tuple[str, ...]:
        """Methods."""
        return self._view("allow", "allow", readings.tokens)

    @property
    def accept(self) -> tuple[str, ...]:
        """Media types."""
        return self._view("accept", "accept", readings.tokens)

    @property
    def require(self) -> tuple[str, ...]:
        """Option tags."""
        return self._view("require", "require", readings.tokens)

    @property
    def proxy_require(self) -> tuple[str, ...]:
        """Option tags."""
        return self._view("proxy_require", "proxy-require", readings.tokens)

    @property
    def supported(self) -> tuple[str, ...]:
        """Option tags."""
        return self._view("supported", "supported", readings.tokens)

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Option tags."""
        return self._view("unsupported", "unsupported", readings.tokens)

    @property
    def authorizations(self) -> tuple[AuthValue, ...]:
        """Credentials for us as a server."""
        return self._view("authorizations", "authorization", readings.credentials)

    @property
    def proxy_authorizations(self) -> tuple[AuthValue, ...]:
        """Credentials for us as a proxy."""
        return self._view("proxy_authorizations", "proxy-authorization", readings.credentials)

    @property
    def www_authenticate(self) -> tuple[AuthValue, ...]:
        """Challenges of a server."""
        return self._view("www_authenticate", "www-authenticate", readings.credentials)

    @property
    def proxy_authenticate(self) -> tuple[AuthValue, ...]:
        """Challenges of a proxy."""
        return self._view("proxy_authenticate", "proxy-authenticate", readings.credentials)

    @property
    def asserted_identities(self) -> tuple[NameAddr, ...]:
        """Of P-Asserted-Identity (RFC 3325)."""
        return self._view("asserted_identities", "p-asserted-identity", readings.addresses)

    @property
    def refer_to(self) -> NameAddr | None:
        """Where a transfer leads (RFC 3515)."""
        return self._view("refer_to", "refer-to", readings.refer_to)

    @property
    def rseq(self) -> int | None:
        """Of a reliable provisional response (RFC 3262)."""
        return self._view("rseq", "rseq", readings.rseq)

    @property
    def via(self) -> Via:
        """The topmost Via."""
        return self.vias[0]

    @property
    def start_line(self) -> str:
        """Request line or status line, without its line end."""
        raise NotImplementedError

    def values(self, name: str) -> list[str]:
        """All values of a header in any spelling of its name, a line each, folds undone; empty where absent."""
        values = self._values.get(name)
        if values is None and name not in NAMES:
            values = self._values.get(header_key(name))
        return [] if values is None else values

    def get(self, name: str) -> str | None:
        """The first value of a header in any spelling of its name; None where absent."""
        values = self.values(name)
        return values[0] if values else None

    def __contains__(self, name: str) -> bool:
        return bool(self.values(name))

    def fields(self) -> Iterator[tuple[str, str]]:
        """Name as we write it and value, folds undone, of each header line in order."""
        for line in self._lines:
            name, _, value = line.partition(":")
            yield header_name(name.rstrip(" \t")), unfold(value)

    def raw_lines(self) -> list[bytes]:
        """Each header line byte for byte, folds kept, without the last line end."""
        return [line.encode("utf-8", "surrogateescape") for line in self._lines]

    def replaced(self, name: str, values: Sequence[str]) -> Self:
        """A copy whose lines of this header, at the place of the first or at the end, are these values, checked."""
        return self._replaced(name, [checked(value) for value in values])

    def _replaced(self, name: str, values: Sequence[str]) -> Self:
        key = header_key(name)
        kept: list[str] = []
        place = -1
        for line in self._lines:
            if header_key(line.partition(":")[0]) != key:
                kept.append(line)
            elif place < 0:
                place = len(kept)
        place = len(kept) if place < 0 else place
        lines = [f"{header_name(name)}: {value}" for value in values]
        return self._copy((kept[:place] + lines + kept[place:], {**self._values, key: list(values)}))

    def with_body(self, body: bytes, content_type: str | None = None) -> Self:
        """A copy with another body and its length; `content_type` None leaves the type as it is."""
        copy = self.replaced("Content-Length", [str(len(body))])
        copy.body = body
        return copy if content_type is None else copy.replaced("Content-Type", [content_type])

    def to_bytes(self) -> bytes:
        """The message as it goes on the wire."""
        head = "\r\n".join([self.start_line, *self._lines, "", ""])
        return head.encode("utf-8", "surrogateescape") + self.body

    def __bytes__(self) -> bytes:
        return self.to_bytes()

    def _view(self, name: str, key: str, read: Callable[[list[str]], T]) -> T:
        """Return what `read` makes of a header, made at the first access and kept."""
        found = self._known.get(name, _UNREAD)
        if found is _UNREAD:
            try:
                found = self._known[name] = read(self._values.get(key, []))
            except ParseError as error:
                raise ParseError(error.status, error.reason, self) from None
        return cast("T", found)

    def _fill(self, copied: Fields, headers: Fields) -> None:
        self._add(copied)
        fields = list(headers)
        _check_all([value for _, value in fields])
        self._add(fields, "content-length")
        self._add((("Content-Length", str(len(self.body))),))

    def _add(self, headers: Fields, but: str = "") -> None:
        lines, values = self._lines, self._values
        for name, value in headers:
            key = KEYS.get(name) or header_key(name)
            if key == but:
                continue
            lines.append(f"{NAMES.get(key, name)}: {value}")
            if key in values:
                values[key].append(value)
            else:
                values[key] = [value]

    def _copy(self, read: Read) -> Self:
        raise NotImplementedError


class Request(Message):
    """A request. `uri` is the request URI as spelled; `headers` are (name, value) pairs in order.

    Content-Length is written by us alone. Raises ForbiddenCharacter where a value holds a control character; not
    so for `copied`, put before `headers`: values of a parsed message, which may quote one (RFC 4475 intmeth). With
    `read`, all of it is as it was read, and stays so.
    """

    def __init__(
        self,
        method: str,
        uri: str,
        headers: Fields = (),
        body: bytes = b"",
        *,
        copied: Fields = (),
        read: Read | None = None,
    ) -> None:
        super().__init__(body, read)
        self.method, self.uri = method, uri
        self.size = 0
        """Bytes that it came in; 0 of one that is ours."""
        self._uri: Uri | None = None
        self._transaction_key: str | None = None
        if read is None:
            _check_all([method, uri])
            self._fill(copied, headers)

    @property
    def start_line(self) -> str:
        """The request line."""
        return f"{self.method} {self.uri} SIP/2.0"

    @property
    def request_uri(self) -> Uri:
        """The request URI in parts."""
        if self._uri is None:
            self._uri = Uri.parse(self.uri)
        return self._uri

    def stamp(self, host: str, port: int) -> None:
        """Say in the top Via where the request came from, before anybody reads it (RFC 3261 §18.2.1, RFC 3581 §4)."""
        vias = self.vias
        top = vias[0].received_from(host, port)
        if top is vias[0]:
            return
        values, first = self._values["via"], str(top)
        if "," in values[0]:
            first = ", ".join([first, *split_list(values[0])[1:]])
        place = 0 if self._lines[0].startswith("Via:") else self._place_of_via()
        self._lines[place] = f"Via: {first}"
        values[0] = first
        self._known["vias"] = (top, *vias[1:])

    def _place_of_via(self) -> int:
        return next(place for place, line in enumerate(self._lines) if header_key(line.partition(":")[0]) == "via")

    @property
    def transaction_key(self) -> str:
        """What makes two requests one transaction (RFC 3261 §17.2.3), the method first. An ACK counts as its INVITE."""
        if self._transaction_key is None:
            self._transaction_key = self._read_transaction_key()
        return self._transaction_key

    def _read_transaction_key(self) -> str:
        """Without a proper branch, even the cookie alone, RFC 2543 holds: the key is all that tells two apart.

        The request URI does where a proxy of that age tries one number after another, or forks (§17.2.3).
        """
        via, method = self.via, "INVITE" if self.method == "ACK" else self.method
        branch, (host, port) = via.branch, via.sent_by
        if branch is not None and is_cookie(branch):
            return server_key_of(method, branch, host, port)
        rest = (self.call_id, str(self.cseq.number), self.from_.tag or "", branch or "", self.uri)
        return "\n".join((method, host, str(port), *rest))

    def _copy(self, read: Read) -> Self:
        return type(self)(self.method, self.uri, body=self.body, read=read)

    def __repr__(self) -> str:
        return f"<{self.start_line}>"


class Response(Message):
    """A response; see Request for `headers` and what is raised."""

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Fields = (),
        body: bytes = b"",
        *,
        copied: Fields = (),
        read: Read | None = None,
    ) -> None:
        super().__init__(body, read)
        self.status, self.reason = status, reason
        if read is None:
            checked(reason)
            self._fill(copied, headers)

    @property
    def start_line(self) -> str:
        """The status line."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def _copy(self, read: Read) -> Self:
        return type(self)(self.status, self.reason, body=self.body, read=read)

    def __repr__(self) -> str:
        return f"<{self.start_line}>"


def checked(text: str) -> str:
    """The one gate of all text that we write: no control character, so no line can be smuggled in."""
    if _CONTROL.search(text):
        raise ForbiddenCharacter(f"control character in {text!r}: remove it before it goes into a SIP message")
    return text


def _check_all(texts: list[str]) -> None:
    """`checked` for each, by one look at all of them."""
    if _CONTROL.search("".join(texts)):
        for text in texts:
            checked(text)


def unfold(value: str) -> str:
    """A header value on one line, without the space around it (RFC 3261 §7.3.1)."""
    return " ".join(part.strip(" \t") for part in value.split("\r\n")).strip(" ")
