# SPDX-License-Identifier: GPL-3.0-or-later
"""Five minutes of processor time for the libFuzzer targets; for hours: python -m tests.media.fuzzing."""

import pytest

from tests.media import fuzzing

SECONDS = 300 / len(fuzzing.TARGETS)


@pytest.mark.campaign("tests.media.fuzzing", "--seconds", f"{SECONDS:.0f}", "--seed", "1")
@pytest.mark.timeout(1800)
def test_no_input_harms_the_engine(campaign):
    tried = dict(line.split() for line in campaign().splitlines())
    assert sorted(tried) == fuzzing.TARGETS
    assert min(map(int, tried.values())) > 5_000, tried
