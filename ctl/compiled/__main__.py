# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m ctl.compiled MODULE ARGUMENTS...` runs a module as `python -m` does, compiled where that can be."""

import runpy
import sys

from ctl.compiled.loader import load

load()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
