# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sent this request? Asked of every one that makes something new; nobody is let in without an answer.

An unknown user is treated as a known one with another password: same work, same answers (RFC 3261 §22, RFC 8760).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from sip.agent import Agent
from sip.counters import Counters
from sip.defence import Buckets, Defence
from sip.digest import Credentials
from sip.effects import Address, Authenticate
from sip.message import Request
from sip.nonces import Guard, Verdict
from sip.recent import Recent

GRANTED = Verdict.GRANTED
UNAVAILABLE = 503
MAX_OFFENDERS = 10_000
MAX_PROVEN = 200_000
Offender = tuple[str, str]
"""A user's name as it was offered, and the address that offered it."""
_NAME_LENGTH = 64
Refuse = Callable[[int, str | None, list[tuple[str, str]]], None]
"""Takes status, reason and headers of the answer to a request that is not let in."""
Admit = Callable[[str, float], None]
"""Takes the name of the user that was authenticated."""


class Authentication:
    """Digest for all users of the realm, and a limit to wrong guesses of one user from one address."""

    def __init__(self, agent: Agent, defence: Defence, counters: Counters | None) -> None:
        """counters: see Guard."""
        self._agent = agent
        self._defence = defence
        settings = agent.settings
        self._guard = Guard(
            settings.nonce_key or settings.secret,
            settings.realm,
            algorithms=settings.algorithms,
            lifetime=settings.nonce_life,
            counters=counters,
        )
        self._offences: OrderedDict[Offender, tuple[int, float]] = OrderedDict()
        self._proven: Recent[int, bool] = Recent(MAX_PROVEN)
        """By the hash of the offender, which Python keys."""
        per_hour = settings.guesses_per_hour
        self._guesses = Buckets(per_hour / 3600, per_hour, MAX_OFFENDERS)

    def credentials(self, request: Request) -> Credentials | None:
        """What the request offers for our realm."""
        return self._guard.find((*request.proxy_authorizations, *request.authorizations))

    def repeats(
        self, offered: Credentials, username: str, uri: str, secrets: Mapping[str, str], source: Address, now: float
    ) -> bool:
        """Whether `offered` proves this user once more in a REGISTER; if not, nothing has happened."""
        offender = (username[:_NAME_LENGTH], source.host)
        if offered.username != username or offender in self._offences or not self._guard.accepts(offered):
            return False
        if (
            not self._proven.get(hash(offender))
            or self._guard.verify(offered, "REGISTER", uri, secrets, now) is not GRANTED
        ):
            return False
        self._defence.know(source, now)
        return True

    def proven(
        self,
        offered: Credentials,
        username: str,
        uri: str,
        secrets: Mapping[str, str] | None,
        source: Address,
        now: float,
    ) -> bool:
        """Whether `offered` proves this user's password in a REGISTER; if not, nothing has happened.

        secrets: None for an unknown user, who takes as long. It may have been used before: see `use`.
        """
        offender = (username[:_NAME_LENGTH], source.host)
        if offered.username != username or offender in self._offences or not self._guard.accepts(offered):
            return False
        return not self._guessed(offender, now) and self._guard.proves(offered, "REGISTER", uri, secrets)

    def use(self, offered: Credentials, source: Address, now: float) -> bool:
        """Whether what `proven` returned is used in time and for the first time; its user is known there then."""
        if not self._guard.take(offered, now):
            return False
        self._prove((offered.username[:_NAME_LENGTH], source.host), source, now)
        return True

    def challenge(self, method: str, now: float, stale: bool = False) -> tuple[int, list[tuple[str, str]]]:
        """Status and headers that ask for credentials: 401 as a registrar, 407 as a way to others."""
        name, status = ("WWW-Authenticate", 401) if method == "REGISTER" else ("Proxy-Authenticate", 407)
        challenges = self._guard.challenges(now, self._agent.randomness(), stale=stale)
        return status, [(name, challenge) for challenge in challenges]

    def check(
        self, request: Request, offered: Credentials, source: Address, admit: Admit, refuse: Refuse, now: float
    ) -> None:
        """Verify what `credentials` found, and go on with one of `admit` and `refuse` when the user is known."""
        offender = (offered.username[:_NAME_LENGTH], source.host)
        if self._locked(offender, now) or self._guessed(offender, now):
            self._defence.offend(source, now)
            refuse(403, "Forbidden", [])
            return

        def judge(ha1s: Mapping[str, str] | None, when: float) -> None:
            verdict = self._guard.verify(offered, request.method, request.uri, ha1s, when)
            if verdict is Verdict.GRANTED:
                self._prove(offender, source, when)
                admit(offered.username, when)
            else:
                if verdict is Verdict.DENIED:
                    self._defence.offend(source, when)
                    self._guesses.take(offender[0], when)
                refuse(*self._sentence(verdict, request, offender, when))

        def fail(status: int, reason: str, when: float) -> None:
            later = [("Retry-After", str(self._agent.settings.retry_after))]
            refuse(status, reason, later if status == UNAVAILABLE else [])

        token = self._agent.questions.ask(judge, fail, now)
        self._agent.effects.append(Authenticate(token, self._agent.settings.realm, offered.username))

    def _sentence(
        self, verdict: Verdict, request: Request, offender: Offender, now: float
    ) -> tuple[int, str | None, list[tuple[str, str]]]:
        """Status, reason and headers for one who was not let in."""
        stale = verdict is Verdict.STALE
        if not stale and self._offend(offender, now) > self._agent.settings.wrong_passwords:
            return 403, "Forbidden", []
        status, headers = self.challenge(request.method, now, stale)
        return status, None, headers

    def _prove(self, offender: Offender, source: Address, now: float) -> None:
        """Remember that this user's password is known there."""
        self._offences.pop(offender, None)
        self._defence.know(source, now)
        self._proven.put(hash(offender), True)

    def _guessed(self, offender: Offender, now: float) -> bool:
        """Whether the password was guessed at so often that only those are heard who have known it before."""
        return not self._proven.get(hash(offender)) and self._guesses.empty(offender[0], now)

    def _locked(self, offender: Offender, now: float) -> bool:
        count, since = self._offences.get(offender, (0, now))
        if now - since >= self._agent.settings.lockout:
            del self._offences[offender]
            return False
        return count > self._agent.settings.wrong_passwords

    def _offend(self, offender: Offender, now: float) -> int:
        """Count one more wrong answer. The oldest offender is forgotten where there are too many."""
        count, since = self._offences.get(offender, (0, now))
        self._offences[offender] = (count + 1, since)
        if len(self._offences) > MAX_OFFENDERS:
            self._offences.popitem(last=False)
        return count + 1
