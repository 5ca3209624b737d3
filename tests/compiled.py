# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.compiled PYTEST-ARGUMENTS...`: tests with the compiled modules, made anew where they are stale."""

from __future__ import annotations

import sys

import pytest

from ctl.compiled.build import build
from ctl.compiled.loader import load


def main(arguments: list[str]) -> int:
    build()
    if not load():
        print("the compiled modules are not used: is VOXDP_PLAIN set?", file=sys.stderr)
        return 1
    return pytest.main(["-q", "-p", "no:cacheprovider", "-p", "faulthandler", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
