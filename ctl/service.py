# SPDX-License-Identifier: GPL-3.0-or-later
"""`voxdp run`: makes every part, joins them, starts them in the order in which they need each other, ends them.

Signalling and media come first and need no database, so that after a kill the calls that live are served again
within a fraction of a second; users can authenticate as soon as PostgreSQL has answered.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from api.health import Component
from api.metrics import PlatformCollector
from ctl.carrier_watch import CarrierWatch, reasons
from ctl.config import Config
from ctl.journal import Journal, keep_synced
from ctl.network.nexthop import NextHops
from ctl.ng.front import NgFront
from ctl.ng.verbs import NgVerbs
from ctl.observe.captures import Captures
from ctl.observe.engine_log import tell as tell_events
from ctl.observe.ice_watch import IceWatch
from ctl.observe.media_watch import MediaWatch
from ctl.observe.metrics import ControllerFigures, Meters
from ctl.queues.boards import StoredBoards, node_of
from ctl.queues.desk import Desk
from ctl.queues.sounds import Sounds
from ctl.randomness import dice
from ctl.recording.forwardings import Forwardings
from ctl.recording.recordings import Recordings, tenant_of
from ctl.seat import Seat, collect_rarely, open_many_files
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.inactivity import Inactivity
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.signalling.audible import make_playback
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
from ctl.surfaces import Surfaces
from ctl.terminal.client import SOCKET_NAME
from ctl.verbs.call_control import CallController
from ctl.verbs.call_verbs import CallVerbs
from ctl.verbs.calls import Verbs
from ctl.verbs.control import ControlServer, Verb
from ctl.verbs.flows import FlowVerbs
from ctl.verbs.live import LiveCalls
from ctl.verbs.noted import Noted
from ctl.verbs.playback import CallMedia, PlaybackVerbs
from ctl.verbs.sip import SipVerbs
from ctl.webhooks.events import Events
from media.flows import EngineEvent
from sip.core import Core
from sip.effects import Send

LOOK_SECONDS = 1.0
CALL_REJECTED = 21  # Q.850
HEAR_SECONDS = 0.1
IDLE_SECONDS = 10.0
"""So seldom is an engine asked that carries nothing: it may still tell that a worker was replaced."""
REFRESH_SECONDS = 10.0

log = structlog.get_logger()


class Service:
    """One controller. Everything it owns is made here and closed by `close`; nothing is started yet."""

    reads_events = True
    """The relay's ring buffer has one reader."""

    def __init__(self, config: Config, seat: Seat | None = None) -> None:
        self._config = config
        self._seat = seat or Seat.of(config)
        self._lock = self._seat.take()
        self.storage = self._make_storage()
        self.hops = NextHops(self._next_hops_changed)
        self.carriers = Carriers(config, self.hops, self._seat.owner)
        self.programmer = Programmer(self.hops, self.carriers.kernel, self.carriers.engine)
        media = config.media
        span = media.port_min, media.port_max
        self.ports = Ports(self.carriers.interfaces, *span, dice(), media.quarantine, share=self._seat.ports)
        self.sessions = MediaSessions(self.ports, self.hops, self.programmer, self.carriers.look())
        self.ours = listen_addresses(config)
        self._secret = read_secret(config.run.state / "secret")
        self._facing = facing(self.hops, self.ours)
        self.core = self._make_core()
        offset = time.time() - time.monotonic()
        self._live, self._recovered = Journal.open(self._seat.state / "live", offset)
        self.billing = self._make_billing()
        self.storage.on_spent = self.billing.count
        self.records = Records(self.storage.journal, self.billing.ended)
        self.meters = Meters()
        self.resolver = Resolver()
        self.directory = Directory(
            self.storage.keeper,
            config.sip.trunks,
            self.core.trunk_load,
            self.billing.admit,
            config.queues.codes,
            (config.media.ice, config.media.ice_web),
            config.sip.foreign_domains,
        )
        self.conductor = self._make_conductor()
        keeper = self.storage.keeper
        self.trunks = TrunkKeeper(config.sip.trunks, keeper, self.resolver, self.conductor.set_trunks)
        self.tls = Tls(config.sip.tls) if config.sip.secure else None
        self.transport = self._make_transports()
        inactivity = Inactivity(media.timeout, media.hold_timeout, time.monotonic())
        self._figures, self._former_figures = Journal.open(self._seat.state / "quality", offset)
        self.captures = Captures(self.programmer, self.carriers)
        self.recordings = Recordings(
            *(config, self.programmer, self.sessions, self.carriers, self._recordable),
            lambda call: self.ng.tenant(call) or tenant_of(self.storage.keeper.current, self.core.call(call)),
            lambda: self.storage.keeper.current.plans.values(),
        )
        self.ice_watch = IceWatch(self.sessions, self.meters.ice)
        self.media_watch = MediaWatch(self.programmer, self._figures, self.meters.interval)
        self.media_watch.subscribe(self.meters.media)
        self.conductor.listeners.append(self.media_watch.told)
        self.playback = make_playback(config, self.sessions, self.media_watch, self.conductor)
        sounds, node = Sounds(self.playback), node_of(self._secret, self._seat.state)
        self.events = Events(config, self.storage, self.core, self._seat.state, offset)
        self.recordings.finished = self.events.sources.recorded
        self.desk = Desk(StoredBoards(self.storage, node), self.conductor, self.directory, sounds)
        self.directory.full = self.desk.full
        self.playback.on_digit(self.desk.digit)
        self.conductor.listeners += (self.events.sources.told, self.desk.told)
        self.control = CallController(
            self.conductor, self.sessions, self.recordings, self.directory, keeper, self.desk, sounds
        )
        self.forwardings = Forwardings(
            self.recordings, self.sessions, self._recordable, config.recording.forward_to, config.recording.rate
        )
        self.ng = NgFront(
            *(config.ng, self.sessions, self.ports, self._live, self._secret),
            *(self.recordings, self.playback, self.forwardings),
        )
        self.silent_calls = SilentCalls(
            self.core, self.sessions, self.programmer, self.conductor, inactivity, (self.ng.relay,)
        )
        self.carrier_watch = CarrierWatch(
            *(self.carriers, self.programmer, self.sessions, self._take_events if self.reads_events else None),
            self.silent_calls.begin_anew,
            alarms=config.xdp.mode != "off",
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; the second of them ends a drain.

        Calls that are up then stay in the kernel and the journal for the next controller.

        Raises TransportError, ApiUnavailable, NgUnavailable, ProvisioningError.
        """
        stop, again = asyncio.Event(), asyncio.Event()
        self._heed_signals(stop, again)
        open_many_files()
        await self.storage.journal.open()
        restored = self._restore()
        surfaces = self._surfaces()
        try:
            if self.ours and not restored.calls:
                self.storage.claim()
            await self._listen()
            await self.ng.open()
            await surfaces.start(self._config)  # whoever gets an answer there finds all the rest
            async with asyncio.TaskGroup() as tasks:
                owned = [tasks.create_task(work, name=name) for name, work in self._work(restored).items()]
                collect_rarely()
                log.info("serving", listen=list(self._config.sip.listen), **reasons(self.sessions.data_plane.attached))
                await stop.wait()
                await self._wind_up(again)
                for task in owned:
                    task.cancel()
        finally:
            await self._close(surfaces)

    # --- what differs where several processes share the signalling: see ctl.workers ---

    def _make_storage(self) -> Storage:
        return Storage(self._config)

    def _make_core(self) -> Core:
        return make_core(self._config, self._secret, self._facing)

    def _make_billing(self) -> Billing:
        return Billing(self.storage.keeper)

    def _make_conductor(self) -> Conductor:
        return Conductor(
            self.core,
            self._send,
            self.sessions,
            self.directory,
            self._live,
            self.records,
            self.meters,
            self.resolver,
        )

    def _make_transports(self) -> Transports:
        return Transports(self.conductor, stream_limits(self._config), self.tls, self._config.sip.origins)

    def _send(self, effect: Send) -> None:
        self.transport.send(effect)

    async def _listen(self) -> None:
        await self.transport.open(self.ours)

    def _heed_signals(self, stop: asyncio.Event, again: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: (again if stop.is_set() else stop).set())
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _surfaces(self) -> Surfaces:
        from api.server import ApiServer, create_app  # a worker has neither, and does without all that speaks HTTP
        from ctl.rest import make_rest

        live = LiveCalls(self.core, self.control, self.programmer, self.storage.keeper, self._call_media())
        collectors = [PlatformCollector(ControllerFigures(self)), *self.meters.histograms.collectors()]
        return Surfaces(
            ControlServer(self._seat.directory / SOCKET_NAME, self._verbs()),
            ApiServer(create_app(self, collectors)),
            make_rest(self._config, self.storage, live),
        )

    def _work(self, restored: Restored) -> dict[str, Coroutine[Any, Any, None]]:
        """What goes on as long as we serve, by name.

        Without signalling there is nothing to shed, and no database to keep anything in.
        """
        signalled: dict[str, Coroutine[Any, Any, None]] = {}
        if self.ours:
            signalled = {
                "load": LoadWatch(self.core, self._config.sip.lateness).run(),
                "queues": self.desk.run(),
                **self.events.work(),
            }
        return {
            **signalled,
            "storage": self._remember(restored),
            "data plane": self._look_around(),
            "trunks": self.trunks.run(),
            "engine": self._hear_engine(),
            "sounds": self.playback.prompts.keep_fresh(),
            "registrations": RegistrationWatch(self.core, self.storage).run(),
            "recordings": self._end_stray_recordings(),
            "journal": keep_synced(self._live),
        }

    async def _wind_up(self, again: asyncio.Event) -> None:
        log.info("draining", calls=len(self.core.calls()), seconds=self._config.sip.drain)
        await drain(self.core, self._config.sip.drain, again)
        log.info("stopping", calls=len(self.core.calls()))
        await self.records.close()
        await self.storage.settle()

    def _take_events(self) -> None:
        if self.carriers.events:
            self.media_watch.events(self.carriers.take_events())

    # --- the rest ---

    def components(self) -> Sequence[Component]:
        """Say how each part is. Implements `api.health.HealthSource`."""
        relay = self._relay_trouble()
        media = (
            Component("kernel relay", not relay, relay, required=False),
            Component("engine", self.carriers.process.alive(), self.carriers.engine_description),
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
            self._make_core,
            self.conductor,
            self.sessions,
            self.programmer,
            self._live,
            self.records,
            self._seat.ports,
        )
        restored = restorer.restore(self._recovered, self.ng.restore(self._recovered))
        self.media_watch.restore(self._former_figures)
        self.recordings.restore()
        self.forwardings.restore(strangers=self._seat.alone)
        self.recordings.prepare()
        self.billing.restore(self.core.calls())
        self.desk.restore(self.core.calls(), time.monotonic(), time.time())
        self.events.restore()
        log.info(
            "taken up",
            users=restored.users,
            calls=restored.calls,
            calls_lost_by_boot=restored.lost,
            flows_rewritten=2 * restored.pairs_written,
            stray_flows_removed=restored.flows_removed,
        )
        return restored

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

    def _verbs(self) -> dict[str, Verb]:
        verbs = Verbs(self.core, self.conductor, self.programmer, self.storage)
        sip = SipVerbs(self.core, self.transport, self.reload, lambda: self.trunks.nowhere)
        flows = FlowVerbs(self.core, self.programmer, self.hops, self.carriers, self.captures)
        calls = CallVerbs(self.core, self.control)
        ng = NgVerbs(self.ng.relay, self.ports)
        playback = PlaybackVerbs(self.core, self._call_media(), self.playback)
        changing = {**verbs.table(), **calls.table(), **playback.table()}
        noted = Noted(self.core, self.control.owner, self.storage)
        return {**noted.table(changing), **sip.table(), **flows.table(), **ng.table()}

    def _call_media(self) -> CallMedia:
        return CallMedia(self.playback, self.sessions, self.conductor)

    def _end_unpaid(self) -> None:
        for call in self.billing.exhausted(self.core.calls(), time.monotonic()):
            log.warning("call ended, its budget is used up", call=call)
            self.conductor.hang_up(call, CALL_REJECTED)

    async def _look_around(self) -> None:
        """Follow what changes: routes and neighbours at once, carriers, silent calls and quality each second.

        All in one turn, for to wake is a good part of the cost.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self.hops.fileno(), self.hops.drain)
        self.carrier_watch.follow()
        refreshed = time.monotonic()
        try:
            while True:
                self.carrier_watch.look()
                await asyncio.sleep(LOOK_SECONDS)
                self.silent_calls.look(time.monotonic())
                self._end_unpaid()
                self.ng.relay.look(time.time())
                self._take_events()
                self.media_watch.look(time.monotonic())
                self.captures.look()
                self.recordings.look()
                self.forwardings.look()
                self.events.look()
                if time.monotonic() - refreshed > REFRESH_SECONDS:
                    self.hops.refresh()
                    refreshed = time.monotonic()
        finally:
            loop.remove_reader(self.hops.fileno())
            self.carrier_watch.leave()

    async def _end_stray_recordings(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            known = await self._known_recordings()
            if known is not None:
                self.recordings.end_strays(known)

    async def _known_recordings(self) -> set[UUID] | None:
        """What the recorder does for all who share it; None while somebody does not say."""
        return self.recordings.known | self.forwardings.known

    async def _hear_engine(self) -> None:
        """Digits, ends of sounds and pairs of ICE want an answer soon; from an engine without flows there are none."""
        begins = asyncio.Event()
        self.programmer.engine_begins = begins.set
        while True:
            tell_events(
                self.carriers.process.client.events, self._staged, self.ice_watch.take, self.media_watch.reported
            )
            self.programmer.let_go()
            begins.clear()
            if self.programmer.uses("engine"):
                await asyncio.sleep(HEAR_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await begins.wait()

    def _staged(self, event: EngineEvent) -> None:
        self.media_watch.staged(event)
        self.playback.staged(event)

    def _next_hops_changed(self, addresses: frozenset[str]) -> None:
        rewritten = self.programmer.next_hops_changed(addresses)
        self.sessions.replan()
        log.info("next hop changed", peers=sorted(addresses), pairs_rewritten=rewritten)

    async def _close(self, surfaces: Surfaces) -> None:
        self.captures.close()
        self.recordings.close()
        self.conductor.close()
        await self.ng.close()
        await self.transport.close()
        await surfaces.close()
        await self.records.close()
        await self.storage.journal.close()
        self._live.close()
        self._figures.close()
        self.carriers.close()
        self.hops.close()
        self._lock.close()
