# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine dropped, as metrics name it."""

from ctl.observe.metrics import engine_drops
from media.flows import EngineError, EngineSummary


def test_drops_of_the_engine_have_the_names_of_the_kernels():
    reasons = {"forwarded": (900, 1), "forged": (3, 1), "no-key": (2, 1), "wrong-source": (7, 1)}
    summary = EngineSummary(1, 2, 64, 0, "", (1,), reasons)
    assert engine_drops(lambda: summary) == {("forged",): 3, ("no_key",): 2, ("wrong_source",): 7}


def test_without_an_engine_there_are_none():
    def gone() -> EngineSummary:
        raise EngineError("gone", "no engine answers")

    assert engine_drops(gone) == {}
