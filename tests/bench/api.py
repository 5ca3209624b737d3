# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST API of the whole controller, beside calls whose media it carries: how long an answer takes."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from tests.bench.figures import Figure
from tests.bench.ng import OURS, SETTINGS, Client
from vm import namespace
from vm.controller import Controller
from vm.lab import Lab

CALLS = 100
RATE = 200
SECONDS = 15
PASSWORD = "a long password"
URL = "http://127.0.0.1:8081"
PATHS = ("/calls", "/users", "/trunks", "/statistics", "/cdrs?limit=20")


def measure() -> Iterator[Figure]:
    with Lab("one") as lab:
        controller = Controller(lab, listen=("127.0.0.1:5080",), more=SETTINGS)
        controller.attach()
        controller.start()
        for number in (1, 2):
            _add_account(controller.config, f"bench{number}")
        Client(lab, OURS, controller.pid, "ours").set_up(CALLS)
        with namespace.entered(lab.relay):
            took = asyncio.run(_load())
    percentile = statistics.quantiles(took, n=100)[98] * 1000
    how = (
        f"{len(took)} requests at {RATE}/s for {SECONDS} s, one in ten a write, beside {CALLS} calls set up over ng; "
        f"median {statistics.median(took) * 1000:.1f} ms"
    )
    yield Figure("REST answer, p99", percentile, "ms", "<=", 200, how)


def _add_account(config: Path, name: str) -> None:
    command = [sys.executable, "-m", "ctl.cli", "-c", str(config), "account", "add", name, "role=admin"]
    subprocess.run([*command, "--password-stdin"], input=PASSWORD + "\n", text=True, check=True, capture_output=True)


async def _load() -> list[float]:
    async with aiohttp.ClientSession(URL, connector=aiohttp.TCPConnector(limit=RATE)) as client:
        tokens = [await _log_in(client, f"bench{number}") for number in (1, 2)]
        began, tasks = time.perf_counter(), []
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(client, tokens[number % 2], number)))
        return await asyncio.gather(*tasks)


async def _ask(client: aiohttp.ClientSession, token: str, number: int) -> float:
    headers = {"Authorization": f"Bearer {token}"}
    write = number % 10 == 0
    path = "/skills" if write else PATHS[number % len(PATHS)]
    since = time.perf_counter()
    body = {"name": f"s{number}"} if write else None
    async with client.request("POST" if write else "GET", f"/api/v1{path}", json=body, headers=headers) as answer:
        await answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{path} was answered {answer.status}")
    return time.perf_counter() - since


async def _log_in(client: aiohttp.ClientSession, name: str) -> str:
    async with client.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD}) as answer:
        return str((await answer.json())["access_token"])
