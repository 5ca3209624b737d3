# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of two figures decides, the absolute one or the ratio, and that a miss of neither is hidden."""

import json

from tests.bench.__main__ import report
from tests.bench.figures import Figure, Yardstick

YARD = Yardstick("a proxy", 3500)


def test_the_ratio_decides_where_the_machine_is_slower(capsys):
    absolute, ratio = YARD.figures("calls", 200.0, 500, 200 / 1400, 1400.0, "so")
    assert (absolute.ok, absolute.decides, ratio.ok, ratio.decides) == (False, False, True, True)
    assert absolute.line().startswith("missed calls")
    assert "MISSED" in ratio.how
    assert report((absolute, ratio), as_json=False) == 0
    assert "1400 in the same run, 3500 on the reference machine" in capsys.readouterr().out


def test_the_absolute_figure_decides_where_the_machine_is_no_slower():
    absolute, ratio = YARD.figures("calls", 510.0, 500, 510 / 3700, 3700.0, "so")
    assert (absolute.ok, absolute.decides, ratio.ok, ratio.decides) == (True, True, False, False)
    assert report((absolute, ratio), as_json=True) == 0


def test_a_miss_that_decides_is_the_exit_status(capsys):
    absolute, ratio = YARD.figures("calls", 400.0, 500, 400 / 3700, 3700.0, "so")
    assert report((absolute, ratio), as_json=True) == 1
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["ok"], each["decides"]) for each in printed] == [(False, True), (False, False)]


def test_a_figure_without_a_yardstick_decides():
    assert report([Figure("failed", 1, "calls", "<=", 0, "so")], as_json=True) == 1
