# SPDX-License-Identifier: GPL-3.0-or-later
"""A log is read by lines: what libraries tell in several is one of them."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
from ctl.config import Config
from ctl.logs import configure_logging
configure_logging(Config(log={"format": sys.argv[1]}))
logging.getLogger("psycopg.pool").warning("refused\\n\\tIs it %s?\\n", "running")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_tells_is_one_line(form):
    done = subprocess.run([sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stderr.splitlines()
    told = json.loads(line)["event"] if form == "json" else line
    assert "refused; Is it running?" in told
