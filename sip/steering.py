# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several processes on one port a message is for: all of one Call-ID meet in one of them.

Call-IDs fall into SLOTS, slots are dealt out to the workers. bpf/steering.bpf.c says the same in the kernel of a
datagram as it comes in; what did not pass there, as on a connection, is judged here. Of a call between two of our own
dialogs both Call-IDs fall into one slot, so that it stays whole however many workers there are.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import cache

SLOTS = 256
DEPTH = 16384
"""Bytes of a message in which the Call-ID is looked for."""
MAX_WORKERS = 16

_CALL_ID = re.compile(rb"\n(?:call-id|i)[ \t]*:(?:[ \t\r]|\n[ \t])*([^ \t\r\n]+)", re.IGNORECASE)
_ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyz"
_TAIL = 3


def call_id_of(message: bytes) -> bytes | None:
    """The value of the first Call-ID header, in full or compact form; None where there is none.

    It is not parsed: of what is no proper message it is what the kernel takes it for, too.
    """
    found = _CALL_ID.search(message, 0, DEPTH)
    return found.group(1) if found else None


def slot_of(call_id: bytes) -> int:
    """The slot of a Call-ID."""
    return zlib.crc32(call_id) % SLOTS


def owner(message: bytes, workers: int) -> int | None:
    """The worker, counted from 0, that a message is for; None: whoever has it."""
    call_id = call_id_of(message)
    return None if call_id is None else slot_of(call_id) % workers


def kin(token: str, slot: int) -> str:
    """A Call-ID that begins with `token` and falls into this slot.

    CRC is linear: what a tail of a given length does to it depends on the tail alone, and so does which one is fit.
    """
    so_far = zlib.crc32(bytes(_TAIL), zlib.crc32(token.encode())) ^ zlib.crc32(bytes(_TAIL))
    return token + _tails()[(so_far ^ slot) % SLOTS]


def drawn_for(worker: int, workers: int, token: Callable[[], str]) -> str:
    """A Call-ID for a dialog of no call that is there, like that of a registration of ours: one of this worker's."""
    text = token()
    mine = range(worker, SLOTS, workers)
    return kin(text, mine[zlib.crc32(text.encode()) % len(mine)])


@cache
def _tails() -> tuple[str, ...]:
    """For each difference that it makes, a tail of a Call-ID that makes it."""
    found: dict[int, bytes] = {}
    for first in _ALPHABET:
        for second in _ALPHABET:
            for third in _ALPHABET:
                tail = bytes((first, second, third))
                found.setdefault(zlib.crc32(tail) % SLOTS, tail)
        if len(found) == SLOTS:
            break
    return tuple(found[difference].decode() for difference in range(SLOTS))
