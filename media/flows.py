# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's process and its clients say to each other: flows, statistics and errors, and their JSON.

Knows nothing of sockets or C, so that a client need not load the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import AddressValueError, IPv4Address
from operator import attrgetter
from typing import Any, Literal

FlowKey = tuple[str, int]
"""A flow's name: the relay's own IPv4 address and UDP port."""

MESSAGE_BYTES = 65536
"""Longest request or reply."""
KEYS_AT_ONCE = 64
"""Most keys in one request: their statistics fit into one reply."""


class EngineError(Exception):
    """The engine refused, or could not be asked. The text is one line that names the remedy.

    code: "port-in-use", "address-not-ours", "not-permitted", "no-files", "full", "bad-flow", "bad-pair",
    "bad-request", "system", "gone" (no engine answers) or "running" (another one does).
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class EngineFlow:
    """One direction of a stream: what reaches `local` from `source` goes on to `target`.

    It leaves from the local address of the flow's partner. Addresses are IPv4 literals.
    """

    local_address: str
    local_port: int
    source_address: str
    source_port: int | None
    """None: learned inside `source_address` from the first valid packet, and never again."""
    target_address: str
    """0.0.0.0: nowhere yet."""
    target_port: int
    """0: nowhere, until the partner learns it."""
    kind: Literal["rtp", "rtcp"] = "rtp"
    clock_rate: int = 0
    """Hz; 0: unknown, and so is the jitter."""
    dscp: int | None = None
    """None: as it came."""
    held: bool = False
    """Everything that arrives is dropped."""

    @property
    def key(self) -> FlowKey:
        """The flow's name."""
        return self.local_address, self.local_port


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What became of a flow since it was opened; times are seconds, `last_seen` of CLOCK_MONOTONIC."""

    flow: EngineFlow
    learned_port: int | None
    """Source port in use where it was to be learned; None: nothing learned."""
    learned_target: int | None
    """Port that the partner learned and that replaces the flow's target port."""
    packets: int
    """Forwarded, as `bytes`, which counts UDP payload."""
    bytes: int
    last_seen: float | None
    jitter: float | None
    """Seconds, RFC 3550 A.8; None: clock rate unknown."""
    largest_gap: float
    ssrc: int | None
    payload_type: int | None
    tos: int | None
    """IPv4 type of service as it came, all eight bits."""
    lost: int
    reordered: int
    duplicates: int
    ssrc_changes: int
    resets: int
    rejected: int
    """Packets from a source that is not the flow's."""
    rejected_source: FlowKey | None
    """The last of those sources."""
    dropped: int
    """Packets dropped for any other reason."""
    last_reason: str | None
    """Why the last one was dropped."""

    @property
    def key(self) -> FlowKey:
        """The flow's name."""
        return self.flow.key


@dataclass(frozen=True, slots=True)
class EngineSummary:
    """The engine as a whole. reasons: packets and bytes of UDP payload by reason, those not 0."""

    workers: int
    flows: int
    capacity: int
    reasons: Mapping[str, tuple[int, int]]


def flow_to_json(flow: EngineFlow) -> dict[str, Any]:
    """The flow as a JSON object."""
    return dict(zip(FLOW_NAMES, flow_values(flow), strict=True))


def flow_from_json(value: object) -> EngineFlow:
    """The flow in a JSON object. Raises EngineError "bad-request" or "bad-flow"."""
    flow = members(value, FLOW_TYPES, optional=FLOW_OPTIONAL)
    for name in ("local_address", "source_address", "target_address"):
        check_address(name, flow[name])
    for name, least in (("local_port", 1), ("source_port", 1), ("target_port", 0)):
        if flow[name] is not None:
            check_range(name, flow[name], least, 65535)
    check_range("clock_rate", flow.get("clock_rate", 0), 0, 900_000)
    check_range("dscp", flow.get("dscp") or 0, 0, 63)
    if flow.get("kind", "rtp") not in ("rtp", "rtcp"):
        raise EngineError("bad-flow", f"kind is {flow['kind']!r}; it must be rtp or rtcp")
    return EngineFlow(**flow)


def statistics_to_json(statistics: EngineStatistics) -> dict[str, Any]:
    """The statistics as a JSON object."""
    members = dict(zip(STATISTICS_NAMES, statistics_values(statistics), strict=True))
    return {**members, "flow": flow_to_json(statistics.flow)}


def statistics_from_json(value: Mapping[str, Any]) -> EngineStatistics:
    """The statistics in a JSON object that `statistics_to_json` made."""
    source = value["rejected_source"]
    changed = {"flow": EngineFlow(**value["flow"]), "rejected_source": source and (source[0], source[1])}
    return EngineStatistics(**{**value, **changed})


def key_from_json(value: object) -> FlowKey:
    """A flow's name as JSON has it, [address, port]. Raises EngineError "bad-request" or "bad-flow"."""
    match value:
        case [str(address), int(port)] if not isinstance(port, bool):
            check_address("address", address)
            check_range("port", port, 1, 65535)
            return address, port
    raise EngineError("bad-request", "a key must be [address, port]")


def members(
    value: object, types: Mapping[str, tuple[type, ...]], optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The members of a JSON object, each of its type; none unknown, none missing but the optional ones."""
    if not isinstance(value, dict):
        raise EngineError("bad-request", "a JSON object is wanted")
    for name, member in value.items():
        if name not in types:
            raise EngineError("bad-request", f"unknown key {name!r:.60}; known are {', '.join(sorted(types))}")
        if type(member) not in types[name]:
            raise EngineError("bad-request", f"{name} cannot be a value of type {type(member).__name__}")
    missing = types.keys() - value.keys() - optional
    if missing:
        raise EngineError("bad-request", f"missing key {', '.join(sorted(missing))}")
    return value


def check_address(name: str, text: str) -> None:
    """Raises EngineError "bad-flow" unless `text` is an IPv4 literal."""
    try:
        IPv4Address(text)
    except AddressValueError:
        raise EngineError("bad-flow", f"{name} {text!r:.60} is not an IPv4 address") from None


def check_range(name: str, number: int, least: int, most: int) -> None:
    """Raises EngineError "bad-flow" unless `number` lies between the two."""
    if not least <= number <= most:
        raise EngineError("bad-flow", f"{name} {number!r:.60} is not between {least} and {most}")


# dataclasses.asdict copies deeply: four fifths of the time that 2,000 flows' statistics took.
FLOW_NAMES = tuple(field.name for field in fields(EngineFlow))
STATISTICS_NAMES = tuple(field.name for field in fields(EngineStatistics))
flow_values = attrgetter(*FLOW_NAMES)
statistics_values = attrgetter(*STATISTICS_NAMES)

NONE = type(None)
FLOW_TYPES: dict[str, tuple[type, ...]] = {
    "local_address": (str,),
    "local_port": (int,),
    "source_address": (str,),
    "source_port": (int, NONE),
    "target_address": (str,),
    "target_port": (int,),
    "kind": (str,),
    "clock_rate": (int,),
    "dscp": (int, NONE),
    "held": (bool,),
}
FLOW_OPTIONAL = frozenset({"kind", "clock_rate", "dscp", "held"})
