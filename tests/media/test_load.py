# SPDX-License-Identifier: GPL-3.0-or-later
"""Many flows, bursts, floods of junk; and what a packet costs."""

import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.patience import PATIENCE

PAIRS = 1000
HOSTILE = 100_000
WINDOW = 100
"""Packets under way at once: less than a socket's buffer holds."""
LIMIT_MICROSECONDS = 30.0
"""Of CPU per packet: several times what is measured, for machines that are slower or busy."""


def pairs(call, count):
    """Calls between the same two peers, each by two ports of its own."""
    for i in range(count):
        one, other = 20000 + 2 * i, 20001 + 2 * i
        yield replace(
            call, facing_a=replace(call.facing_a, local_port=one), facing_b=replace(call.facing_b, local_port=other)
        )


def forwarded(client):
    return client.summary().reasons.get("forwarded", (0, 0))[0]


def wait_forwarded(client, count):
    until = time.monotonic() + PATIENCE
    while (done := forwarded(client)) < count:
        assert time.monotonic() < until, f"{done} of {count} forwarded"
        time.sleep(0.001)


def cpu_seconds(pid):
    """Of the threads that carry packets: all but the first."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((t / "schedstat").read_text().split()[0]) for t in threads if t.name != str(pid)) / 1e9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_pairs(engine_process, call, rtp, workers):
    process = engine_process("--workers", str(workers))
    client = process.client
    began = time.monotonic()
    calls = [one.open(client) for one in pairs(call, PAIRS)]
    opened = time.monotonic()
    for i, one in enumerate(calls):
        one.a.send(rtp(0), one.facing_a.key)
        one.b.send(rtp(0), one.facing_b.key)
        if i % 50 == 49:
            wait_forwarded(client, 2 * (i + 1))
            assert (one.a.waiting(), one.b.waiting()) == (50, 50)
    reading = time.monotonic()
    keys = client.list()
    statistics = client.read(keys)
    read = time.monotonic()
    assert len(keys) == len(statistics) == 2 * PAIRS
    assert {s.packets for s in statistics} == {1}
    assert len(client.remove(keys)) == 2 * PAIRS
    print(f"{PAIRS} pairs opened in {opened - began:.3f} s, 2,000 flows read in {read - reading:.3f} s")


@pytest.mark.alone
def test_a_burst_loses_nothing_and_its_cost(process, call, rtp):
    """10,000 packets over 100 flows, as fast as they can be sent while less than a window is under way."""
    client, sent = process.client, 0
    calls = [one.open(client) for one in pairs(call, 100)]
    before = cpu_seconds(process.pid)
    for i in range(100):
        for one in calls:
            one.a.send(rtp(i), one.facing_a.key)
        sent += len(calls)
        wait_forwarded(client, sent)
        assert call.b.waiting() == len(calls)
    cost = (cpu_seconds(process.pid) - before) / sent * 1e6
    statistics = client.read([one.facing_a.key for one in calls])
    assert {(s.packets, s.lost, s.dropped, s.reordered) for s in statistics} == {(100, 0, 0, 0)}
    print(f"{cost:.2f} µs of CPU per packet")
    assert cost < LIMIT_MICROSECONDS


def test_hostile_packets_change_nothing(process, call, make_peer, rtp, settled):
    """From a stranger, and from the flow's own source but of no sense, to a flow that has still to learn."""
    client, chance = process.client, random.Random(1)
    call = call.learning().open(client)
    stranger = make_peer("127.77.9.9")
    for i in range(HOSTILE):
        junk = chance.randbytes(chance.randrange(120))
        if junk and i % 2:
            junk = bytes([junk[0] & 0x3F]) + junk[1:]  # never version 2
        (call.a if i % 2 else stranger).send(junk, call.facing_a.key)
        if i % WINDOW == WINDOW - 1:
            settled(client, call.facing_a, i + 1)
    s = settled(client, call.facing_a, HOSTILE)
    assert (s.rejected, s.dropped, s.packets, s.learned_port) == (HOSTILE // 2, HOSTILE // 2, 0, None)
    assert call.b.waiting() == 0
    call.a.send(rtp(), call.facing_a.key)
    assert call.b.receive()[0] == rtp()
    assert settled(client, call.facing_a, HOSTILE + 1).learned_port == call.a.name[1]
    os.kill(process.pid, 0)


def test_a_flood_on_one_flow_starves_no_other(process, call, make_peer, rtp, settled):
    client = process.client
    flooded, quiet = (one.open(client) for one in pairs(call, 2))
    stranger = make_peer("127.77.9.9")
    for i in range(200):
        for _ in range(200):
            stranger.send(b"flood", flooded.facing_a.key)
        quiet.a.send(rtp(i), quiet.facing_a.key)
        assert quiet.b.receive()[0] == rtp(i)
    assert settled(client, quiet.facing_a, 200).lost == 0
