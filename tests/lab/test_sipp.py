# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from vm import sipp
from vm.process import LabError
from vm.sipp import Sipp


def test_the_built_in_scenarios_call_each_other(one):
    answering = Sipp(one, one.b, "uas", ["-sn", "uas"]).listening()
    calling = Sipp(one, one.a, "uac", ["-sn", "uac", "-r", "50", "-m", "50", "-d", "10", f"{one.b.address}:5060"])
    outcome = calling.finish()
    assert (outcome.created, outcome.successful, outcome.failed) == (50, 50, 0)
    assert answering.stop().created == 50


def test_a_wrong_scenario_is_told(one):
    with pytest.raises(LabError, match="sipp ended with"):
        Sipp(one, one.a, "uac", ["-sf", "/no/such/file", "198.18.1.12"]).finish()


def test_no_statistics_is_told(tmp_path):
    with pytest.raises(LabError, match="wrote no statistics"):
        sipp.read(tmp_path / "none.csv")
