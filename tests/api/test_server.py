# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.health import Component
from api.server import ApiServer, ApiUnavailable, create_app

READY = Component("database", True)


class Health:
    def __init__(self, *components: Component) -> None:
        self.parts = list(components)

    def components(self) -> list[Component]:
        return self.parts


class Broken(Collector):
    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        raise RuntimeError("password=hunter2")


class Reading(Collector):
    """Shows how often it was read."""

    def __init__(self) -> None:
        self.scrapes = 0

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        self.scrapes += 1
        yield GaugeMetricFamily("voxdp_scrapes", "How often.", value=self.scrapes)


Serve = Callable[..., AbstractAsyncContextManager[aiohttp.ClientSession]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def serving(health: Health, *collectors: Collector) -> AsyncIterator[aiohttp.ClientSession]:
        server = ApiServer(create_app(health, collectors))
        port = await server.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                yield client
        finally:
            await server.stop()

    return serving


async def test_healthy_even_when_not_ready(serve: Serve) -> None:
    async with serve(Health(Component("xdp", False))) as client, client.get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok"}
        assert response.headers["Cache-Control"] == "no-store"


async def test_ready_when_all_that_is_required_is(serve: Serve) -> None:
    tracing = Component("tracing", False, "python3-bpfcc is missing", required=False)
    async with serve(Health(READY, tracing)) as client, client.get("/readyz") as response:
        assert response.status == 200
        body = await response.json()
    assert body["status"] == "ready"
    assert body["components"][1] == {
        "name": "tracing",
        "ready": False,
        "reason": "python3-bpfcc is missing",
        "required": False,
    }


async def test_not_ready_with_every_reason(serve: Serve) -> None:
    health = Health(READY, Component("xdp", False, "detached from eth1"), Component("sip", False))
    async with serve(health) as client:
        async with client.get("/readyz") as response:
            assert response.status == 503
            assert response.content_type == "application/problem+json"
            body = await response.json()
        assert body["detail"] == "xdp: detached from eth1; sip: not ready"
        assert [part["name"] for part in body["components"]] == ["database", "xdp", "sip"]
        health.parts = [READY]
        async with client.get("/readyz") as response:
            assert response.status == 200


async def test_metrics_are_read_at_each_scrape(serve: Serve) -> None:
    async with serve(Health(), Reading()) as client:
        for scrape in (1, 2):
            async with client.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
                assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert response.headers["Content-Encoding"] == "gzip"
                assert f"voxdp_scrapes {scrape}.0" in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("GET", "/..%2f..%2fetc", 404),
        ("PROPFIND", "/", 404),
    ],
)
async def test_errors_are_problems(serve: Serve, method: str, path: str, status: int) -> None:
    async with serve(Health()) as client, client.request(method, path) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
        body = await response.json()
        assert (body["type"], body["status"]) == ("about:blank", status)
        assert (status == 405) == ("Allow" in response.headers)


async def test_a_fault_of_ours_shows_nothing_and_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(Health(), Broken()) as client:
        async with client.get("/metrics") as response:
            assert response.status == 500
            assert response.content_type == "application/problem+json"
            assert "hunter2" not in await response.text()
        assert "GET /metrics failed" in caplog.text
        async with client.get("/healthz") as response:
            assert response.status == 200


async def test_an_address_in_use_is_named_with_the_remedy() -> None:
    first, second = (ApiServer(create_app(Health(), [])) for _ in range(2))
    port = await first.start("127.0.0.1", 0)
    with pytest.raises(ApiUnavailable, match=rf"listen on 127\.0\.0\.1:{port} .*: set api\.listen to a free address"):
        await second.start("127.0.0.1", port)
    await second.stop()
    await first.stop()


def test_two_collectors_of_one_name_are_refused() -> None:
    class Named(Reading):
        def describe(self) -> list[Metric]:
            return [GaugeMetricFamily("voxdp_scrapes", "How often.")]

    with pytest.raises(ValueError, match="Duplicated"):
        create_app(Health(), [Named(), Named()])
