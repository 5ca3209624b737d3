# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator can choose about signalling."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from sip.facts import fact
from sip.timers import Intervals

DiversionPolicy = Literal["none", "trunks", "all"]
"""Who is told that a call was sent on: nobody, trunks that are trusted, or these and users."""


@fact
class Settings:
    """Constant for the life of a core.

    realm: of every digest challenge. secret: the key of stateless tags, the same after a restart. domain: host of the
    address that a caller has towards the callee, the realm where empty. Times are in seconds.
    """

    realm: str
    secret: bytes
    nonce_key: bytes = b""
    """Another at each start, so that no nonce outlives what we remember of its use; the secret where empty."""
    domain: str = ""
    server: str = "voxdp"
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    nonce_life: float = 300.0
    wrong_passwords: int = 3
    """Wrong answers of one user from one address that are challenged anew; further ones meet 403."""
    lockout: float = 60.0
    """How long they do, from the first of them."""
    guesses_per_hour: int = 20
    """Wrong answers for one user, from wherever, after which only sources that know the password are heard."""
    requests_per_source: float = 100.0
    """Messages a second from one source; four times as many at once. 0: no limit."""
    known_factor: float = 100.0
    """How many times as many a source may send that somebody has authenticated from."""
    amplification: float = 1.2
    """How many times the bytes of a datagram a stranger hears in answer to it. 0: no limit."""
    offences: float = 40.0
    """Requests of one source that are malformed, for nobody or by a wrong password until it is ignored."""
    offences_forgiven: float = 0.05
    """How many of them are forgiven each second."""
    ban: float = 600.0
    """Seconds for which it is ignored; 0: nobody is."""
    calls_per_user: float = 5.0
    """Calls a second that one user may begin, four times as many at once. 0: no limit."""
    min_expires: int = 60
    default_expires: int = 3600
    max_expires: int = 7200
    max_contacts: int = 10
    max_calls: int = 20_000
    max_transactions: int = 400_000
    nat_keepalive: int = 0
    """Seconds between OPTIONS to contacts behind NAT, 0: none are sent."""
    ring_time: float = 180.0
    connects: bool = False
    """Whether requests too long for a datagram may go by TCP: only where answers can come back by it."""
    retry_after: int = 5
    """What a 503 tells the client to wait."""
    session_expires: int = 1800
    """The interval of session timers (RFC 4028), 0: none are used."""
    min_session_expires: int = 90
    redirections: int = 0
    """How many redirections of one call are followed, each by the routing for the user who redirects; 0: none."""
    diversion: DiversionPolicy = "all"
    history_info: DiversionPolicy = "none"
    """The same by History-Info."""
    info: tuple[str, ...] = ("application/dtmf-relay", "application/dtmf", "application/media_control+xml")
    """Types of body, in lower case, that an INFO may bring to the other party; a star takes all."""
    pass_headers: tuple[str, ...] = ()
    """Further headers of an INVITE that reach the callee, by name or, with a star at the end, by their beginning."""
    intervals: Intervals = field(default_factory=Intervals)

    @property
    def host(self) -> str:
        """The host part of our own addresses of record."""
        return self.domain or self.realm
