# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second signalling process brings: calls through one process, and twice as many through two workers, in turns.

SIPp needs the same cores, so that calls per second of the clock would measure it, too. Counted is what the processes of
voxdp took of a core. With two cores to themselves, two workers are through with their calls when the busiest process
is, or when two cores have done the work of all, whichever takes longer; one process is through after its CPU time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from statistics import median

from tests.bench.callers import PASSWORD
from tests.bench.calls import Rig, bench
from tests.bench.figures import Figure
from tests.bench.processes import cpu_seconds
from tests.bench.registrations import Phone, granted, introduce, say
from vm import namespace
from vm.controller import DOMAIN

WORKERS = CORES = 2
RATE, CALLS, WARM = 60, 300, 200
"""Of each process: what it does for many calls at a time costs less for each of them the more there are."""
ROUNDS = 5
MESSAGES = 11
"""That come in for one call, its challenge included."""
FOREMOST = -15
PHONES, REFRESHES, PORT = 16, 150, 5070


def measure() -> Iterator[Figure]:
    """Throughput of two workers over one process, how it is made up, and that no call fails."""
    alone, shared, failed = [], [], 0
    with bench() as one, bench(WORKERS) as two:
        for rig in (one, two):
            for each in _processes(rig):
                os.setpriority(os.PRIO_PROCESS, each, FOREMOST)  # before what else the machine does
            rig.run(WARM, RATE, 0)
        yield from registered(one, two)
        for _ in range(ROUNDS):
            for rig, spent, times in ((one, alone, 1), (two, shared, WORKERS)):
                before = _cpu(rig)
                failed += rig.run(times * CALLS, times * RATE, 0).failed
                spent.append([(after - earlier) / times for after, earlier in zip(_cpu(rig), before, strict=True)])
        handed = two.controller.ask("sip", "status")["handed"]
    how = f"{CALLS} calls, {RATE}/s, of each process; {ROUNDS} rounds in turns; CPU time without engine and PostgreSQL"
    process = median(sum(each) for each in alone)
    through = median(max(max(each), sum(each) / CORES) for each in shared)
    yield Figure("two workers over one process", process / through, "times", ">=", 1.7, how)
    whole = median(sum(each) for each in shared)
    yield Figure("CPU time per call with two workers, over one process", whole / process, "times", "<=", 1.18, how)
    uneven = median(max(each[1:]) / (sum(each[1:]) / WORKERS) for each in shared)
    yield Figure("the busier worker, over the mean", uneven, "times", "<=", 1.15, how)
    controller = median(each[0] / sum(each) for each in shared)
    yield Figure("the controller's part of it", 100 * controller, "%", "<=", 15, how)
    yield Figure("failed calls", failed, "calls", "<=", 0, how)
    part = 100 * handed / (ROUNDS * WORKERS * CALLS * MESSAGES)
    yield Figure("messages that workers passed on", part, "%", "<=", 5, how)


def registered(one: Rig, two: Rig) -> Iterator[Figure]:
    """Repeated registrations through both, in turns, one process having as many to do as two workers together."""
    spent: dict[int, list[list[float]]] = {1: [], WORKERS: []}
    with phones(one) as few, phones(two) as same:
        for _ in range(ROUNDS):
            for rig, (client, known), costs in ((one, few, spent[1]), (two, same, spent[WORKERS])):
                before = _cpu(rig)
                for _ in range(REFRESHES):
                    granted(say(client, [phone.next() for phone in known]))
                costs.append([after - earlier for after, earlier in zip(_cpu(rig), before, strict=True)])
    over = median(sum(both) / sum(each) for each, both in zip(spent[1], spent[WORKERS], strict=True))
    each = (REFRESHES * PHONES / median(map(sum, spent[workers])) for workers in (1, WORKERS))
    leads = median(both[0] / sum(both) for both in spent[WORKERS])
    how = f"{PHONES} phones, {REFRESHES} refreshes of each in each of {ROUNDS} rounds in turns; alone and shared "
    how += f"{' and '.join(f'{rate:.0f}' for rate in each)} a CPU-second, {leads:.0%} of the latter the controller's"
    yield Figure("CPU time per registration with two workers, over one process", over, "times", "<=", 1.5, how)


@contextmanager
def phones(rig: Rig) -> Iterator[tuple[socket, list[Phone]]]:
    """Users of the rig, registered, and where they send from."""
    users = [f"phone{number}" for number in range(PHONES)]
    for user in users:
        rig.controller.add_user(user, PASSWORD)
    with namespace.entered(rig.lab.a.namespace):
        client = socket(AF_INET, SOCK_DGRAM)
    with client:
        client.settimeout(20)
        client.bind((rig.lab.a.address, PORT))
        client.connect((rig.lab.a.relay, 5060))
        known = [Phone(user, DOMAIN, PASSWORD, rig.lab.a.address) for user in users]
        introduce(client, known)
        granted(say(client, [phone.next() for phone in known]))
        yield client, known


def _cpu(rig: Rig) -> list[float]:
    return [cpu_seconds(each) for each in _processes(rig)]


def _processes(rig: Rig) -> list[int]:
    """The controller, and its workers if it has any."""
    pid = rig.controller.pid
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    workers = [child for child in children if b"ctl.workers.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [pid, *sorted(workers)]
