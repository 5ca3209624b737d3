# SPDX-License-Identifier: GPL-3.0-or-later
"""Digest authentication: values, hashes, and what a client answers (RFC 7616, RFC 8760, RFC 3261 §22).

Hashes are lower-case hex. The server's side, with its nonces, is `sip.nonces`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Self

from sip.facts import fact
from sip.headers import AuthValue
from sip.params import quote

STRONGEST_FIRST = ("SHA-512-256", "SHA-256", "MD5")
"""Algorithms that we can compute, in the order in which to prefer them; each also as its -sess variant."""

_HASHES = {
    "MD5": hashlib.md5(usedforsecurity=False),
    "SHA-256": hashlib.sha256(usedforsecurity=False),
    "SHA-512-256": hashlib.new("sha512_256", usedforsecurity=False),
}
"""Of nothing yet: a copy costs half of what a new one does."""
_SESSION = "-SESS"
_NEEDED = {"username", "realm", "nonce", "uri", "response"}
_QUOTED = r'"([ !#-\[\]-~]++)"'
_PLAIN_CREDENTIALS = re.compile(
    rf"Digest (?:(?:username={_QUOTED}|realm={_QUOTED}|nonce={_QUOTED}|uri={_QUOTED}|response={_QUOTED}|"
    rf"algorithm=([A-Za-z0-9-]++)|qop=([a-z]++)|nc=([0-9A-Fa-f]++)|cnonce={_QUOTED}|opaque={_QUOTED})(?:, ?|$))+",
    re.ASCII,
)
"""Each parameter is a group of its own: as many are found as there are parameters, if none comes twice."""


@fact
class Challenge:
    """One WWW-Authenticate or Proxy-Authenticate value; `qop` are the words offered, () from an RFC 2069 server."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ("auth",)
    stale: bool = False
    opaque: str | None = None

    @classmethod
    def of(cls, value: AuthValue) -> Self | None:
        """None where it is no Digest challenge or lacks realm or nonce."""
        params = value.params
        if value.scheme != "digest" or "realm" not in params or not params.get("nonce"):
            return None
        return cls(
            params["realm"],
            params["nonce"],
            params.get("algorithm", "MD5"),
            tuple(word.strip().lower() for word in params.get("qop", "").split(",") if word.strip()),
            params.get("stale", "").lower() == "true",
            params.get("opaque"),
        )

    def __str__(self) -> str:
        opaque = "" if self.opaque is None else f", opaque={quote(self.opaque)}"
        stale = ", stale=true" if self.stale else ""
        qop = f", qop={quote(','.join(self.qop))}" if self.qop else ""
        known = f"realm={quote(self.realm)}, nonce={quote(self.nonce)}"
        return f"Digest {known}{opaque}{stale}, algorithm={self.algorithm}{qop}"


@fact
class Credentials:
    """One Authorization or Proxy-Authorization value. `qop`, `nc`, `cnonce` are "" from an RFC 2069 client."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    qop: str = ""
    nc: str = ""
    cnonce: str = ""
    opaque: str | None = None

    @classmethod
    def of(cls, value: AuthValue) -> Self | None:
        """None where they are no Digest credentials or lack what each needs."""
        params = value.params
        if value.scheme != "digest" or _NEEDED - params.keys():
            return None
        return cls(
            params["username"],
            params["realm"],
            params["nonce"],
            params["uri"],
            params["response"],
            params.get("algorithm", "MD5"),
            params.get("qop", ""),
            params.get("nc", ""),
            params.get("cnonce", ""),
            params.get("opaque"),
        )

    @classmethod
    def plain(cls, text: str) -> Self | None:
        """`of` what AuthValue.parse makes of text that is spelled as most phones do; None for any other text."""
        match = _PLAIN_CREDENTIALS.fullmatch(text)
        if match is None:
            return None
        found = match.groups()
        username, realm, nonce, uri, response, algorithm, qop, nc, cnonce, opaque = found
        once = len(found) - found.count(None) == text.count(",") + 1
        if not (once and username and realm and nonce and uri and response):
            return None
        kind, word, count, chosen = algorithm or "MD5", qop or "", nc or "", cnonce or ""
        return cls(username, realm, nonce, uri, response, kind, word, count, chosen, opaque)

    @property
    def base_algorithm(self) -> str:
        """The algorithm in capitals without -sess: the one whose HA1 is needed."""
        return self.algorithm.upper().removesuffix(_SESSION)

    def expected_response(self, ha1: str, method: str) -> str:
        """The response that proves knowledge of `ha1` (RFC 7616 §3.4.1; without qop RFC 2617 §3.2.2.1)."""
        if self.algorithm.upper().endswith(_SESSION):
            ha1 = self._hash(f"{ha1}:{self.nonce}:{self.cnonce}")
        ha2 = _ha2(self.base_algorithm, method, self.uri)
        if not self.qop:
            return self._hash(f"{ha1}:{self.nonce}:{ha2}")
        return self._hash(f"{ha1}:{self.nonce}:{self.nc}:{self.cnonce}:{self.qop}:{ha2}")

    def _hash(self, text: str) -> str:
        return digest(self.base_algorithm, text)

    def __str__(self) -> str:
        quoted = {
            "username": self.username,
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": self.uri,
            "response": self.response,
        }
        fields = [f"{name}={quote(value)}" for name, value in quoted.items()]
        fields.append(f"algorithm={self.algorithm}")
        if self.qop:
            fields += [f"qop={self.qop}", f"nc={self.nc}"]
        if self.cnonce:
            fields.append(f"cnonce={quote(self.cnonce)}")
        if self.opaque is not None:
            fields.append(f"opaque={quote(self.opaque)}")
        return "Digest " + ", ".join(fields)


@lru_cache(maxsize=1024)
def _ha2(algorithm: str, method: str, uri: str) -> str:
    """What all users of a registrar have in common."""
    return digest(algorithm, f"{method}:{uri}")


def digest(algorithm: str, text: str) -> str:
    """Hex hash of text by an algorithm of STRONGEST_FIRST. Raises KeyError for another."""
    found = _HASHES[algorithm.upper()].copy()
    found.update(text.encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """What is stored in place of a password, per algorithm and realm (RFC 7616 §3.4.2)."""
    return digest(algorithm, f"{username}:{realm}:{password}")


def choose(
    values: Iterable[AuthValue], algorithms: Sequence[str] = STRONGEST_FIRST, realm: str | None = None
) -> Challenge | None:
    """The challenge to answer: the one whose algorithm stands first in `algorithms` (RFC 8760 §2.4).

    None where there is none that we can and may answer; `realm`, where given, must be the challenge's own.
    """
    offered = [challenge for value in values if (challenge := Challenge.of(value)) and _can_answer(challenge)]
    for algorithm in algorithms:
        for challenge in offered:
            name = challenge.algorithm.upper().removesuffix(_SESSION)
            if name == algorithm.upper() and realm in (None, challenge.realm):
                return challenge
    return None


def authorization(
    challenge: Challenge,
    method: str,
    uri: str,
    username: str,
    *,
    ha1: str,
    cnonce: str,
    nc: int = 1,
) -> str:
    """The value of Authorization or Proxy-Authorization that answers `challenge`.

    uri: the request URI as sent. ha1: by the function of that name, for the challenge's algorithm and realm.
    cnonce: fresh random text. nc: how often this nonce was used, from 1.
    """
    credentials = Credentials(
        username,
        challenge.realm,
        challenge.nonce,
        uri,
        "",
        challenge.algorithm,
        "auth" if challenge.qop else "",
        f"{nc:08x}" if challenge.qop else "",
        cnonce if challenge.qop or challenge.algorithm.upper().endswith(_SESSION) else "",
        challenge.opaque,
    )
    response = credentials.expected_response(ha1, method)
    return str(replace(credentials, response=response))


def _can_answer(challenge: Challenge) -> bool:
    known = challenge.algorithm.upper().removesuffix(_SESSION) in _HASHES
    return known and (not challenge.qop or "auth" in challenge.qop)
