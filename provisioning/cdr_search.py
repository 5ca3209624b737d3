# SPDX-License-Identifier: GPL-3.0-or-later
"""Call records as people look for them: by party, time and outcome, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from provisioning.cdr import Cdr, CdrMedia
from provisioning.database import Question, Rows
from provisioning.errors import NotFound

PAGE = 100

Place = tuple[datetime, UUID]
"""Start and id of a record."""


@dataclass(frozen=True, slots=True)
class CdrFilter:
    """What to look for; None: does not matter. since, until: bounds of the start, `until` not included."""

    party: str | None = None
    """Caller or dialled."""
    caller: str | None = None
    dialled: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    answered: bool | None = None
    call_id: str | None = None
    """SIP Call-ID of either leg, or our own call id."""
    beginning: str | None = None
    """Of our own call id; or as `call_id`."""


def search(wanted: CdrFilter | None = None, *, after: Place | None = None, limit: int = PAGE) -> Question[list[Cdr]]:
    """Records that fit, newest first; `after` is the place of the last one of the page before."""
    wanted = wanted or CdrFilter()
    parameters = {
        "party": wanted.party,
        "caller": wanted.caller,
        "dialled": wanted.dialled,
        "since": wanted.since,
        "until": wanted.until,
        "answered": wanted.answered,
        "call_id": wanted.call_id,
        "beginning": wanted.beginning,
        "after_time": after[0] if after else None,
        "after_id": after[1] if after else None,
        "limit": limit,
    }
    return Question(
        """
        SELECT cdrs.*, media.directions FROM (
            SELECT * FROM cdrs
            WHERE (%(party)s::text IS NULL OR caller = %(party)s OR dialled = %(party)s)
              AND (%(caller)s::text IS NULL OR caller = %(caller)s)
              AND (%(dialled)s::text IS NULL OR dialled = %(dialled)s)
              AND (%(since)s::timestamptz IS NULL OR started_at >= %(since)s)
              AND (%(until)s::timestamptz IS NULL OR started_at < %(until)s)
              AND (%(answered)s::boolean IS NULL OR (answered_at IS NOT NULL) = %(answered)s)
              AND (%(call_id)s::text IS NULL OR %(call_id)s IN (call, a_call_id, b_call_id))
              AND (%(beginning)s::text IS NULL OR starts_with(call, %(beginning)s)
                   OR %(beginning)s IN (a_call_id, b_call_id))
              AND (%(after_time)s::timestamptz IS NULL OR (started_at, id) < (%(after_time)s, %(after_id)s::uuid))
            ORDER BY started_at DESC, id DESC LIMIT %(limit)s
        ) AS cdrs
        CROSS JOIN LATERAL (
            SELECT json_agg(m ORDER BY m.stream, m.sender) AS directions FROM cdr_media AS m WHERE m.cdr_id = cdrs.id
        ) AS media
        ORDER BY started_at DESC, id DESC
        """,
        parameters,
        lambda rows: [_cdr(row) for row in rows],
    )


def spent_since(moment: datetime) -> Question[dict[tuple[int, str], int]]:
    """What calls cost that began since then, by tenant and caller, in millionths; "" for the tenant as a whole."""

    def sums(rows: Rows) -> dict[tuple[int, str], int]:
        found: dict[tuple[int, str], int] = {}
        for row in rows:
            for who in ("", row["caller"]):
                found[row["tenant_id"], who] = found.get((row["tenant_id"], who), 0) + int(row["cost"])
        return found

    return Question(
        """
        SELECT tenant_id, caller, sum(cost_micros) AS cost FROM cdrs
        WHERE started_at >= %(moment)s AND cost_micros > 0 GROUP BY tenant_id, caller
        """,
        {"moment": moment},
        sums,
    )


def get(identity: UUID) -> Question[Cdr]:
    """One record. Answers NotFound."""

    def only(rows: Rows) -> Cdr:
        if not rows:
            raise NotFound(f"no call record {identity}: voxdp cdr list shows what there is")
        return _cdr(rows[0])

    return Question(
        """
        SELECT cdrs.*, (SELECT json_agg(m ORDER BY m.stream, m.sender) FROM cdr_media AS m WHERE m.cdr_id = cdrs.id)
            AS directions
        FROM cdrs WHERE id = %(id)s
        """,
        {"id": identity},
        only,
    )


def _cdr(row: dict[str, Any]) -> Cdr:
    """Return the record of a row of cdrs with the rows of its media as `directions`."""
    names = ("id", "call", "caller", "dialled", "a_call_id", "b_call_id", "status", "cause", "ended_by", "reason",
             "from_trunk", "to_trunk", "cost_micros", "queue", "waited_seconds", "agent", "abandoned")  # fmt: skip
    times = {name: row[f"{name}_at"] for name in ("started", "ringing", "answered", "ended")}
    media = tuple(_media(entry) for entry in row["directions"] or [])
    return Cdr(**{name: row[name] for name in names}, **times, tenant=row["tenant_id"], media=media)


def _media(entry: dict[str, Any]) -> CdrMedia:
    return CdrMedia(**{name: value for name, value in entry.items() if name != "cdr_id"})
