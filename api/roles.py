# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: one table, role → resource:action. Each operation names its permission in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

SELF = "self:use"
"""What every account may do: with its own session, second factor and keys."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "viewer": (
        SELF, "agent:read", "calendar:read", "call:read", "cdr:read", "device:read", "dial_plan:read", "flow:read",
        "group:read", "number:read", "queue:read", "rate_deck:read", "registration:read", "restriction:read",
        "route:read", "simulation:read", "skill:read", "statistics:read", "trunk:read", "user:read",
    ),
    "operator": (
        SELF, "*:read", "call:control", "agent:update", "device:*", "user:update",
    ),
    "admin": (
        SELF, "*:read", "*:create", "*:update", "*:delete", "call:control", "bulk:import", "bulk:export",
    ),
    "platform": ("*",),
}  # fmt: skip

FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "operator": ("tenant:*", "account:*", "audit:*", "webhook:*"),
    "admin": ("tenant:*",),
}
"""What the patterns above would include and shall not."""


def allows(role: str, permission: str) -> bool:
    """Whether a role has a permission such as "trunk:update"; none that is not known has any."""
    if any(fnmatchcase(permission, pattern) for pattern in FORBIDDEN.get(role, ())):
        return False
    return any(fnmatchcase(permission, pattern) for pattern in ROLES.get(role, ()))
