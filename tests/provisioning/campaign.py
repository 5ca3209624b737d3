# SPDX-License-Identifier: GPL-3.0-or-later
"""Call records through kills and outages, at length: `python -m tests.provisioning.campaign [KILLS] [SECONDS]`.

KILLS times a program that writes records as fast as it can is killed by SIGKILL at moments of no plan; then PostgreSQL
is away for SECONDS while records come. What was acknowledged must be stored, once. Exit 1 if it is not.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from provisioning.cdr import Cdr, cdr_id
from provisioning.cdr_writer import CdrWriter
from provisioning.database import connect, make_pool
from provisioning.embedded import EmbeddedPostgres
from provisioning.journal import CdrJournal
from provisioning.migrate import migrate

RATE = 50


async def campaign(kills: int, seconds: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="voxdp-campaign-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        postgres = EmbeddedPostgres(directory / "pg")
        conninfo = await postgres.start()
        try:
            await asyncio.to_thread(migrate, conninfo)
            acknowledged = await asyncio.to_thread(killed, directory / "journal", conninfo, kills)
            await outage(directory / "journal", conninfo, postgres, seconds, acknowledged)
            return verdict(conninfo, acknowledged)
        finally:
            await postgres.stop()


def killed(directory: Path, conninfo: str, kills: int) -> list[str]:
    """What was acknowledged to programs that were killed."""
    program = [sys.executable, str(Path(__file__).parent / "killed_writer.py"), str(directory), conninfo, str(kills)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return done.stdout.split()


async def outage(directory: Path, conninfo: str, postgres: EmbeddedPostgres, seconds: float, said: list[str]) -> None:
    """Append RATE records a second while PostgreSQL is away, and wait until all have reached it."""
    slowest = 0.0
    async with make_pool(conninfo) as pool, CdrJournal(directory) as journal:
        writer = asyncio.create_task(CdrWriter(journal, pool).run(), name="writer")
        await postgres.stop()
        for number in range(int(seconds * RATE)):
            began = time.monotonic()
            call = f"away.{number}"
            await journal.append(record(call))
            said.append(call)
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(1 / RATE)
        await postgres.start()
        if not await journal.drained(60):
            raise RuntimeError("the journal was not drained within a minute")
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
    print(f"PostgreSQL away for {seconds:g} s: {int(seconds * RATE)} records, slowest append {slowest * 1000:.0f} ms")


def record(call: str) -> Cdr:
    now = datetime.now(UTC)
    return Cdr(cdr_id(call), call, "anna", "bert", "a", "b", now, None, now, now, 200, 16, "a", "BYE")


def verdict(conninfo: str, acknowledged: list[str]) -> bool:
    with connect(conninfo) as connection:
        stored = [row["call"] for row in connection.execute("SELECT call FROM cdrs")]
    lost, twice = set(acknowledged) - set(stored), len(stored) - len(set(stored))
    print(f"{len(acknowledged)} acknowledged, {len(stored)} stored, {len(lost)} lost, {twice} twice")
    return not lost and not twice


if __name__ == "__main__":
    arguments = [float(each) for each in sys.argv[1:]] or [200, 60]
    good = asyncio.run(campaign(int(arguments[0]), arguments[1] if arguments[1:] else 60))
    sys.exit(0 if good else 1)
