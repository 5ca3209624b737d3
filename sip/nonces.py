# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's side of Digest: nonces that need no memory, counters that do (RFC 7616 §3.3, §3.4, §5.4, §5.5).

A nonce is its own proof: time, randomness, and a keyed hash of both and the realm (BLAKE2s, RFC 7693). Only nonces that
a right response has used are remembered, for their counters, so that nobody without a password can fill their table.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from hashlib import blake2s

from sip.counters import Counters
from sip.digest import STRONGEST_FIRST, Challenge, Credentials, digest
from sip.errors import ParseError
from sip.headers import AuthValue
from sip.uri import Uri, equivalent

_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


class Verdict(Enum):
    """GRANTED; STALE: right password, but challenge again with stale=true; DENIED: anything else."""

    GRANTED = auto()
    STALE = auto()
    DENIED = auto()


class Guard:
    """Challenges and verifies for one realm.

    secret: key of the nonces, at least 16 bytes, and another wherever `counters` begin anew: so that no replay outlives
    our memory of it. algorithms: those offered and accepted, the preferred first. lifetime: seconds for which a nonce
    holds. require_qop: False lets RFC 2069 clients in, for whom each nonce then holds once. counters: where others
    verify the same nonces, the table of all of them.
    """

    def __init__(
        self,
        secret: bytes,
        realm: str,
        *,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        lifetime: float = 300.0,
        require_qop: bool = True,
        counters: Counters | None = None,
    ) -> None:
        self.realm = realm
        self.algorithms = tuple(name.upper() for name in algorithms)
        self.lifetime = lifetime
        self._proofs = blake2s(key=secret[:32], digest_size=16, person=b"nonce")
        self._require_qop = require_qop
        self._counters = counters or Counters()
        self._forms = {stale: [_form(realm, name, stale) for name in self.algorithms] for stale in (False, True)}
        self._nobody = {name: digest(name, f"{realm}:{secret.hex()}") for name in STRONGEST_FIRST}
        """In place of the HA1 of whoever has none."""
        self._refuted: tuple[Credentials, str, str, Mapping[str, str] | None] | None = None
        """What proved nothing last: whoever goes the long way after the short one is not judged twice."""

    def challenges(self, now: float, entropy: bytes, *, stale: bool = False) -> list[str]:
        """The value of one challenge per algorithm, in order; write each as a line of its own (RFC 8760 §2.3).

        now: seconds of the clock that `verify` gets. entropy: 8 fresh random bytes.
        """
        nonce = self._nonce(int(now * 1000), entropy)
        return [f"{before}{nonce}{after}" for before, after in self._forms[stale]]

    def find(self, values: Iterable[AuthValue]) -> Credentials | None:
        """The first credentials for our realm by an algorithm that we accept, out of a request's header."""
        for value in values:
            credentials = Credentials.of(value)
            if credentials and self.accepts(credentials):
                return credentials
        return None

    def accepts(self, credentials: Credentials) -> bool:
        """Whether they are for our realm, and computed in a way that we let in."""
        if credentials.realm != self.realm or credentials.algorithm.upper() not in self.algorithms:
            return False
        if credentials.qop:
            return credentials.qop.lower() == "auth" and _counter(credentials.nc) > 0 and credentials.cnonce != ""
        return not self._require_qop

    def verify(
        self, credentials: Credentials, method: str, uri: str, secrets: Mapping[str, str] | None, now: float
    ) -> Verdict:
        """Judge credentials that `find` returned; see `proves` for the arguments."""
        if not self.proves(credentials, method, uri, secrets):
            return Verdict.DENIED
        return Verdict.GRANTED if self.take(credentials, now) else Verdict.STALE

    def proves(self, credentials: Credentials, method: str, uri: str, secrets: Mapping[str, str] | None) -> bool:
        """Whether credentials that we accept are of somebody who knows the password, at whatever time.

        method, uri: of the request. secrets: HA1 in hex by algorithm; None for an unknown user, who costs the same work
        and gets the same answer.
        """
        judged = credentials, method, uri, secrets
        if judged == self._refuted:
            return False
        self._refuted = None
        algorithm = credentials.base_algorithm
        ha1 = (secrets or {}).get(algorithm) or self._nobody[algorithm]
        expected = credentials.expected_response(ha1, method)
        given = credentials.response.lower().encode("utf-8", "surrogateescape")
        proven = hmac.compare_digest(expected.encode(), given)
        known = secrets is not None and algorithm in secrets
        if proven and known and _same_uri(credentials.uri, uri):
            return True
        self._refuted = judged
        return False

    def take(self, credentials: Credentials, now: float) -> bool:
        """Whether this use of the nonce is in time and the first with its counter; it is used up then."""
        issued = self._issued(credentials.nonce)
        if issued is None or not 0 <= now * 1000 - issued < self.lifetime * 1000 + 1:
            return False
        count = _counter(credentials.nc) if credentials.qop else 1
        return self._counters.take(_key(credentials.nonce), issued, count, int((now - self.lifetime) * 1000))

    def _nonce(self, milliseconds: int, entropy: bytes) -> str:
        stamp = f"{milliseconds:012x}{entropy.hex()}"
        return stamp + self._proof(stamp)

    def _proof(self, stamp: str) -> str:
        proof = self._proofs.copy()
        proof.update(f"{stamp}:{self.realm}".encode())
        return proof.hexdigest()

    def _issued(self, nonce: str) -> int | None:
        """When we gave out this nonce, in milliseconds; None where it is not ours."""
        if len(nonce) < 12 + 32 or not nonce.isascii():
            return None
        stamp = nonce[:-32]
        genuine = hmac.compare_digest(self._proof(stamp), nonce[-32:])
        return int(stamp[:12], 16) if genuine else None


def _form(realm: str, algorithm: str, stale: bool) -> tuple[str, str]:
    """What stands before the nonce of a challenge, and after it."""
    before, _, after = str(Challenge(realm, "\0", algorithm, stale=stale)).partition("\0")
    return before, after


def _key(nonce: str) -> int:
    """Half of the proof in a nonce of ours; 0 stands for none."""
    return int(nonce[-16:], 16) or 1


def _counter(text: str) -> int:
    """A nonce count, which is eight hex digits; 0 for anything else."""
    return int(text, 16) if _COUNT.fullmatch(text) else 0


def _same_uri(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return equivalent(Uri.parse(one), Uri.parse(other))
    except ParseError:
        return False
