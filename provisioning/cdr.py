# SPDX-License-Identifier: GPL-3.0-or-later
"""The call record: what billing and quality reports know of one call, and how it is written in the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic_core import to_json

TEXT_LIMIT = 1024
FORMAT = 1
BEGINNING = b'{"v":%d,' % FORMAT
"""Of every line that `encode` makes."""


@dataclass(frozen=True, slots=True)
class CdrMedia:
    """One direction of one stream, as the relay received it from `sender`.

    Counts are packets, but for `bytes` of UDP payload. jitter_ms: RFC 3550 §6.4.1 at the end, None without a known
    clock. The last five are None where nothing was measured: MOS by intervals of five seconds, the share of packets
    lost on their way to the relay in percent, and the mean round trip from end to end.
    """

    sender: Literal["a", "b"]
    codec: str
    path: Literal["kernel", "engine"]
    packets: int
    bytes: int
    lost: int = 0
    reordered: int = 0
    duplicates: int = 0
    jitter_ms: float | None = None
    largest_gap_ms: float = 0.0
    stream: int = 0
    mos_min: float | None = None
    mos_avg: float | None = None
    loss_pct: float | None = None
    jitter_max_ms: float | None = None
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Cdr:
    """One call. Times have a zone; `at` makes them from a monotonic clock, so that durations are true.

    id: `cdr_id(call)`, so that a call which ends twice because of a crash is still recorded once.
    status: final SIP status of the INVITE. cause: Q.850. ended_by: the leg that ended it, or we.
    cost_micros: what the trunk it went by takes for it, in millionths; None where no price is known.
    queue: the last one that it waited in, for `waited_seconds`; agent: who took it; abandoned: nobody did.
    """

    id: UUID
    call: str
    caller: str
    dialled: str
    a_call_id: str
    b_call_id: str | None
    started: datetime
    ringing: datetime | None
    answered: datetime | None
    ended: datetime
    status: int
    cause: int
    ended_by: Literal["a", "b", "server"]
    reason: str
    media: tuple[CdrMedia, ...] = ()
    tenant: int = 1
    from_trunk: str | None = None
    to_trunk: str | None = None
    cost_micros: int | None = None
    queue: str | None = None
    waited_seconds: float | None = None
    agent: str | None = None
    abandoned: bool = False


_NAMES = tuple(each.name for each in fields(Cdr))
_MEDIA_NAMES = tuple(each.name for each in fields(CdrMedia))
_VALUES, _MEDIA_VALUES = attrgetter(*_NAMES), attrgetter(*_MEDIA_NAMES)


def cdr_id(call: str) -> UUID:
    """Return the identity of the record of a call, always the same for the same call id."""
    return uuid5(NAMESPACE_URL, f"voxdp:cdr:{call}")


def at(moment: float, monotonic: float, wall: datetime) -> datetime:
    """Return the wall-clock time of a monotonic `moment`, given what both clocks show now."""
    return wall - timedelta(seconds=monotonic - moment)


def encode(cdr: Cdr) -> bytes:
    """Return the record as one line of JSON, in ASCII, without its end of line.

    Texts come from the network: they are cut to TEXT_LIMIT, and what PostgreSQL cannot store is replaced.
    """
    return to_json({"v": FORMAT, **_plain(_NAMES, _VALUES(cdr))}, ensure_ascii=True)


def _plain(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, object]:
    """Return what JSON and PostgreSQL can carry."""
    found: dict[str, object] = {}
    for name, value in zip(names, values, strict=True):
        reader = _READERS.get(value.__class__)
        found[name] = value if reader is None else reader(value)
    return found


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("the times of a call record need a zone")
    return value.isoformat()


def _text(value: str) -> str:
    if len(value) <= TEXT_LIMIT and value.isascii() and "\0" not in value:
        return value
    return value[:TEXT_LIMIT].replace("\0", "�").encode("utf-8", "replace").decode("utf-8")


def _media(entries: tuple[CdrMedia, ...]) -> list[dict[str, object]]:
    return [_plain(_MEDIA_NAMES, _MEDIA_VALUES(each)) for each in entries]


_READERS: dict[type, Callable[[Any], object]] = {
    datetime: _moment,
    UUID: str,
    str: _text,
    tuple: _media,
}
