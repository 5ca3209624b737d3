# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator can choose about signalling."""

from __future__ import annotations

from dataclasses import dataclass, field

from sip.timers import Intervals


@dataclass(frozen=True, slots=True)
class Settings:
    """Constant for the life of a core.

    realm: of every digest challenge. secret: the key of nonces and of stateless tags; keep it over a restart and
    clients need not be challenged anew. domain: host of the address that a caller has towards the callee, the realm
    where empty. Times are in seconds.
    """

    realm: str
    secret: bytes
    domain: str = ""
    server: str = "voxdp"
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    nonce_life: float = 300.0
    wrong_passwords: int = 3
    """Wrong answers of one user from one address that are challenged anew; further ones meet 403."""
    lockout: float = 60.0
    """How long they do, from the first of them."""
    min_expires: int = 60
    default_expires: int = 3600
    max_expires: int = 7200
    max_contacts: int = 10
    max_calls: int = 20_000
    max_transactions: int = 400_000
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
    pass_headers: tuple[str, ...] = ()
    """Further headers of an INVITE that reach the callee, by name or, with a star at the end, by their beginning."""
    intervals: Intervals = field(default_factory=Intervals)

    @property
    def host(self) -> str:
        """The host part of our own addresses of record."""
        return self.domain or self.realm
