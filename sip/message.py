# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP messages: header lines as they came, typed views of them read when asked for and kept (RFC 3261 §7, §20).

A message is immutable. Values are text, UTF-8 with surrogate escapes, so that each byte comes out as it came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Generic, Self, TypeVar, overload

from sip.errors import ForbiddenCharacter, ParseError
from sip.headers import (
    AuthValue,
    CSeq,
    NameAddr,
    Via,
    date,
    is_cookie,
    number,
    parse_each,
    seconds,
    split_list,
    tokens,
)
from sip.names import KEYS, NAMES, header_key, header_name
from sip.uri import Uri

T = TypeVar("T")
M = TypeVar("M", bound="Message")
Fields = Iterable[tuple[str, str]]
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
MAX_LENGTH = 2**31
"""Of a body, as Content-Length may say it."""
_CALL_ID = re.compile(r"[\x21-\x7e]+")


class View(Generic[T]):
    """A typed reading of one header, made at the first access and kept in the message's own dictionary."""

    def __init__(self, key: str, read: Callable[[list[str]], T]) -> None:
        self.key, self.read = key, read
        self.absent: T | None = None
        """What is read where the header is not there; None also where that is an error."""
        with suppress(ParseError):
            self.absent = read([])

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, message: None, owner: type) -> Self: ...
    @overload
    def __get__(self, message: Message, owner: type) -> T: ...
    def __get__(self, message: Message | None, owner: type) -> Self | T:
        if message is None:
            return self
        values = message._values.get(self.key)
        if values is None and self.absent is not None:
            return self.absent
        try:
            value = self.read(values or [])
        except ParseError as error:
            raise ParseError(error.status, error.reason, message) from None
        message.__dict__[self.name] = value
        return value


class Once(Generic[M, T]):
    """What is worked out of a message at the first access; `functools.cached_property` takes a lock for that."""

    def __init__(self, read: Callable[[M], T]) -> None:
        self.read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, message: None, owner: type) -> Self: ...
    @overload
    def __get__(self, message: M, owner: type) -> T: ...
    def __get__(self, message: M | None, owner: type) -> Self | T:
        if message is None:
            return self
        value = message.__dict__[self.name] = self.read(message)
        return value


def _required(name: str, parse: Callable[[str], T]) -> Callable[[list[str]], T]:
    def read(values: list[str]) -> T:
        if not values:
            raise ParseError(400, f"Missing {name}")
        return parse(values[0])

    return read


def _optional(parse: Callable[[str], T]) -> Callable[[list[str]], T | None]:
    return lambda values: parse(values[0]) if values else None


def _each(parse: Callable[[str], T]) -> Callable[[list[str]], tuple[T, ...]]:
    return lambda values: parse_each(values, parse)


def _vias(values: list[str]) -> tuple[Via, ...]:
    if not values:
        raise ParseError(400, "Missing Via")
    return parse_each(values, Via.parse)


def _contacts(values: list[str]) -> tuple[NameAddr, ...]:
    return () if values == ["*"] else parse_each(values, NameAddr.parse)


def read_call_id(value: str) -> str:
    """A Call-ID as it is. Raises ParseError (400)."""
    if not _CALL_ID.fullmatch(value):
        raise ParseError(400, "Malformed Call-ID")
    return value


def _max_forwards(values: list[str]) -> int | None:
    return number(values[0], 255, "Max-Forwards") if values else None


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip(" \t").lower()


def _authorizations(values: list[str]) -> tuple[AuthValue, ...]:
    return tuple(AuthValue.parse(value) for value in values)


def _request_uri(request: Request) -> Uri:
    return Uri.parse(request.uri)


def _transaction_key(request: Request) -> str:
    """Without a proper branch, even the cookie alone, RFC 2543 holds: the key is all that tells two requests apart."""
    via, method = request.via, "INVITE" if request.method == "ACK" else request.method
    branch, (host, port) = via.branch, via.sent_by
    if branch is not None and is_cookie(branch):
        return server_key_of(method, branch, host, port)
    rest = (request.call_id, str(request.cseq.number), request.from_.tag or "", branch or "")
    return "\n".join((method, host, str(port), *rest))


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

    vias = View("via", _vias)
    from_ = View("from", _required("From", NameAddr.parse))
    to = View("to", _required("To", NameAddr.parse))
    call_id = View("call-id", _required("Call-ID", read_call_id))
    cseq = View("cseq", _required("CSeq", CSeq.parse))
    contacts = View("contact", _contacts)
    is_star_contact = View("contact", lambda values: values == ["*"])
    routes = View("route", _each(NameAddr.parse))
    record_routes = View("record-route", _each(NameAddr.parse))
    path = View("path", _each(NameAddr.parse))
    max_forwards = View("max-forwards", _max_forwards)
    content_length = View("content-length", _optional(lambda text: number(text, MAX_LENGTH, "Content-Length")))
    content_type = View("content-type", _optional(_media_type))
    expires = View("expires", _optional(seconds))
    min_expires = View("min-expires", _optional(seconds))
    session_expires = View("session-expires", _optional(seconds))
    min_se = View("min-se", _optional(seconds))
    retry_after = View("retry-after", _optional(lambda text: seconds(text.partition("(")[0])))
    date = View("date", _optional(date))
    allow = View("allow", tokens)
    accept = View("accept", tokens)
    require = View("require", tokens)
    proxy_require = View("proxy-require", tokens)
    supported = View("supported", tokens)
    unsupported = View("unsupported", tokens)
    authorizations = View("authorization", _authorizations)
    proxy_authorizations = View("proxy-authorization", _authorizations)
    www_authenticate = View("www-authenticate", _authorizations)
    proxy_authenticate = View("proxy-authenticate", _authorizations)
    asserted_identities = View("p-asserted-identity", _each(NameAddr.parse))
    refer_to = View("refer-to", _optional(NameAddr.parse))
    rseq = View("rseq", _optional(lambda text: number(text, 2**32 - 1, "RSeq")))

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
        copy = self._copy()
        copy._lines = kept[:place] + lines + kept[place:]
        copy._values = {**self._values, key: list(values)}
        return copy

    def with_body(self, body: bytes, content_type: str | None = None) -> Self:
        """A copy with another body and its length; `content_type` None leaves the type as it is."""
        copy = self.replaced("Content-Length", [str(len(body))])
        copy.body = body
        return copy if content_type is None else copy.replaced("Content-Type", [content_type])

    def to_bytes(self) -> bytes:
        """The message as it goes on the wire."""
        head = "\r\n".join([self.start_line, *self._lines, "", ""])
        return head.encode("utf-8", "surrogateescape") + self.body

    __bytes__ = to_bytes

    def _fill(self, copied: Fields, headers: Fields, body: bytes) -> None:
        self.body = body
        self._lines = []
        self._values = {}
        self._add(copied)
        fields = list(headers)
        _check_all([value for _, value in fields])
        self._add(fields, "content-length")
        self._add((("Content-Length", str(len(body))),))

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

    def _copy(self) -> Self:
        raise NotImplementedError


class Request(Message):
    """A request. `uri` is the request URI as spelled; `headers` are (name, value) pairs in order.

    Content-Length is written by us alone. Raises ForbiddenCharacter where a value holds a control character; not
    so for `copied`, put before `headers`: values of a parsed message, which may quote one (RFC 4475 intmeth).
    """

    def __init__(self, method: str, uri: str, headers: Fields = (), body: bytes = b"", *, copied: Fields = ()) -> None:
        self.method = checked(method)
        self.uri = checked(uri)
        self._fill(copied, headers, body)

    @property
    def start_line(self) -> str:
        """The request line."""
        return f"{self.method} {self.uri} SIP/2.0"

    request_uri = Once["Request", Uri](_request_uri)
    """The request URI in parts."""

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
        self.__dict__["vias"] = (top, *vias[1:])

    def _place_of_via(self) -> int:
        return next(place for place, line in enumerate(self._lines) if header_key(line.partition(":")[0]) == "via")

    transaction_key = Once["Request", str](_transaction_key)
    """What makes two requests one transaction (RFC 3261 §17.2.3), the method first. An ACK counts as its INVITE."""

    def _copy(self) -> Self:
        copy = object.__new__(type(self))
        copy.method, copy.uri, copy.body = self.method, self.uri, self.body
        return copy

    def __repr__(self) -> str:
        return f"<{self.start_line}>"


class Response(Message):
    """A response; see Request for `headers` and what is raised."""

    def __init__(
        self, status: int, reason: str, headers: Fields = (), body: bytes = b"", *, copied: Fields = ()
    ) -> None:
        self.status = status
        self.reason = checked(reason)
        self._fill(copied, headers, body)

    @property
    def start_line(self) -> str:
        """The status line."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def _copy(self) -> Self:
        copy = object.__new__(type(self))
        copy.status, copy.reason, copy.body = self.status, self.reason, self.body
        return copy

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
