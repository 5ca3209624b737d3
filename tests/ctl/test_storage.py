# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL that is not there is waited for, and told of without filling the log."""

import asyncio

import pytest
from structlog.testing import capture_logs

from ctl import storage
from ctl.config import Config
from provisioning.errors import DatabaseUnavailable

ATTEMPTS = 2 * storage.TELL_EVERY + 1


class Enough(Exception):
    """The test has seen what it wanted."""


def test_attempts_that_fail_alike_are_told_of_now_and_then(tmp_path, monkeypatch):
    """The first, whatever is new, and one in so many."""
    attempts = iter(["refused"] * 3 + ["not found"] * (ATTEMPTS - 3))

    def fail(_conninfo):
        why = next(attempts, None)
        raise DatabaseUnavailable(why) if why else Enough

    monkeypatch.setattr(storage, "migrate", fail)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0)
    run, database = {"directory": tmp_path, "state": tmp_path}, {"url": "host=/nonexistent"}
    kept = storage.Storage(Config(run=run, database=database))
    with capture_logs() as logs, pytest.raises(Enough):
        asyncio.run(kept.run(patient=True))
    told = [each["why"] for each in logs if each["event"] == "no database yet"]
    assert told == ["refused", "not found", "not found", "not found"]
    assert kept.trouble == "not found"
