# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m ctl.compiled MODULE ARGUMENTS...` runs a module as `python -m` does, compiled where that can be.

What is compiled is made by `python -m ctl.compiled.build`.
"""

import runpy
import sys

from ctl.compiled.loader import load

if len(sys.argv) == 1 or sys.argv[1].startswith("-"):
    asked = sys.argv[1:] in (["-h"], ["--help"])
    print(__doc__.replace("`", "").strip(), file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)
load()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
