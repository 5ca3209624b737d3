# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.bench WHAT [--json]`: measure, print, and exit 1 if a goal is missed."""

import argparse
import sys

from tests.bench import relay

BENCHES = {"relay": relay.measure}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure, against goals.")
    parser.add_argument("what", choices=sorted(BENCHES))
    parser.add_argument("--json", action="store_true", help="one line of JSON per figure")
    options = parser.parse_args()
    good = True
    for figure in BENCHES[options.what]():
        print(figure.json() if options.json else figure.line(), flush=True)
        good &= figure.ok
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
