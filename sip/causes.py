# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP statuses and the causes of the telephone network: what a record says, and what a caller is told."""

from __future__ import annotations

import re

from sip.message import Message, Response

NORMAL = 16
NO_ANSWER = 19
RECOVERY_ON_TIMER = 102
NOT_ACCEPTABLE_HERE = 488

_CAUSES = {
    400: 41,
    401: 21,
    402: 21,
    403: 21,
    404: 1,
    405: 63,
    406: 79,
    407: 21,
    408: RECOVERY_ON_TIMER,
    410: 22,
    413: 127,
    414: 127,
    415: 79,
    416: 127,
    420: 127,
    421: 127,
    423: 127,
    480: 18,
    481: 41,
    482: 25,
    483: 25,
    484: 28,
    485: 1,
    486: 17,
    487: NORMAL,
    488: 88,
    491: 41,
    500: 41,
    501: 79,
    502: 38,
    503: 41,
    504: RECOVERY_ON_TIMER,
    505: 127,
    513: 127,
    600: 17,
    603: 21,
    604: 1,
    606: 88,
}
"""RFC 3398 §8.2.6.1; 487, 488, 491 and 606, which it leaves out, as gateways commonly have them."""

_BETWEEN_US = (405, 420, 421, 422, 423, 469, 489, 494)
"""Failures that have to say what would do instead, which is between the callee's side and us."""

_FOR_CALLER = {401: 403, 407: 403, 415: 488, 481: 480, 487: 480, 491: 480, **dict.fromkeys(_BETWEEN_US, 500)}
"""What the callee's side says of us, and not of the call, in words for the caller."""

NEXT_TARGET = frozenset({301, 302, 404, 408, 410, 480, 481, 487, 491, 500, 501, 502, 503, 504})
"""Failures after which another contact of the same callee may still answer."""

CARRIER_FAILS = frozenset({3, 27, 34, 38, 41, 42, 44, 47, RECOVERY_ON_TIMER})
"""Causes that are a trunk's and not the call's: another way to the same number may do."""

BUSY = frozenset({486, 600})
UNREACHED = frozenset({404, 408, 410, 480, 487, 503})
"""Failures after which a user counts as one who did not answer."""

_Q850 = re.compile(r"Q\.850\s*;.*?\bcause\s*=\s*([0-9]{1,3})\b", re.IGNORECASE)


def cause_of(status: int) -> int:
    """The Q.850 cause of a final failure; 31 (normal, unspecified) where RFC 3398 names none."""
    return _CAUSES.get(status, 31)


def redirects(response: Response) -> bool:
    """Whether a failure names other contacts to try (RFC 3261 §8.1.3.4)."""
    return response.status in (300, 301, 302, 305) and any(contact.uri.names_callee for contact in response.contacts)


def status_for_caller(status: int) -> int:
    """The status that the caller is given for one from the callee's side.

    Redirections are not followed (480), and challenges are between us and the callee's side (403).
    """
    if 300 <= status < 400:
        return 480
    return _FOR_CALLER.get(status, status)


def cause_in(message: Message | None, default: int) -> int:
    """The Q.850 cause in the Reason headers of a message (RFC 3326), else `default`."""
    for value in message.values("Reason") if message else ():
        match = _Q850.search(value)
        if match and int(match[1]) < 128:
            return int(match[1])
    return default
