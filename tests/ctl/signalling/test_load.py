# SPDX-License-Identifier: GPL-3.0-or-later
"""When load is shed, and how a controller that is stopped waits for its calls."""

import asyncio
import time

import pytest

from ctl.signalling import load
from ctl.signalling.load import LoadWatch, drain
from tests.patience import PATIENCE


class Core:
    """As much of a core as is asked here."""

    def __init__(self, calls=0):
        self.draining = self.overloaded = False
        self.up = ["call"] * calls

    def calls(self):
        return self.up


@pytest.mark.parametrize(
    ("looks", "overloaded"),
    [
        ([(0.5, 0.0)], False),
        ([(0.98, 0.0)] * 3, False),
        ([(0.98, 0.0)] * 4, True),
        ([*[(0.98, 0.0)] * 3, (0.5, 0.0), (0.98, 0.0)], False),
        ([(0.3, 0.5)], True),
        ([*[(0.98, 0.0)] * 4, (0.9, 0.0)], True),
        ([*[(0.98, 0.0)] * 4, (0.8, 0.0)], False),
        ([(0.9, 0.0)] * 9, False),
    ],
)
def test_when_it_is_too_much_and_when_no_longer(looks, overloaded):
    core = Core()
    watch = LoadWatch(core, 0.4)
    for look in looks:
        watch.judge(*look)
    assert core.overloaded is overloaded


def test_lateness_may_be_left_out_of_account():
    core = Core()
    watch = LoadWatch(core, 0)
    watch.judge(0.3, 60.0)
    assert not core.overloaded
    for _ in range(4):
        watch.judge(0.98, 60.0)
    assert core.overloaded


async def test_a_loop_that_is_late_is_noticed(monkeypatch):
    monkeypatch.setattr(load, "LOOK_SECONDS", 0.01)
    core = Core()
    task = asyncio.create_task(LoadWatch(core, 0.4).run())
    await asyncio.sleep(0)
    time.sleep(0.5)
    await asyncio.sleep(0.005)
    assert core.overloaded
    while core.overloaded:
        await asyncio.sleep(0.01)
    task.cancel()


async def test_a_drain_ends_with_the_last_call_the_limit_or_a_second_wish(monkeypatch):
    monkeypatch.setattr(load, "LOOK_SECONDS", 0.01)
    core, again = Core(calls=1), asyncio.Event()
    waiting = asyncio.create_task(drain(core, 600.0, again))
    await asyncio.sleep(0.05)
    assert (core.draining, waiting.done()) == (True, False)
    core.up.clear()
    await asyncio.wait_for(waiting, PATIENCE)
    await asyncio.wait_for(drain(Core(calls=1), 0.05, again), PATIENCE)
    again.set()
    await asyncio.wait_for(drain(Core(calls=1), 600.0, again), PATIENCE)
    await asyncio.wait_for(drain(Core(), 600.0, asyncio.Event()), PATIENCE)
