# SPDX-License-Identifier: GPL-3.0-or-later
"""One of several processes for the calls of one controller: `python -m ctl.workers.worker DESCRIPTOR`.

It is a controller for the calls of its own Call-IDs, and asks the one that has started it for what is of all.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import pickle
import secrets
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop

from ctl.config import Config
from ctl.logs import configure_logging
from ctl.observe.metrics import ControllerFigures
from ctl.randomness import texts
from ctl.seat import Seat
from ctl.service import CALL_REJECTED, Service
from ctl.sessions.ports import PortShare
from ctl.signalling.billing import Billing
from ctl.signalling.conductor import Conductor
from ctl.signalling.core import TOKEN_BYTES, make_core, stream_limits
from ctl.signalling.restore import Restored
from ctl.signalling.transports import Transports
from ctl.surfaces import Surfaces
from ctl.terminal.client import SOCKET_NAME
from ctl.verbs.control import ControlServer, Verb
from ctl.verbs.live import LiveCalls
from ctl.workers.admission import AskingConductor, RemoteAdmission
from ctl.workers.affinity import Affinity
from ctl.workers.bindings import WorkerBindings
from ctl.workers.channels import SharedChannels
from ctl.workers.link import Link, read_one
from ctl.workers.live import live_verbs
from ctl.workers.loans import Loans
from ctl.workers.report import Report, samples
from ctl.workers.shared import SharedMemory
from ctl.workers.sockets import Lent
from ctl.workers.steering import Steered
from ctl.workers.storage import WorkerStorage
from sip.core import Core
from sip.counters import BUCKET_BYTES, BUCKETS, Counters
from sip.effects import Address, Send
from sip.sharing import Among
from sip.steering import drawn_for, kin, slot_of
from sip.trunk_state import Standing

REPORT_SECONDS = 1.0
NEEDS_EVERY = 5
QUESTION_BITS = 48

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a worker is told before all else. number: from 0; descriptors: of the sockets that it is lent.

    channels, nonces: what all of them map. nonce_key: another with each controller, and with it the file of nonces.
    """

    config: Config
    number: int
    workers: int
    ports: PortShare
    descriptors: Mapping[Address, int]
    channels: Path
    nonces: Path
    nonce_key: bytes


def seat_of(config: Config, number: int, ports: PortShare) -> Seat:
    """Return the seat of a worker."""
    name = name_of(number)
    return Seat(config.run.directory / name, config.run.state / name, ports, alone=False)


def name_of(number: int) -> str:
    """Return what a worker is called by people and in directories."""
    return f"worker-{number + 1}"


class Worker(Service):
    """One of them."""

    reads_events = False

    def __init__(self, welcome: Welcome, end: socket.socket) -> None:
        self._welcome = welcome
        self._end = end
        self._affinity = Affinity(welcome.number, welcome.workers, lambda *message: self._link.tell(*message))
        self._link = Link(self._handlers(), lost=partial(os._exit, 1))
        self._admission = RemoteAdmission(self._link.tell)
        self._begun, self._stop = asyncio.Event(), asyncio.Event()
        self._standings: list[Standing] = []
        super().__init__(welcome.config, seat_of(welcome.config, welcome.number, welcome.ports))
        self.core.defence.tell = partial(self._link.tell, "ban")
        self.events.of_trunks = welcome.number == 0
        self._loans = Loans(
            self.core,
            self.conductor.perform,
            self._affinity,
            self._steered,
            self._link.tell,
            secrets.randbits(QUESTION_BITS),
        )
        self.conductor.loans = self._loans.take

    async def run(self) -> None:
        """Serve until the controller says that it is enough; without it, end at once."""
        await self._link.open(self._end)
        await self._begun.wait()
        await super().run()

    # --- what the controller says ---

    def _handlers(self) -> Mapping[str, Any]:
        return {
            "begin": lambda: self._begun.set(),
            "stop": lambda: self._stop.set(),
            "merge": self._merge,
            "hand": lambda *message: self._steered.handed_over(*message),
            "send": lambda *message: self._steered.send_for(*message),
            "lost": lambda *message: self._steered.lost_for_us(*message),
            "needed": lambda *message: self._steered.needed(*message),
            "serve": self._affinity.serve,
            "lend": lambda *message: self._loans.lend(*message),
            "lent": lambda *message: self._loans.lent(*message),
            "loan ends": lambda *message: self._loans.ends(*message),
            "bereft": lambda worker: self._loans.bereft(worker),
            "database": lambda: self._reachable(),
            "trunks": self._follow_trunks,
            "ban": lambda host: self.core.defence.ban(host, time.monotonic()),
            "events": lambda events: self.media_watch.events(pickle.loads(events)),  # noqa: S301 - of our controller
            "unpaid": self._unpaid,
            "drain": self._drain,
            "calls": lambda: len(self.core.calls()),
            "recordings": lambda: [str(each) for each in self.recordings.known],
            "reload": lambda: self._reload(),
            "keys": lambda: self.storage.reread_keys(),
            "caught up": lambda: self.storage.caught_up(),
        }

    def _merge(self, worker: int, *change: Any) -> None:
        self._bindings.merge(worker, *change)
        self.conductor.perform(())

    def _reachable(self) -> None:
        assert isinstance(self.storage, WorkerStorage)
        self.storage.reachable.set()

    def _follow_trunks(self, packed: list[Any]) -> None:
        self._standings = [
            Standing(name, registered, error, tuple(Address(*address) for address in down))
            for name, registered, error, down in packed
        ]
        self.core.follow_trunks(self._standings)

    def _unpaid(self, call: str) -> None:
        log.warning("call ended, its budget is used up", call=call)
        self.conductor.hang_up(call, CALL_REJECTED)

    def _drain(self, wanted: bool) -> None:
        self.core.draining = wanted

    # --- what is different here ---

    def _make_storage(self) -> WorkerStorage:
        return WorkerStorage(self._config, self._seat.state)

    def _make_core(self) -> Core:
        """Return an empty core. Its tags are its own; nonces are of all workers, and so are the uses of each."""
        number, workers = self._welcome.number, self._welcome.workers
        secret = hmac.digest(self._secret, f"worker {number}".encode(), "sha256")
        if not hasattr(self, "_channels"):
            self._channels = SharedChannels(self._welcome.channels, number)
            self._nonces = SharedMemory(self._welcome.nonces, BUCKETS * BUCKET_BYTES)
        token = texts(TOKEN_BYTES).__next__

        def call_id(other: str) -> str:
            if not other:
                return drawn_for(number, workers, token)
            slot = slot_of(other.encode("utf-8", "surrogateescape"))
            return kin(token(), slot) if slot % workers == number else drawn_for(number, workers, token)

        counters = Counters(self._nonces.table, self._nonces)
        among = Among(call_id, self._channels, number == 0, counters)
        return make_core(self._config, secret, self._facing, among, workers, self._welcome.nonce_key)

    def _make_billing(self) -> Billing:
        return Billing(self.storage.keeper, self._admission)

    def _make_conductor(self) -> Conductor:
        self._bindings = WorkerBindings(self.core, lambda peer, worker: self._steered.connected(peer, worker))
        return AskingConductor(
            self._admission,
            self._link,
            self._bindings,
            self.core,
            lambda effect: self._steered.send(effect),
            self.sessions,
            self.directory,
            self._live,
            self.records,
            self.meters,
            self.resolver,
        )

    def _make_transports(self) -> Transports:
        welcome = self._welcome
        self._steered = Steered(
            welcome.number, self._affinity, self.conductor, self._link.tell, self._transmit, self._connected
        )
        limits = stream_limits(self._config)
        return Transports(self._steered, limits, self.tls, self._config.sip.origins, Lent(welcome.descriptors))

    def _transmit(self, effect: Send) -> None:
        self.transport.send(effect)

    def _connected(self, peer: Address) -> bool:
        return self.transport.connected(peer)

    def _heed_signals(self, stop: asyncio.Event, again: asyncio.Event) -> None:
        """Nobody but the controller says when it is enough."""
        self._stop = stop
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _restore(self) -> Restored:
        restored = super()._restore()
        self._link.tell("taken up", self._admission.wishes())
        self._affinity.restored(self.core.calls())
        return restored

    async def _listen(self) -> None:
        await super()._listen()
        self._link.tell("ready")

    def _surfaces(self) -> Surfaces:
        return Surfaces(ControlServer(self._seat.directory / SOCKET_NAME, self._verbs()))

    def _verbs(self) -> dict[str, Verb]:
        live = LiveCalls(self.core, self.control, self.programmer, self.storage.keeper, self._call_media())
        table = super()._verbs()
        status = table["sip.status"]

        def with_handed(arguments: dict[str, Any]) -> dict[str, Any]:
            found: Any = status(arguments)
            return {**found, "handed": self._steered.handed}

        return {**table, **live_verbs(live), "call.named": self._named, "sip.status": with_handed}

    def _named(self, arguments: dict[str, Any]) -> list[str]:
        """Return the calls of ours whose id begins so."""
        calls = {*self.programmer.calls(), *(call.id for call in self.core.calls())}
        return [call for call in calls if call.startswith(arguments["beginning"])]

    def _work(self, restored: Restored) -> dict[str, Coroutine[Any, Any, None]]:
        work = super()._work(restored)
        for of_the_controller in ("recordings", "registrations", "sounds", "webhooks"):
            work.pop(of_the_controller).close()
        return {**work, "reports": self._report()}

    def _take_events(self) -> None:
        """Nothing: the controller reads them and passes on what is ours."""

    async def _report(self) -> None:
        """Tell each second how we are, and how trunks stand."""
        turn = 0
        while True:
            calls = self.core.calls()
            self._link.tell("report", pickle.dumps(self._now(len(calls))))
            self._affinity.look(calls, self._loans.borrowed())
            if self._welcome.number == 0:
                self._tell_trunks()
            else:
                self.core.follow_trunks(self._standings)  # those that we have got since too
            if turn % NEEDS_EVERY == 0:
                for worker, peers in self._steered.needs().items():
                    self._link.tell("needed", worker, peers)
            turn += 1
            await asyncio.sleep(REPORT_SECONDS)

    def _now(self, calls: int) -> Report:
        histograms = samples(self.meters.histograms.collectors())
        figures = ControllerFigures(self).figures()
        return Report(figures, histograms, self.components(), calls, self._steered.handed)

    def _tell_trunks(self) -> None:
        standings = self.core.standings()
        if standings != self._standings:
            self._standings = standings
            told = [
                (each.trunk, each.registered, each.error, [address.packed for address in each.down])
                for each in standings
            ]
            self._link.tell("trunks", told)


def main(arguments: list[str]) -> None:
    """Serve as the worker that a controller has started; the descriptor is our end of the link to it."""
    end = socket.socket(fileno=int(arguments[0]))
    (packed,) = read_one(end)
    welcome: Welcome = pickle.loads(packed)  # noqa: S301 - of the controller that has started us
    for descriptor in (end.fileno(), *welcome.descriptors.values()):
        os.set_inheritable(descriptor, False)  # our engine is to outlive us, not our sockets
    configure_logging(welcome.config)
    structlog.contextvars.bind_contextvars(worker=welcome.number + 1)
    end.setblocking(False)
    uvloop.run(_serve(welcome, end))


async def _serve(welcome: Welcome, end: socket.socket) -> None:
    await Worker(welcome, end).run()


if __name__ == "__main__":
    main(sys.argv[1:])
