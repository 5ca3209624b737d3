# SPDX-License-Identifier: GPL-3.0-or-later
"""Each libFuzzer target for a moment; for longer: python -m tests.media.fuzzing."""

import pytest

from tests.media import fuzzing

SECONDS = 3


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_nothing_is_found_in_a_moment(tmp_path, name):
    outcome = fuzzing.run(fuzzing.build(name, tmp_path), tmp_path / "corpus" / name, SECONDS)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    assert fuzzing.executions(outcome) > 500
