# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a call goes. Pure: in comes who calls whom, when, and what is known; out, routes in order or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from provisioning.snapshot import Account, Snapshot


@dataclass(frozen=True, slots=True)
class ToUser:
    """To the contacts that a local user has registered."""

    realm: str
    username: str


RouteTo = ToUser
"""Any kind of route; calls try them in order."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no route: the SIP status to answer (RFC 3261 §21) and its reason phrase."""

    status: int
    reason: str


NOT_FOUND = Refusal(404, "Not Found")
FOREIGN_DOMAIN = Refusal(404, "Domain Not Served Here")
CALLER_DISABLED = Refusal(403, "Forbidden")
CALLEE_DISABLED = Refusal(480, "Temporarily Unavailable")


def choose(caller: str, dialled: str, domain: str, now: datetime, snapshot: Snapshot) -> tuple[RouteTo, ...] | Refusal:
    """Return the routes to try in order, never none of them, or the refusal.

    caller: authenticated user name. dialled, domain: user and host part of the request URI, unescaped.
    now: wall-clock time with its zone, for what depends on the hour.
    """
    realm = snapshot.realm_of(domain)
    if realm is None:
        return FOREIGN_DOMAIN
    origin = _caller(caller, realm, snapshot)
    if origin is not None and not origin.enabled:
        return CALLER_DISABLED
    return _local(realm, dialled, snapshot)


def _caller(caller: str, realm: str, snapshot: Snapshot) -> Account | None:
    """Return the caller's account, sought in the dialled realm first, then in the one we authenticate for."""
    return snapshot.account(realm, caller) or snapshot.account(snapshot.realm, caller)


def _local(realm: str, dialled: str, snapshot: Snapshot) -> tuple[RouteTo, ...] | Refusal:
    account = snapshot.account(realm, dialled)
    if account is None:
        return NOT_FOUND
    if not account.enabled:
        return CALLEE_DISABLED
    return (ToUser(account.realm, account.username),)
