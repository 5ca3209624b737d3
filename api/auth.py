# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in and out, the second factor, and API keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from api.identify import tokens
from api.operation import Context, Handler, Operation, Reply
from api.roles import SELF
from api.tokens import LIFETIME
from provisioning import keys
from provisioning.access import Login, weaker
from provisioning.errors import AccessDenied
from provisioning.models import Body, Text, Username

Code = Annotated[str, Field(pattern=r"^([0-9]{6}|[0-9a-f]{20})$")]
Role = Literal["viewer", "operator", "admin", "platform"]


class Credentials(Body):
    """Who logs in. code: of the second factor, or a recovery code, where the account has one."""

    username: Username
    password: Annotated[SecretStr, Field(min_length=1, max_length=128)]
    code: Code | None = None


class RefreshToken(Body):
    """What the last login or refresh gave; good for one use."""

    refresh_token: Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]


class TokenPair(BaseModel):
    """An access token for `Authorization: Bearer`, good for so many seconds, and what gets the next one."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - it is no password
    expires_in: int
    refresh_token: str


class Who(BaseModel):
    """Whom a request comes from."""

    username: str
    role: Role
    tenant: str


class EnrolmentView(BaseModel):
    """Shown once: the secret for an authenticator, as text and as the content of a QR code, and recovery codes."""

    secret: str
    uri: str
    recovery_codes: list[str]


class CodeBody(Body):
    """A code of the second factor, or a recovery code."""

    code: Code


class KeyBody(Body):
    """What a new key is for and until when. role: what it may do, at most what its account may."""

    description: Text = ""
    role: Role = "viewer"
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class KeyView(BaseModel):
    """A key, without what it opens with."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    username: str
    role: Role
    description: str
    created_at: datetime
    expires_at: datetime | None


class KeyList(BaseModel):
    """All keys of the account."""

    items: list[KeyView]


class NewKey(BaseModel):
    """A key that was just made; the token is shown this once."""

    key: KeyView
    token: str


def operations() -> Iterator[Operation]:
    """Yield them."""

    def make(
        name: str, method: str, path: str, permission: str | None, summary: str, handler: Handler, **more: Any
    ) -> Operation:
        return Operation(name, method, f"/auth{path}", permission, summary, handler, "auth", **more)

    denied = frozenset({401})
    yield make("log_in", "POST", "/login", None, "Log in with name and password", _log_in,
               reply=TokenPair, body=Credentials, problems=denied)  # fmt: skip
    yield make("refresh", "POST", "/refresh", None, "Get the next access token", _refresh,
               reply=TokenPair, body=RefreshToken, problems=denied)  # fmt: skip
    yield make("log_out", "POST", "/logout", SELF, "End this session", _log_out, status=204, transaction=False)
    yield make("who_am_i", "GET", "/me", SELF, "Say who I am", _me, reply=Who, transaction=False)
    yield make("enrol_totp", "POST", "/totp", SELF, "Get a secret for the second factor", _enrol,
               status=201, reply=EnrolmentView, transaction=False)  # fmt: skip
    yield make("enable_totp", "POST", "/totp/enable", SELF, "Turn the second factor on, by a code of it", _enable,
               status=204, body=CodeBody, transaction=False)  # fmt: skip
    yield make("disable_totp", "POST", "/totp/disable", SELF, "Turn the second factor off, by a code of it", _disable,
               status=204, body=CodeBody, transaction=False)  # fmt: skip
    yield make("list_keys", "GET", "/keys", SELF, "List my API keys", _list_keys, reply=KeyList)
    yield make(
        "create_key", "POST", "/keys", SELF, "Make an API key", _create_key, status=201, reply=NewKey, body=KeyBody
    )
    yield make("delete_key", "DELETE", "/keys/{key}", SELF, "Take an API key back", _delete_key,
               status=204, parameters={"key": Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]})  # fmt: skip


async def _log_in(context: Context) -> Reply:
    given: Credentials = context.body
    now = context.services.clock()
    login = await context.services.access.log_in(
        given.username, given.password.get_secret_value(), given.code, now, context.address
    )
    return await token_pair(context, login)


async def _refresh(context: Context) -> Reply:
    login = await context.services.access.refresh(context.body.refresh_token, context.services.clock())
    return await token_pair(context, login)


async def token_pair(context: Context, login: Login) -> Reply:
    """Answer a login."""
    assert login.identity.session is not None, "a login begins a session"
    issued = await tokens(context.services)
    access = issued.issue(login.identity.username, login.identity.session, context.services.clock())
    pair = TokenPair(access_token=access, expires_in=int(LIFETIME.total_seconds()), refresh_token=login.refresh_token)
    return Reply(200, pair)


async def _log_out(context: Context) -> Reply:
    if context.account.session is not None:
        await context.services.access.log_out(context.account.session, context.services.clock())
    return Reply(204)


async def _me(context: Context) -> Reply:
    account = context.account
    return Reply(
        200, Who.model_validate({"username": account.username, "role": account.role, "tenant": account.tenant})
    )


async def _enrol(context: Context) -> Reply:
    enrolment = await context.services.access.enrol(_in_person(context))
    return Reply(
        201, EnrolmentView(secret=enrolment.secret, uri=enrolment.uri, recovery_codes=enrolment.recovery_codes)
    )


async def _enable(context: Context) -> Reply:
    return await _confirm(context, enabled=True)


async def _disable(context: Context) -> Reply:
    return await _confirm(context, enabled=False)


async def _confirm(context: Context, *, enabled: bool) -> Reply:
    services = context.services
    await services.access.confirm(
        _in_person(context), context.body.code, services.clock(), enabled=enabled, address=context.address
    )
    return Reply(204)


def _in_person(context: Context) -> str:
    """Return who it is, where that is a person who logged in and not a key. Raises AccessDenied."""
    if context.account.session is None:
        raise AccessDenied
    return context.account.username


async def _list_keys(context: Context) -> Reply:
    found = await context.workspace.ask(keys.list_keys(context.workspace.scope.tenant, context.account.username))
    return Reply(200, KeyList(items=[KeyView.model_validate(key) for key in found]))


async def _create_key(context: Context) -> Reply:
    body: KeyBody = context.body
    role = weaker(context.account.role, body.role)
    if context.account.tenant != context.tenant:
        raise PermissionError("keys are made in the tenant of their account")
    key, token = await keys.create_key(
        context.workspace, context.account.username, role, body.description, body.expires_at
    )
    return Reply(201, NewKey(key=KeyView.model_validate(key), token=token))


async def _delete_key(context: Context) -> Reply:
    await keys.delete_key(context.workspace, context.account.username, context.path["key"])
    return Reply(204)
