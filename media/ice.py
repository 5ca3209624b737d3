# SPDX-License-Identifier: GPL-3.0-or-later
"""ICE with the peer of a flow, as the engine is told of it, and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Any, Literal

IceRole = Literal["lite", "controlled", "controlling"]
IceState = Literal["off", "checking", "selected", "lost", "failed"]
"""lost: the peer has ceased to consent. failed: no pair was found in time, but one that comes yet is taken."""

MOST_CANDIDATES = 24
MOST_TEXT = 256


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """A remote candidate; address: an IP literal, priority: 32 bits (RFC 8445 section 5.1.2)."""

    address: str
    port: int
    priority: int


@dataclass(frozen=True, slots=True)
class EngineIce:
    """One component of one stream. lite: we answer checks; else we make them too, and where we control we nominate.

    own, peer: ice-ufrag and ice-pwd of either description. priority: of our candidate, should the peer learn it from
    a check. complete: the peer has no further candidates. selected: the pair that an engine selected which is no more;
    without meaning to one that has an agent already.
    """

    role: IceRole
    own_name: str
    own_password: str = field(repr=False)
    peer_name: str
    peer_password: str = field(repr=False)
    candidates: tuple[IceCandidate, ...] = ()
    priority: int = 1
    tiebreaker: int = 0
    complete: bool = True
    selected: tuple[str, int] | None = None


def redacted_ice(ice: EngineIce | None) -> EngineIce | None:
    """Enough to compare by, and to know who is meant; no secret, and short."""
    if ice is None or (not ice.own_password and not ice.candidates):
        return ice
    said = sha256(repr(ice_to_json(replace(ice, selected=None))).encode()).hexdigest()[:16]
    return replace(ice, own_password="", peer_password=said, candidates=(), tiebreaker=0, selected=None)


def ice_to_json(ice: EngineIce | None) -> dict[str, Any] | None:
    """The settings as a JSON object, or null."""
    if ice is None:
        return None
    listed = [[each.address, each.port, each.priority] for each in ice.candidates]
    return {**{name: getattr(ice, name) for name in NAMES}, "candidates": listed}


def ice_from_json(value: object, members: Callable[..., dict[str, Any]]) -> EngineIce | None:
    """The settings in a JSON object, or null; values out of range are the engine's to refuse.

    members: checks names and types. Raises what that raises, and ValueError for candidates that are none.
    """
    if value is None:
        return None
    given = members(value, TYPES)
    candidates, selected = tuple(map(_candidate, given["candidates"])), given["selected"]
    return EngineIce(**{**given, "candidates": candidates, "selected": selected and _endpoint(selected)})


def _endpoint(value: object) -> tuple[str, int]:
    match value:
        case [str(address), int(port)]:
            return address, port
    raise ValueError("a selected pair is [address, port]")


def _candidate(value: object) -> IceCandidate:
    match value:
        case [str(address), int(port), int(priority)]:
            return IceCandidate(address, port, priority)
    raise ValueError("a candidate is [address, port, priority]")


NAMES = tuple(each.name for each in fields(EngineIce))
TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("role", "own_name", "own_password", "peer_name", "peer_password"), (str,)),
    "candidates": (list,),
    "priority": (int,),
    "tiebreaker": (int,),
    "complete": (bool,),
    "selected": (list, tuple, type(None)),
}
