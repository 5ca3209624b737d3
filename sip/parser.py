# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to messages: framing, limits, and the checks after which the core may trust what it reads.

Refused as a whole, with the status to answer: RFC 3261 §7, §8.2, §18.3; the cases of RFC 4475 §3.1.2.
"""

from __future__ import annotations

import re

from sip.errors import ParseError
from sip.headers import CSeq, NameAddr, Via, number, parse_each, plain_address
from sip.message import Message, Request, Response, unfold
from sip.names import KEYS, header_key, header_name
from sip.params import TOKEN
from sip.readings import MAX_LENGTH, read_call_id

MAX_MESSAGE = 65536
MAX_HEADERS = 200
MAX_LINE = 8192
MAX_VIAS = 70

_REQUEST_LINE = re.compile(rf"({TOKEN}) ([^ \r\n]+) SIP/([0-9]+\.[0-9]+)", re.IGNORECASE | re.ASCII)
_STATUS_LINE = re.compile(r"SIP/([0-9]+\.[0-9]+) ([0-9]+)(?: ([^\r\n]*))?", re.IGNORECASE | re.ASCII)
_LOOKS_LIKE_REQUEST = re.compile(rf"({TOKEN})[ \t]++[^\r\n]*SIP/[0-9.]++[ \t]*+", re.IGNORECASE | re.ASCII)
_UNFOLDED_END = re.compile(r"\r\n(?![ \t])")
_ANY_END = re.compile(r"\r\n(?![ \t])|(?<!\r)\n(?![ \t])")
_QUOTED = re.compile(r'"(?>(?:[^"\\]++|\\.)*)"?', re.DOTALL)
_PAIR = re.compile(r"\\.", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SINGLE = {
    *("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "date", "expires"),
    *("min-expires", "event", "refer-to", "replaces", "session-expires", "min-se", "rseq", "rack", "mime-version"),
}
_FOR_RESPONSES = frozenset(("via", "from", "to", "call-id", "cseq"))
_CHECKED = (
    ("contact", "contacts"),
    ("route", "routes"),
    ("record-route", "record_routes"),
    ("max-forwards", "max_forwards"),
    ("date", "date"),
    ("rseq", "rseq"),
)
"""Headers, and their views that must not fail later."""


def parse(data: bytes) -> Request | Response:
    """One datagram, or one message cut from a stream. Bytes beyond Content-Length are dropped (§18.3).

    Raises ParseError: 400, 505 for another version of SIP, 513 above 64 KiB; `partial` holds what an answer needs.
    """
    try:
        message = _parse(data)
    except ParseError as error:
        raise ParseError(error.status, error.reason, _sized(salvage(data), data)) from None
    _sized(message, data)
    return message


def _parse(data: bytes) -> Request | Response:
    if len(data) > MAX_MESSAGE:
        raise ParseError(513, "Message Too Large")
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        raise ParseError(400, "Header Section Not Terminated")
    start, *lines = _split_lines(head)
    message = _start(start)
    message._lines = lines
    message._values = _index(lines)
    message.body = _cut(body, message)
    _check(message)
    return message


def _sized(message: Request | Response | None, data: bytes) -> Request | Response | None:
    if isinstance(message, Request):
        message.size = len(data)
    return message


def _split_lines(head: bytes) -> list[str]:
    """Start line and header lines, folds still in them; lines end in CRLF and hold no other control."""
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    within = "".join(lines)
    if "\r" in within or "\n" in within:
        raise ParseError(400, "Bare CR or LF")
    if not within.isprintable() and _CONTROL.search(_QUOTED.sub(_without_pairs, text)):
        raise ParseError(400, "Control Character")
    if "\r\n " in text or "\r\n\t" in text:
        lines = _UNFOLDED_END.split(text)
    if len(lines) > MAX_HEADERS + 1:
        raise ParseError(400, "Too Many Headers")
    if len(head) > MAX_LINE and max(map(_size, lines)) > MAX_LINE:
        raise ParseError(400, "Header Line Too Long")
    return lines


def _size(line: str) -> int:
    """In bytes, of which a character may have several."""
    return len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape"))


def _without_pairs(quoted: re.Match[str]) -> str:
    return _PAIR.sub("", quoted[0])


def _start(line: str) -> Request | Response:
    if line[:4].upper() == "SIP/":
        return _status_line(line)
    match = _REQUEST_LINE.fullmatch(line)
    if not match:
        raise ParseError(400, "Malformed Request Line")
    if match[3] != "2.0":
        raise ParseError(505, "Version Not Supported")
    return _request(match[1], match[2])


def _status_line(line: str) -> Response:
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise ParseError(400, "Malformed Status Line")
    if match[1] != "2.0":
        raise ParseError(505, "Version Not Supported")
    if len(match[2]) != 3 or not "100" <= match[2] <= "699":
        raise ParseError(400, "Malformed Status Code")
    return _response(int(match[2]), match[3] or "")


def _request(method: str, uri: str) -> Request:
    """A request around text that was checked as it was read."""
    return Request(method, uri, read=([], {}))


def _response(status: int, reason: str) -> Response:
    return Response(status, reason, read=([], {}))


def _index(lines: list[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ParseError(400, "Malformed Header Line")
        key = KEYS.get(name) or header_key(name)
        value = unfold(value) if "\n" in value else value.strip(" \t")
        if key not in values:
            values[key] = [value]
        elif key in _SINGLE:
            raise ParseError(400, f"Repeated {header_name(key)}")
        else:
            values[key].append(value)
    return values


def _cut(body: bytes, message: Message) -> bytes:
    said = message._values.get("content-length")
    if said is None:
        return body
    length = number(said[0], MAX_LENGTH, "Content-Length")
    if length > len(body):
        raise ParseError(400, "Content-Length Beyond Message")
    return body[:length]


def _check(message: Request | Response) -> None:
    """Read what the core relies on, so that later it cannot fail."""
    values, known = message._values, message._known
    try:
        from_, to, call_id, cseq = values["from"][0], values["to"][0], values["call-id"][0], values["cseq"][0]
        vias = values["via"]
    except KeyError as missing:
        raise ParseError(400, f"Missing {header_name(missing.args[0])}") from None
    if not plain_address(from_):
        _ = message.from_
    known["to"], known["call_id"] = NameAddr.parse(to), read_call_id(call_id)
    known["vias"], known["cseq"] = parse_each(vias, Via.parse), CSeq.parse(cseq)
    if len(known["vias"]) > MAX_VIAS:
        raise ParseError(400, "Too Many Via")
    for key, view in _CHECKED:
        if key in values:
            getattr(message, view)
    if "*" in values.get("contact", ()):
        _check_star(message)
    if isinstance(message, Request):
        _check_request(message)


def _check_star(message: Message) -> None:
    """`Contact: *` stands alone in a REGISTER, and only where everything is to expire (§10.2.2)."""
    if not message.is_star_contact:
        raise ParseError(400, "Contact * Beside Others")
    if message.cseq.method != "REGISTER" or message.expires != 0:
        raise ParseError(400, "Contact * Without Expires 0")


def _check_request(request: Request) -> None:
    if request.request_uri.headers is not None:
        raise ParseError(400, "Headers In Request-URI")
    if request.cseq.method != request.method:
        raise ParseError(400, "CSeq Does Not Match Method")


def salvage(data: bytes) -> Request | Response | None:
    """What can be saved of a broken message to answer it; nothing in it is checked but its line ends."""
    head = data[:MAX_MESSAGE].lstrip(b"\r\n").partition(b"\r\n\r\n")[0]
    start, *lines = _ANY_END.split(head.decode("utf-8", "surrogateescape"))[: MAX_HEADERS + 1]
    message = _salvaged_start(start[:MAX_LINE])
    if message is None:
        return None
    for line in lines:
        _keep_for_response(message, line)
    return message


def _salvaged_start(start: str) -> Request | Response | None:
    match = _STATUS_LINE.fullmatch(start)
    if match:
        return _response(int(match[2][:3]), match[3] or "")
    match = _LOOKS_LIKE_REQUEST.fullmatch(start)
    return _request(match[1], "") if match else None


def _keep_for_response(message: Message, line: str) -> None:
    name, _, value = line.partition(":")
    value = unfold(value)
    if len(line) > MAX_LINE or _CONTROL.search(value) or "\r" in value or "\n" in value:
        return
    try:
        key = header_key(name)
    except ParseError:
        return
    if key not in _FOR_RESPONSES or (key != "via" and key in message._values):
        return
    message._lines.append(f"{header_name(key)}: {value}")
    message._values.setdefault(key, []).append(value)
