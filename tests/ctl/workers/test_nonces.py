# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of nonces that several processes take: each of them once, whoever dies meanwhile."""

import subprocess
import sys

from ctl.workers.shared import SharedMemory
from sip.counters import BUCKET_BYTES, Counters

TAKER = """
import sys
from pathlib import Path
from ctl.workers.shared import SharedMemory
from sip.counters import BUCKET_BYTES, Counters
memory = SharedMemory(Path(sys.argv[1]), BUCKET_BYTES)
counters = Counters(memory.table, memory)
print("ready", flush=True)
sys.stdin.readline()
for count in range(1, 4001):
    if counters.take(77, 1000, count, 0):
        print(count)
"""


def test_a_count_holds_once_however_many_take_it_at_once(tmp_path):
    command = [sys.executable, "-c", TAKER, str(tmp_path / "nonces")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    takers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [taker.stdout.readline() for taker in takers] == ["ready\n"] * 2
    for taker in takers:
        taker.stdin.write("go\n")
        taker.stdin.flush()
    taken = [int(line) for taker in takers for line in taker.communicate()[0].split()]
    assert len(taken) == len(set(taken))
    assert max(taken) == 4000
    assert len(taken) > 2000


def test_what_was_taken_outlives_who_took_it(tmp_path):
    for granted in (True, False):
        memory = SharedMemory(tmp_path / "nonces", BUCKET_BYTES)
        assert Counters(memory.table, memory).take(77, 1000, 1, 0) is granted
        memory.close()
