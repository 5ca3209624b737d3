# SPDX-License-Identifier: GPL-3.0-or-later
"""From an HTTP request to an operation and back: rate, identity, permission, parameters, transaction, answer."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from api.identify import identify
from api.live import LiveRefused, UnknownCall
from api.operation import Context, Operation, Reply
from api.problem import problem
from api.roles import allows
from api.services import Services
from provisioning import errors, idempotency
from provisioning.access import Identity
from provisioning.store import Scope

TENANT_HEADER = "Voxdp-Tenant"
CHUNK = 64 << 10
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,128}")

# The HTTP status of each refusal; a subclass stands before its base.
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.AccessDenied, 401),
    (errors.SecondFactorMissing, 401),
    (PermissionError, 403),
    (errors.NotFound, 404),
    (UnknownCall, 404),
    (errors.AlreadyExists, 409),
    (errors.InUse, 409),
    (errors.UnknownReference, 409),
    (LiveRefused, 409),
    (errors.Changed, 412),
    (errors.InvalidValue, 422),
    (errors.KeyReused, 422),
    (errors.DatabaseUnavailable, 503),
)


class Refused(Exception):
    """An answer other than success, ready to be sent."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Serves one operation; `aiohttp` calls it as a handler."""

    operation: Operation
    services: Services

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except Refused as refused:
            return refused.response
        except ValidationError as error:
            return _invalid(422, "the object that this would make is not valid", error)
        except tuple(kind for kind, _ in STATUSES) as error:
            return _refusal(error)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        operation, services = self.operation, self.services
        address = request.remote or ""
        _limit(services.by_address.take(address, time.monotonic()))
        identity = None
        if operation.permission is not None:
            identity = await identify(request, services)
            _limit(services.by_account.take(identity.username, time.monotonic()))
            if not allows(identity.role, operation.permission):
                raise PermissionError(f"role {identity.role} lacks {operation.permission}")
        elif request.method == "POST":
            _limit(services.logins.take(address, time.monotonic()))
        tenant = self._tenant(
            request, identity.tenant if identity else "", platform=bool(identity and identity.platform)
        )
        raw = await self._read(request)
        context = Context(
            services, address, self._path(request), self._query(request), self._body(raw), request.headers,
            identity, tenant=tenant,
        )  # fmt: skip
        if not operation.transaction or identity is None:
            return self._respond(await operation.handler(context))
        scope = await self._scope(identity, tenant, address)
        async with services.store.open(scope, as_platform=operation.platform) as context.work:
            response = await self._once(request, raw, context)
        return response  # noqa: RET504 - what is committed is answered, not before

    async def _once(self, request: web.Request, raw: bytes, context: Context) -> web.Response:
        """Do it, or say again what was said the first time where the request has a key that is known."""
        key = request.headers.get("Idempotency-Key") if self.operation.idempotent else None
        if key is None:
            return self._respond(await self.operation.handler(context))
        if not IDEMPOTENCY_KEY.fullmatch(key):
            raise Refused(problem(400, "Idempotency-Key must be 1 to 128 printable characters without spaces"))
        fingerprint = hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + raw).hexdigest()
        known = await idempotency.claim(context.workspace, key, fingerprint)
        if known is None:
            response = self._respond(await self.operation.handler(context))
            headers = {name: response.headers[name] for name in ("ETag", "Location") if name in response.headers}
            text = response.body.decode() if isinstance(response.body, bytes) else ""
            known = idempotency.Answer(response.status, text, headers)
            await idempotency.keep(context.workspace, key, known)
            return response
        again = web.Response(status=known.status, body=known.body.encode() or None, headers=dict(known.headers))
        again.headers["Idempotency-Replayed"] = "true"
        if known.body:
            again.content_type = self.operation.gives
        return again

    async def _scope(self, identity: Identity, tenant: str, address: str) -> Scope:
        """Return for whom and where it is done; only another tenant than one's own has to be looked up."""
        store = self.services.store
        if tenant != identity.tenant:
            return await store.scope(tenant, identity.username, address, platform=identity.platform)
        realm = identity.tenant_realm or store.realm
        return Scope(identity.tenant_id, tenant, realm, identity.username, address, identity.platform)

    def _tenant(self, request: web.Request, own: str, *, platform: bool) -> str:
        """Return the tenant asked for: one's own, or any for the platform."""
        wanted = request.headers.get(TENANT_HEADER)
        if wanted is None or wanted == own:
            return own
        if not platform:
            raise PermissionError(f"{TENANT_HEADER} is for accounts of the platform")
        return wanted

    def _path(self, request: web.Request) -> dict[str, Any]:
        try:
            return {
                name: TypeAdapter(kind).validate_python(request.match_info[name])
                for name, kind in self.operation.parameters.items()
            }
        except ValidationError:
            raise Refused(problem(404, f"{request.path}: there is no such thing")) from None

    def _query(self, request: web.Request) -> BaseModel:
        values: dict[str, str] = {}
        for name, value in request.query.items():
            if name in values:
                raise Refused(problem(400, f"{name} is there twice"))
            values[name] = value
        try:
            return self.operation.query.model_validate(values)
        except ValidationError as error:
            raise Refused(_invalid(400, "a query parameter is not valid", error)) from None

    async def _read(self, request: web.Request) -> bytes:
        """Return the body of an operation that takes one, and not a byte more than it may have."""
        if self.operation.body is None:
            return b""
        if request.content_type != self.operation.accepts:
            raise Refused(problem(415, f"the body must be {self.operation.accepts}"))
        read = bytearray()
        async for chunk in request.content.iter_chunked(CHUNK):
            read += chunk
            if len(read) > self.operation.limit:
                raise Refused(problem(413, f"the body may have {self.operation.limit} bytes"))
        return bytes(read)

    def _body(self, raw: bytes) -> Any:
        if self.operation.body in (None, bytes):
            return raw
        try:
            return TypeAdapter(self.operation.body).validate_json(raw)
        except ValidationError as error:
            status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
            raise Refused(_invalid(status, "the body is not valid", error)) from None

    def _respond(self, reply: Reply) -> web.Response:
        headers = {"Cache-Control": "no-store", **reply.headers}
        if reply.value is None:
            return web.Response(status=reply.status, headers=headers)
        text = reply.value if isinstance(reply.value, str) else to_json(reply.value).decode()
        return web.Response(
            status=reply.status, body=text.encode(), content_type=self.operation.gives, charset="utf-8", headers=headers
        )


def _limit(wait: int) -> None:
    if wait:
        response = problem(429, f"too many requests: try again in {wait} s")
        response.headers["Retry-After"] = str(wait)
        raise Refused(response)


def _refusal(error: Exception) -> web.Response:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if isinstance(error, errors.AccessDenied):
        response = problem(401, "log in at /api/v1/auth/login, or send a valid token or API key")
    elif isinstance(error, errors.SecondFactorMissing):
        response = problem(401, "send the code of the second factor too", second_factor=True)
    else:
        response = problem(status, str(error))
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="voxdp"'
    if status == 503:
        response.headers["Retry-After"] = "2"
    return response


def _invalid(status: int, detail: str, error: ValidationError) -> web.Response:
    found: list[Mapping[str, Any]] = [
        {"where": ".".join(map(str, each["loc"])), "what": each["msg"].removeprefix("Value error, ")}
        for each in error.errors(include_url=False, include_input=False, include_context=False)[:20]
    ]
    return problem(status, detail, errors=found)
