# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way for a REGISTER that repeats the last one of its phone but for branch, CSeq and credentials.

Nearly all are: phones refresh for days. What was read, checked and granted once holds for the same bytes again, so only
the three lines that differ are looked at, and the credentials are verified as ever. Whatever is unusual returns to the
long way, which `tests/sip/test_refreshes.py` holds this one to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2s
from sys import intern

from sip.agent import Agent
from sip.authentication import Authentication
from sip.effects import Address, Send
from sip.headers import DEFAULT_PORTS, AuthValue
from sip.message import Request, server_key_of
from sip.recent import Recent
from sip.registrar import Binding, contact_value
from sip.registration import Registration

MAX_REMEMBERED = 40_000
MAX_LINES = 256
_VIA = re.compile(
    r"(SIP/2\.0/(UDP|TCP|TLS) ([A-Za-z0-9.-]{1,64})(?::([0-5]?[0-9]{1,4}))?)"
    r"((?:;rport)?;branch=(z9hG4bK[A-Za-z0-9._-]{1,128})(?:;rport)?)"
)
_CSEQ = re.compile(r"([0-9]{1,9}) REGISTER")
_CREDENTIALS = re.compile(r"Digest [\x20-\x7e]{1,1024}")
_VARIABLE = ("Via: ", "CSeq: ", "Authorization: ")
_END = b"\r\n\r\n"
CREDENTIALS = b"\r\nAuthorization: "
"""Without this line no REGISTER is a repetition of one that was granted."""

Lookup = Callable[[str, str], Mapping[str, str] | None]
"""HA1 in hex by algorithm, of a user of a realm; None where it cannot be told at once."""
Parts = tuple[bytes, str, str, str, list[str]]
"""A keyed hash of all lines but three, as ten thousand phones have many; the values of Via, CSeq, Authorization; and
those lines.
"""


@dataclass(slots=True)
class Granted:
    """A REGISTER that was granted, as its repetition needs it. named: in which lines From, To and Call-ID are.

    last: a hash of the three lines of the last one, as Python keys it: who sends it once more hears the same again.
    """

    username: str
    seconds: float
    bindings: tuple[Binding, ...]
    named: str
    last: int


class Refreshes:
    """What was granted last, by everything that a repetition has in common with it."""

    def __init__(self, agent: Agent, authentication: Authentication, registration: Registration) -> None:
        self.lookup: Lookup | None = None
        self._agent = agent
        self._authentication = authentication
        self._registration = registration
        self._granted: Recent[bytes, Granted] = Recent(MAX_REMEMBERED)
        """By the hash of `Parts`; from where and to where the REGISTER came is in its binding."""
        self._parts: Parts | None = None
        """Of the REGISTER that `take` was asked about last."""
        self._memory = agent.settings.intervals.give_up
        self._marks = blake2s(key=agent.settings.secret[:32], digest_size=16, person=b"register")

    def __len__(self) -> int:
        return len(self._granted)

    def learn(self, request: Request, username: str, seconds: float) -> None:
        """Remember the REGISTER that `take` was asked about last: it has one contact, granted for so many seconds."""
        parts = self._parts
        if parts is None or self.lookup is None or request.values("via") != [str(request.via)]:
            return
        lines = parts[4]
        values = [_value(line) for line in lines[:MAX_LINES]]
        try:
            named = "".join(chr(values.index(request.values(name)[0])) for name in ("from", "to", "call-id"))
        except ValueError:
            return
        if lines[0] == f"REGISTER {request.uri} SIP/2.0":
            bindings = self._registration.registrar.bindings(username)
            self._granted.put(parts[0], Granted(username, seconds, bindings, intern(named), _last(parts)))
            self._agent.layer.settle(request.transaction_key)

    def take(self, data: bytes, source: Address, local: Address, now: float, anew: bool = True) -> bool:
        """Whether this was a repetition, and was granted; else nothing has happened.

        It leaves no transaction: all that makes the answer once more, byte for byte, is in the request and its binding.
        anew: whether there is time for others than those that were answered before.
        """
        parts = self._parts = self._take_apart(data)
        granted = self._granted.get(parts[0]) if parts else None
        if parts is None or granted is None:
            return False
        via, cseq = _VIA.fullmatch(parts[1]), _CSEQ.fullmatch(parts[2])
        if via is None or cseq is None or via[5].count(";rport") != 1:
            return False
        last = granted.bindings
        number = int(cseq[1])
        if self._registration.registrar.bindings(granted.username) is not last or number < last[0].cseq:
            return False
        if last[0].received != source or last[0].local != local:
            return False
        stamped = f"{via[1]}{via[5].replace(';rport', f';rport={source.port}')};received={source.host}"
        if number == last[0].cseq:
            if granted.last != _last(parts) or now >= last[0].expires - granted.seconds + self._memory:
                return False
            self._grant(parts, stamped, granted, now=last[0].expires - granted.seconds)
            return True
        if not anew:
            return False
        key = server_key_of("REGISTER", via[6], via[3].lower(), int(via[4] or DEFAULT_PORTS.get(via[2].lower(), 5060)))
        if self._agent.layer.find_server(key) or not self._proves(parts, granted, source, now):
            return False
        self._registration.extend(granted.username, number, now + granted.seconds)
        granted.bindings = self._registration.registrar.bindings(granted.username)
        granted.last = _last(parts)
        self._registration.changed(granted.username)
        self._grant(parts, stamped, granted, now)
        return True

    def _grant(self, parts: Parts, via: str, granted: Granted, now: float) -> None:
        """Answer 200, as it was at that time."""
        (binding,) = granted.bindings
        from_, to, call_id = (_value(parts[4][ord(line)]) for line in granted.named)
        answer = self._answer(via, parts[2], from_, to, call_id, contact_value(binding, now))
        self._agent.effects.append(Send(answer, binding.received, binding.local))

    def _take_apart(self, data: bytes) -> Parts | None:
        """None where there is not one of each."""
        if data.find(_END) != len(data) - len(_END):
            return None
        rest: list[str] = []
        via = cseq = credentials = ""
        for line in data[: -len(_END)].decode("utf-8", "surrogateescape").split("\r\n"):
            if line.startswith(_VARIABLE):
                if line[0] == "V" and not via:
                    via = line[5:]
                elif line[0] == "C" and not cseq:
                    cseq = line[6:]
                elif line[0] == "A" and not credentials:
                    credentials = line[15:]
                else:
                    return None
            else:
                rest.append(line)
        if not (via and cseq and credentials):
            return None
        mark = self._marks.copy()
        mark.update("\r\n".join(rest).encode("utf-8", "surrogateescape"))
        return mark.digest(), via, cseq, credentials, rest

    def _proves(self, parts: Parts, granted: Granted, source: Address, now: float) -> bool:
        if self.lookup is None or not _CREDENTIALS.fullmatch(parts[3]):
            return False
        secrets = self.lookup(self._agent.settings.realm, granted.username)
        if secrets is None:
            return False
        value, uri = AuthValue.parse(parts[3]), parts[4][0][len("REGISTER ") : -len(" SIP/2.0")]
        return self._authentication.repeats(value, granted.username, uri, secrets, source, now)

    def _answer(self, via: str, cseq: str, from_: str, to: str, call_id: str, contact: str) -> bytes:
        """As `build.response_bytes` writes it; all of it was checked when it was first granted."""
        tag = self._agent.tag_of(call_id, from_, cseq)
        return (
            f"SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {from_}\r\nTo: {to};tag={tag}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {cseq}\r\nContact: {contact}\r\nServer: {self._agent.settings.server}\r\nContent-Length: 0\r\n\r\n"
        ).encode("utf-8", "surrogateescape")


def _last(parts: Parts) -> int:
    return hash(parts[1:4])


def _value(line: str) -> str:
    """Of a header line, as the parser reads it."""
    return line.partition(":")[2].strip(" \t")
