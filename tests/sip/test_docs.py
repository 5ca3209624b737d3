# SPDX-License-Identifier: GPL-3.0-or-later
"""The diagrams in docs/sip.md are those of the tables. VOXDP_DRAW=1 in the environment draws them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sip.call_table import CALL, CallSignal
from sip.leg_table import LEG
from sip.transaction_table import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sip.md"
TABLES = {
    "Call": CALL,
    "Leg": LEG,
    "INVITE client transaction": INVITE_CLIENT,
    "Client transaction": CLIENT,
    "INVITE server transaction": INVITE_SERVER,
    "Server transaction": SERVER,
}
EVERYWHERE = {CallSignal.BYE, CallSignal.HANGUP}


def draw(title, table) -> str:
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, signal), (after, _) in table.items():
        if signal not in EVERYWHERE:
            edges.setdefault((state.value, after.value), []).append(signal.value)
    lines = [f"    {before} --> {after}: {', '.join(signals)}" for (before, after), signals in edges.items()]
    return "\n".join([f"### {title}\n", "```mermaid", "stateDiagram-v2", *lines, "```\n"])


def test_diagrams_are_those_of_the_tables():
    drawn = "\n".join(draw(title, table) for title, table in TABLES.items())
    text = PAGE.read_text()
    intro, _, _ = text.partition("### ")
    if os.environ.get("VOXDP_DRAW"):
        PAGE.write_text(intro + drawn)
    assert PAGE.read_text() == intro + drawn, "run VOXDP_DRAW=1 pytest tests/sip/test_docs.py"


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(tests/[a-z/]+/)?(test_[a-z0-9_]+)`", PAGE.read_text()))
    missing = [name for place, name in named if not (ROOT / (place or "tests/sip") / f"{name}.py").exists()]
    assert not missing
    assert len(named) >= 40


def test_every_row_names_a_test():
    rows = re.findall(r"^\| [0-9, ]+ \| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 25
    assert all(re.fullmatch(r"`[a-z0-9_/]+`(, `[a-z0-9_/]+`)*", row) for row in rows), rows
