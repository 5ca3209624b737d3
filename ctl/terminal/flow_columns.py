# SPDX-License-Identifier: GPL-3.0-or-later
"""How flows and calls are shown as lines: columns, colours, short names of keys. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctl.terminal.table import Column, endpoint

ALIASES = {
    "src": "source",
    "dst": "target",
    "relay": "local",
    "loss": "loss_pct",
    "jitter": "jitter_ms",
    "rtt": "rtt_ms",
    "pps": "packets_per_second",
    "idle": "idle_s",
    "why": "reason",
}
GOOD_MOS, BAD_MOS = 4.0, 3.5


def mos_style(row: Mapping[str, Any]) -> str:
    """Green from 4.0 on, yellow from 3.5, red below; unknown is plain."""
    mos = row.get("mos")
    if mos is None:
        return ""
    return "green" if mos >= GOOD_MOS else "yellow" if mos >= BAD_MOS else "red"


def _loss_style(row: Mapping[str, Any]) -> str:
    loss = row.get("loss_pct") or 0
    return "red" if loss >= 3 else "yellow" if loss >= 1 else ""


def _rate_style(row: Mapping[str, Any]) -> str:
    """Yellow where audio should come and none does."""
    rate = row.get("rate", row.get("packets_per_second"))
    return "yellow" if row["kind"] == "rtp" and rate is not None and rate < 1 else ""


def _path_style(row: Mapping[str, Any]) -> str:
    return {"engine": "yellow", "none": "red"}.get(row.get("path") or "", "")


def _path(row: Mapping[str, Any]) -> str | None:
    """What carries the flow; of the engine, whether packets come and go by AF_XDP."""
    path: str | None = row.get("path")
    return f"{path}/xdp" if row.get("received_by") == row.get("sent_by") == "af_xdp" else path


def number(key: str, digits: int) -> Any:
    """Return what writes the value of `key` with so many digits behind the point."""

    def text(row: Mapping[str, Any]) -> str | None:
        value = row.get(key)
        return None if value is None else f"{value:.{digits}f}"

    return text


MOS = Column("MOS", number("mos", 2), right=True, keep=8, style=mos_style)
LOSS = Column("LOSS%", number("loss_pct", 1), right=True, keep=8, style=_loss_style)
JITTER = Column("JITms", number("jitter_ms", 1), right=True, keep=7)
RTT = Column("RTTms", number("rtt_ms", 1), right=True, keep=6)
PATH = Column("PATH", _path, keep=8, style=_path_style)

COLUMNS = (
    Column("ID", "id", keep=10),
    Column("CALL", "call", unit="id", keep=7),
    Column("LEG", "leg", keep=7),
    Column("KIND", "kind", keep=1),
    Column("CODEC", lambda flow: flow["codec"] or flow["kind"], keep=7),
    Column("FROM", lambda flow: endpoint(flow["source"], "learning"), keep=5),
    Column("TO", lambda flow: endpoint(flow["target"]), keep=4),
    PATH,
    Column("STATE", "state", keep=3),
    Column("PPS", number("packets_per_second", 0), right=True, keep=8, style=_rate_style),
    Column("PACKETS", "packets", right=True, unit="si", keep=3),
    LOSS,
    JITTER,
    RTT,
    MOS,
    Column("REJECTED", "rejected", right=True, unit="si", keep=1),
    Column("WHY", "reason", keep=2),
)
"""Of flows: PKT/S, LOSS% and MOS of the last five seconds; RTT from end to end."""
