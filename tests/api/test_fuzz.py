# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten thousand requests that schemathesis makes up; `python -m tests.api.fuzz 100000` sends more."""

from __future__ import annotations

import pytest

from provisioning.resources import OBJECTS
from tests.api.conftest import Rest
from tests.api.fuzz import Target, fuzz, in_thread
from tests.provisioning.examples import EXAMPLES

EACH = 21


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


@pytest.mark.timeout(600)
async def test_no_request_is_answered_by_a_server_error_or_what_is_not_documented(rest: Rest) -> None:
    statuses = await in_thread(fuzz, await prepared(rest), EACH)
    assert not [status for status in statuses if status >= 500]
    assert statuses.total() > 10_000
    for status in (200, 201, 204, 403, 409, 412, 422):
        assert statuses[status] > 20, statuses
