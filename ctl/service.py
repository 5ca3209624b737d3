# SPDX-License-Identifier: GPL-3.0-or-later
"""`voxdp run`: makes every part, joins them, starts them in the order in which they need each other, ends them.

Signalling and media come first and need no database, so that after a kill the calls that live are served again
within a fraction of a second; users can authenticate as soon as PostgreSQL has answered.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import resource
import secrets
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import structlog

from api.health import Component
from api.metrics import PlatformCollector
from api.server import ApiServer, create_app
from ctl.config import Config
from ctl.journal import Journal, keep_synced
from ctl.network.nexthop import NextHops
from ctl.ng.front import NgFront
from ctl.ng.verbs import NgVerbs
from ctl.observe.captures import Captures
from ctl.observe.engine_log import tell as tell_events
from ctl.observe.media_watch import MediaWatch
from ctl.observe.metrics import ControllerFigures, Meters
from ctl.recording.recordings import Recordings
from ctl.rest import make_rest
from ctl.sessions.dataplane import Carriers
from ctl.sessions.inactivity import Inactivity
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.plan import DataPlane
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.signalling.billing import Billing
from ctl.signalling.conductor import Conductor
from ctl.signalling.core import facing, listen_addresses, make_core, read_secret, stream_limits
from ctl.signalling.directory import Directory
from ctl.signalling.load import LoadWatch, drain
from ctl.signalling.records import Records
from ctl.signalling.registrations import RegistrationWatch
from ctl.signalling.resolver import Resolver
from ctl.signalling.restore import Restored, Restorer
from ctl.signalling.silent_calls import SilentCalls
from ctl.signalling.tls import Tls, TlsError
from ctl.signalling.transports import Transports
from ctl.signalling.trunk_keeper import TrunkKeeper
from ctl.storage import Storage
from ctl.terminal.client import SOCKET_NAME
from ctl.verbs.calls import Verbs
from ctl.verbs.control import ControlServer
from ctl.verbs.flows import FlowVerbs
from ctl.verbs.live import LiveCalls
from ctl.verbs.recordings import RecordingVerbs
from ctl.verbs.sip import SipVerbs
from media.flows import EngineError
from sip.effects import Send

LOOK_SECONDS = 1.0
CALL_REJECTED = 21  # Q.850
WATCH_SECONDS = 0.5
REFRESH_SECONDS = 10.0

log = structlog.get_logger()


class ServiceError(Exception):
    """The controller cannot start; one line with the remedy."""


class Service:
    """One controller. Everything it owns is made here and closed by `close`; nothing is started yet."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = _prepare(config)
        self.storage = Storage(config)
        self.hops = NextHops(self._next_hops_changed)
        self.carriers = Carriers(config, self.hops)
        self.programmer = Programmer(self.hops, self.carriers.kernel, self.carriers.engine)
        media = config.media
        self.ports = Ports(
            self.carriers.interfaces, media.port_min, media.port_max, secrets.randbelow, media.quarantine
        )
        self.sessions = MediaSessions(self.ports, self.hops, self.programmer, self.carriers.look())
        self.ours = listen_addresses(config)
        self._secret = read_secret(config.run.state / "secret")
        self._facing = facing(self.hops, self.ours)
        self.core = make_core(config, self._secret, self._facing)
        offset = time.time() - time.monotonic()
        self._live, self._recovered = Journal.open(config.run.state / "live", offset)
        self.billing = Billing(self.storage.keeper)
        self.storage.on_spent = self.billing.count
        self.records = Records(self.storage.journal, self.billing.ended)
        self._watched: int | None = None
        self._told: tuple[str, dict[str, str]] = ("", {})
        self.meters = Meters()
        self.resolver = Resolver()
        self.conductor = Conductor(
            self.core,
            self._send,
            self.sessions,
            Directory(self.storage.keeper, config.sip.trunks, self.core.trunk_load, self.billing.admit),
            self._live,
            self.records,
            self.meters,
            self.resolver,
        )
        keeper = self.storage.keeper
        self.trunks = TrunkKeeper(config.sip.trunks, keeper, self.resolver, self.conductor.set_trunks)
        self.tls = Tls(config.sip.tls) if config.sip.secure else None
        self.transport = Transports(self.conductor, stream_limits(config), self.tls, config.sip.origins)
        inactivity = Inactivity(media.timeout, media.hold_timeout, time.monotonic())
        self._figures, self._former_figures = Journal.open(config.run.state / "quality", offset)
        self.captures = Captures(self.programmer, self.carriers)
        self.recordings = Recordings(config, self.programmer, self.sessions, self.carriers, self._recordable)
        self.media_watch = MediaWatch(self.programmer, self._figures, self.meters.interval)
        self.media_watch.subscribe(self.meters.media)
        self.ng = NgFront(config.ng, self.sessions, self.ports, self._live, self._secret, self.recordings)
        self.silent_calls = SilentCalls(
            self.core, self.sessions, self.programmer, self.conductor, inactivity, (self.ng.relay,)
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; the second of them ends a drain.

        Calls that are up then stay in the kernel and the journal for the next controller.

        Raises TransportError, ApiUnavailable, NgUnavailable, ProvisioningError.
        """
        stop, again = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: (again if stop.is_set() else stop).set())
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        open_many_files()
        await self.storage.journal.open()
        restored = self._restore()
        control, api, rest = self._control(), self._api(), self._rest()
        try:
            if self.ours and not restored.calls:
                self.storage.claim()
            await self.transport.open(self.ours)
            await control.start()
            await api.start(*_host_port(self._config.api.listen))
            if rest is not None:
                await rest.start(*_host_port(self._config.rest.listen))
            await self.ng.open()
            async with asyncio.TaskGroup() as tasks:
                owned = [
                    tasks.create_task(self._remember(restored), name="storage"),
                    tasks.create_task(self._look_around(), name="data plane"),
                    tasks.create_task(self.trunks.run(), name="trunks"),
                    tasks.create_task(self._watch_relay(), name="kernel relay"),
                    tasks.create_task(LoadWatch(self.core).run(), name="load"),
                    tasks.create_task(RegistrationWatch(self.core, self.storage).run(), name="registrations"),
                    tasks.create_task(keep_synced(self._live), name="journal"),
                ]
                collect_rarely()
                log.info("serving", listen=list(self._config.sip.listen), **_reasons(self.sessions.data_plane.attached))
                await stop.wait()
                log.info("draining", calls=len(self.core.calls()), seconds=self._config.sip.drain)
                await drain(self.core, self._config.sip.drain, again)
                log.info("stopping", calls=len(self.core.calls()))
                await self.records.close()
                await self.storage.settle()
                for task in owned:
                    task.cancel()
        finally:
            await self._close(control, *filter(None, (rest, api)))

    def components(self) -> Sequence[Component]:
        """Say how each part is. Implements `api.health.HealthSource`."""
        relay = self._relay_trouble()
        media = (
            Component("kernel relay", not relay, relay, required=False),
            Component("engine", self.carriers.process.alive()),
        )
        if not self.ours:
            return media
        database = self.storage.trouble
        return (
            self._signalling(),
            Component("users", self.storage.keeper.ready, "" if self.storage.keeper.ready else database or ""),
            Component("database", database is None, database or "", required=False),
            *media,
        )

    async def _remember(self, restored: Restored) -> None:
        """Keep users and records, unless all we do is carry media for proxies: then there are none."""
        if self.ours:
            await self.storage.run(patient=restored.calls > 0)

    def _recordable(self) -> list[str]:
        return [*(call.id for call in self.core.calls()), *self.ng.relay.sessions_of_calls()]

    def _signalling(self) -> Component:
        why = "draining" if self.core.draining else "" if self.transport.addresses else "not listening"
        return Component("signalling", not why, why)

    def _relay_trouble(self) -> str:
        bare = (f"{interface}: {why}" for interface, why in sorted(self.carriers.bare.items()))
        return self.carriers.trouble or "; ".join(bare)

    def _restore(self) -> Restored:
        restorer = Restorer(
            self.core,
            lambda: make_core(self._config, self._secret, self._facing),
            self.conductor,
            self.sessions,
            self.programmer,
            self._live,
            self.records,
        )
        restored = restorer.restore(self._recovered, self.ng.restore(self._recovered))
        self.media_watch.restore(self._former_figures)
        self.recordings.restore()
        self.billing.restore(self.core.calls())
        log.info(
            "taken up",
            users=restored.users,
            calls=restored.calls,
            calls_lost_by_boot=restored.lost,
            flows_rewritten=2 * restored.pairs_written,
            stray_flows_removed=restored.flows_removed,
        )
        return restored

    def _send(self, effect: Send) -> None:
        self.transport.send(effect)

    def reload(self) -> str:
        """Read certificates anew; returns what came of it. Raises TlsError and leaves what was."""
        if self.tls is None:
            return "nothing to reload: no transport uses TLS"
        self.tls.reload()
        log.info("certificates read anew")
        return "certificates read anew; open connections go on with the former"

    def _reload(self) -> None:
        try:
            self.reload()
        except TlsError as error:
            log.error("certificates not read", why=str(error))

    def _control(self) -> ControlServer:
        verbs = Verbs(self.core, self.conductor, self.programmer, self.storage)
        sip = SipVerbs(self.core, self.transport, self.reload)
        flows = FlowVerbs(self.core, self.programmer, self.hops, self.carriers, self.captures)
        recording = RecordingVerbs(self.core, self.recordings)
        ng = NgVerbs(self.ng.relay, self.ports)
        table = {**verbs.table(), **sip.table(), **flows.table(), **recording.table(), **ng.table()}
        return ControlServer(self._config.run.directory / SOCKET_NAME, table)

    def _api(self) -> ApiServer:
        figures = ControllerFigures(self)
        return ApiServer(create_app(self, [PlatformCollector(figures), *self.meters.histograms.collectors()]))

    def _rest(self) -> ApiServer | None:
        live = LiveCalls(self.core, self.conductor, self.programmer, self.storage.keeper)
        return make_rest(self._config, self.storage, live)

    def _end_unpaid(self) -> None:
        for call in self.billing.exhausted(self.core.calls(), time.monotonic()):
            log.warning("call ended, its budget is used up", call=call)
            self.conductor.hang_up(call, CALL_REJECTED)

    async def _look_around(self) -> None:
        """Follow what changes: routes and neighbours at once, silent calls and quality each second."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.hops.fileno(), self.hops.drain)
        self._watch_events()
        refreshed = time.monotonic()
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self.silent_calls.look(time.monotonic())
                self._end_unpaid()
                self.ng.relay.look(time.time())
                self._take_events()
                self.media_watch.look(time.monotonic())
                self.captures.look()
                self.recordings.look()
                if time.monotonic() - refreshed > REFRESH_SECONDS:
                    self.hops.refresh()
                    refreshed = time.monotonic()
        finally:
            loop.remove_reader(self.hops.fileno())
            self._unwatch_events()

    async def _watch_relay(self) -> None:
        """Notice within a second what somebody does to the relay, and an engine that died."""
        while True:
            self._look()
            await asyncio.sleep(WATCH_SECONDS)

    def _watch_events(self) -> None:
        if self.carriers.events:
            self._watched = self.carriers.events.fileno()
            asyncio.get_running_loop().add_reader(self._watched, self._take_events)

    def _take_events(self) -> None:
        if self.carriers.events:
            self.media_watch.events(self.carriers.take_events())

    def _unwatch_events(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None

    def _look(self) -> None:
        former = self.carriers.kernel
        found = self.carriers.look()
        self._tell_trouble()
        if self.carriers.kernel is not former:
            self._unwatch_events()
            self._move(replace(found, attached=frozenset()))  # out of the former table, before it goes
            self.programmer.use(self.carriers.kernel, self.carriers.engine)
            self.carriers.forget_former()
            self._watch_events()
        if found != self.sessions.data_plane:
            self._move(found)
        if not self.carriers.process.alive():
            self._restart_engine()
        tell_events(self.carriers.process.client.events, self.media_watch.staged)

    def _tell_trouble(self) -> None:
        """An alarm for each change: what an operator must look at, and that it is over."""
        trouble, bare = self.carriers.trouble, self.carriers.bare
        if (trouble, bare) == self._told or self._config.xdp.mode == "off":
            return
        self._told = trouble, dict(bare)
        if trouble:
            log.error("kernel relay not usable", why=trouble)
        for interface, why in bare.items():
            log.error("kernel relay does not carry this interface", interface=interface, why=why)
        if not trouble and not bare:
            log.info("kernel relay carries every interface")

    def _move(self, found: DataPlane) -> None:
        """Let every call go on by what carries it now."""
        log.warning("data plane changed", **_reasons(found.attached))
        self.sessions.data_plane = found
        self._replan()

    def _replan(self) -> None:
        for call, why in self.sessions.replan().items():
            log.error("call not moved", call=call, why=why)

    def _restart_engine(self) -> None:
        log.error("engine died; its calls go on with another")
        try:
            self.programmer.use(self.carriers.kernel, self.carriers.restart_engine())
            self.silent_calls.begin_anew(time.monotonic())
            self.programmer.engine_restarted()
            self._replan()
        except EngineError as error:
            log.error("engine not restarted", why=str(error))

    def _next_hops_changed(self, addresses: frozenset[str]) -> None:
        rewritten = self.programmer.next_hops_changed(addresses)
        self.sessions.replan()
        log.info("next hop changed", peers=sorted(addresses), pairs_rewritten=rewritten)

    async def _close(self, control: ControlServer, *servers: ApiServer) -> None:
        self.captures.close()
        self.recordings.close()
        self.conductor.close()
        await self.ng.close()
        await self.transport.close()
        await control.close()
        for server in servers:
            await server.stop()
        await self.records.close()
        await self.storage.journal.close()
        self._live.close()
        self._figures.close()
        self.carriers.close()
        self.hops.close()
        self._lock.close()


def _prepare(config: Config) -> IO[str]:
    """Make the directories and take the lock that one controller at a time may have."""
    for directory in (config.run.directory, config.run.state):
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(f"{directory}: {error.strerror}; create it for user id {os.geteuid()}") from None
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ServiceError(
                f"{directory} is closed to user id {os.geteuid()}; run: chown {os.geteuid()} {directory}"
            )
    return _take_lock(config.run.directory / "run.lock")


def _take_lock(path: Path) -> IO[str]:
    try:
        lock = path.open("a+")
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}; run: chown -R {os.geteuid()} {path.parent}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        raise ServiceError(
            f"process {holder} is the controller of {path.parent}; stop it, or set run.directory"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def open_many_files() -> None:
    """Have as many descriptors as we may: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_rarely() -> None:
    """What is there by now stays; and of what messages make, hardly anything is a cycle: look for those seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _host_port(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host, int(port)


def _reasons(attached: frozenset[str]) -> dict[str, str]:
    return {"xdp": ", ".join(sorted(attached)) or "nowhere: the engine carries media"}
