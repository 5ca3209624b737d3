# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred thousand damaged inputs; ten million are fed by `python -m tests.sip.fuzz`."""

from __future__ import annotations

import inspect
import random
from importlib import import_module
from pathlib import Path

import pytest

from tests.sip.fuzz import TARGETS, run

COUNTS = {"message": 15_000, "stream": 10_000, "core": 15_000}
OTHERS = 60_000 // (len(TARGETS) - len(COUNTS))
MACHINES = {"sip.transaction.Transaction", "sip.call.Call", "sip.leg.Leg"}
"""They are fed with signals, not with bytes."""
PARSERS = {
    *("sip.parser.parse", "sip.framing.Framer", "sip.uri.Uri", "sip.headers.NameAddr", "sip.headers.Via"),
    *("sip.headers.CSeq", "sip.headers.AuthValue", "sip.params.Params", "sip.sdp.SessionDescription"),
    *("sip.sdp.Origin", "sip.sdp_parts.Candidate", "sip.sdp_parts.Fingerprint", "sip.sdp_parts.Connection"),
    "sip.sdp_parts.Crypto",
}
"""All that has a `parse`, or is one: each is reached by a target."""


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_read_or_refused_in_time(name):
    found = next(run(TARGETS[name], COUNTS.get(name, OTHERS), random.Random(11)), None)
    assert found is None


def test_every_parser_has_a_target():
    found = set()
    for path in Path("sip").glob("*.py"):
        module = import_module(f"sip.{path.stem}")
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "") == module.__name__
            if ours and (name == "parse" or (inspect.isclass(value) and {"parse", "feed"} & vars(value).keys())):
                found.add(f"{module.__name__}.{name}")
    assert found - MACHINES == PARSERS
