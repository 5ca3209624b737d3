# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed header values: Via, name-addr, CSeq, credentials, token lists (RFC 3261 §20, §25.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from sip.errors import ParseError
from sip.facts import fact
from sip.params import EMPTY, PARAMS, QUOTED, TOKEN, Params, quote, unquote
from sip.uri import HOST_PORT, Uri, bare_host, host_port, port_number

COOKIE = "z9hG4bK"
_COOKIE = COOKIE.lower()
MAX_SECONDS = 2**32 - 1
DEFAULT_PORTS = {"tls": 5061, "wss": 443, "ws": 80}
"""Of transports whose port is not 5060 where none is named (RFC 3261 §19.1.2, RFC 7118 §5)."""
_VIA = re.compile(
    rf"SIP\s*+/\s*+2\.0\s*+/\s*+({TOKEN})\s++{HOST_PORT}({PARAMS})\s*", re.IGNORECASE | re.DOTALL | re.ASCII
)
_WORD = rf"(?:{TOKEN}|[\x80-\U0010ffff]++)"  # unquoted UTF-8 is not RFC 3261, but phones write it
_NAME_ADDR = re.compile(rf"({QUOTED}|(?>(?:{_WORD}\s*+)*))\s*+<([^<>\"\s]++)>({PARAMS})\s*", re.DOTALL | re.ASCII)
_ADDR_SPEC = re.compile(rf"([^<>\"\s;?,]++)({PARAMS})\s*", re.DOTALL | re.ASCII)
_CSEQ = re.compile(rf"([0-9]++)\s++({TOKEN})", re.ASCII)
_ITEM = re.compile(rf"(?>(?:[^\",<]++|{QUOTED}|<[^>]*+>)+)", re.DOTALL | re.ASCII)
_AUTH = re.compile(rf"({TOKEN})(?:\s++(.*))?", re.DOTALL | re.ASCII)
_PLAIN_PAIR = r"(?:;[A-Za-z0-9_-]++(?:=[A-Za-z0-9_.-]++)?)*"
_PLAIN_ADDRESS = re.compile(
    rf"(?:\"([A-Za-z0-9 ._-]*+)\" ?)?<(sip:(?:([A-Za-z0-9_.+-]++)@)?([A-Za-z0-9][A-Za-z0-9.-]*+)"
    rf"(?::([0-5]?[0-9]{{1,4}}))?({_PLAIN_PAIR}))>({_PLAIN_PAIR})",
    re.ASCII,
)
_BRANCH = re.compile(r"\A(?:;rport(?:=[0-9]++)?)?;branch=([A-Za-z0-9.!%*_+`'~-]++)(?=;|\Z)")
_TAG = re.compile(r";tag=([A-Za-z0-9.!%*_+`'~-]++)")
_RPORT = re.compile(r";rport(?=;|$)")
_PLAIN_CREDENTIALS = re.compile(r"([A-Za-z]++) (?>(?:[A-Za-z]++=(?:\"[^\"\\]*+\"|[^\s\",]++)(?:, ?|$))+)", re.ASCII)
_PLAIN_CREDENTIAL = re.compile(r"([A-Za-z]++)=(?:\"([^\"\\]*+)\"|([^\s\",]++))", re.ASCII)
_AUTH_PARAM = re.compile(rf"\s*+({TOKEN})\s*+=\s*+({QUOTED}|[^\s\",]++)\s*+(?:,|$)", re.DOTALL | re.ASCII)
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    r"[0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
_HAS_TAG = re.compile(r";\s*tag\s*=", re.IGNORECASE)
_REMEMBERED_LENGTH = 160
_SHORT_CSEQ = 24
T = TypeVar("T")


@fact
class Via:
    """One hop. transport: as spelled; compare `Via.protocol`. host: without brackets; port: None where unsaid."""

    transport: str
    host: str
    port: int | None = None
    params: Params = EMPTY

    @classmethod
    def parse(cls, text: str) -> Via:
        """Raises ParseError (400)."""
        match = _VIA.fullmatch(text)
        if not match:
            raise ParseError(400, "Malformed Via")
        transport, host, port, params = match.groups()
        if host[0] == "[":
            host = bare_host(host)
        return cls(transport, host, None if port is None else port_number(port), Params.matched(params))

    @property
    def protocol(self) -> str:
        """The transport in lower case."""
        return self.transport.lower()

    @property
    def branch(self) -> str | None:
        """The branch as spelled; None from an RFC 2543 peer."""
        match = _BRANCH.search(self.params.text)
        return match[1] if match else self.params.get("branch") or None

    @property
    def has_cookie(self) -> bool:
        """Whether the branch is a transaction identifier: the magic cookie and something after it."""
        return is_cookie(self.branch)

    @property
    def sent_by(self) -> tuple[str, int]:
        """Host in lower case and port, the transport's default filled in: part of a transaction's key."""
        return self.host.lower(), self.port or DEFAULT_PORTS.get(self.protocol, 5060)

    @property
    def wants_rport(self) -> bool:
        """Whether the sender asks for responses to its source port (RFC 3581)."""
        return "rport" in self.params

    @property
    def received(self) -> str | None:
        """The `received` address without brackets."""
        value = self.params.get("received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The source port that a server has filled in."""
        digits = self.params.get("rport") or ""
        valid = digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) <= 65535
        return int(digits) if valid else None

    @property
    def reply_to(self) -> tuple[str, int]:
        """Host and port that a response over datagrams goes to (RFC 3261 §18.2.2, RFC 3581 §4).

        maddr is not followed: a stranger could aim our answers at a third party with it.
        """
        return self.received or self.host, self.rport or self.sent_by[1]

    def received_from(self, host: str, port: int) -> Via:
        """As a server stamps it: `received` where the address differs or rport asks, `rport` where it asks."""
        text = self.params.text
        plain = text and "received" not in text and '"' not in text
        stamped, found = _RPORT.subn(f";rport={port}", text, 1) if plain else ("", 0)
        if found:
            return Via(self.transport, self.host, self.port, Params.matched(f"{stamped};received={host}"))
        params = self.params.without("received")
        if host != self.host or self.wants_rport:
            params = params.set("received", host)
        if self.wants_rport:
            params = params.set("rport", str(port))
        return self if params == self.params else replace(self, params=params)

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {host_port(self.host, self.port)}{self.params}"


@fact
class NameAddr:
    """From, To, Contact, Route…: a URI with a display name and header parameters. `display` is unquoted."""

    uri: Uri
    params: Params = EMPTY
    display: str = ""

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """A name-addr or an addr-spec, whose parameters are the header's. Raises ParseError (400)."""
        return _remembered(text) if len(text) <= _REMEMBERED_LENGTH else cls.read(text)

    @classmethod
    def read(cls, text: str) -> NameAddr:
        """`parse`, whether or not the text was read before."""
        plain = cls.plain(text)
        if plain:
            return plain
        if "<" not in text:
            match = _ADDR_SPEC.fullmatch(text)
            if not match:
                raise ParseError(400, "Malformed Address")
            return cls(Uri.parse(match[1]), Params.matched(match[2]))
        match = _NAME_ADDR.fullmatch(text)
        if not match:
            raise ParseError(400, "Malformed Address")
        display, uri, params = match.groups()
        return cls(Uri.parse(uri), Params.matched(params), _display(display))

    @classmethod
    def plain(cls, text: str) -> NameAddr | None:
        """A name-addr of the simplest spelling, which is nearly every one; None for any other text."""
        match = _PLAIN_ADDRESS.fullmatch(text)
        if match is None:
            return None
        display, whole, user, host, port, inner, params = match.groups()
        number = int(port) if port else None
        where = Uri("sip", user, None, host, number, Params.matched(inner), None, whole)
        return cls(where, Params.matched(params), display or "")

    @property
    def tag(self) -> str | None:
        """The tag as spelled; None where there is none."""
        match = _TAG.fullmatch(self.params.text)
        return match[1] if match else self.params.get("tag") or None

    @property
    def has_tag_alone(self) -> bool:
        """Whether a tag is there, and no other parameter."""
        return _TAG.fullmatch(self.params.text) is not None

    @property
    def q(self) -> float:
        """Preference of a contact, 0.0 to 1.0; 1.0 where unsaid or unreadable."""
        text = self.params.get("q")
        if not text:
            return 1.0
        return float(text) if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", text) else 1.0

    @property
    def expires(self) -> int | None:
        """Seconds of a contact's `expires`, 3600 where it is no number (RFC 3261 §20.10), None where unsaid."""
        text = self.params.get("expires")
        return None if text is None else seconds(text)

    def with_tag(self, tag: str) -> NameAddr:
        """A copy with this tag."""
        return replace(self, params=self.params.set("tag", tag))

    def __str__(self) -> str:
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{self.params}"


_remembered = lru_cache(maxsize=1024)(NameAddr.read)
"""From and To are the same in all messages of a dialog; at most some 1.5 MB are kept."""


@fact
class CSeq:
    """Sequence number, below 2**31, and method."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Raises ParseError (400)."""
        return _remembered_cseq(text) if len(text) <= _SHORT_CSEQ else cls.read(text)

    @classmethod
    def read(cls, text: str) -> CSeq:
        """`parse`, whether or not the text was read before."""
        match = _CSEQ.fullmatch(text)
        if not match or len(match[1]) > 64 or int(match[1]) >= 2**31:
            raise ParseError(400, "Malformed CSeq")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


_remembered_cseq = lru_cache(maxsize=512)(CSeq.read)
"""Nearly every dialog begins with the same few."""


@fact
class AuthValue:
    """A challenge or credentials: scheme in lower case, parameters by lower-case name, values unquoted.

    `params` is empty for schemes that are not written as parameters.
    """

    scheme: str
    params: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> AuthValue:
        """Never raises: what cannot be read has no parameters, and so proves nothing."""
        match = _PLAIN_CREDENTIALS.fullmatch(text)
        if match:
            pairs = _PLAIN_CREDENTIAL.findall(text, match.end(1))
            params = {name.lower(): quoted or bare for name, quoted, bare in pairs}
            return cls(match[1].lower(), params if len(params) == len(pairs) else {})
        match = _AUTH.fullmatch(text)
        if not match:
            return cls("", {})
        return cls(match[1].lower(), _auth_params(match[2] or ""))


def split_list(text: str) -> list[str]:
    """The elements between commas outside quotes and angle brackets. Raises ParseError (400) if one is empty."""
    if "," not in text:
        return [text]
    items: list[str] = []
    position = 0
    while True:
        match = _ITEM.match(text, position)
        item = match[0].strip(" \t") if match else ""
        if not match or not item:
            raise ParseError(400, "Malformed List")
        items.append(item)
        position = match.end()
        if position == len(text):
            return items
        if text[position] != ",":
            raise ParseError(400, "Malformed List")
        position += 1


def parse_each(values: list[str], parse: Callable[[str], T]) -> tuple[T, ...]:
    """The elements of all lines of one header, in order."""
    if len(values) == 1 and "," not in values[0]:
        return (parse(values[0]),)
    return tuple(parse(item) for value in values for item in split_list(value))


def tokens(values: list[str]) -> tuple[str, ...]:
    """The words of Supported, Require, Allow…; empty elements are passed over."""
    return tuple(word for value in values for item in value.split(",") if (word := item.strip(" \t")))


def seconds(text: str) -> int:
    """Delta-seconds cut to 32 bits; 3600 for what is no number (RFC 3261 §20.10, §20.19)."""
    digits = text.partition(";")[0].strip()
    if not digits.isascii() or not digits.isdigit():
        return 3600
    return MAX_SECONDS if len(digits) > 10 else min(int(digits), MAX_SECONDS)


def number(text: str, limit: int, name: str) -> int:
    """A number of at most `limit`. Raises ParseError (400) that names the header."""
    found = int(text) if len(text) <= 64 and text.isdigit() and text.isascii() else limit + 1
    if found > limit:
        raise ParseError(400, f"Malformed {name}")
    return found


def date(text: str) -> str:
    """A SIP date, which is always GMT (RFC 3261 §20.17). Raises ParseError (400)."""
    if not _DATE.fullmatch(text):
        raise ParseError(400, "Malformed Date")
    return text


def plain_address(value: str) -> bool:
    """Whether `value` is a name-addr of the simplest spelling, so that NameAddr.parse of it cannot fail."""
    return _PLAIN_ADDRESS.fullmatch(value) is not None


def is_cookie(branch: str | None) -> bool:
    """Whether a branch is a transaction identifier: the magic cookie and something after it."""
    return branch is not None and len(branch) > len(COOKIE) and branch[: len(COOKIE)].lower() == _COOKIE


def has_tag(value: str) -> bool:
    """Whether a From or To value carries a tag, also where it cannot be parsed otherwise."""
    end = value.rfind(">") + 1
    return end < len(value) and _HAS_TAG.search(value, end) is not None


def _display(text: str) -> str:
    """A display name unquoted; bare words with one space between them (RFC 3261 §7.3.1)."""
    if not text:
        return ""
    return unquote(text.rstrip()) if text[:1] == '"' else " ".join(text.split())


def _auth_params(text: str) -> dict[str, str]:
    params: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _AUTH_PARAM.match(text, position)
        if not match or match[1].lower() in params:
            return {}
        params[match[1].lower()] = unquote(match[2])
        position = match.end()
    return params
