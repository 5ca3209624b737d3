# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a flow runs where it runs, and why nothing is heard of it: from facts to one cause and one remedy.

Pure. The causes stand in the order in which they hide each other: what comes in is asked before what goes out, and
that before what comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ctl.kernel.flowrule import Endpoint
from ctl.sessions.plan import UNPAIRED

QUIET = 2.0
"""Seconds without a packet after which a direction is silent; silence suppression sends more often."""

Cause = Literal[
    "flowing",
    "not_carried",
    "held",
    "no_pair",
    "wrong_source",
    "dropped",
    "no_packet_in",
    "stopped",
    "no_route",
    "no_neighbour",
    "far_side_silent",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one flow and of its other direction.

    path, path_reason, state: as in FlowView. local: relay address and port that it is received at; interface: the one
    it comes in by. source: who may send, port None: to be learned. idle, back_idle: seconds since the last packet,
    None: there was none. route, neighbour: whether the next hop is known; neighbour is None where nobody asks. back_*:
    the other direction.
    """

    path: str
    path_reason: str
    state: str
    local: Endpoint
    interface: str
    source: tuple[str, int | None]
    target: Endpoint
    packets: int
    idle: float | None
    rejected: int
    rejected_source: Endpoint | None
    dropped: int
    last_reason: str | None
    route: bool
    neighbour: bool | None
    back_packets: int
    back_idle: float | None
    back_held: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold; holds: None where it does not matter or is not known."""

    name: str
    holds: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """path_text: why the flow runs where it does. cause: why it is heard or not; text, remedy: for people."""

    path_text: str
    cause: Cause
    text: str
    remedy: str
    checks: Sequence[Check]

    @property
    def failed(self) -> Check | None:
        """The last check that does not hold."""
        return next((check for check in reversed(self.checks) if check.holds is False), None)


def explain(facts: Facts) -> Explanation:
    """Find out. Each cause but "flowing" and "held" is one of one-way audio."""
    cause, text, remedy = _cause(facts)
    return Explanation(_path_text(facts), cause, text, remedy, _checks(facts))


def _path_text(facts: Facts) -> str:
    if facts.path == "kernel":
        return "forwarded by XDP, in the drivers of the interfaces"
    if facts.path == "engine":
        return f"relayed by the engine, for {facts.path_reason}" if facts.path_reason else "relayed by the engine"
    return f"carried by nothing: {facts.path_reason}"


def _cause(facts: Facts) -> tuple[Cause, str, str]:
    source, target = _text(facts.source), _text(facts.target)
    if facts.path == "none":
        return "not_carried", facts.path_reason, "run: sudo voxdp attach; or start the engine: voxdp run"
    if facts.state == "held":
        return "held", "a session description puts this direction on hold", ""
    if facts.path_reason in UNPAIRED.values():
        return (
            "no_pair",
            facts.path_reason,
            f"do checks of ICE come? tcpdump -ni {facts.interface or 'any'} udp port {facts.local[1]}; its name and "
            "password are those of the far end's last description",
        )
    if not _heard(facts.packets, facts.idle):
        return _unheard(facts, source)
    if not facts.route:
        return "no_route", f"there is no route to {target}", f"see: ip route get {facts.target[0]}"
    if facts.neighbour is False:
        return (
            "no_neighbour",
            f"the next hop to {target} does not answer ARP or neighbour discovery",
            f"see: ip neigh; ip route get {facts.target[0]}",
        )
    if not facts.back_held and not _heard(facts.back_packets, facts.back_idle):
        since = "nothing has come back yet" if facts.back_idle is None else f"silent for {facts.back_idle:.0f} s"
        return (
            "far_side_silent",
            f"packets go to {target}, but from there {since}",
            "explain the other direction; does the far end send, and does a firewall let it?",
        )
    return "flowing", f"packets come from {source} and go to {target}", ""


def _unheard(facts: Facts, source: str) -> tuple[Cause, str, str]:
    look = f"look on the wire: tcpdump -ni {facts.interface or 'any'} udp port {facts.local[1]}"
    if facts.rejected and facts.rejected_source:
        other = _text(facts.rejected_source)
        return (
            "wrong_source",
            f"packets come from {other}, but only {source} may send ({facts.rejected} dropped)",
            "let the far end's description name the address that it sends from, or send from the one it names",
        )
    if facts.dropped and facts.last_reason == "no_nexthop":
        return "no_neighbour", f"the next hop to {_text(facts.target)} is unknown", "see: ip route; ip neigh"
    if facts.dropped:
        why = f"{facts.dropped} packets were dropped, the last for {facts.last_reason}"
        return "dropped", why, "the reasons are told in docs/verdicts.md"
    if facts.idle is None:
        return "no_packet_in", f"nothing has come from {source} yet", look
    return "stopped", f"nothing has come from {source} for {facts.idle:.0f} s", look


def _checks(facts: Facts) -> tuple[Check, ...]:
    held = facts.state == "held"
    idle = "no packet yet" if facts.idle is None else f"last packet {facts.idle:.2f} s ago"
    back = "no packet yet" if facts.back_idle is None else f"last packet {facts.back_idle:.2f} s ago"
    heard = _heard(facts.packets, facts.idle)
    strangers = f"{facts.rejected} packets of others"
    if facts.rejected_source:
        strangers += f", last from {_text(facts.rejected_source)}"
    drops = f"{facts.dropped} dropped" + (f", last for {facts.last_reason}" if facts.last_reason else "")
    return (
        Check("path", facts.path != "none", _path_text(facts)),
        Check("direction", not held, "on hold" if held else f"open, {facts.state}"),
        Check("source", facts.rejected == 0 or heard, f"{_text(facts.source)} may send; {strangers}"),
        Check("packets in", None if held else heard, f"{facts.packets} packets, {idle}"),
        Check("verdicts", facts.dropped == 0, drops),
        Check("route", facts.route, f"to {facts.target[0]}"),
        Check("next hop", facts.neighbour, "known" if facts.neighbour else "asked by nobody here"
              if facts.neighbour is None else "not known"),
        Check("far side", None if facts.back_held else _heard(facts.back_packets, facts.back_idle),
              f"{facts.back_packets} packets back, {back}"),
    )  # fmt: skip


def _heard(packets: int, idle: float | None) -> bool:
    return packets > 0 and idle is not None and idle <= QUIET


def _text(endpoint: tuple[str, int | None]) -> str:
    address, port = endpoint
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port else f"{host}, any port,"
