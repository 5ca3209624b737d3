# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from provisioning.cdr import Cdr
from provisioning.errors import JournalError, JournalFull
from provisioning.journal import CdrJournal
from provisioning.segment import frame, unframe
from tests.patience import PATIENCE
from tests.provisioning.lines import decode

MakeCdr = Callable[..., Cdr]


@asynccontextmanager
async def killed_later(directory: Path, **bounds: int) -> AsyncIterator[CdrJournal]:
    """A journal that is left as a kill leaves it: nothing is tidied, but the lock goes."""
    journal = CdrJournal(directory, **bounds)
    await journal.open()
    yield journal
    journal._close_active()
    journal._sizes, journal._offset = {}, 0
    await journal.close()


async def drain(journal: CdrJournal) -> list[str]:
    """Take everything out of the journal and return the call ids, in order."""
    calls = []
    while True:
        reading = asyncio.create_task(journal.next_batch())
        empty = asyncio.create_task(journal.drained(PATIENCE))
        await asyncio.wait({reading, empty}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            assert await empty
            return calls
        empty.cancel()
        batch = await reading
        calls += [decode(record).call for record in batch.records]
        await journal.release(batch)


async def fill(journal: CdrJournal, make_cdr: MakeCdr, calls: list[str]) -> None:
    for call in calls:
        await journal.append(make_cdr(call))


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


def files(directory: Path, pattern: str = "*.journal") -> list[Path]:
    return sorted(directory.glob(pattern))


async def test_what_goes_in_comes_out_in_order(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with CdrJournal(tmp_path / "new/journal") as journal:
        await fill(journal, make_cdr, names("c", 20))
        assert await drain(journal) == names("c", 20)
        assert journal.waiting_bytes == 0
    assert files(tmp_path / "new/journal") == []


async def test_the_next_process_finds_what_was_not_released(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with CdrJournal(tmp_path) as journal:
        await fill(journal, make_cdr, names("a", 5))
    async with killed_later(tmp_path) as journal:
        await fill(journal, make_cdr, names("b", 5))
    async with CdrJournal(tmp_path) as journal:
        await fill(journal, make_cdr, names("c", 5))
        assert await drain(journal) == names("a", 5) + names("b", 5) + names("c", 5)
    assert files(tmp_path) == []


async def test_records_of_a_burst_share_the_disk(
    tmp_path: Path, make_cdr: MakeCdr, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[None] = []
    sync = os.fdatasync
    monkeypatch.setattr("os.fdatasync", lambda file: syncs.append(sync(file)))
    async with CdrJournal(tmp_path) as journal:
        await asyncio.gather(*(journal.append(make_cdr(call)) for call in names("c", 500)))
        assert journal.counts.appended == 500
        assert len(syncs) <= 5
        assert await drain(journal) == names("c", 500)


async def test_files_are_bounded_and_removed_when_released(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with CdrJournal(tmp_path, segment_bytes=4096) as journal:
        await fill(journal, make_cdr, names("c", 40))
        assert len(files(tmp_path)) > 5
        assert all(file.stat().st_size < 6000 for file in files(tmp_path))
        assert await drain(journal) == names("c", 40)
        assert len(files(tmp_path)) <= 1


async def test_a_torn_end_is_counted_and_costs_nothing_else(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with killed_later(tmp_path) as journal:
        await fill(journal, make_cdr, names("a", 3))
    whole = files(tmp_path)[0].read_bytes()
    files(tmp_path)[0].write_bytes(whole[:-7])
    async with CdrJournal(tmp_path) as journal:
        await fill(journal, make_cdr, ["b"])
        assert await drain(journal) == ["a0", "a1", "b"]
        assert await journal.drained(PATIENCE)
        assert (journal.counts.torn, journal.counts.damaged) == (1, 0)
    assert files(tmp_path, "*.damaged") == []


async def test_every_length_of_a_torn_file_gives_the_whole_records(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with killed_later(tmp_path) as journal:
        await fill(journal, make_cdr, names("a", 3))
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    for length in range(0, len(whole) + 1, 29):
        path.write_bytes(whole[:length])
        async with CdrJournal(tmp_path) as journal:
            assert await drain(journal) == names("a", whole[:length].count(b"\n"))


async def test_a_damaged_record_is_passed_over_counted_and_kept(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with killed_later(tmp_path) as journal:
        await fill(journal, make_cdr, names("a", 5))
    path = files(tmp_path)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"anna", b"bnna")
    path.write_bytes(b"".join(lines))
    async with CdrJournal(tmp_path) as journal:
        assert await drain(journal) == ["a0", "a1", "a3", "a4"]
        assert journal.counts.damaged == 1
    assert files(tmp_path, "*.damaged")[0].read_bytes() == b"".join(lines)


def test_no_flipped_bit_goes_unnoticed() -> None:
    draw = random.Random(1)
    line = frame(bytes(draw.randrange(32, 127) for _ in range(300)))[:-1]
    assert unframe(line)
    for position in range(len(line) * 8):
        flipped = bytearray(line)
        flipped[position // 8] ^= 1 << position % 8
        assert unframe(bytes(flipped)) is None
    for _ in range(10_000):
        assert unframe(draw.randbytes(draw.randrange(60))) is None


async def test_a_full_journal_refuses_and_takes_again_once_released(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with CdrJournal(tmp_path, limit=5000, segment_bytes=1000) as journal:
        with pytest.raises(JournalFull, match=r"full .*: see that PostgreSQL runs"):
            await fill(journal, make_cdr, names("c", 50))
        kept = journal.counts.appended
        assert journal.counts.refused == 1
        assert 0 < kept < 10
        assert await drain(journal) == names("c", kept)
        await journal.append(make_cdr("later"))
        assert await drain(journal) == ["later"]


async def test_a_full_disk_refuses_the_record_and_keeps_those_before(tmp_path: Path, make_cdr: MakeCdr) -> None:
    async with CdrJournal(tmp_path) as journal:
        await fill(journal, make_cdr, names("a", 3))
        size = files(tmp_path)[0].stat().st_size
        with no_file_larger_than(size + 100), pytest.raises(JournalError, match="call records cannot be kept in"):
            await journal.append(make_cdr("b"))
        assert files(tmp_path)[0].stat().st_size == size
        await journal.append(make_cdr("c"))
        assert await drain(journal) == ["a0", "a1", "a2", "c"]
        assert (journal.counts.torn, journal.counts.damaged) == (0, 0)


async def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    async with CdrJournal(tmp_path):
        with pytest.raises(JournalError, match=r"another process .*: stop it first"):
            await CdrJournal(tmp_path).open()


async def test_closing_keeps_what_still_waits(tmp_path: Path, make_cdr: MakeCdr) -> None:
    journal = CdrJournal(tmp_path)
    await journal.open()
    appends = [asyncio.create_task(journal.append(make_cdr(call))) for call in names("c", 50)]
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.gather(*appends)
    async with CdrJournal(tmp_path) as journal:
        assert await drain(journal) == names("c", 50)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does, without needing one: writes beyond `size` fail, after a part of them succeeded."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
