# SPDX-License-Identifier: GPL-3.0-or-later
"""A wire between a core and its phones that takes time and loses packets, by the clock of the test."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from typing import Protocol

from sip.effects import Address


class Hearer(Protocol):
    """A phone at the end of the wire."""

    def receive(self, data: bytes) -> None:
        """Take what came."""


class Link:
    """A wire with delay and loss between a core and its phones."""

    def __init__(self, world, loss: float, seed: int) -> None:
        self.world = world
        self.loss = loss
        self.dice = random.Random(seed)
        self.phones: dict[Address, Hearer] = {}
        self.queue: list = []
        self.order = 0

    def later(self, delay: float, action, *args) -> None:
        self.order += 1
        heappush(self.queue, (self.world.now + delay, self.order, action, args))

    def carry(self, action, *args) -> None:
        if self.dice.random() >= self.loss:
            self.later(self.dice.uniform(0.005, 0.05), action, *args)

    def collect(self) -> None:
        wire, self.world.wire = self.world.wire, []
        for _, send in wire:
            self.carry(self.phones[send.target].receive, send.data)

    def run(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.queue and self.queue[0][0] <= end:
            due, _, action, args = heappop(self.queue)
            self.world.pass_time(max(0.0, due - self.world.now))
            self.collect()
            action(*args)
            self.collect()
        self.world.pass_time(end - self.world.now)
