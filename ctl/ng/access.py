# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask the relay to do anything.

The protocol knows no authentication, and whoever may speak it can have calls copied, cut off or sent anywhere. So it is
on loopback by default. Any other address needs a list of the networks that proxies are in and, as addresses can be
forged, a secret: each UDP message is sealed with an HMAC and its time, `HMAC SP TIME SP MESSAGE` (docs/ng.md), and
TCP is for those who bring a client certificate.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

WINDOW_SECONDS = 30
_HEX = 64
SEAL_BYTES = _HEX + 14
"""What a seal adds to a message, at most."""


@dataclass(frozen=True, slots=True)
class Access:
    """allowed: networks besides loopback. secret: empty, where only loopback may ask. streams_open: whether TCP is
    guarded by certificates, so that those of `allowed` may connect.
    """

    allowed: Sequence[Network] = ()
    secret: bytes = b""
    streams_open: bool = False
    clock: Callable[[], float] = time.time

    def open(self, datagram: bytes, host: str) -> bytes | None:
        """Return the message in a datagram from `host`; None if it is not to be looked at."""
        if _loopback(host):
            return datagram
        if not self.secret or not self._listed(host):
            return None
        return self._unsealed(datagram)

    def seal(self, reply: bytes, host: str) -> bytes:
        """Return a reply as `host` expects it."""
        if _loopback(host):
            return reply
        body = b"%d %b" % (self.clock(), reply)
        return b"%b %b" % (self._digest(body), body)

    def streams(self, host: str) -> bool:
        """Whether a connection from `host` is served."""
        return _loopback(host) or (self.streams_open and self._listed(host))

    def _listed(self, host: str) -> bool:
        address = ip_address(host.partition("%")[0])
        return any(address in network for network in self.allowed)

    def _unsealed(self, datagram: bytes) -> bytes | None:
        digest, _, body = datagram.partition(b" ")
        if len(digest) != _HEX or not hmac.compare_digest(digest, self._digest(body)):
            return None
        sent, _, message = body.partition(b" ")
        if not sent.isdigit() or len(sent) > 12 or abs(self.clock() - int(sent)) > WINDOW_SECONDS:
            return None
        return message

    def _digest(self, body: bytes) -> bytes:
        return hmac.new(self.secret, body, sha256).hexdigest().encode()


@lru_cache(maxsize=256)
def _loopback(host: str) -> bool:
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
