# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller says about the parts of the platform, for those who decide whether to send it calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Component:
    """One part. `reason` says why it is not ready, or adds to its being ready.

    required: without this part no call can be served, so the whole is not ready either.
    """

    name: str
    ready: bool
    reason: str = ""
    required: bool = True


class HealthSource(Protocol):
    """Implemented by the controller."""

    def components(self) -> Sequence[Component]:
        """Return the state of each part as it is now, without waiting for anything."""
