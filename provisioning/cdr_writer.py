# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves call records from the journal into PostgreSQL, each exactly once.

A batch is one statement, and is released from the journal after its commit. A crash between the two repeats the
batch, which then changes nothing, for a record's identity is the key of its row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from provisioning.cdr import BEGINNING
from provisioning.database import AsyncPool
from provisioning.errors import JournalError
from provisioning.journal import READ_BYTES, Batch, CdrJournal

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

INSERT = """
    WITH record AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(records)s::jsonb) AS (
            id uuid, tenant bigint, call text, caller text, dialled text, a_call_id text, b_call_id text,
            started timestamptz, ringing timestamptz, answered timestamptz, ended timestamptz, status smallint,
            cause smallint, ended_by text, reason text, from_trunk text, to_trunk text, cost_micros bigint, queue text,
            waited_seconds double precision, agent text, abandoned boolean, media jsonb)
    ), stored AS (
        INSERT INTO cdrs (id, tenant_id, call, caller, dialled, a_call_id, b_call_id, started_at, ringing_at,
            answered_at, ended_at, status, cause, ended_by, reason, from_trunk, to_trunk, cost_micros, queue,
            waited_seconds, agent, abandoned)
        SELECT id, coalesce(tenant, 1), call, caller, dialled, a_call_id, b_call_id, started, ringing, answered, ended,
            status, cause, ended_by, reason, from_trunk, to_trunk, cost_micros, queue, waited_seconds, agent,
            coalesce(abandoned, false)
        FROM record
        ON CONFLICT (id) DO NOTHING
    )
    INSERT INTO cdr_media (cdr_id, stream, sender, codec, path, packets, bytes, lost, reordered, duplicates,
        jitter_ms, largest_gap_ms, mos_min, mos_avg, loss_pct, jitter_max_ms, rtt_ms)
    SELECT record.id, coalesce(stream, 0), sender, codec, path, packets, bytes, coalesce(lost, 0),
        coalesce(reordered, 0), coalesce(duplicates, 0), jitter_ms, coalesce(largest_gap_ms, 0), mos_min, mos_avg,
        loss_pct, jitter_max_ms, rtt_ms
    FROM record, jsonb_to_recordset(record.media) AS direction (
        stream smallint, sender text, codec text, path text, packets bigint, bytes bigint, lost bigint,
        reordered bigint, duplicates bigint, jitter_ms double precision, largest_gap_ms double precision,
        mos_min double precision, mos_avg double precision, loss_pct double precision,
        jitter_max_ms double precision, rtt_ms double precision)
    ON CONFLICT (cdr_id, stream, sender) DO NOTHING
"""
"""Takes the lines as they stand in the journal: reading them is PostgreSQL's work, not that of the event loop.

What has a default in `provisioning.cdr` may be missing from a line that an earlier version wrote.
"""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WriterCounts:
    """What happened since the writer was made."""

    stored: int = 0
    """Records handed to PostgreSQL, those that it had already included."""
    rejected: int = 0
    """Records that PostgreSQL will never take; they are in rejected.jsonl beside the journal."""


class CdrWriter:
    """Drains `journal` into the database of `pool`; `run` does so until it is cancelled."""

    def __init__(self, journal: CdrJournal, pool: AsyncPool, rest: float = 0.0) -> None:
        """rest: seconds between two batches, unless much is waiting, so that many records share one."""
        self._rest = rest
        self.counts = WriterCounts()
        self._journal = journal
        self._pool = pool
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why records stay in the journal, None while they do not."""
        return self._trouble

    async def run(self) -> None:
        """Move records as they come, for ever; while PostgreSQL is away they wait in the journal."""
        pause = FIRST_PAUSE
        while True:
            try:
                batch = await self._journal.next_batch()
                await self._store_patiently(batch)
                await self._journal.release(batch)
                pause = FIRST_PAUSE
                if self._journal.waiting_bytes < READ_BYTES:
                    await asyncio.sleep(self._rest)
            except (JournalError, OSError) as error:
                self._note(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _store_patiently(self, batch: Batch) -> None:
        """Return when the batch is committed, however long that takes."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._store(batch.records)
                self._note(None)
                return
            except (psycopg.Error, OSError) as error:
                lines = str(error).strip().splitlines()
                self._note(lines[-1] if lines else type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _store(self, records: Sequence[bytes]) -> None:
        try:
            await self._insert(records)
            self.counts.stored += len(records)
        except (psycopg.DataError, psycopg.IntegrityError, ValueError) as error:
            if len(records) == 1:
                await self._reject(records[0], error)
                return
            half = len(records) // 2  # one of them spoils the transaction: part it from the others
            await self._store(records[:half])
            await self._store(records[half:])

    async def _insert(self, records: Sequence[bytes]) -> None:
        if not all(record.startswith(BEGINNING) for record in records):
            raise ValueError("record of another version")
        lines = b"[%s]" % b",".join(records)
        async with self._pool.connection() as connection:
            await connection.execute(INSERT, {"records": lines.decode("ascii")})

    async def _reject(self, record: bytes, error: Exception) -> None:
        """Put a record that PostgreSQL will never take aside, where it does not hold up the others."""
        path = self._journal.directory / "rejected.jsonl"
        self.counts.rejected += 1
        log.error("a call record was put aside in %s: %s", path, str(error).strip().splitlines()[0])
        await self._journal.put_aside(path, record)

    def _note(self, trouble: str | None) -> None:
        if trouble and not self._trouble:
            log.warning("call records wait in the journal, PostgreSQL does not take them: %s", trouble)
        elif self._trouble and not trouble:
            log.info("PostgreSQL takes call records again")
        self._trouble = trouble
