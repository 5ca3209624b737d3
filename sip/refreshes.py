# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way for a REGISTER that repeats the last one of its phone but for branch, CSeq and credentials.

Nearly all are: phones refresh for days; those that are not there yet are for `sip.arrivals`. What was read, checked and
granted once holds for the same bytes again, so only the three lines that differ are looked at, and the credentials are
verified as ever. Whatever is unusual returns to the long way, which `tests/sip/test_refreshes.py` holds this one to.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from sys import intern

from sip.agent import Agent
from sip.arrivals import Arrivals, Lookup, credentials
from sip.authentication import Authentication
from sip.defence import Defence
from sip.effects import Address, Send
from sip.message import Request
from sip.recent import Recent
from sip.register_lines import Hop, Lines, answer, take_apart
from sip.registrar import Binding, contact_value
from sip.registration import Registration

MAX_REMEMBERED = 40_000
MAX_LINES = 256


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

    def __init__(
        self, agent: Agent, authentication: Authentication, registration: Registration, defence: Defence
    ) -> None:
        self.lookup: Lookup | None = None
        self._agent = agent
        self._authentication = authentication
        self._registration = registration
        self._arrivals = Arrivals(agent, authentication, registration, defence)
        self._granted: Recent[bytes, Granted] = Recent(MAX_REMEMBERED)
        """By a keyed hash of all lines but three, as ten thousand phones have many; who sent it is in its binding."""
        self._lines: Lines | None = None
        """Of the REGISTER that `take` was asked about last, where it has credentials."""
        self._memory = agent.settings.intervals.give_up
        self._marks = blake2s(key=agent.settings.secret[:32], digest_size=16, person=b"register")

    def __len__(self) -> int:
        return len(self._granted)

    def learn(self, request: Request, username: str, seconds: float) -> None:
        """Remember the REGISTER that `take` was asked about last: it has one contact, granted for so many seconds."""
        lines = self._lines
        if lines is None or self.lookup is None or request.values("via") != [str(request.via)]:
            return
        values = [_value(line) for line in lines.rest.split("\r\n", MAX_LINES)[:MAX_LINES]]
        try:
            named = "".join(chr(values.index(request.values(name)[0])) for name in ("from", "to", "call-id"))
        except ValueError:
            return
        (binding,) = self._registration.registrar.bindings(username)
        usual = lines.number >= 0 and Hop.of(lines.via, binding.received)
        if usual and lines.rest.startswith(f"REGISTER {request.uri} SIP/2.0\r\n"):
            self._remember(self._mark(lines), lines, username, seconds, named)
            self._agent.layer.settle(request.transaction_key)

    def take(self, data: bytes, source: Address, local: Address, now: float, anew: bool = True) -> bool:
        """Whether this was as usual, and was answered; else nothing has happened.

        It leaves no transaction: all that makes the answer to a repetition once more, byte for byte, is in the request
        and its binding. anew: whether there is time for others than those that were answered before.
        """
        self._lines = None
        if self.lookup is None:
            return False
        lines = take_apart(data)
        if lines is None:
            return False
        if not lines.credentials:
            return anew and self._arrivals.challenge(lines, len(data), source, local, now)
        self._lines, mark = lines, self._mark(lines)
        granted = self._granted.get(mark)
        if granted is None:
            return anew and self._arrive(mark, lines, source, local, now)
        return self._repeat(lines, granted, source, local, now, anew)

    def _arrive(self, mark: bytes, lines: Lines, source: Address, local: Address, now: float) -> bool:
        assert self.lookup
        username, seconds = self._arrivals.admit(lines, source, local, now, self.lookup)
        if not username:
            return False
        ends = [lines.rest.find(name) + 1 for name in ("\r\nFrom: ", "\r\nTo: ", "\r\nCall-ID: ")]
        named = "".join([chr(lines.rest.count("\n", 0, end + 1)) for end in ends])
        self._remember(mark, lines, username, seconds, named)
        return True

    def _repeat(self, lines: Lines, granted: Granted, source: Address, local: Address, now: float, anew: bool) -> bool:
        hop, number = Hop.of(lines.via, source), lines.number
        if hop is None or number < 0:
            return False
        last = granted.bindings
        if self._registration.registrar.bindings(granted.username) is not last or number < last[0].cseq:
            return False
        if last[0].received != source or last[0].local != local:
            return False
        if number == last[0].cseq:
            if granted.last != _last(lines) or now >= last[0].expires - granted.seconds + self._memory:
                return False
            self._grant(lines, hop, granted, now=last[0].expires - granted.seconds)
            return True
        if not anew or self._agent.layer.find_server(hop.key) or not self._proves(lines, granted, source, now):
            return False
        self._registration.extend(granted.username, number, now + granted.seconds)
        granted.bindings = self._registration.registrar.bindings(granted.username)
        granted.last = _last(lines)
        self._registration.changed(granted.username)
        self._grant(lines, hop, granted, now)
        return True

    def _grant(self, lines: Lines, hop: Hop, granted: Granted, now: float) -> None:
        """Answer 200, as it was at that time."""
        (binding,) = granted.bindings
        every = lines.rest.split("\r\n")
        from_, to, call_id = [_value(every[ord(line)]) for line in granted.named]
        more = f"Contact: {contact_value(binding, now)}"
        data = answer(self._agent, "200 OK", hop, lines, (from_, to, call_id), more)
        self._agent.effects.append(Send(data, binding.received, binding.local))

    def _mark(self, lines: Lines) -> bytes:
        mark = self._marks.copy()
        mark.update(lines.rest.encode("utf-8", "surrogateescape"))
        return mark.digest()

    def _remember(self, mark: bytes, lines: Lines, username: str, seconds: float, named: str) -> None:
        bindings = self._registration.registrar.bindings(username)
        self._granted.put(mark, Granted(username, seconds, bindings, intern(named), _last(lines)))

    def _proves(self, lines: Lines, granted: Granted, source: Address, now: float) -> bool:
        offered = credentials(lines)
        if self.lookup is None or offered is None:
            return False
        secrets = self.lookup(self._agent.settings.realm, granted.username)
        if secrets is None:
            return False
        uri = lines.rest[len("REGISTER ") : lines.rest.find(" SIP/2.0\r\n")]
        return self._authentication.repeats(offered, granted.username, uri, secrets, source, now)


def _last(lines: Lines) -> int:
    return hash((lines.via, lines.cseq, lines.credentials))


def _value(line: str) -> str:
    """Of a header line, as the parser reads it."""
    return line.partition(":")[2].strip(" \t")
