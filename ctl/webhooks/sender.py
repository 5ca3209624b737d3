# SPDX-License-Identifier: GPL-3.0-or-later
"""One message to one webhook: signed, to a public address, over TLS, within a few seconds, and no further."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

import aiohttp
from yarl import URL

from ctl.webhooks.guard import GuardedResolver, check
from ctl.webhooks.section import WebhooksSection
from provisioning.deliveries import Delivery

SIGNATURE, EVENT, TYPE = "Voxdp-Signature", "Voxdp-Event", "Voxdp-Type"
AGENT = "voxdp-webhook"
READ_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. status: of HTTP, None if there was no answer; error: empty if it was taken."""

    status: int | None
    error: str = ""


class Sender:
    """Holds the connections. tls: whom to trust; clock: Unix time in seconds."""

    def __init__(self, section: WebhooksSection, tls: ssl.SSLContext, clock: Callable[[], float]) -> None:
        self._section = section
        self._tls = tls
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def send(self, delivery: Delivery) -> Outcome:
        """POST it. A redirection is not followed, for it could lead to where no webhook may be sent."""
        url = URL(delivery.url)
        try:
            _check_literal(url.host or "", self._section)
            async with self._opened().post(
                url, data=delivery.body.encode(), headers=self._headers(delivery), allow_redirects=False
            ) as answer:
                await answer.content.read(READ_BYTES)
                taken = 200 <= answer.status < 300
                return Outcome(
                    answer.status, "" if taken else f"answered {answer.status} {answer.reason or ''}".strip()
                )
        except TimeoutError:
            return Outcome(None, f"no answer within {self._section.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(None, _why(error)[:300])

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._section.allow), use_dns_cache=False, ssl=self._tls, limit_per_host=4
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._section.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            EVENT: str(delivery.event),
            TYPE: delivery.type,
        }
        if delivery.secret is not None:
            headers[SIGNATURE] = signature(delivery.secret, int(self._clock()), delivery.body)
        return headers


def signature(secret: str, at: int, body: str) -> str:
    """Return the header by which a receiver knows that a message is ours and of now: HMAC-SHA-256 of `at`.body."""
    digest = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _why(error: Exception) -> str:
    """The reason itself, where a connection could not be made."""
    cause = getattr(error, "os_error", error)
    return (cause.strerror if isinstance(cause, OSError) else "") or str(error) or type(error).__name__


def _check_literal(host: str, section: WebhooksSection) -> None:
    """An address that stands in the URL itself is asked of no resolver."""
    try:
        ip_address(host)
    except ValueError:
        return
    check(host, section.allow)
