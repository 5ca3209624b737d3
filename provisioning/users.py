# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and their credentials: one function per question, to be put with `database.ask` or `ask_async`.

A user is known by name and realm, the realm being the domain that digest authentication shows (RFC 7616).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provisioning.database import Question, Rows
from provisioning.errors import AlreadyExists, InvalidValue, NotFound

DEFAULT_TENANT = "default"
NAME_LIMIT = 255
PAGE = 1000


@dataclass(frozen=True, slots=True)
class User:
    """What may be shown of a user: all but the credentials."""

    tenant: str
    realm: str
    username: str
    display_name: str
    enabled: bool
    created: datetime
    updated: datetime


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """Return H(username:realm:password) in hex (RFC 7616 §3.4.2), of UTF-8.

    algorithm: "MD5" or "SHA-256". Raises InvalidValue for another one.
    """
    hashes = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
    if algorithm not in hashes:
        raise InvalidValue(f"no digest algorithm {algorithm}: use MD5 or SHA-256")
    return hashes[algorithm](f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def create(
    username: str, realm: str, password: str, *, display_name: str = "", tenant: str = DEFAULT_TENANT
) -> Question[User]:
    """Add a user. Answers AlreadyExists, or NotFound for the tenant. Raises InvalidValue."""
    parameters = {
        **_named(username, realm),
        **_credentials(username, realm, password),
        "display_name": _clean("display name", display_name),
        "tenant": tenant,
    }

    def only(rows: Rows) -> User:
        if not rows[0]["tenant_known"]:
            raise NotFound(f"no tenant {tenant}: create it first, or leave it out")
        if rows[0]["username"] is None:
            raise AlreadyExists(f"user {username}@{realm} exists already: choose another name, or set its password")
        return _user(rows[0])

    return Question(
        """
        WITH owner AS (SELECT id, name FROM tenants WHERE name = %(tenant)s),
        made AS (
            INSERT INTO users (tenant_id, realm, username, display_name, ha1_md5, ha1_sha256)
            SELECT id, %(realm)s, %(username)s, %(display_name)s, %(md5)s, %(sha256)s FROM owner
            ON CONFLICT (realm, username) DO NOTHING
            RETURNING *
        )
        SELECT owner.name IS NOT NULL AS tenant_known, owner.name AS tenant, made.realm, made.username,
            made.display_name, made.enabled, made.created_at, made.updated_at
        FROM (VALUES (1)) AS one LEFT JOIN owner ON true LEFT JOIN made ON true
        """,
        parameters,
        only,
    )


def set_password(username: str, realm: str, password: str) -> Question[User]:
    """Replace the credentials. Answers NotFound. Raises InvalidValue."""
    return Question(
        """
        UPDATE users SET ha1_md5 = %(md5)s, ha1_sha256 = %(sha256)s, updated_at = now()
        FROM tenants WHERE tenants.id = tenant_id AND realm = %(realm)s AND username = %(username)s
        RETURNING tenants.name AS tenant, realm, username, display_name, enabled, users.created_at, updated_at
        """,
        {**_named(username, realm), **_credentials(username, realm, password)},
        _exactly(username, realm),
    )


def set_enabled(username: str, realm: str, enabled: bool) -> Question[User]:
    """Let a user register and call, or not. Answers NotFound."""
    return Question(
        """
        UPDATE users SET enabled = %(enabled)s, updated_at = now()
        FROM tenants WHERE tenants.id = tenant_id AND realm = %(realm)s AND username = %(username)s
        RETURNING tenants.name AS tenant, realm, username, display_name, enabled, users.created_at, updated_at
        """,
        {**_named(username, realm), "enabled": enabled},
        _exactly(username, realm),
    )


def delete(username: str, realm: str) -> Question[User]:
    """Remove a user and return what it was. Answers NotFound."""
    return Question(
        """
        DELETE FROM users USING tenants
        WHERE tenants.id = tenant_id AND realm = %(realm)s AND username = %(username)s
        RETURNING tenants.name AS tenant, realm, username, display_name, enabled, users.created_at, updated_at
        """,
        _named(username, realm),
        _exactly(username, realm),
    )


def get(username: str, realm: str) -> Question[User]:
    """One user. Answers NotFound."""
    return Question(
        """
        SELECT tenants.name AS tenant, realm, username, display_name, enabled, users.created_at, updated_at
        FROM users JOIN tenants ON tenants.id = tenant_id
        WHERE realm = %(realm)s AND username = %(username)s
        """,
        _named(username, realm),
        _exactly(username, realm),
    )


def listing(*, realm: str | None = None, after: User | None = None, limit: int = PAGE) -> Question[list[User]]:
    """Users ordered by realm and name, of one realm or all; `after` is the last one of the page before."""
    return Question(
        """
        SELECT tenants.name AS tenant, realm, username, display_name, enabled, users.created_at, updated_at
        FROM users JOIN tenants ON tenants.id = tenant_id
        WHERE (%(realm)s::text IS NULL OR realm = %(realm)s)
          AND (realm, username) > (%(after_realm)s, %(after_username)s)
        ORDER BY realm, username LIMIT %(limit)s
        """,
        {
            "realm": realm.lower() if realm is not None else None,
            "after_realm": after.realm if after else "",
            "after_username": after.username if after else "",
            "limit": limit,
        },
        lambda rows: [_user(row) for row in rows],
    )


def _named(username: str, realm: str) -> dict[str, str]:
    """Return the parameters that name a user. The colon and the at sign would make HA1 or the URI ambiguous."""
    for what, value, forbidden in (("user name", username, ':@"<>'), ("realm", realm, ':@"<>\\')):
        _clean(what, value)
        if not value or any(c.isspace() or c in forbidden for c in value):
            raise InvalidValue(f"{what} {value!r} must not be empty nor hold spaces or any of {forbidden}")
    return {"username": username, "realm": realm.lower()}


def _credentials(username: str, realm: str, password: str) -> dict[str, str]:
    if not password or not _printable(password):
        raise InvalidValue("a password must not be empty nor hold control characters: choose another")
    return {
        "md5": ha1("MD5", username, realm.lower(), password),
        "sha256": ha1("SHA-256", username, realm.lower(), password),
    }


def _clean(what: str, value: str) -> str:
    if len(value) > NAME_LIMIT or not _printable(value):
        raise InvalidValue(f"{what} {value[:40]!r} must be at most {NAME_LIMIT} printable characters")
    return value


def _printable(value: str) -> bool:
    return all(c.isprintable() for c in value)


def _exactly(username: str, realm: str) -> Callable[[Rows], User]:
    """Return the reader of an answer that must be one user."""

    def only(rows: Rows) -> User:
        if not rows:
            raise NotFound(f"no user {username}@{realm}: voxdp user list shows who is there")
        return _user(rows[0])

    return only


def _user(row: dict[str, Any]) -> User:
    return User(
        tenant=row["tenant"],
        realm=row["realm"],
        username=row["username"],
        display_name=row["display_name"],
        enabled=row["enabled"],
        created=row["created_at"],
        updated=row["updated_at"],
    )
