# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes call records in children that it kills, and prints the calls whose records were acknowledged to them.

Usage: killed_writer.py JOURNAL CONNINFO KILLS
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import sys
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from provisioning.cdr import Cdr, CdrMedia, cdr_id
from provisioning.cdr_writer import CdrWriter
from provisioning.database import make_pool
from provisioning.journal import CdrJournal

LONGEST = 0.15  # seconds from the first acknowledgement to the kill


async def write(directory: Path, conninfo: str, child: int, output: int) -> None:
    """Append bursts for ever, telling each call once its record is acknowledged."""
    numbers = count()

    async def one() -> None:
        call = f"{child}.{next(numbers)}"
        await journal.append(record(call))
        os.write(output, f"{call}\n".encode())

    async with make_pool(conninfo, size=1) as pool, CdrJournal(directory, segment_bytes=8000) as journal:
        writer = asyncio.create_task(CdrWriter(journal, pool).run(), name="cdr writer")
        while not writer.done():
            await asyncio.gather(*(one() for _ in range(random.randrange(1, 8))))
            await asyncio.sleep(random.random() * 0.01)


def record(call: str) -> Cdr:
    now = datetime.now(UTC)
    media = (CdrMedia("a", "PCMA", "kernel", 1, 172), CdrMedia("b", "PCMA", "kernel", 1, 172))
    return Cdr(cdr_id(call), call, "anna", "bert", "a", "b", now, None, now, now, 200, 16, "a", "BYE", media)


def kill_one(directory: Path, conninfo: str, child: int) -> bytes:
    """Let one child write, kill it, and return what was acknowledged to it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.run(write(directory, conninfo, child, writer))
        os._exit(1)
    os.close(writer)
    select.select([reader], [], [], 20)
    time.sleep(random.random() * LONGEST)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with open(reader, "rb") as file:
        said = file.read()
    if not os.WIFSIGNALED(status) or not said:
        sys.exit(f"child {child} ended by itself")
    return said[: said.rfind(b"\n") + 1]


if __name__ == "__main__":
    for number in range(int(sys.argv[3])):
        sys.stdout.buffer.write(kill_one(Path(sys.argv[1]), sys.argv[2], number))
