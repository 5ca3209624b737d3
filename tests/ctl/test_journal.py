# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ctl.journal
from ctl.journal import Journal, keep_synced


def test_the_last_state_of_each_key_comes_back(tmp_path: Path) -> None:
    journal, before = Journal.open(tmp_path / "live", 5.0)
    assert before.states == {}
    journal.put("call", "1", {"state": "ringing"})
    journal.put("call", "1", {"state": "talking"})
    journal.put("call", "2", {"state": "talking"})
    journal.put("binding", "anna", [{"contact": "sip:a@b"}])
    journal.remove("call", "2")
    journal.remove("call", "never there")
    journal.close()

    _, after = Journal.open(tmp_path / "live", 6.0)
    assert after.of("call") == {"1": {"state": "talking"}}
    assert after.of("binding") == {"anna": [{"contact": "sip:a@b"}]}
    assert (after.same_boot, after.saved, after.torn) == (True, 5.0, 0)


@pytest.mark.parametrize("text", ["Zoë", "\U0001f600", "\udc80 no UTF-8", 'a"\\\r\n\0', "\u2028"])
def test_any_text_of_a_peer_comes_back_from_a_line_of_ascii(tmp_path: Path, text: str) -> None:
    journal, _ = Journal.open(tmp_path / "live", 5.0)
    journal.put("call", text, {"caller": text, "ends": [(text, 1, 2.5, None, True)]})
    journal.close()
    assert (tmp_path / "live").read_bytes().isascii()
    _, after = Journal.open(tmp_path / "live", 6.0)
    assert after.of("call") == {text: {"caller": text, "ends": [[text, 1, 2.5, None, True]]}}


def test_what_json_cannot_carry_is_refused(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 5.0)
    with pytest.raises(TypeError):
        journal.put("call", "1", {"owner": object()})
    journal.close()


def test_a_journal_tells_whether_there_is_something_to_sync(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 5.0)
    assert journal.synced
    journal.put("call", "1", {"state": "ringing"})
    assert not journal.synced
    journal.sync()
    assert journal.synced
    journal.remove("call", "1")
    assert not journal.synced
    journal.close()


def test_a_torn_last_line_is_counted_and_harms_no_other(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 0.0)
    journal.put("call", "1", {"n": 1})
    journal.put("call", "2", {"n": 2})
    journal.close()
    whole = (tmp_path / "live").read_bytes()
    (tmp_path / "live").write_bytes(whole[:-5])

    _, after = Journal.open(tmp_path / "live", 0.0)
    assert after.of("call") == {"1": {"n": 1}}
    assert after.torn == 1


def test_another_boot_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = Journal.open(tmp_path / "live", 7.0)
    journal.put("call", "1", {})
    journal.close()
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(ctl.journal, "BOOT_ID", tmp_path / "boot")
    _, after = Journal.open(tmp_path / "live", 8.0)
    assert (after.same_boot, after.saved) == (False, 7.0)


async def test_what_was_put_is_brought_to_the_disk_by_and_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(ctl.journal, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal, _ = Journal.open(tmp_path / "live", 0.0)
    synced.clear()
    task = asyncio.create_task(keep_synced(journal))
    for count in (1, 2):
        journal.put("call", "1", {"n": count})
        while len(synced) < count:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(synced) == 2
    task.cancel()
    journal.close()
    journal.sync()


def test_the_log_stays_near_the_size_of_what_lives(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 0.0)
    for number in range(20_000):
        journal.put("call", str(number), {"padding": "x" * 200})
        if number >= 50:
            journal.remove("call", str(number - 50))
    journal.close()
    assert (tmp_path / "live").stat().st_size < 2 << 20
    assert len(Journal.open(tmp_path / "live", 0.0)[1].of("call")) == 50


def test_compacting_keeps_the_last_state_of_every_kind(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 0.0)
    for number in range(12_000):
        journal.put("call", str(number % 7), {"number": number, "padding": "x" * 300})
        journal.put("bindings", f"ünü{number % 5}", [number])
    journal.close()
    assert (tmp_path / "live").stat().st_size < 2 << 20
    _, after = Journal.open(tmp_path / "live", 0.0)
    assert sorted(state["number"] for state in after.of("call").values()) == list(range(11_993, 12_000))
    assert after.of("bindings") == {f"ünü{number % 5}": [number] for number in range(11_995, 12_000)}


def test_a_full_disk_harms_no_line_but_the_one_that_does_not_fit(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 0.0)
    journal.put("call", "1", {"n": 1})
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "live").stat().st_size + 20, former[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.put("call", "1", {"n": 2, "padding": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, ignored)
    journal.put("call", "2", {"n": 3})
    journal.close()
    _, after = Journal.open(tmp_path / "live", 0.0)
    assert after.of("call") == {"1": {"n": 1}, "2": {"n": 3}}
    assert after.torn == 0


def test_a_log_that_cannot_be_compacted_goes_on(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "live", 0.0)
    (tmp_path / "live.new").mkdir()
    for number in range(6_000):
        journal.put("call", "1", {"n": number, "padding": "x" * 300})
    (tmp_path / "live.new").rmdir()
    journal.close()
    assert (tmp_path / "live").stat().st_size > 1 << 20
    assert Journal.open(tmp_path / "live", 0.0)[1].of("call")["1"]["n"] == 5_999


WRITER = """
import sys
from pathlib import Path
from ctl.journal import Journal, keep_synced
journal, _ = Journal.open(Path(sys.argv[1]), 0.0)
number = 0
while True:
    journal.put("call", str(number % 100), {"number": number, "padding": "x" * 500})
    number += 1
    if number % 20_000 == 0: print(number, flush=True)
"""


def test_a_kill_leaves_all_but_the_line_being_written(tmp_path: Path) -> None:
    path = tmp_path / "live"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    _, after = Journal.open(path, 0.0)
    assert len(after.of("call")) == 100
    assert min(state["number"] for state in after.of("call").values()) >= acknowledged - 100
    assert after.torn <= 1
