# SPDX-License-Identifier: GPL-3.0-or-later
"""How values are made that never change: messages' parts, effects, plans.

A frozen dataclass sets each field by `object.__setattr__`, so making one costs eight times as much as it must, and a
call makes some two hundred. That nothing is set later is mypy's to see, which it does before anything runs.
"""

from __future__ import annotations

from copy import copy
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def fact(kind: type[T]) -> type[T]:
    """Make `kind` a dataclass with slots, compared and hashed by its fields, which nobody may set."""
    return dataclass(slots=True, unsafe_hash=True)(kind)


def described(kind: type[Any], given: str, *values: Any) -> None:
    """Tell `dataclasses` and `pickle` what a dataclass is made of that was written out to be compiled, and show it.

    given: of each field its name, a colon and letters: i, it is an argument; c, it is compared; r, it is shown; d, the
    next of `values` is its default; f, the next of them makes that.
    """
    known, following = {}, iter(values)
    for said in given.split():
        name, _, letters = said.partition(":")
        known[name] = each = copy(_FIELD)
        each.name = name
        each.init, each.compare, each.repr = ("i" in letters, "c" in letters, "r" in letters)
        each.default = next(following) if "d" in letters else MISSING
        each.default_factory = next(following) if "f" in letters else MISSING
    arguments = [each.name for each in known.values() if each.init]
    shown = [each.name for each in known.values() if each.repr]

    def show(self: Any) -> str:
        return f"{kind.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def reduce(self: Any) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in arguments)

    kind.__dataclass_fields__ = known
    kind.__reduce__ = reduce  # type: ignore[assignment]
    if "__repr__" not in vars(kind):
        kind.__repr__ = show  # type: ignore[assignment]


@dataclass
class _Example:
    field: int


_FIELD: Field[Any] = fields(_Example)[0]
