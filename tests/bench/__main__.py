# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.bench WHAT [--json]`: measure, print, exit 1 if a goal is missed, 2 if it cannot be measured."""

import argparse
import sys
from collections.abc import Iterable

from tests.bench import api, cli, codecs, engine, ng, relay, routing, sip
from tests.bench.figures import Figure

BENCHES = {
    "api": api.measure,
    "cli": cli.measure,
    "codecs": codecs.measure,
    "engine": engine.measure,
    "ng": ng.measure,
    "relay": relay.measure,
    "routing": routing.measure,
    "sip": sip.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure, against goals.")
    parser.add_argument("what", choices=sorted(BENCHES))
    parser.add_argument("--json", action="store_true", help="one line of JSON per figure")
    options = parser.parse_args()
    try:
        return report(BENCHES[options.what](), options.json)
    except (OSError, RuntimeError) as failure:
        print(f"scripts/bench: {failure}", file=sys.stderr)
        return 2


def report(figures: Iterable[Figure], as_json: bool) -> int:
    """Print each figure as soon as it is there; 1 if a goal was missed by one that decides."""
    good = True
    for figure in figures:
        print(figure.json() if as_json else figure.line(), flush=True)
        good &= figure.ok or not figure.decides
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
