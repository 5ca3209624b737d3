# SPDX-License-Identifier: GPL-3.0-or-later
"""What each header says, read from its lines: text in, typed values out; ParseError (400) where they say nothing."""

from __future__ import annotations

import re

from sip.errors import ParseError
from sip.headers import AuthValue, CSeq, NameAddr, Via, date, number, parse_each, seconds
from sip.headers import tokens as tokens

MAX_LENGTH = 2**31
"""Of a body, as Content-Length may say it."""
_CALL_ID = re.compile(r"[\x21-\x7e]+")


def vias(values: list[str]) -> tuple[Via, ...]:
    """All of them, one at least."""
    _first(values, "Via")
    return parse_each(values, Via.parse)


def from_(values: list[str]) -> NameAddr:
    """The address of From."""
    return NameAddr.parse(_first(values, "From"))


def to(values: list[str]) -> NameAddr:
    """The address of To."""
    return NameAddr.parse(_first(values, "To"))


def call_id(values: list[str]) -> str:
    """The Call-ID as it is."""
    return read_call_id(_first(values, "Call-ID"))


def read_call_id(value: str) -> str:
    """A Call-ID as it is."""
    if not _CALL_ID.fullmatch(value):
        raise ParseError(400, "Malformed Call-ID")
    return value


def cseq(values: list[str]) -> CSeq:
    """Number and method."""
    return CSeq.parse(_first(values, "CSeq"))


def addresses(values: list[str]) -> tuple[NameAddr, ...]:
    """Those of a list, which may be empty."""
    return parse_each(values, NameAddr.parse)


def contacts(values: list[str]) -> tuple[NameAddr, ...]:
    """None for the one that is all of them."""
    return () if is_star(values) else addresses(values)


def is_star(values: list[str]) -> bool:
    """Whether all contacts are meant."""
    return values == ["*"]


def refer_to(values: list[str]) -> NameAddr | None:
    """Where to, if that is said."""
    return NameAddr.parse(values[0]) if values else None


def max_forwards(values: list[str]) -> int | None:
    """Hops that are left."""
    return number(values[0], 255, "Max-Forwards") if values else None


def content_length(values: list[str]) -> int | None:
    """Bytes."""
    return number(values[0], MAX_LENGTH, "Content-Length") if values else None


def rseq(values: list[str]) -> int | None:
    """The number of a reliable provisional response (RFC 3262)."""
    return number(values[0], 2**32 - 1, "RSeq") if values else None


def media_type(values: list[str]) -> str | None:
    """Type and subtype in lower case, without parameters."""
    return values[0].partition(";")[0].strip(" \t").lower() if values else None


def delta(values: list[str]) -> int | None:
    """Seconds, before parameters."""
    return seconds(values[0]) if values else None


def delay(values: list[str]) -> int | None:
    """Seconds, before a comment in brackets."""
    return seconds(values[0].partition("(")[0]) if values else None


def moment(values: list[str]) -> str | None:
    """A SIP date."""
    return date(values[0]) if values else None


def credentials(values: list[str]) -> tuple[AuthValue, ...]:
    """Challenges, or proofs: one a line."""
    return tuple(AuthValue.parse(value) for value in values)


def _first(values: list[str], name: str) -> str:
    if not values:
        raise ParseError(400, f"Missing {name}")
    return values[0]
