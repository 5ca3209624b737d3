# SPDX-License-Identifier: GPL-3.0-or-later
"""Prefixes that are closed until a tenant opens them, for their calls are what fraud with stolen passwords is made of.

Satellite and international networks (ITU-T E.164 annex: 870, 878, 881, 882, 883, 888, 979), and the premium-rate
ranges of national numbering plans.
"""

from __future__ import annotations

from collections.abc import Mapping

_CLOSED = """
870 878 881 882 883 888 979 1900 1976 31900 31906 31909 3290 3389 34803 34806 34807 34905 35315
358600 358700 39892 39893 39894 39895 39899 41900 41901 41906 43900 43901 43930 43931 43939 449 4590
46900 46939 46944 47820 47829 49900 61190 64900 81990
"""
CLOSED = frozenset(_CLOSED.split())
LONGEST = max(map(len, CLOSED))


def closed_by(digits: str, restrictions: Mapping[str, str]) -> str | None:
    """Return the prefix that closes a number, None if it may be called.

    digits: E.164 without the plus. restrictions: "block" or "open" by prefix, the longest decides; of equal length,
    the tenant's word beats ours.
    """
    longest = len(digits) if restrictions else min(len(digits), LONGEST)
    for length in range(longest, 0, -1):
        prefix = digits[:length]
        action = restrictions.get(prefix)
        if action is not None:
            return prefix if action == "block" else None
        if prefix in CLOSED:
            return prefix
    return None
