# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP, SIPS, TEL and foreign URIs: the spelling is kept, escapes are decoded only to compare (RFC 3261 §19.1)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from sip.errors import ParseError
from sip.facts import fact
from sip.params import EMPTY, Params

_HEX = r"%[0-9A-Fa-f]{2}"
_UNRESERVED = r"A-Za-z0-9\-_.!~*'()"
_USER = rf"(?>(?:[{_UNRESERVED}&=+$,;?/#]|{_HEX})+)"  # '#' is not RFC 3261, but feature codes are dialled with it
_PASSWORD = rf"(?>(?:[{_UNRESERVED}&=+$,]|{_HEX})*)"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-_]*+)|\[[0-9A-Fa-f:.]++(?:%[A-Za-z0-9._~\-]++)?\])"
_PARAM = rf"(?:[{_UNRESERVED}\[\]/:&+$]|{_HEX})"
_HEADER = rf"(?:[{_UNRESERVED}\[\]/?:+$&=,;@]|{_HEX})"
_PARAMS = rf"(?>(?:;(?>{_PARAM}+)(?:=(?>{_PARAM}*))?)*)"
HOST_PORT = rf"({_HOST})(?:\s*+:\s*+([0-9]{{1,5}}))?"
"""Pattern of `host [ ":" port ]`; groups: host with its brackets, port."""
_SIP = re.compile(
    rf"(?:({_USER})(?::({_PASSWORD}))?@)?{HOST_PORT}"
    rf"({_PARAMS})(?:\?((?>{_HEADER}*)))?",
    re.ASCII,
)
_TEL = re.compile(rf"([+0-9A-Fa-f*#\-.()]++)({_PARAMS})")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*+")
_OPAQUE = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x7e]++")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_REMEMBERED_LENGTH = 128
_SEPARATORS = re.compile(r"[\-.()]")
_KEPT_APART = ("user", "ttl", "method", "maddr", "transport")


@fact
class Uri:
    """A URI in parts. `str(uri)` is the text it was read from, or one built from the parts.

    scheme: lower case. user, password, headers: as spelled, escapes and all. host: without brackets; "" for other
    schemes than sip and sips. For tel the number is `user`.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = EMPTY
    headers: str | None = None
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Raises ParseError (400) where `text` is no URI; an unknown scheme is the caller's to refuse (416)."""
        return _remembered(text) if len(text) <= _REMEMBERED_LENGTH else _read(text)

    @property
    def is_sip(self) -> bool:
        """Whether this is a sip or sips URI."""
        return self.host != ""

    @property
    def names_callee(self) -> bool:
        """Whether it says whom to call: a SIP or a telephone URI, for a sips URI asks for TLS on each hop."""
        return self.scheme in ("sip", "tel")

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case."""
        value = self.params.get("transport")
        return value.lower() if value else None

    @property
    def is_loose_router(self) -> bool:
        """Whether the `lr` parameter is there, in any spelling such as `lr=on` (RFC 3261 §16.12)."""
        return "lr" in self.params

    def decoded_user(self) -> str | None:
        """The user part with its escapes decoded, to look it up; None where there is none or it hides a control."""
        if self.user is None:
            return None
        text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), self.user)
        text = text.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
        return text if text.isprintable() else None

    @property
    def dialled(self) -> str:
        """What is dialled by it: the user part or, of a telephone number, its digits alone (RFC 3966 §5).

        A user part is one where `user=phone` says so (RFC 3261 §19.1.6), or a plus sign does; parameters of its own, as
        number portability adds them, are left out.
        """
        text = self.decoded_user() or ""
        if self.scheme != "tel" and text[:1] != "+" and (self.params.get("user") or "").lower() != "phone":
            return text
        return _SEPARATORS.sub("", text.partition(";")[0])

    def changed(
        self,
        *,
        user: str | None = None,
        host: str | None = None,
        port: int | None = None,
        params: Params | None = None,
    ) -> Uri:
        """A copy with other parts, spelled anew; None leaves a part as it is."""
        part = replace(
            self,
            user=self.user if user is None else user,
            host=self.host if host is None else host,
            port=self.port if port is None else port,
            params=self.params if params is None else params,
            text="",
        )
        return Uri.parse(str(part))

    def __str__(self) -> str:
        if self.text:
            return self.text
        password = "" if self.password is None else f":{self.password}"
        user = "" if self.user is None else f"{self.user}{password}"
        at = "@" if user and self.host else ""
        headers = "" if self.headers is None else f"?{self.headers}"
        return f"{self.scheme}:{user}{at}{host_port(self.host, self.port)}{self.params}{headers}"


def equivalent(one: Uri, other: Uri) -> bool:
    """Whether two URIs name the same resource by RFC 3261 §19.1.4 (other schemes: by their text)."""
    if one.scheme != other.scheme:
        return False
    if one.scheme == "tel":
        return _visual(one.user) == _visual(other.user) and one.params == other.params
    if not one.is_sip:
        return one.text == other.text
    return (
        _decoded(one.user) == _decoded(other.user)
        and _decoded(one.password) == _decoded(other.password)
        and _host_key(one.host) == _host_key(other.host)
        and one.port == other.port
        and _params_match(one.params, other.params)
        and _headers_key(one.headers) == _headers_key(other.headers)
    )


def host_port(host: str, port: int | None) -> str:
    """`host:port` with brackets where the host is an IPv6 address."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def bare_host(host: str) -> str:
    """A host as the grammar spells it, without brackets. Raises ParseError (400) on a bad IPv6 reference."""
    if host[0] != "[":
        return host
    inner = host[1:-1]
    try:
        IPv6Address(inner.replace(":::", "::"))  # RFC 3261's own grammar wrote three colons: RFC 5118 §4.10
    except AddressValueError:
        raise ParseError(400, "Malformed IPv6 Reference") from None
    return inner


def port_number(digits: str | None) -> int | None:
    """A port from its digits. Raises ParseError (400) above 65535."""
    if digits is None:
        return None
    number = int(digits)
    if number > 65535:
        raise ParseError(400, "Malformed Port")
    return number


def _read(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    lowered = scheme.lower()
    if lowered in ("sip", "sips"):
        return _parse_sip(lowered, rest, text)
    if lowered == "tel":
        return _parse_tel(rest, text)
    if not colon or not _SCHEME.fullmatch(scheme) or not _OPAQUE.fullmatch(rest):
        raise ParseError(400, "Malformed URI")
    return Uri(lowered, text=text)


_remembered = lru_cache(maxsize=1024)(_read)
"""The same few addresses stand in every message of a call; at most some 800 kB are kept."""


def _parse_sip(scheme: str, rest: str, text: str) -> Uri:
    match = _SIP.fullmatch(rest)
    if not match:
        raise ParseError(400, "Malformed URI")
    user, password, host, port, params, headers = match.groups()
    if host[0] == "[":
        host = bare_host(host)
    number = None if port is None else port_number(port)
    return Uri(scheme, user, password, host, number, Params.matched(params), headers, text)


def _parse_tel(rest: str, text: str) -> Uri:
    match = _TEL.fullmatch(rest)
    if not match:
        raise ParseError(400, "Malformed Telephone URI")
    return Uri("tel", match[1], params=Params.matched(match[2]), text=text)


def _decoded(text: str | None) -> str | None:
    """Escapes of unreserved characters decoded, all others in one spelling: what §19.1.4 holds equal."""
    if text is None or "%" not in text:
        return text

    def plain(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if re.fullmatch(f"[{_UNRESERVED}]", character) else match[0].upper()

    return _ESCAPE.sub(plain, text)


def _host_key(host: str) -> str:
    if ":" in host:
        return str(IPv6Address(host.replace(":::", "::")))
    return host.lower().rstrip(".")


def _params_match(one: Params, other: Params) -> bool:
    first, second = _folded(one), _folded(other)
    if any(first.get(name) != second.get(name) for name in _KEPT_APART):
        return False
    return all(first[name] == second[name] for name in first.keys() & second.keys())


def _folded(params: Params) -> dict[str, str]:
    return {str(_decoded(n)).lower(): str(_decoded(v or "")).lower() for n, v in params.pairs}


def _headers_key(headers: str | None) -> list[tuple[str, str]]:
    pairs = (field.partition("=") for field in (headers or "").split("&") if field)
    return sorted((str(_decoded(n)).lower(), str(_decoded(v))) for n, _, v in pairs)


def _visual(number: str | None) -> str:
    return _SEPARATORS.sub("", number or "").lower()
