# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's side of Digest: nonces that need no memory, counters that do (RFC 7616 §3.3, §3.4, §5.4, §5.5).

A nonce is its own proof: time, randomness, and a keyed hash of both and the realm (BLAKE2s, RFC 7693). Only nonces that
a right response has used are remembered, for their counters, so that nobody without a password can fill the table.
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from hashlib import blake2s

from sip.digest import Challenge, Credentials, digest
from sip.errors import ParseError
from sip.headers import AuthValue
from sip.uri import Uri, equivalent

WINDOW = 64
"""Counters that may still arrive out of order behind the highest one seen."""
_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


class Verdict(Enum):
    """GRANTED; STALE: right password, but challenge again with stale=true; DENIED: anything else."""

    GRANTED = auto()
    STALE = auto()
    DENIED = auto()


class Guard:
    """Challenges and verifies for one realm.

    secret: key of the nonces, at least 16 bytes. algorithms: those offered and accepted, the preferred first.
    lifetime: seconds for which a nonce holds. since: nonces given out before this time are stale, which is what keeps
    a replay from outliving our memory of it; give the time of the start. require_qop: False lets RFC 2069
    clients in, for whom each nonce then holds once. capacity: nonces whose counters are remembered.
    """

    def __init__(
        self,
        secret: bytes,
        realm: str,
        *,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        lifetime: float = 300.0,
        since: float = 0.0,
        require_qop: bool = True,
        capacity: int = 65536,
    ) -> None:
        self.realm = realm
        self.algorithms = tuple(name.upper() for name in algorithms)
        self.lifetime = lifetime
        self._secret = secret
        self._proofs = blake2s(key=secret[:32], digest_size=16, person=b"nonce")
        self._floor = int(since * 1000)
        self._require_qop = require_qop
        self._capacity = capacity
        self._counters: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def challenges(self, now: float, entropy: bytes, *, stale: bool = False) -> tuple[Challenge, ...]:
        """One challenge per algorithm, in order; write each as a line of its own (RFC 8760 §2.3).

        now: seconds of the clock that `verify` gets. entropy: 8 fresh random bytes.
        """
        nonce = self._nonce(int(now * 1000), entropy)
        return tuple(Challenge(self.realm, nonce, name, stale=stale) for name in self.algorithms)

    def find(self, values: Iterable[AuthValue]) -> Credentials | None:
        """The first credentials for our realm by an algorithm that we accept, out of a request's header."""
        for value in values:
            credentials = Credentials.of(value)
            if credentials and credentials.realm == self.realm and self._accepts(credentials):
                return credentials
        return None

    def verify(
        self, credentials: Credentials, method: str, uri: str, secrets: Mapping[str, str] | None, now: float
    ) -> Verdict:
        """Judge credentials that `find` returned.

        method, uri: of the request. secrets: HA1 in hex by algorithm; None for an unknown user, who costs the same work
        and gets the same answer.
        """
        algorithm = credentials.base_algorithm
        ha1 = (secrets or {}).get(algorithm) or self._no_ones_ha1(algorithm, credentials.username)
        expected = credentials.expected_response(ha1, method)
        given = credentials.response.lower().encode("utf-8", "surrogateescape")
        proven = hmac.compare_digest(expected.encode(), given)
        known = secrets is not None and algorithm in secrets
        if not (proven and known and _same_uri(credentials.uri, uri)):
            return Verdict.DENIED
        return Verdict.GRANTED if self._take(credentials, now) else Verdict.STALE

    def _accepts(self, credentials: Credentials) -> bool:
        if credentials.algorithm.upper() not in self.algorithms:
            return False
        if credentials.qop:
            return credentials.qop.lower() == "auth" and _counter(credentials.nc) > 0 and credentials.cnonce != ""
        return not self._require_qop

    def _nonce(self, milliseconds: int, entropy: bytes) -> str:
        stamp = f"{milliseconds:012x}{entropy.hex()}"
        proof = self._proofs.copy()
        proof.update(f"{stamp}:{self.realm}".encode())
        return stamp + proof.hexdigest()

    def _issued(self, nonce: str) -> int | None:
        """When we gave out this nonce, in milliseconds; None where it is not ours."""
        stamp = nonce[:-32]
        if len(stamp) < 12 or not nonce.isascii():
            return None
        try:
            milliseconds, entropy = int(stamp[:12], 16), bytes.fromhex(stamp[12:])
        except ValueError:
            return None
        genuine = hmac.compare_digest(self._nonce(milliseconds, entropy), nonce)
        return milliseconds if genuine else None

    def _take(self, credentials: Credentials, now: float) -> bool:
        """Whether this use of the nonce is in time and the first with its counter; it is used up then."""
        nonce = credentials.nonce
        issued = self._issued(nonce)
        if issued is None or not 0 <= now * 1000 - issued < self.lifetime * 1000 + 1:
            return False
        if nonce not in self._counters and issued < self._floor:
            return False
        count = _counter(credentials.nc) if credentials.qop else 1
        highest, seen = self._counters.get(nonce, (0, 0))
        if count > highest:
            shift = min(count - highest, WINDOW)
            self._remember(nonce, now, count, (seen << shift | 1) & (1 << WINDOW) - 1)
            return True
        bit = 1 << highest - count if highest - count < WINDOW else 0
        if not bit or seen & bit:
            return False
        self._remember(nonce, now, highest, seen | bit)
        return True

    def _remember(self, nonce: str, now: float, highest: int, seen: int) -> None:
        """Keep a counter. What is forgotten for it has expired, or makes all nonces as old stale."""
        self._counters[nonce] = (highest, seen)
        oldest = next(iter(self._counters))
        issued = int(oldest[:12], 16)
        if issued + self.lifetime * 1000 < now * 1000 - 1:
            del self._counters[oldest]
        elif len(self._counters) > self._capacity:
            del self._counters[oldest]
            self._floor = max(self._floor, issued + 1)

    def _no_ones_ha1(self, algorithm: str, username: str) -> str:
        return digest(algorithm, f"{username}:{self.realm}:{self._secret.hex()}")


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
