# SPDX-License-Identifier: GPL-3.0-or-later
"""A few requests of every operation that schemathesis makes up; `python -m tests.api.fuzz` sends many."""

from __future__ import annotations

import pytest

from provisioning.resources import OBJECTS
from tests.api.conftest import Rest
from tests.api.fuzz import fuzz, in_thread
from tests.provisioning.examples import EXAMPLES

EACH = 4


async def prepared(rest: Rest) -> tuple[str, dict[str, str]]:
    """An API key of the platform, and an object of each kind to be found."""
    for resource in OBJECTS:
        status, body, _ = await rest.ask("POST", f"/{resource.plural}", json=EXAMPLES[resource.name][0])
        assert status == 201, body
    _, made, _ = await rest.ask("POST", "/auth/keys", "platform", json={"role": "platform"})
    keys = {resource.plural: EXAMPLES[resource.name][0][resource.key] for resource in OBJECTS}
    return made["token"], keys


@pytest.mark.timeout(300)
async def test_no_request_is_answered_by_a_server_error_or_what_is_not_documented(rest: Rest) -> None:
    token, keys = await prepared(rest)
    statuses = await in_thread(fuzz, rest.url, token, keys, EACH)
    assert not [status for status in statuses if status >= 500]
    assert statuses[200] > 20
    assert statuses[422] > 50
