# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys: for programs, which cannot log in. A key is shown once, when it is made, and stored as a hash."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from provisioning.database import Question
from provisioning.errors import NotFound
from provisioning.passwords import digest
from provisioning.store import Workspace

PREFIX = "vxk"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be shown of a key."""

    id: str
    username: str
    role: str
    description: str
    created_at: datetime
    expires_at: datetime | None


async def create_key(
    work: Workspace, username: str, role: str, description: str, expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """Make a key for an account; return it and the token `vxk_ID_SECRET`."""
    identifier, secret = secrets.token_hex(6), secrets.token_hex(24)
    (key,) = await work.ask(
        Question(
            "INSERT INTO api_keys (tenant_id, id, username, role, description, key_hash, expires_at) VALUES"
            " (%(tenant)s, %(id)s, %(username)s, %(role)s, %(description)s, %(hash)s, %(expires)s) RETURNING *",
            {"tenant": work.scope.tenant, "id": identifier, "username": username, "role": role,
             "description": description, "hash": digest(secret), "expires": expires_at},
            _keys,
        )
    )  # fmt: skip
    await work.note("create", "key", identifier, None, {"username": username, "role": role})
    return key, f"{PREFIX}_{identifier}_{secret}"


def list_keys(tenant: int, username: str) -> Question[list[ApiKey]]:
    """Return the keys of an account."""
    return Question(
        "SELECT * FROM api_keys WHERE tenant_id = %(tenant)s AND username = %(username)s ORDER BY created_at, id",
        {"tenant": tenant, "username": username},
        _keys,
    )


async def delete_key(work: Workspace, username: str, identifier: str) -> None:
    """Take a key back. Raises NotFound."""
    gone = await work.ask(
        Question(
            "DELETE FROM api_keys WHERE tenant_id = %(tenant)s AND username = %(username)s AND id = %(id)s RETURNING *",
            {"tenant": work.scope.tenant, "username": username, "id": identifier},
            _keys,
        )
    )
    if not gone:
        raise NotFound(f"no API key {identifier}: GET /api/v1/auth/keys shows those there are")
    await work.note("delete", "key", identifier, {"username": username}, None)


def _keys(rows: list[dict[str, object]]) -> list[ApiKey]:
    names = ("id", "username", "role", "description", "created_at", "expires_at")
    return [ApiKey(**{name: row[name] for name in names}) for row in rows]  # type: ignore[arg-type] # columns
