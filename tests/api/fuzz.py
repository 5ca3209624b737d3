# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests made from the OpenAPI document, valid and not: no server error, and no answer that is not documented.

`python -m tests.api.fuzz 100000` sends that many; the test of the same name a few of each operation.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
TOKENS_END = ("log_out", "delete_key", "oidc_login")
"""Not sent: they would end what the others need, or lead to another host."""


def fuzz(url: str, token: str, keys: dict[str, str], each: int, number: int = 1) -> Counter[int]:
    """Send `each` requests of every operation, half of them not valid; return how often which status came.

    keys: an object that is there by the first part of a path. Raises what schemathesis finds.
    """
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
    schema.config.base_url = f"{url}/api/v1"
    counts: Counter[int] = Counter()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.definition.raw["operationId"] in TOKENS_END:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _send(operation, mode, session, keys, max(1, each // 2), number, counts)
    return counts


def _send(
    operation: Any, mode: GenerationMode, session: requests.Session, keys: dict[str, str], count: int, number: int,
    counts: Counter[int],
) -> None:  # fmt: skip
    known = keys.get(operation.path.split("/")[1])
    raw = "text/csv" in operation.definition.raw.get("requestBody", {}).get("content", {})
    checks = [check for check in CHECKS if not (raw and check is negative_data_rejection)]  # any text is a string

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def send(case: Any, there: bool) -> None:
        if there and known and mode is GenerationMode.POSITIVE and "key" in (case.path_parameters or {}):
            case.path_parameters["key"] = known
        response = case.call(session=session, allow_redirects=False, timeout=20)
        counts[response.status_code] += 1
        case.validate_response(response, checks=checks)

    send()


async def campaign(total: int) -> Counter[int]:
    """Start everything, send about `total` requests, and stop."""
    from provisioning.embedded import EmbeddedPostgres
    from provisioning.migrate import migrate
    from provisioning.vault import Vault
    from tests.api.conftest import serving
    from tests.api.test_fuzz import prepared

    with tempfile.TemporaryDirectory(prefix="voxdp-fuzz-") as directory:
        Path(directory).chmod(0o711)
        async with EmbeddedPostgres(Path(directory) / "pg") as conninfo:
            await asyncio.to_thread(migrate, conninfo)
            async with serving(conninfo, Vault([bytes(range(32))])) as rest:
                token, keys = await prepared(rest)
                every = sum(map(len, (await operations(rest.client)).values()))
                return await in_thread(fuzz, rest.url, token, keys, max(2, total // every))


async def operations(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/api/v1/openapi.json") as answer:
        return dict((await answer.json())["paths"])


async def in_thread(work: Any, *arguments: Any) -> Any:
    """As asyncio.to_thread, but with room on the stack for what schemathesis makes of deep schemas."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            result = work(*arguments)
        except BaseException as error:
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    former = threading.stack_size(64 << 20)
    threading.Thread(target=run, daemon=True).start()
    threading.stack_size(former)
    return await done


if __name__ == "__main__":
    statuses = asyncio.run(campaign(int(sys.argv[1]) if sys.argv[1:] else 10_000))
    print(sum(statuses.values()), "requests;", dict(sorted(statuses.items())))
