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

from sip.agent import Agent
from sip.authentication import Authentication
from sip.effects import Address
from sip.headers import DEFAULT_PORTS, AuthValue
from sip.message import Request, server_key_of
from sip.recent import Recent
from sip.registrar import Binding, contact_value
from sip.registration import Registration
from sip.transaction_table import SERVER

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
    """A REGISTER that was granted, as its repetition needs it. named: in which lines From, To and Call-ID are."""

    username: str
    seconds: float
    bindings: tuple[Binding, ...]
    named: bytes


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
            named = bytes(values.index(request.values(name)[0]) for name in ("from", "to", "call-id"))
        except ValueError:
            return
        if lines[0] == f"REGISTER {request.uri} SIP/2.0":
            bindings = self._registration.registrar.bindings(username)
            self._granted.put(parts[0], Granted(username, seconds, bindings, named))

    def take(self, data: bytes, source: Address, local: Address, now: float) -> bool:
        """Whether this was a repetition, and was granted; else nothing has happened."""
        parts = self._parts = self._take_apart(data)
        granted = self._granted.get(parts[0]) if parts else None
        if parts is None or granted is None:
            return False
        via, cseq = _VIA.fullmatch(parts[1]), _CSEQ.fullmatch(parts[2])
        if via is None or cseq is None or via[5].count(";rport") != 1:
            return False
        last = granted.bindings
        if self._registration.registrar.bindings(granted.username) is not last or int(cseq[1]) <= last[0].cseq:
            return False
        if last[0].received != source or last[0].local != local:
            return False
        key = server_key_of("REGISTER", via[6], via[3].lower(), int(via[4] or DEFAULT_PORTS.get(via[2].lower(), 5060)))
        if self._agent.layer.find_server(key) or not self._proves(parts, granted, source, now):
            return False
        stamped = f"{via[1]}{via[5].replace(';rport', f';rport={source.port}')};received={source.host}"
        transaction = self._agent.layer.begin(SERVER, key, source if source.reliable else last[0].received, local, now)
        binding = self._registration.extend(granted.username, int(cseq[1]), now + granted.seconds)
        granted.bindings = self._registration.registrar.bindings(granted.username)
        from_, to, call_id = (_value(parts[4][line]) for line in granted.named)
        answer = self._answer(stamped, cseq[0], from_, to, call_id, contact_value(binding, now))
        transaction.respond(200, answer, now)
        self._registration.changed(granted.username)
        return True

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


def _value(line: str) -> str:
    """Of a header line, as the parser reads it."""
    return line.partition(":")[2].strip(" \t")
