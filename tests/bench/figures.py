# SPDX-License-Identifier: GPL-3.0-or-later
"""A measured figure, its goal, and the two ways to print it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit` must be at most, or at least, `goal`; `how` says in a line how it was measured.

    decides: False where a miss is shown, but another figure says whether it is ours or the machine's.
    """

    figure: str
    value: float
    unit: str
    bound: Literal["<=", ">="]
    goal: float
    how: str
    decides: bool = True

    @property
    def ok(self) -> bool:
        return self.value <= self.goal if self.bound == "<=" else self.value >= self.goal

    def json(self) -> str:
        fields = ("figure", "value", "unit", "goal", "ok", "decides", "how")
        return json.dumps({name: rounded(getattr(self, name)) for name in fields}, ensure_ascii=False)

    def line(self) -> str:
        verdict, goal = "ok" if self.ok else "MISSED" if self.decides else "missed", f"{self.bound} {self.goal:g}"
        return f"{verdict:<6} {self.figure:<42} {self.value:>9.4g} {self.unit:<6} {goal:>8}\n       {self.how}"


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What was measured beside us in the same run: name, and how much of it the reference machine does a CPU-second.

    A goal is for that machine. Where the yardstick shows this one to be slower, our ratio to it decides, and the
    absolute figure is printed beside it; else the absolute one decides. A miss of either is shown.
    """

    name: str
    reference: float

    def figures(
        self, figure: str, ours: float, goal: float, ratio: float, measured: float, how: str
    ) -> Iterator[Figure]:
        """ours: our best rate; ratio: of our rate to the yardstick's `measured`, within rounds; how: of both."""
        slower = measured < self.reference
        beside = f"{self.name}: {measured:.0f} in the same run, {self.reference:g} on the reference machine"
        which = "so the ratio decides, not this" if slower else "so this decides, not the ratio"
        machine = f"which this machine {'falls' if slower else 'does not fall'} short of, {which}"
        yield Figure(figure, ours, "/CPU-s", ">=", goal, f"{how}; {beside}, {machine}", not slower)
        reached = "reached" if ours >= goal else "MISSED"
        told = f"{beside}; ours {ours:.0f}, the absolute goal of {goal:g} is {reached}"
        yield Figure(f"{figure} / yardstick", ratio, "times", ">=", goal / self.reference, told, slower)


def rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value
