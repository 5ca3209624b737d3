# SPDX-License-Identifier: GPL-3.0-or-later
"""A measured figure, its goal, and the two ways to print it."""

import json
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit` must be at most, or at least, `goal`; `how` says in a line how it was measured."""

    figure: str
    value: float
    unit: str
    bound: Literal["<=", ">="]
    goal: float
    how: str

    @property
    def ok(self) -> bool:
        return self.value <= self.goal if self.bound == "<=" else self.value >= self.goal

    def json(self) -> str:
        fields = ("figure", "value", "unit", "goal", "ok", "how")
        return json.dumps({name: rounded(getattr(self, name)) for name in fields}, ensure_ascii=False)

    def line(self) -> str:
        verdict, goal = "ok" if self.ok else "MISSED", f"{self.bound} {self.goal:g}"
        return f"{verdict:<6} {self.figure:<42} {self.value:>9.4g} {self.unit:<6} {goal:>8}\n       {self.how}"


def rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value
