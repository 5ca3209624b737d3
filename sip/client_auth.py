# SPDX-License-Identifier: GPL-3.0-or-later
"""How we answer a challenge to a request of ours (RFC 3261 §22.2, RFC 7616, RFC 8760)."""

from __future__ import annotations

from dataclasses import field

from sip.digest import Challenge, authorization, choose, ha1
from sip.facts import fact
from sip.message import Request, Response

_ATTEMPTS = 2


@fact
class Login:
    """What a trunk knows us by. realm: the only one that is answered; "" takes the one that asks first."""

    username: str
    password: str = field(repr=False)
    realm: str = ""


class ClientAuth:
    """The credentials of one dialog or registration with a trunk: used for nothing else, so they reach nobody else."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._realm = login.realm or None
        self._challenge: Challenge | None = None
        self._header = ""
        self._count = 0
        self._refusals = 0

    def answers(self, response: Response) -> bool:
        """Take a final response; whether it is a challenge to answer. Refused twice in a row is refused for good."""
        if response.status not in (401, 407):
            self._refusals = 0
            return False
        proxy = response.status == 407
        challenge = choose(response.proxy_authenticate if proxy else response.www_authenticate, realm=self._realm)
        if challenge is None or self._refusals >= _ATTEMPTS:
            return False
        self._refusals += 1
        self._realm, self._challenge, self._count = challenge.realm, challenge, 0
        self._header = "Proxy-Authorization" if proxy else "Authorization"
        return True

    def sign(self, request: Request, cnonce: str) -> Request:
        """The request with credentials, once a challenge has come; before it, the request as it is."""
        if self._challenge is None:
            return request
        self._count += 1
        known = ha1(
            self._challenge.algorithm.upper().removesuffix("-SESS"),
            self._login.username,
            self._challenge.realm,
            self._login.password,
        )
        value = authorization(
            self._challenge,
            request.method,
            request.uri,
            self._login.username,
            ha1=known,
            cnonce=cnonce,
            nc=self._count,
        )
        return request.replaced(self._header, [value])
