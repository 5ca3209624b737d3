# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves call records from the journal into PostgreSQL, each exactly once.

A batch is one transaction, and is released from the journal after its commit. A crash between the two repeats the
batch, which then changes nothing, for a record's identity is the key of its row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow

from provisioning.cdr import Cdr, cdr_row, decode, media_rows
from provisioning.database import AsyncPool
from provisioning.errors import JournalError
from provisioning.journal import Batch, CdrJournal

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

INSERT_CDR = """
    INSERT INTO cdrs (id, tenant_id, call, caller, dialled, a_call_id, b_call_id, started_at, ringing_at,
        answered_at, ended_at, status, cause, ended_by, reason, from_trunk, to_trunk, cost_micros)
    VALUES (%(id)s, %(tenant)s, %(call)s, %(caller)s, %(dialled)s, %(a_call_id)s, %(b_call_id)s, %(started)s,
        %(ringing)s, %(answered)s, %(ended)s, %(status)s, %(cause)s, %(ended_by)s, %(reason)s, %(from_trunk)s,
        %(to_trunk)s, %(cost_micros)s)
    ON CONFLICT (id) DO NOTHING
"""
INSERT_MEDIA = """
    INSERT INTO cdr_media (cdr_id, stream, sender, codec, path, packets, bytes, lost, reordered, duplicates,
        jitter_ms, largest_gap_ms, mos_min, mos_avg, loss_pct, jitter_max_ms, rtt_ms)
    VALUES (%(cdr)s, %(stream)s, %(sender)s, %(codec)s, %(path)s, %(packets)s, %(bytes)s, %(lost)s, %(reordered)s,
        %(duplicates)s, %(jitter_ms)s, %(largest_gap_ms)s, %(mos_min)s, %(mos_avg)s, %(loss_pct)s, %(jitter_max_ms)s,
        %(rtt_ms)s)
    ON CONFLICT (cdr_id, stream, sender) DO NOTHING
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

    def __init__(self, journal: CdrJournal, pool: AsyncPool) -> None:
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
            cdrs = [decode(record) for record in records]
            await self._insert(cdrs)
            self.counts.stored += len(records)
        except (psycopg.DataError, psycopg.IntegrityError, ValueError) as error:
            if len(records) == 1:
                await self._reject(records[0], error)
                return
            half = len(records) // 2  # one of them spoils the transaction: part it from the others
            await self._store(records[:half])
            await self._store(records[half:])

    async def _insert(self, cdrs: Sequence[Cdr]) -> None:
        media = [row for cdr in cdrs for row in media_rows(cdr)]
        async with self._pool.connection() as connection, connection.transaction():
            await _insert_many(connection, INSERT_CDR, [cdr_row(cdr) for cdr in cdrs])
            await _insert_many(connection, INSERT_MEDIA, media)

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


async def _insert_many(connection: psycopg.AsyncConnection[DictRow], sql: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        async with connection.cursor() as cursor:
            await cursor.executemany(sql.encode(), rows)
