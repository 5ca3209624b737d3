# SPDX-License-Identifier: GPL-3.0-or-later
import structlog

from tests.ctl.ng.mutated import SLOW_SECONDS, answers_of, run


def test_nothing_in_a_request_can_escape(world):
    with structlog.testing.capture_logs():
        outcome = run(answers_of(world), 100_000, seed=7)
    assert outcome.requests + outcome.dropped == 100_000
    assert outcome.errors > 10_000
    assert outcome.requests - outcome.errors > 10_000
    assert outcome.slowest < SLOW_SECONDS
