# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as application/problem+json (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

CONTENT_TYPE = "application/problem+json"

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(status: int, detail: str, **more: object) -> web.Response:
    """Return the response for an HTTP error status; `more` are extension members."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type=CONTENT_TYPE)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error of routing and of handlers into a problem; our own faults are logged, and not shown."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        response = problem(error.status, f"{request.method} {request.path}: {error.reason}")
        if allowed := error.headers.get("Allow"):
            response.headers["Allow"] = allowed
        return response
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "the request failed by a fault of ours; the log has the reason")
