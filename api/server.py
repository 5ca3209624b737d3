# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server: health and metrics, on an address of its own and without authentication."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import asdict

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from api.health import HealthSource
from api.problem import problem, problems

BODY_LIMIT = 64 << 10
GOODBYE_SECONDS = 2.0
NO_STORE = {"Cache-Control": "no-store"}

HEALTH = web.AppKey("health", HealthSource)
REGISTRY = web.AppKey("registry", CollectorRegistry)


class ApiUnavailable(Exception):
    """The server cannot listen; the text names the remedy."""


def create_app(health: HealthSource, collectors: Iterable[Collector]) -> web.Application:
    """Return the application: /healthz, /readyz and /metrics. Raises ValueError if two collectors share a name."""
    app = web.Application(middlewares=[problems], client_max_size=BODY_LIMIT)
    app[HEALTH] = health
    app[REGISTRY] = CollectorRegistry(auto_describe=True)
    for collector in collectors:
        app[REGISTRY].register(collector)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


async def healthz(request: web.Request) -> web.StreamResponse:
    """200 as long as the event loop turns: restart me if this fails."""
    return web.json_response({"status": "ok"}, headers=NO_STORE)


async def readyz(request: web.Request) -> web.StreamResponse:
    """200 when calls can be served, else 503 with the reasons: send me no calls if this fails."""
    components = request.app[HEALTH].components()
    shown = [asdict(component) for component in components]
    missing = [component for component in components if component.required and not component.ready]
    if missing:
        reasons = "; ".join(f"{component.name}: {component.reason or 'not ready'}" for component in missing)
        response = problem(503, reasons, components=shown)
        response.headers.update(NO_STORE)
        return response
    return web.json_response({"status": "ready", "components": shown}, headers=NO_STORE)


async def metrics(request: web.Request) -> web.StreamResponse:
    """All metrics, as Prometheus text; OpenMetrics would not let calls and calls_total stand side by side."""
    body = generate_latest(request.app[REGISTRY])
    response = web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, **NO_STORE})
    response.enable_compression()
    return response


class ApiServer:
    """Serves an application on one address."""

    def __init__(self, app: web.Application, key: str = "api.listen", tls: ssl.SSLContext | None = None) -> None:
        """key: of the configuration, where another address could be set."""
        self._key = key
        self._tls = tls
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=GOODBYE_SECONDS)

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port, which the kernel chooses for 0. Raises ApiUnavailable."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=self._tls).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ApiUnavailable(
                f"HTTP cannot listen on {host}:{port} ({error.strerror or error}): "
                f"set {self._key} to a free address of this host"
            ) from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Answer what is under way, then close. Harmless if not started."""
        await self._runner.cleanup()
