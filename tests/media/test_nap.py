# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a worker wakes for packets, and how long these wait for it, by a clock of the test's own."""

from __future__ import annotations

import pytest

from tests.media.dsp import MS, ffi, lib

US = 1000
SECOND = 1000 * MS
NEVER = 2**64 - 1


class Worker:
    """One that has nothing to do but wake, which takes no time."""

    def __init__(self, passed: int = 0) -> None:
        self.nap = ffi.new("struct nap *", {"passed": passed})
        self.wakings = 0
        self.longest = 0

    def run(self, arrivals: list[int], every: int = 0, hurried: bool = False) -> None:
        """Take packets that come at these times; every: ns between two times at which something is due."""
        now = 0
        while arrivals:
            due = now // every * every + every if every else NEVER
            now = max(now, min(arrivals[0], due))
            taken = [at for at in arrivals if at <= now]
            arrivals = arrivals[len(taken) :]
            self.longest = max([self.longest, *(now - at for at in taken)])
            if taken and hurried:
                self.nap.passed = now
            self.wakings += 1
            due = now // every * every + every if every else NEVER
            now += lib.nap_take(self.nap, now, len(taken), due)


def evenly(packets: int, apart: int) -> list[int]:
    return [SECOND + number * apart for number in range(packets)]


def test_a_packet_that_comes_alone_goes_at_once():
    worker = Worker()
    worker.run(evenly(50, 6 * MS))
    assert (worker.wakings, worker.longest) == (50, 0)


@pytest.mark.parametrize(
    ("apart", "wakings"), [(2 * MS, 1000), (600 * US, 1000), (300 * US, 755), (100 * US, 255), (10 * US, 130)]
)
def test_packets_that_go_on_as_they_come_wait_for_less_than_half_a_millisecond(apart, wakings):
    worker = Worker()
    worker.run(evenly(1000, apart), hurried=True)
    assert worker.wakings <= wakings
    assert worker.longest <= lib.NAP_HURRIED


@pytest.mark.parametrize("apart", [1 * MS, 600 * US, 300 * US, 100 * US])
def test_what_waits_in_jitter_buffers_anyway_is_taken_in_larger_lots(apart):
    hurried, patient = Worker(), Worker()
    hurried.run(evenly(1000, apart), hurried=True)
    patient.run(evenly(1000, apart))
    assert patient.wakings <= 0.6 * hurried.wakings
    assert patient.longest <= lib.NAP_LONGEST


def test_a_flood_is_not_waited_for():
    worker = Worker()
    worker.run(evenly(4000, 1 * US))
    assert worker.longest <= 50 * US


def test_what_is_due_is_not_slept_through():
    worker = Worker()
    worker.run(evenly(1000, 300 * US), every=5 * MS)
    for now in range(SECOND, SECOND + 5 * MS, 100 * US):
        worker.nap.done = now - 300 * US
        left = SECOND + 5 * MS - now
        assert lib.nap_take(worker.nap, now, 1, SECOND + 5 * MS) <= left
    assert lib.nap_take(worker.nap, SECOND + 6 * MS, 9, SECOND + 5 * MS) == 0


def test_it_is_remembered_for_a_second_that_packets_went_on():
    worker = Worker(passed=5 * SECOND)
    for now, longest in [(5 * SECOND + MS, lib.NAP_HURRIED), (6 * SECOND + MS, lib.NAP_LONGEST)]:
        worker.nap.done = now - 900 * US
        assert lib.nap_take(worker.nap, now, 1, NEVER) == longest
