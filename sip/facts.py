# SPDX-License-Identifier: GPL-3.0-or-later
"""How values are made that never change: messages' parts, effects, plans.

A frozen dataclass sets each field by `object.__setattr__`, so making one costs eight times as much as it must, and a
call makes some two hundred. That nothing is set later is mypy's to see, which it does before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def fact(kind: type[T]) -> type[T]:
    """Make `kind` a dataclass with slots, compared and hashed by its fields, which nobody may set."""
    return dataclass(slots=True, unsafe_hash=True)(kind)
