# SPDX-License-Identifier: GPL-3.0-or-later
"""How many packets a flow may carry: some multiple of what its codec sends, so that one flow cannot starve others."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import ceil
from typing import Literal

Limit = tuple[int, int]
"""Packets per second, and packets at once."""

PTIMES = {"g723": 30.0, "ilbc": 20.0}
"""Milliseconds of one packet where nothing is said (RFC 3551 4.2: 20), by codec in lower case."""
USUAL_PTIME = 20.0
SHORTEST_PTIME, LONGEST_PTIME = 2.5, 200.0
RTCP_RATE = 10
"""Packets per second of one side's RTCP: compound reports are seldom more than one, feedback (RFC 4585) is."""
LEAST_BURST = 50


@lru_cache(maxsize=1024)
def limit(
    kind: Literal["rtp", "rtcp", "raw"],
    codec: str,
    ptimes: tuple[float | None, ...],
    factor: float,
    mux: bool = False,
) -> Limit | None:
    """Return the limit of one direction of audio; None where factor is 0.

    codec: name of the likeliest, "" where there is none. ptimes: milliseconds that either side has named; a sender need
    not heed the other's, and may always send the usual 20. mux: RTCP shares the port.
    """
    if not factor:
        return None
    rate = RTCP_RATE if kind == "rtcp" else _packets_per_second(codec, ptimes) + RTCP_RATE * mux
    allowed = ceil(rate * factor)
    return allowed, max(allowed, LEAST_BURST)


def _packets_per_second(codec: str, ptimes: Iterable[float | None]) -> float:
    usual = PTIMES.get(codec.lower(), USUAL_PTIME)
    named = [min(max(each, SHORTEST_PTIME), LONGEST_PTIME) for each in ptimes if each]
    return 1000 / min([usual, *named])
