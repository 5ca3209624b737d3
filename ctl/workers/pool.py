# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers' processes: started together, started again where one dies, ended together."""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from ctl.seat import ServiceError
from ctl.workers.link import Link, packed
from ctl.workers.worker import Welcome
from media.spawn import environment

START_SECONDS = 30.0
STOP_SECONDS = 15.0
STEADY_SECONDS = 30.0
LONGEST_PAUSE = 5.0
MAX_HELD = 10_000
"""Messages kept for a worker that is being started."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Worker:
    number: int
    link: Link | None = None
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    held: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=MAX_HELD))
    failures: int = 0
    restarts: int = 0


class Pool:
    """All of them. handlers: for what a worker says, by its number; begin: called with its number and with what tells
    it things, before it serves; lost: called with the number of one that died.
    """

    def __init__(
        self,
        workers: int,
        welcome: Callable[[int], Welcome],
        handlers: Callable[[int], Mapping[str, Any]],
        begin: Callable[[int, Callable[..., None]], None],
        lost: Callable[[int], None],
    ) -> None:
        self._workers = [_Worker(number) for number in range(workers)]
        self._welcome, self._handlers, self._begin, self._lost = welcome, handlers, begin, lost
        self._stopping = False

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""
        return sum(each.restarts for each in self._workers)

    @property
    def processes(self) -> list[int | None]:
        """The process ids of the workers."""
        return [each.process.pid if each.process else None for each in self._workers]

    async def start(self) -> None:
        """Start all and wait until they serve. Raises ServiceError."""
        await asyncio.gather(*(self._start(each) for each in self._workers))
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*(self._serving(each) for each in self._workers))
        except TimeoutError:
            await self.stop()
            raise ServiceError(f"a worker did not serve within {START_SECONDS:g} s; see the log above") from None

    async def run(self) -> None:
        """Start again whoever dies, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._workers:
                tasks.create_task(self._keep(each), name=f"worker {each.number + 1}")

    def tell(self, worker: int, name: str, *arguments: Any) -> None:
        """Say something to one of them; while it is being started, it hears it later."""
        found = self._workers[worker]
        if found.link and found.ready.is_set():
            found.link.tell(name, *arguments)
        else:
            found.held.append((name, *arguments))

    def broadcast(self, but: int, name: str, *arguments: Any) -> None:
        """Say something to all but one, -1 for to all; not to those being started, who are told all there is."""
        for each in self._workers:
            if each.number != but and each.link:
                each.link.tell(name, *arguments)

    async def ask(self, name: str) -> list[Any]:
        """Return what each of them answers; those that are not there do not."""
        links = [each.link for each in self._workers if each.link and each.ready.is_set()]
        answers = await asyncio.gather(*(link.ask(name) for link in links), return_exceptions=True)
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def kill(self, worker: int) -> None:
        """End one that is stuck, so that it is started again."""
        process = self._workers[worker].process
        if process and process.returncode is None:
            process.kill()

    async def stop(self) -> None:
        """End all; calls stay for their successors."""
        self._stopping = True
        self.broadcast(-1, "stop")
        processes = [each.process for each in self._workers if each.process]
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*(each.wait() for each in processes))
        for process in processes:
            if process.returncode is None:
                log.error("worker killed, it did not end", pid=process.pid)
                process.kill()
                await process.wait()

    async def _start(self, worker: _Worker) -> None:
        welcome = self._welcome(worker.number)
        here, there = socket.socketpair()
        with there:
            descriptors = [there.fileno(), *welcome.descriptors.values()]
            here.setblocking(True)
            here.sendall(packed((pickle.dumps(welcome),)))
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "ctl.compiled", "ctl.workers.worker", str(there.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                env=environment(),
            )
        here.setblocking(False)
        link = worker.link = Link({**self._handlers(worker.number), "ready": lambda: self._ready(worker)}, lambda: None)
        await link.open(here)
        self._begin(worker.number, link.tell)
        link.tell("begin")

    def _ready(self, worker: _Worker) -> None:
        assert worker.link
        worker.ready.set()
        while worker.held:
            worker.link.tell(*worker.held.popleft())

    async def _serving(self, worker: _Worker) -> None:
        """Return when it serves. Raises ServiceError where it has ended instead."""
        assert worker.process
        waits: Iterable[asyncio.Task[Any]] = (
            asyncio.create_task(worker.ready.wait()),
            asyncio.create_task(worker.process.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if not worker.ready.is_set():
            raise ServiceError(f"worker {worker.number + 1} could not start; see the log above")

    async def _keep(self, worker: _Worker) -> None:
        while True:
            assert worker.process
            began = time.monotonic()
            status = await worker.process.wait()
            if self._stopping:
                return
            log.error("worker died and is started again", number=worker.number + 1, status=status)
            if worker.link:
                worker.link.close()
            worker.link = None
            worker.ready.clear()
            worker.restarts += 1
            self._lost(worker.number)
            worker.failures = 0 if time.monotonic() - began > STEADY_SECONDS else worker.failures + 1
            await asyncio.sleep(min(LONGEST_PAUSE, 0.25 * max(0, worker.failures - 1)))
            await self._start(worker)
