# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order the trunks of a route are tried. Pure: turn, chance and load are arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from provisioning.plan import Member, Route, TenantPlan, Trunk, TrunkKey

UNLIMITED = 10**9
"""What a trunk without a limit counts as, when loads are compared."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision depends on beside who calls whom.

    now: wall-clock time with its zone. turn: a counter that grows by one for each call. draw: a random number,
    0 ≤ draw < 1. load: calls on each trunk.
    """

    now: datetime
    turn: int = 0
    draw: float = 0.0
    load: Mapping[TrunkKey, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """A trunk that could take the call, and its price a minute where there is one."""

    trunk: Trunk
    price: int | None


def offers(
    route: Route, plan: TenantPlan, digits: str, caller: str, circumstances: Circumstances
) -> tuple[list[Offer], list[str]]:
    """Return the trunks of a route that can take the call, best first, and why the others cannot.

    digits: the dialled number, caller: the caller's, both E.164 without plus; the caller's may be "".
    """
    members, refused = [], []
    for member in route.trunks:
        trunk = plan.trunks[member.trunk]
        price = _price(trunk, plan, digits)
        reason = _obstacle(trunk, price, route, circumstances)
        if reason:
            refused.append(f"trunk {trunk.name}: {reason}")
        else:
            members.append((member, Offer(trunk, price)))
    return [offer for _, offer in _ordered(members, route, caller, circumstances)], refused


def _price(trunk: Trunk, plan: TenantPlan, digits: str) -> int | None:
    deck = plan.decks.get(trunk.rate_deck) if trunk.rate_deck else None
    return deck.price(digits) if deck else None


def _obstacle(trunk: Trunk, price: int | None, route: Route, circumstances: Circumstances) -> str | None:
    if not trunk.enabled:
        return "disabled"
    if trunk.channel_limit is not None and circumstances.load.get(trunk.key, 0) >= trunk.channel_limit:
        return f"all {trunk.channel_limit} channels in use"
    if route.max_price_micros is not None:
        if price is None:
            return "no price known, and the route has a highest one"
        if price > route.max_price_micros:
            return f"price {price} above {route.max_price_micros}"
    return None


Candidates = list[tuple[Member, Offer]]


def _ordered(candidates: Candidates, route: Route, caller: str, circumstances: Circumstances) -> Candidates:
    """Sort by the strategy within each priority; what was listed first comes first among equals."""
    if len(candidates) < 2:
        return candidates
    match route.strategy:
        case "least_cost":
            candidates.sort(key=lambda each: (each[1].price is None, each[1].price or 0))
        case "least_load":
            candidates.sort(key=lambda each: _load(each[1].trunk, circumstances))
        case "geographic":
            candidates.sort(key=lambda each: -len(each[0].region) if caller.startswith(each[0].region) else 1)
        case "round_robin":
            start = circumstances.turn % len(candidates)
            candidates = candidates[start:] + candidates[:start]
        case "weighted":
            candidates = _drawn(candidates, circumstances.draw)
        case "priority":
            pass
    candidates.sort(key=lambda each: each[0].priority)
    return candidates


def _load(trunk: Trunk, circumstances: Circumstances) -> float:
    calls = circumstances.load.get(trunk.key, 0)
    return calls / (trunk.channel_limit or UNLIMITED)


def _drawn(candidates: Candidates, draw: float) -> Candidates:
    """Draw one after the other without putting back, each by its weight among those of its priority."""
    rest, drawn = sorted(candidates, key=lambda each: each[0].priority), []
    while rest:
        same = [each for each in rest if each[0].priority == rest[0][0].priority]
        place, draw = _draw([each[0].weight for each in same], draw)
        drawn.append(same[place])
        rest.remove(same[place])
    return drawn


def _draw(weights: Sequence[int], draw: float) -> tuple[int, float]:
    """Return the place that `draw` falls on, and what is left of the draw for the next."""
    total = sum(weights)
    if not total:
        return 0, draw
    point = draw * total
    for place, weight in enumerate(weights):
        if point < weight:
            return place, point / weight
        point -= weight
    return len(weights) - 1, draw
