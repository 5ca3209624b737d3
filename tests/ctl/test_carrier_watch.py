# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that dies, seen by who watches the carriers: a pipe stands for its process."""

import asyncio
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ctl.carrier_watch import CarrierWatch
from ctl.sessions.dataplane import DataPlane


class Engine:
    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.dead = False

    def fileno(self) -> int:
        return self._reader

    def alive(self) -> bool:
        return not self.dead

    def die(self) -> None:
        self.dead = True
        os.write(self._writer, b"x")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class Carriers:
    """Those of a host without a relay. engines: all that were started."""

    def __init__(self) -> None:
        self.engines = [Engine()]
        self.kernel = self.events = None
        self.trouble, self.bare = "", dict[str, str]()
        self.plane = DataPlane({}, frozenset())

    @property
    def process(self) -> Engine:
        return self.engines[-1]

    def look(self, _engine_used: bool) -> DataPlane:
        return self.plane

    def restart_engine(self) -> None:
        self.engines.append(Engine())


@pytest.fixture
def carriers() -> Iterator[Carriers]:
    carriers = Carriers()
    yield carriers
    for engine in carriers.engines:
        engine.close()


def watch_over(carriers: Carriers, silences: list[float]) -> CarrierWatch:
    programmer = SimpleNamespace(uses=lambda _: False, use=lambda *_: None, engine_restarted=lambda: None)
    sessions = SimpleNamespace(data_plane=carriers.plane, replan=dict)
    return CarrierWatch(*cast(Any, (carriers, programmer, sessions)), None, silences.append, alarms=False)


def test_an_engine_that_dies_is_replaced_at_once_and_the_next_at_the_next_look(carriers: Carriers) -> None:
    silences: list[float] = []

    async def watch() -> list[int]:
        watch = watch_over(carriers, silences)
        watch.follow()
        counts = []
        for step in (carriers.process.die, lambda: carriers.process.die(), watch.look, watch.look):
            step()
            await asyncio.sleep(0.01)
            counts.append(len(carriers.engines))
        watch.leave()
        return counts

    assert asyncio.run(watch()) == [2, 2, 3, 3]
    assert len(silences) == 2


def test_who_follows_no_more_leaves_a_dead_engine_alone(carriers: Carriers) -> None:
    async def leave() -> None:
        watch = watch_over(carriers, [])
        watch.follow()
        watch.leave()
        carriers.process.die()
        await asyncio.sleep(0.01)

    asyncio.run(leave())
    assert len(carriers.engines) == 1
