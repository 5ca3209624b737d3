# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way for the two REGISTERs of a phone that is not there: the one without credentials, and the first with.

Nothing is remembered of whoever has not proved a password; but most phones write what this file knows, and then two
patterns tell all that the long way would find out. A line that is not known here, or known and spelled otherwise, is
for the long way, to which `tests/sip/test_arrivals.py` holds this one. Whoever does not prove a password goes it as
well, whether or not there is such a user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from sys import intern

from sip.agent import Agent
from sip.authentication import Authentication
from sip.defence import Defence, is_scanner
from sip.digest import Credentials
from sip.effects import Address, Send
from sip.errors import ProtocolError
from sip.facts import fact
from sip.headers import AuthValue, NameAddr
from sip.reach import hidden
from sip.register_lines import Hop, Lines, answer
from sip.registrar import Binding, contact_value
from sip.registration import Registration

MAX_TEXT, MAX_CREDENTIALS = 4096, 1024
_NAME = r'(?:"[A-Za-z0-9 ._-]*+" ?)?'
_USER = "[A-Za-z0-9_.+-]++"
_HOST, _PORT = "[A-Za-z0-9][A-Za-z0-9.-]*+", "(?::[0-5]?[0-9]{1,4})?"
_PAIRS = "(?:;[A-Za-z0-9_-]++(?:=[A-Za-z0-9_.-]++)?)*"
_PRINTABLE = "(?! )[ -~]++(?<! )"
_USUAL = re.compile(
    r"REGISTER (sip:([A-Za-z0-9][A-Za-z0-9.-]{0,253})(?::[0-9]{1,4})?) SIP/2\.0\r\n(?:(?:"
    r"Max-Forwards: ([0-9]{1,2})|"
    rf"From: ({_NAME}<sip:(?:{_USER}@)?{_HOST}{_PORT}{_PAIRS}>{_PAIRS})|"
    rf"To: ({_NAME}<sip:({_USER})@({_HOST}){_PORT}{_PAIRS}>)|"
    r"Call-ID: ([!-~]++)|"
    rf"Contact: ({_NAME}<(sip:(?:{_USER}@)?({_HOST}){_PORT}{_PAIRS})>({_PAIRS}))|"
    r"Expires: ([0-9]{1,9})|"
    rf"User-Agent: ({_PRINTABLE})|"
    rf"Allow: ({_PRINTABLE})|"
    rf"Supported: ({_PRINTABLE})|"
    rf"Allow-Events: ({_PRINTABLE})|"
    r"Content-Length: (0))\r\n)*",
    re.ASCII,
)
"""Lines that do not ask for anything unusual, spelled as usual, in any order; each is a group, with more inside."""
_WITHIN = 6
"""Groups inside of those of the first line, To and Contact, which all have to be there."""

Lookup = Callable[[str, str], Mapping[str, str] | None]
"""HA1 in hex by algorithm, of a user of a realm; None where it cannot be told at once."""


@fact
class Plain:
    """What a REGISTER says that is spelled as usual.

    domains: that it is sent to, and that of To; echoed: the values of From, To and Call-ID; user: whose it is; contact:
    its URI, which is at `host`; q, asked: its preference, and for how long it is to be there, None where nothing is
    said of that.
    """

    uri: str
    domains: tuple[str, str]
    echoed: tuple[str, str, str]
    user: str
    contact: str
    host: str
    q: float
    asked: int | None
    agent: str


class Arrivals:
    """Whoever is to be asked for a password, and whoever proves it for the first time."""

    def __init__(
        self, agent: Agent, authentication: Authentication, registration: Registration, defence: Defence
    ) -> None:
        self._agent = agent
        self._defence = defence
        self._authentication = authentication
        self._registration = registration

    def challenge(self, lines: Lines, size: int, source: Address, local: Address, now: float) -> bool:
        """Whether this was a REGISTER without credentials, and has been asked for some; else nothing has happened.

        size: bytes that it came in, to which the answer is in proportion.
        """
        hop, plain = self._taken(lines, source)
        if hop is None or plain is None:
            return False
        _, challenges = self._authentication.challenge("REGISTER", now)
        more = "\r\n".join([f"{name}: {value}" for name, value in challenges])
        data = answer(self._agent, "401 Unauthorized", hop, lines, plain.echoed, more)
        if not self._defence.fits(source, size, len(data), now):
            return False
        self._agent.effects.append(Send(data, source, local))
        return True

    def admit(self, lines: Lines, source: Address, local: Address, now: float, lookup: Lookup) -> tuple[str, float]:
        """The user who was granted his only contact by this REGISTER, and for how many seconds.

        "" where that was not so, and then nothing has happened. That a user has contacts is looked at only after he has
        proved who he is: nobody else may find out by how long the answer takes.
        """
        hop, plain = self._taken(lines, source)
        offered = credentials(lines)
        if hop is None or plain is None or offered is None:
            return "", 0.0
        secrets = lookup(self._agent.settings.realm, plain.user)
        if not self._authentication.proven(offered, plain.user, plain.uri, secrets, source, now):
            return "", 0.0
        if self._registration.registrar.bindings(plain.user):
            return "", 0.0
        seconds = self._granted(plain) if all(map(self._agent.serves, plain.domains)) else 0.0
        if not seconds or not self._authentication.use(offered, source, now):
            return "", 0.0
        expires, call_id = now + seconds, plain.echoed[2]
        binding = Binding(plain.contact, plain.q, expires, call_id, lines.number, source, local, intern(plain.agent))
        self._registration.add(plain.user, binding, now, hidden(plain.host, source))
        more = f"Contact: {contact_value(binding, now)}"
        self._agent.effects.append(Send(answer(self._agent, "200 OK", hop, lines, plain.echoed, more), source, local))
        return plain.user, seconds

    def _taken(self, lines: Lines, source: Address) -> tuple[Hop | None, Plain | None]:
        """What there is to know, where it is all as usual and there is room for one more."""
        layer = self._agent.layer
        if len(layer) >= self._agent.settings.max_transactions or lines.number < 0:
            return None, None
        hop = Hop.of(lines.via, source)
        return (None, None) if hop is None or layer.find_server(hop.key) else (hop, _remembered(lines.rest))

    def _granted(self, plain: Plain) -> float:
        """For how long; 0 where the long way says why not."""
        try:
            return self._registration.registrar.granted(plain.asked)
        except ProtocolError:
            return 0


def credentials(lines: Lines) -> Credentials | None:
    """What these lines offer to prove who they are from; None where that is not spelled as usual."""
    text = lines.credentials
    if len(text) > MAX_CREDENTIALS:
        return None
    return Credentials.plain(text) or (
        Credentials.of(AuthValue.parse(text)) if text.isascii() and text.isprintable() else None
    )


def read(text: str) -> Plain | None:
    """The lines of a REGISTER but for Via, CSeq and Authorization; None where anything is unusual."""
    match = _USUAL.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        return None
    found = match.groups()
    uri, domain, _, from_, to, user, host_of_to, call_id, value, contact, host, params, expires, agent, *_ = found
    if not from_ or not to or not call_id or not value:
        return None
    if len(found) - found.count(None) != text.count("\r\n") + _WITHIN:
        return None  # a line is there twice
    if agent and is_scanner(agent):
        return None
    q, asked = 1.0, None if expires is None else int(expires)
    if params:
        whole = NameAddr.parse(value)
        q, asked = whole.q, asked if whole.expires is None else whole.expires
    return Plain(uri, (domain, host_of_to), (from_, to, call_id), user, contact, host, q, asked, agent or "")


_remembered = lru_cache(maxsize=128)(read)
"""What is challenged comes again with credentials and else the same."""
