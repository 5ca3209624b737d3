# SPDX-License-Identifier: GPL-3.0-or-later
"""What the verifier says of the object, and how many cases the tables hold."""

import re
import subprocess
import tempfile

from tests.bpf import (
    harness,
    test_crossings,
    test_dtmf,
    test_ipv6,
    test_rewriting,
    test_sources,
    test_statistics,
    test_tags,
    test_verdicts,
)

STATISTICS = re.compile(
    r"processed (\d+) insns \(limit \d+\) max_states_per_insn \d+ total_states (\d+) peak_states \d+"
)
STACK = re.compile(r"stack depth ([\d+]+)")
VERIFIED_LIMIT = 50_000
TABLES = [
    *(test_verdicts.PASSED, test_verdicts.DROPPED, test_verdicts.ALLOWED, test_rewriting.CASES, test_sources.REJECTED),
    *(test_ipv6.CASES, test_crossings.CASES, test_tags.CASES, test_statistics.STREAMS, test_dtmf.STREAMS),
]
CASES_WANTED = 200


def test_the_verifier_takes_it_with_all_it_has_to_say(capsys):
    """At the highest log level: the statistics of each function that is verified by itself, and of the whole."""
    harness.require_object()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "bpf", "none", folder], check=True)
        try:
            command = ["bpftool", "-d", "prog", "load", str(harness.OBJECT), f"{folder}/relay"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            subprocess.run(["umount", folder], check=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    (processed, states), *_ = STATISTICS.findall(said)
    deepest = max(sum(map(int, each.split("+"))) for each in STACK.findall(said))
    with capsys.disabled():
        print(f"\nverifier: {processed} instructions of {VERIFIED_LIMIT}, {states} states, {deepest} bytes of stacks")
    assert int(processed) <= VERIFIED_LIMIT


def test_there_are_enough_cases(capsys):
    count = sum(map(len, TABLES))
    with capsys.disabled():
        print(f"\ntables: {count} cases of {CASES_WANTED}")
    assert count >= CASES_WANTED
