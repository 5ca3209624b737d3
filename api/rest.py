# SPDX-License-Identifier: GPL-3.0-or-later
"""The application under /api/v1: every operation, the OpenAPI document, and Swagger UI from local files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

from aiohttp import web

from api import auth, bulk, calls, crud, oidc, queues, records, simulate, webhooks
from api.dispatch import Dispatcher
from api.openapi import document
from api.operation import Operation
from api.problem import Handler, problems
from api.services import Services

ROOT = "/api/v1"
STATIC = Path(__file__).parent / "swagger"
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
FILES = {
    "": ("index.html", "text/html"),
    "start.js": ("start.js", "text/javascript"),
    "swagger-ui-bundle.js": ("vendor/swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("vendor/swagger-ui.css", "text/css"),
}
"""Swagger UI 5.35.0 as npm has it, less the line that names a source map, and a page of ours."""


def operations() -> list[Operation]:
    """Return every operation; those of one path with the most literal first."""
    found = [
        *auth.operations(), *oidc.operations(), *crud.operations(), *calls.operations(), *queues.operations(),
        *records.operations(), *simulate.operations(), *bulk.operations(), *webhooks.operations(),
    ]  # fmt: skip
    return sorted(found, key=lambda operation: "{" in operation.path)


def create_rest_app(services: Services) -> web.Application:
    """Return the application."""
    app = web.Application(middlewares=[problems], handler_args={"max_line_size": 16 << 10, "max_field_size": 16 << 10})
    every = operations()
    text = json.dumps(document(every, _version())).encode()

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=text, content_type="application/json", headers=POLICY)

    app.router.add_get(f"{ROOT}/openapi.json", openapi)
    _add_documentation(app)
    for path, same in _by_path(every).items():
        resource = app.router.add_resource(ROOT + path)
        for operation in same:
            resource.add_route(operation.method, _handler(operation, services))
    return app


def _handler(operation: Operation, services: Services) -> Handler:
    dispatcher = Dispatcher(operation, services)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await dispatcher(request)

    return handler


def _by_path(every: Iterable[Operation]) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for operation in every:
        found.setdefault(operation.path, []).append(operation)
    return found


def _add_documentation(app: web.Application) -> None:
    """Serve the files of Swagger UI, each under its name, and its page under /docs/, where guesses lead to."""

    def serve(name: str, kind: str) -> Handler:
        async def file(_request: web.Request) -> web.Response:
            return web.Response(body=(STATIC / name).read_bytes(), content_type=kind, charset="utf-8", headers=POLICY)

        return file

    for path, (name, kind) in FILES.items():
        app.router.add_get(f"{ROOT}/docs/{path}", serve(name, kind))

    async def lead(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{ROOT}/docs/"})

    for path in ("/", ROOT, f"{ROOT}/", f"{ROOT}/docs"):
        app.router.add_get(path, lead)


def _version() -> str:
    try:
        return installed_version("voxdp")
    except PackageNotFoundError:
        return "0"
