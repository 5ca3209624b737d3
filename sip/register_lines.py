# SPDX-License-Identifier: GPL-3.0-or-later
"""A REGISTER as its lines, for the short ways: what differs from one to the next of a phone, and all the rest."""

from __future__ import annotations

import re

from sip.agent import Agent
from sip.effects import Address
from sip.facts import fact
from sip.headers import DEFAULT_PORTS
from sip.message import server_key_of

_VIA = re.compile(
    r"(SIP/2\.0/(UDP|TCP|TLS) ([A-Za-z0-9][A-Za-z0-9.-]{0,63})(?::([0-5]?[0-9]{1,4}))?)"
    r"(?:;rport;branch=(z9hG4bK[A-Za-z0-9._-]{1,128})|;branch=(z9hG4bK[A-Za-z0-9._-]{1,128});rport)"
)
_CSEQ = re.compile(r"([0-9]{1,9}) REGISTER")
_VIA_LINE, _CSEQ_LINE, _CREDENTIALS_LINE = "\r\nVia: ", "\r\nCSeq: ", "\r\nAuthorization: "
_LINE_END, _END = "\r\n", b"\r\n\r\n"


@fact
class Lines:
    """The values of Via, CSeq and Authorization, "" where there is none; and all other lines, each with its end.

    number: of CSeq; -1 where that is not spelled as usual.
    """

    via: str
    cseq: str
    number: int
    credentials: str
    rest: str


@fact
class Hop:
    """The only Via of a REGISTER. stamped: as its answers have it; key: that of its transaction."""

    stamped: str
    key: str

    @classmethod
    def of(cls, via: str, source: Address) -> Hop | None:
        """None where it is not spelled as usual, or does not ask for rport."""
        match = _VIA.fullmatch(via)
        if match is None:
            return None
        sent_by, transport, host, port, last, first = match.groups()
        rport, received = f";rport={source.port}", f";received={source.host}"
        branch = last or first
        params = f"{rport};branch={branch}" if last else f";branch={branch}{rport}"
        number = int(port or DEFAULT_PORTS.get(transport.lower(), 5060))
        return cls(f"{sent_by}{params}{received}", server_key_of("REGISTER", branch, host.lower(), number))


def take_apart(data: bytes) -> Lines | None:
    """None where there is more than one Via, CSeq or Authorization, no Via, no CSeq, or a body."""
    if data.find(_END) != len(data) - len(_END):
        return None
    text = data[: -len(_LINE_END)].decode("utf-8", "surrogateescape")
    via, text = _cut(text, _VIA_LINE)
    cseq, text = _cut(text, _CSEQ_LINE)
    credentials, text = _cut(text, _CREDENTIALS_LINE)
    if not via or not cseq or _VIA_LINE in text or _CSEQ_LINE in text or _CREDENTIALS_LINE in text:
        return None
    match = _CSEQ.fullmatch(cseq)
    return Lines(via, cseq, int(match[1]) if match else -1, credentials, text)


def _cut(text: str, name: str) -> tuple[str, str]:
    """The value of the first line of this name, "" where there is none, and the text without that line."""
    begin = text.find(name)
    if begin < 0:
        return "", text
    end = text.find(_LINE_END, begin + len(_LINE_END))
    return text[begin + len(name) : end], text[:begin] + text[end:]


def answer(agent: Agent, status: str, hop: Hop, lines: Lines, echoed: tuple[str, str, str], more: str) -> bytes:
    """As `build.response_bytes` writes it, of what was checked.

    echoed: the values of From, To, which has no tag, and Call-ID. more: header lines, without the last line end.
    """
    from_, to, call_id = echoed
    tag = agent.tag_of(call_id, from_, lines.cseq)
    return (
        f"SIP/2.0 {status}\r\nVia: {hop.stamped}\r\nFrom: {from_}\r\nTo: {to};tag={tag}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {lines.cseq}\r\n{more}\r\nServer: {agent.settings.server}\r\nContent-Length: 0\r\n\r\n"
    ).encode("utf-8", "surrogateescape")
