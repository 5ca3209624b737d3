# SPDX-License-Identifier: GPL-3.0-or-later
"""A call record as billing and carriers read it: one line for each leg. Pure.

Leg a is the caller's, leg b the one that was called. Packets, loss, jitter and MOS of a leg are those of what it sent,
as it arrived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from provisioning.cdr import Cdr, CdrMedia


@dataclass(frozen=True, slots=True)
class CdrLeg:
    """One leg. Columns stand in the order that readers of call records are used to."""

    start: datetime
    answer: datetime | None
    end: datetime
    duration_ms: int
    billed_ms: int
    pdd_ms: int | None
    src: str
    dst: str
    leg: Literal["a", "b"]
    uuid: str
    call_id: str
    sip_code: int
    hangup_cause: int
    ended_by: str
    trunk: str | None
    cost_micros: int | None
    codec: str | None
    relay_path: str | None
    packets: int
    lost: int
    loss_pct: float | None
    jitter_ms_max: float | None
    mos_min: float | None
    mos_avg: float | None
    queue: str | None
    waited_seconds: float | None
    agent: str | None
    abandoned: bool


def legs_of(cdr: Cdr) -> list[CdrLeg]:
    """Return the legs of a call: one where nobody was reached, else two."""
    legs = [_leg(cdr, "a", cdr.a_call_id, cdr.from_trunk, None)]
    if cdr.b_call_id is not None:
        legs.append(_leg(cdr, "b", cdr.b_call_id, cdr.to_trunk, cdr.cost_micros))
    return legs


def _leg(cdr: Cdr, leg: Literal["a", "b"], call_id: str, trunk: str | None, cost: int | None) -> CdrLeg:
    sent = [media for media in cdr.media if media.sender == leg]
    shown = cdr.ringing or cdr.answered
    return CdrLeg(
        start=cdr.started,
        answer=cdr.answered,
        end=cdr.ended,
        duration_ms=_span(cdr.started, cdr.ended),
        billed_ms=_span(cdr.answered, cdr.ended) if cdr.answered else 0,
        pdd_ms=_span(cdr.started, shown) if shown else None,
        src=cdr.caller,
        dst=cdr.dialled,
        leg=leg,
        uuid=str(cdr.id),
        call_id=call_id,
        sip_code=cdr.status,
        hangup_cause=cdr.cause,
        ended_by=cdr.ended_by,
        trunk=trunk,
        cost_micros=cost,
        codec=sent[0].codec if sent else None,
        relay_path="+".join(sorted({media.path for media in sent})) or None,
        packets=sum(media.packets for media in sent),
        lost=sum(media.lost for media in sent),
        loss_pct=_worst(sent, "loss_pct"),
        jitter_ms_max=_worst(sent, "jitter_max_ms"),
        mos_min=_best(sent, "mos_min"),
        mos_avg=_best(sent, "mos_avg"),
        queue=cdr.queue,
        waited_seconds=cdr.waited_seconds,
        agent=cdr.agent,
        abandoned=cdr.abandoned,
    )


def _span(begin: datetime, end: datetime) -> int:
    return round((end - begin).total_seconds() * 1000)


def _worst(sent: list[CdrMedia], name: str) -> float | None:
    return max((value for media in sent if (value := getattr(media, name)) is not None), default=None)


def _best(sent: list[CdrMedia], name: str) -> float | None:
    """Return the lowest score of several streams: it is the one that people heard."""
    return min((value for media in sent if (value := getattr(media, name)) is not None), default=None)
