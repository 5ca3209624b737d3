# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled modules do what their sources do: the tests of these pass with them, damaged messages included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.campaign(
    "tests.compiled",
    *("tests/sip", "tests/ctl/sessions", "tests/ctl/network", "tests/ctl/signalling", "tests/ctl/test_journal.py"),
    *("tests/ctl/observe/test_quality.py", "tests/ctl/observe/test_media_watch.py", "tests/ctl/ng/test_relay.py"),
    *("tests/ctl/workers", "tests/provisioning/test_cdr.py", "tests/provisioning/test_routing.py"),
    *("--ignore=tests/ctl/workers/test_serving.py", "--timeout=0"),
    hurried=True,
)
@pytest.mark.timeout(1800)
def test_tests_of_what_is_compiled_pass_with_it(campaign):
    """On the little that others leave, any may take as long as all. What starts `voxdp run` has them anyway."""
    printed = campaign()
    assert " passed" in printed.splitlines()[-1]


def test_where_compiled_modules_are_not_wanted_sources_run():
    told = "from ctl.compiled.loader import load, running; import sip.core; print(load(), running(), sip.core.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", told],
        cwd=ROOT,
        env={**os.environ, "VOXDP_PLAIN": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False", str(ROOT / "sip/core.py")]
