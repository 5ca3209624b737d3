# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests made from the OpenAPI document, valid and not: no server error, and no answer that is not documented.

`python -m tests.api.fuzz 100000` sends at least that many.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from provisioning.embedded import EmbeddedPostgres
from provisioning.migrate import migrate
from provisioning.resources import OBJECTS
from provisioning.vault import Vault
from tests.api.conftest import Rest, serving
from tests.patience import PATIENCE
from tests.provisioning.examples import EXAMPLES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
WAYS = 4
"""How each request is sent: as it is and by a viewer; of an object that is there, with odd headers and without."""
TOKENS_END = ("log_out", "delete_key", "oidc_login")
"""Not sent: they would end what the others need, or lead to another host."""


@dataclass(frozen=True)
class Target:
    """What is asked. bodies: an object of each kind that is there, by the first part of its path; None: no such."""

    url: str
    token: str
    viewer: str
    keys: dict[str, str]
    bodies: dict[str, dict[str, Any]]


def fuzz(target: Target, each: int, number: int = 1) -> Counter[int]:
    """Make `each` requests up for every operation, half of them not valid, and send each in four ways.

    Return how often which status came. Raises what schemathesis finds.
    """
    schema = schemathesis.openapi.from_url(f"{target.url}/api/v1/openapi.json")
    schema.config.base_url = f"{target.url}/api/v1"
    counts: Counter[int] = Counter()
    session = requests.Session()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.definition.raw["operationId"] in TOKENS_END:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _send(operation, mode, session, target, max(1, each // 2), number, counts)
    return counts


def _send(
    operation: Any, mode: GenerationMode, session: requests.Session, target: Target, count: int, number: int,
    counts: Counter[int],
) -> None:  # fmt: skip
    kind = operation.path.split("/")[1]
    raw = "text/csv" in operation.definition.raw.get("requestBody", {}).get("content", {})
    checks = [check for check in CHECKS if not (raw and check is negative_data_rejection)]  # any text is a string
    allowed = {"Authorization": f"Bearer {target.token}"}

    def there(case: Any) -> Any:
        """The same of an object that is there."""
        if kind in target.keys and "key" in (case.path_parameters or {}):
            case.path_parameters["key"] = target.keys[kind]
        return case

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        for headers in (allowed, {"Authorization": f"Bearer {target.viewer}"}):
            answer(case, headers)
        if mode is GenerationMode.POSITIVE:
            case = there(case)
        for headers in (allowed | {"If-Match": '"0"', "Idempotency-Key": "k" * 300}, allowed):
            answer(case, headers)

    def answer(case: Any, headers: dict[str, str]) -> None:
        response = case.call(session=session, headers=headers, allow_redirects=False, timeout=PATIENCE)
        counts[response.status_code] += 1
        case.validate_response(response, checks=checks)
        if operation.method.upper() == "DELETE" and response.status_code == 204 and kind in target.bodies:
            made = session.post(
                f"{target.url}/api/v1/{kind}", json=target.bodies[kind], headers=allowed, timeout=PATIENCE
            )
            assert made.status_code in (201, 409), made.text

    send()


async def prepared(rest: Rest) -> Target:
    """An API key of the platform and one of a viewer, and an object of each kind to be found."""
    bodies = {resource.plural: EXAMPLES[resource.name][0] for resource in OBJECTS}
    for plural, body in bodies.items():
        status, made, _ = await rest.ask("POST", f"/{plural}", json=body)
        assert status == 201, made
    tokens = []
    for role in ("platform", "viewer"):
        _, made, _ = await rest.ask("POST", "/auth/keys", role, json={"role": role})
        tokens.append(made["token"])
    keys = {resource.plural: bodies[resource.plural][resource.key] for resource in OBJECTS}
    return Target(rest.url, *tokens, keys, bodies)


async def campaign(total: int) -> Counter[int]:
    """Start everything, send about `total` requests, and stop."""

    with tempfile.TemporaryDirectory(prefix="voxdp-fuzz-") as directory:
        Path(directory).chmod(0o711)
        async with EmbeddedPostgres(Path(directory) / "pg") as conninfo:
            await asyncio.to_thread(migrate, conninfo)
            async with serving(conninfo, Vault([bytes(range(32))])) as rest:
                every = sum(map(len, (await operations(rest.client)).values()))
                return await in_thread(fuzz, await prepared(rest), 2 + total // every // WAYS)


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
    print(json.dumps(dict(sorted(statuses.items()))))
