# SPDX-License-Identifier: GPL-3.0-or-later
"""Time on a machine that has more to do than it can: limits that hold there too.

What must come about is waited for with PATIENCE, which costs nothing where it comes at once. How soon it must is
measured by `unhindered`, so that a promise is the product's, and not that of whoever shares the processors with it.
"""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE = 60.0
"""Seconds, of which a campaign may have a hundredth part of a processor."""

_SCHEDULING = Path("/proc/thread-self/schedstat")


def unhindered() -> float:
    """Seconds by a clock that stands still while this thread could run and has no processor; only differences count."""
    return time.monotonic() - int(_SCHEDULING.read_bytes().split()[1]) / 1e9
