# SPDX-License-Identifier: GPL-3.0-or-later
"""What one operation of the API is: its path, who may use it, what it takes and gives, and the function that does it.

The same description routes requests, checks them, and becomes the OpenAPI document, so the three cannot differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from provisioning.access import Identity
from provisioning.store import Workspace

if TYPE_CHECKING:
    from api.services import Services


class NoQuery(BaseModel, extra="forbid"):
    """For operations that take no query parameters."""


@dataclass(slots=True)
class Context:
    """One request, checked: by whom, for which tenant, with which parameters and body.

    work: the transaction, None where the operation needs none. body: of the operation's model, or bytes.
    """

    services: Services
    address: str
    path: Mapping[str, Any]
    query: Any
    body: Any
    headers: Mapping[str, str]
    identity: Identity | None = None
    work: Workspace | None = None
    tenant: str = ""

    @property
    def workspace(self) -> Workspace:
        """The transaction of an operation that has one."""
        assert self.work is not None, "the operation has no transaction"
        return self.work

    @property
    def account(self) -> Identity:
        """Who asks, where an operation is not for everybody."""
        assert self.identity is not None, "the operation is public"
        return self.identity


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. value: of the operation's reply model, or text where that is no JSON."""

    status: int
    value: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Context], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. permission: "resource:action", None: for everybody.

    path parameters are named in braces and typed by `parameters`. reply: the model of success, None: no content.
    problems: statuses beside those that every operation has. platform: in a transaction that no tenant binds.
    accepts, gives: media types where they are not JSON.
    """

    name: str
    method: str
    path: str
    permission: str | None
    summary: str
    handler: Handler
    tag: str
    status: int = 200
    reply: Any = None
    body: Any = None
    query: type[BaseModel] = NoQuery
    parameters: Mapping[str, Any] = field(default_factory=dict)
    problems: frozenset[int] = frozenset()
    transaction: bool = True
    platform: bool = False
    etag: bool = False
    conditional: bool = False
    idempotent: bool = False
    limit: int = 1 << 20
    """Bytes of the body at most."""
    accepts: str = "application/json"
    gives: str = "application/json"
