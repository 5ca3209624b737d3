# SPDX-License-Identifier: GPL-3.0-or-later
"""When the conductor looks at the timers of signalling, by a clock and an event loop that only the test moves."""

import asyncio
import time

import pytest

from ctl.signalling.conductor import TIMER_SECONDS
from sip.timers import Intervals
from tests.ctl.signalling.test_conductor import ANNA, BERT, US, Host, call, register

MILLISECOND = 0.001


class Appointment:
    """Something that the loop is to call; as asyncio.TimerHandle."""

    def __init__(self, due, action):
        self.due, self.action, self.cancelled = due, action, False

    def cancel(self):
        self.cancelled = True


class Clock:
    """Stands for the clock, and for the loop where somebody makes an appointment."""

    def __init__(self, loop):
        self.now = time.monotonic()
        self.loop = loop
        self.appointments = []

    def __getattr__(self, name):
        return getattr(self.loop, name)

    def monotonic(self):
        return self.now

    def call_later(self, seconds, action):
        self.appointments.append(Appointment(self.now + seconds, action))
        return self.appointments[-1]

    def passes(self, seconds):
        self.now += seconds
        due = [each for each in self.appointments if each.due <= self.now]
        self.appointments = [each for each in self.appointments if each.due > self.now]
        for each in due:
            if not each.cancelled:
                each.action()


@pytest.fixture
async def clock(monkeypatch):
    """In the modules themselves: a compiled one asks no name of its own that leads to them."""
    clock = Clock(asyncio.get_running_loop())
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


@pytest.mark.parametrize("apart", [3, 10, 18])
async def test_messages_that_never_cease_put_no_timer_off(tmp_path, table, hops, clock, apart):
    """The second call is to be repeated so soon after the first that one look serves both: but there must be one."""
    async with Host(tmp_path, table, hops) as host:
        register(host, "bert", BERT)
        due = {}
        for name in ("first", "second"):
            call(host, name=name)
            (invite,) = host.heard(BERT)
            due[invite.call_id] = clock.now + Intervals().t1
            clock.passes(apart * MILLISECOND)
        late = {}
        for _ in range(600):
            clock.passes(MILLISECOND)
            host.conductor.received(b"\r\n\r\nnothing", ANNA, US)
            for again in host.heard(BERT):
                assert again.method == "INVITE"
                late[again.call_id] = clock.now - due[again.call_id]
        assert late.keys() == due.keys()
        assert all(0 <= seconds < TIMER_SECONDS + 2 * MILLISECOND for seconds in late.values()), late
