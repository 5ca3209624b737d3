# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller of several workers: what there can be only one of, and one face for all that they do.

It has no calls of its own. Its core holds the registrations, which it keeps for all.
"""

from __future__ import annotations

import asyncio
import pickle
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from api.health import Component
from api.metrics import PlatformCollector
from api.server import ApiServer, create_app
from ctl.config import Config
from ctl.kernel.events import Event
from ctl.kernel.flowrule import Endpoint
from ctl.observe.metrics import ControllerFigures
from ctl.rest import make_rest
from ctl.seat import Seat
from ctl.service import Service
from ctl.sessions.ports import PortShare
from ctl.signalling.billing import Billing
from ctl.signalling.core import SECRET_BYTES
from ctl.signalling.load import LOOK_SECONDS
from ctl.signalling.restore import Restored
from ctl.surfaces import Surfaces
from ctl.terminal.client import SOCKET_NAME
from ctl.verbs.control import ControlServer
from ctl.verbs.live import LiveCalls
from ctl.workers.admission import AdmissionDesk
from ctl.workers.bindings import Registrations
from ctl.workers.deal import deal
from ctl.workers.gather import Gathered
from ctl.workers.live import GatheredLive
from ctl.workers.pool import Pool
from ctl.workers.report import Report, Reports, SharedHistogram
from ctl.workers.sockets import SharedSockets
from ctl.workers.worker import Welcome, seat_of
from provisioning.admission import Admission
from provisioning.errors import DatabaseUnavailable
from sip.steering import slot_of

CHANNELS, NONCES = "channels", "nonces"
STUCK_SECONDS = 20.0
"""Without a report, of which there is one each second."""

log = structlog.get_logger()


class Controller(Service):
    """`voxdp run` with `sip.workers` above 1."""

    def __init__(self, config: Config) -> None:
        self._workers = config.sip.workers
        self._admission = Admission()
        self._desk = AdmissionDesk(self._admission)
        run = config.run
        with Seat.of(config).take():
            self._dealt = deal(run.state, run.directory, self._workers)
        proxies = bool(config.ng.listen or config.ng.listen_tcp or config.ng.listen_http)
        share = PortShare(self._workers, self._workers + proxies, self._dealt.held)
        super().__init__(config, Seat(run.directory, run.state, share))
        for shared in (CHANNELS, NONCES):
            (run.directory / shared).unlink(missing_ok=True)
        self._nonce_key = secrets.token_bytes(SECRET_BYTES)
        self._sockets: SharedSockets | None = None
        self._pool = Pool(self._workers, self._welcome, self._handlers, self._begin, self._lost)
        self._reports = Reports(ControllerFigures(self), self._workers)
        self._registrations = Registrations(
            self.core, self._live, self._pool.broadcast, lambda: self.conductor.perform(())
        )
        self._standings: list[Any] = []
        self._served: dict[bytes, int] = {}
        """Who serves the Call-IDs that are not served by the worker of their slot."""
        self._reached = False
        self.storage.on_keys = partial(self._ask_all, "keys")
        self.storage.on_change = partial(self._ask_all, "caught up")

    # --- workers ---

    def _welcome(self, number: int) -> Welcome:
        assert self._sockets
        share = replace(self._seat.ports, number=number)
        run = self._config.run.directory
        shared = run / CHANNELS, run / NONCES, self._nonce_key
        return Welcome(self._config, number, self._workers, share, self._sockets.of(number), *shared)

    def _begin(self, number: int, tell: Any) -> None:
        """Tell a worker what it must know before it serves."""
        self._registrations.tell_all(tell)
        if self._standings:
            tell("trunks", self._standings)
        for call_id, worker in self._served.items():
            if slot_of(call_id) % self._workers == number:
                tell("serve", call_id, worker)
        if self.core.draining:
            tell("drain", True)
        if self._reached:
            tell("database")

    def _lost(self, number: int) -> None:
        self._reports.lost(number)
        self._registrations.lost(number)
        self._pool.broadcast(number, "bereft", number)

    def _handlers(self, number: int) -> Mapping[str, Any]:
        return {
            "bindings": partial(self._registrations.changed, number),
            "admit": partial(self._desk.admit, number),
            "taken up": partial(self._desk.taken_up, number),
            "end": self._desk.end,
            "renew": partial(self._renew, number),
            "hand": lambda to, *rest: self._pool.tell(to, "hand", *rest),
            "served": partial(self._serve, number),
            "borrow": partial(self._borrow, number),
            "lent": lambda to, *rest: self._pool.tell(to, "lent", number, *rest),
            "loan ends": lambda to, *rest: self._pool.tell(to, "loan ends", *rest),
            "send": lambda to, *rest: self._pool.tell(to, "send", number, *rest),
            "lost": lambda to, *rest: self._pool.tell(to, "lost", number, *rest),
            "needed": lambda to, peers: self._pool.tell(to, "needed", number, peers),
            "ban": lambda host: self._pool.broadcast(number, "ban", host),
            "trunks": self._trunks_stand,
            "report": lambda report: self._reported(number, pickle.loads(report)),  # noqa: S301 - of our worker
        }

    def _serve(self, teller: int, call_id: bytes, worker: int) -> None:
        if worker < 0:
            self._served.pop(call_id, None)
        else:
            self._served[call_id] = worker
        owner = slot_of(call_id) % self._workers
        if owner != teller:
            self._pool.tell(owner, "serve", call_id, worker)

    def _borrow(self, borrower: int, question: int, dialog: tuple[str, str, str], *party: Any) -> None:
        """Ask the worker that has this dialog, if any has, for the peer of who is in it."""
        call_id = dialog[0].encode("utf-8", "surrogateescape")
        lender = self._served.get(call_id, slot_of(call_id) % self._workers)
        self._pool.tell(lender, "lend", borrower, question, dialog, *party)

    def _reported(self, number: int, report: Report) -> None:
        self._reports.take(number, report)

    def _renew(self, number: int, call: str) -> None:
        if not self._desk.renew(call):
            self._pool.tell(number, "unpaid", call)

    def _trunks_stand(self, standings: list[Any]) -> None:
        self._standings = standings
        self._pool.broadcast(0, "trunks", standings)

    async def _ask_all(self, question: str) -> None:
        await self._pool.ask(question)

    # --- what is different here ---

    def _make_billing(self) -> Billing:
        return Billing(self.storage.keeper, self._admission)

    def _restore(self) -> Restored:
        restored = super()._restore()
        return replace(restored, calls=restored.calls + self._dealt.calls)

    async def _listen(self) -> None:
        """Make the sockets, and have the workers serve on them. Raises TransportError, ServiceError."""
        self._sockets = SharedSockets(self.ours, self._workers)
        why = self._sockets.steer(self._config.xdp.bpffs)
        if why:
            log.warning("datagrams not steered by the kernel", why=why)
        await self._pool.start()

    def _reload(self) -> None:
        super()._reload()
        self._pool.broadcast(-1, "reload")

    def _work(self, restored: Restored) -> dict[str, Coroutine[Any, Any, None]]:
        work = super()._work(restored)
        for name in ("trunks", "load", "queues"):
            work.pop(name).close()
        return {**work, "workers": self._pool.run(), "stuck": self._watch_workers(), "database": self._tell_database()}

    async def _watch_workers(self) -> None:
        """End a worker that is stuck; it goes on with its calls."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for worker in self._reports.silent(STUCK_SECONDS):
                log.error("worker is stuck and is ended", number=worker + 1, seconds=STUCK_SECONDS)
                self._pool.kill(worker)
                self._reports.lost(worker)

    async def _tell_database(self) -> None:
        """Let workers use the database as soon as it is there."""
        while not self._reached:
            try:
                await self.storage.ready()
            except DatabaseUnavailable:
                continue
            self._reached = True
        self._pool.broadcast(-1, "database")

    async def _wind_up(self, again: asyncio.Event) -> None:
        """Take no new calls, wait for those there are as long as is configured, and end the workers."""
        self.core.draining = True
        self._pool.broadcast(-1, "drain", True)
        deadline = time.monotonic() + self._config.sip.drain
        calls = await self._calls()
        log.info("draining", calls=calls, seconds=self._config.sip.drain)
        while calls and (left := deadline - time.monotonic()) > 0 and not again.is_set():
            await asyncio.wait([waiting := asyncio.ensure_future(again.wait())], timeout=min(LOOK_SECONDS, left))
            waiting.cancel()
            calls = await self._calls()
        log.info("stopping", calls=calls)
        await self._pool.stop()
        await self.records.close()
        await self.storage.settle()

    async def _calls(self) -> int:
        return sum(await self._pool.ask("calls"))

    async def _known_recordings(self) -> set[UUID] | None:
        """See Service; a worker knows of its own alone."""
        answers = await self._pool.ask("recordings")
        if len(answers) < self._workers or None in answers:
            return None
        own = await super()._known_recordings() or set()
        return own | {UUID(each) for answer in answers for each in answer}

    async def _close(self, surfaces: Surfaces) -> None:
        await self._pool.stop()
        if self._sockets:
            self._sockets.close()
        await super()._close(surfaces)

    def _signalling(self) -> Component:
        why = "draining" if self.core.draining else ""
        return Component("signalling", not why, why)

    def components(self) -> Sequence[Component]:
        """See Service."""
        own = {each.name: each for each in super().components()}
        parts = self._reports.components()
        others = [each for each in parts if each.name not in own]
        worse = {each.name: each for each in parts if not each.ready}
        return [*(worse.get(name, each) for name, each in own.items()), *others]

    def _surfaces(self) -> Surfaces:
        seats = [seat_of(self._config, number, self._seat.ports) for number in range(self._workers)]
        gathered = Gathered([seat.directory for seat in seats], self._verbs(), self._seat.ports.owner)
        own = LiveCalls(self.core, self.control, self.programmer, self.storage.keeper, self._call_media())
        histograms = [SharedHistogram(each, self._reports.histograms) for each in self.meters.histograms.collectors()]
        return Surfaces(
            ControlServer(self._seat.directory / SOCKET_NAME, gathered.table()),
            ApiServer(create_app(self, [PlatformCollector(self._reports), *histograms])),
            make_rest(self._config, self.storage, GatheredLive(own, gathered)),
        )

    def _take_events(self) -> None:
        """Pass each event on to the worker whose flow it is of; those of proxies' flows are ours."""
        if not self.carriers.events:
            return
        sorted_: dict[int, list[tuple[Event, Endpoint]]] = {}
        for event, local in self.carriers.take_events():
            sorted_.setdefault(self._seat.ports.owner(*local), []).append((event, local))
        for owner, events in sorted_.items():
            if owner < self._workers:
                self._pool.tell(owner, "events", pickle.dumps(events))
            else:
                self.media_watch.events(events)
