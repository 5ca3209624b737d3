# SPDX-License-Identifier: GPL-3.0-or-later
"""What carries packets on this host at this moment: the pinned relay, where it is attached, and the engine."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping

import structlog

from ctl.config import Config
from ctl.host.privileges import missing_to_attach
from ctl.kernel.attaching import attach_settings
from ctl.kernel.events import Event, EventReader
from ctl.kernel.flowrule import Endpoint, FlowFlag
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import BpfError
from ctl.kernel.loader import AttachError, mend
from ctl.kernel.pins import Pins
from ctl.kernel.relay_watch import NOT_ATTACHED, RelayWatch, Untrusted
from ctl.network.media_interfaces import DataPlaneError, relay_interfaces, relays
from ctl.network.nexthop import NextHops
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.engine_io import EngineIo
from ctl.sessions.engine_latency import LatencyBound
from ctl.sessions.kernel_carrier import KernelCarrier
from media.client import START_TIMEOUT, EngineProcess

DRAINS_AT_ONCE = 8
FIRST_START_SECONDS = 20.0
"""Nobody talks yet, and a host that has just booted is busy; later calls would wait meanwhile."""

log = structlog.get_logger()

ENGINE_SOCKET = "engine.sock"
MEND_SECONDS = 5.0  # between two attempts to attach again
HIDDEN = 0  # no file has this inode number: pins are there, and we may not even look at them


class Carriers:
    """Owner of the opened pins and of the engine process.

    trouble: why the pinned relay is of no use to us, in one line with the remedy; empty if it is. bare: the
    interfaces that it does not carry, with the reason for each.
    """

    def __init__(self, config: Config, hops: NextHops, owner: str = "") -> None:
        """owner: what tells us from others who have flows in the same engine; empty: whoever sees to it for all.

        Raise DataPlaneError where a relay is attached that we cannot work with, EngineError without an engine.
        """
        self._config = config
        self._hops = hops
        self._pins = Pins(config.xdp.bpffs)
        self._watch = RelayWatch(self._pins, config.run.directory)
        self.interfaces: Mapping[str, str] = relay_interfaces(config, hops)
        self._names = sorted(set(self.interfaces.values()))
        self._files = os.fspath(self._pins.program), os.fspath(self._pins.map("flows"))
        self._plane: DataPlane | None = None
        self.table: FlowTable | None = None
        self.events: EventReader | None = None
        self.kernel: KernelCarrier | None = None
        self.trouble = ""
        self.bare: dict[str, str] = {}
        self._opened: int | None = None
        self._former: list[FlowTable] = []
        self._mended = 0.0
        self._owner = owner
        self.io = EngineIo(config.media.engine_io, config.run.directory, native=config.xdp.mode == "native")
        self.latency = LatencyBound(config.media.cpu_dma_latency, config.run.directory)
        self.process = self._ensure_engine(FIRST_START_SECONDS)
        self.engine = self._engine_carrier()
        self._fingerprint = f"sha-256 {self.process.client.summary().fingerprint}"
        self.look()
        if self.trouble:
            self.close()
            raise DataPlaneError(self.trouble)

    def look(self, engine_used: bool = True) -> DataPlane:
        """Say where the relay is attached now; open the pins if they have appeared or are others than before.

        `kernel` and `engine` may be new ones then; the former table stays mapped until `forget_former`. Where the
        relay was taken off an interface and we may attach, it is attached again. engine_used: whether it has flows.
        """
        pinned = self._pinned()
        self.trouble = "" if self._config.xdp.mode == "off" else self._follow_pins(pinned)
        self._look_at_interfaces(pinned)
        if NOT_ATTACHED in self.bare.values() and self.table and self._mend():
            pinned = self._pinned()
            self._look_at_interfaces(pinned)
        attached = frozenset(self._names).difference(self.bare)
        if not self._owner:
            where = self._pins.directory, self._opened, attached
            self.io.look(self.process.client, self.process.pid, *where, used=engine_used)
            self.latency.look(self.process.client, self.process.pid, used=engine_used)
        return self._plane_of(attached, self._refusal(pinned))

    def _plane_of(self, attached: frozenset[str], refusal: str) -> DataPlane:
        """Return the former one where nothing has changed: it is asked for each second."""
        former = self._plane
        if former and (attached, refusal, self._fingerprint) == (former.attached, former.refusal, former.fingerprint):
            return former
        media = self._config.media
        self._plane = DataPlane(
            interfaces=self.interfaces,
            attached=attached,
            transcode=media.transcode,
            refusal=refusal,
            relays=relays(self._config),
            default=media.default,
            police=media.police,
            srtp=media.srtp,
            fingerprint=self._fingerprint,
        )
        return self._plane

    @property
    def engine_description(self) -> str:
        """How the engine gets its packets, and what is done for it; for people."""
        return "; ".join(each.description for each in (self.io, self.latency) if each.description)

    def forget_former(self) -> None:
        """Unmap the tables that no flow is in any more."""
        for table in self._former:
            table.close()
        self._former.clear()

    def restart_engine(self) -> EngineCarrier:
        """Start another engine in place of one that died; it has no flows. Raises EngineError."""
        self.process.close()
        self.process = self._ensure_engine()
        self.engine = self._engine_carrier()
        self._fingerprint = f"sha-256 {self.process.client.summary().fingerprint}"
        return self.engine

    def close(self) -> None:
        """Let go of everything; what is in the kernel stays. The engine ends if it has nothing to carry for anybody."""
        self._leave()
        self.forget_former()
        if not self._owner and not self.process.client.list():
            self.process.stop()
        self.process.close()

    def take_events(self) -> list[tuple[Event, Endpoint]]:
        """Return what the kernel has reported, with the address and port of the flow; not of rules since replaced.

        At most so much at once that signalling is not kept waiting; with RTCP of 5,000 calls 2,000 come each second.
        """
        assert self.events is not None
        assert self.table is not None
        found: list[tuple[Event, Endpoint]] = []
        for _ in range(DRAINS_AT_ONCE):
            drained = self.events.drain()
            current = (each for each in drained if each.generation == self.table.generation(each.flow))
            found += [(event, self.table.local(event.flow)) for event in current]
            if not drained:
                break
        return found

    def _follow_pins(self, pinned: int | None) -> str:
        """Open what is pinned now; return why it is of no use."""
        if pinned is None and self._other_layout():
            return self._refusal(pinned)  # the flows that we wrote go on there, so nothing is to be moved
        try:
            if pinned != self._opened:
                self._leave()
                if pinned is not None:
                    self._open(pinned)
            elif self.table:
                self._trust(self._watch.follow)
        except DataPlaneError as error:
            self._leave()
            return str(error)
        return ""

    def _refusal(self, pinned: int | None) -> str:
        """Why no new call can have media at all: the ports are guarded by a relay that is not ours to program."""
        if self._config.xdp.mode == "off" or pinned is not None or not self._other_layout():
            return ""
        return f"a relay of another version is pinned in {self._pins.root}; attach and run one version of voxdp"

    def _other_layout(self) -> bool:
        try:
            return any(each.complete() for each in self._pins.others())
        except PermissionError:
            return False

    def _look_at_interfaces(self, pinned: int | None) -> None:
        if self.table is None:
            off = self._config.xdp.mode == "off"
            self.bare = dict.fromkeys(self._names, "xdp.mode is off" if off else NOT_ATTACHED)
            return
        if pinned is None:  # the other layout's relay holds the links now
            return
        found = {name: self._trouble(name) for name in self._names}
        self.bare = {name: why for name, why in found.items() if why}

    def _trouble(self, interface: str) -> str:
        try:
            return self._watch.trouble(interface)
        except BpfError as error:  # interface or pins went while they were looked at
            return str(error)

    def _mend(self) -> bool:
        """Attach again what somebody has taken off, if we may; not what was detached by `voxdp detach`."""
        now = time.monotonic()
        if now - self._mended < MEND_SECONDS:
            return False
        self._mended = now
        try:
            settings = attach_settings(self._config, self._hops)
            if missing_to_attach(settings.bpffs, settings.owner_uid, settings.owner_gid):
                return False
            return mend(settings)
        except (AttachError, DataPlaneError, OSError) as error:
            log.error("kernel relay not attached again", why=str(error))
            return False

    def _pinned(self) -> int | None:
        """Return what tells one pinned table from the next; a pin made anew is another file."""
        try:
            _program, flows = map(os.stat, self._files)
            return flows.st_ino
        except PermissionError:
            return HIDDEN if self._pins.exist() else None
        except OSError:
            return None

    def _leave(self) -> None:
        if self.events:
            self.events.close()
        if self.table:
            self._former.append(self.table)
        self.table = self.events = self.kernel = self._opened = None
        self.engine = self._engine_carrier()

    def _open(self, pinned: int) -> None:
        self._opened = pinned
        try:
            table = FlowTable.open(self._pins.directory)
        except BpfError as error:
            if error.errno == errno.EACCES:
                raise DataPlaneError(
                    f"{self._pins.directory}: permission denied; run as the user that xdp.owner names, "
                    f"or let it name user id {os.geteuid()} and run: voxdp attach"
                ) from None
            raise DataPlaneError(str(error)) from None
        try:
            self._trust(self._watch.check)
            self._check(table)
        except DataPlaneError:
            table.close()
            raise
        table.clear_flags(FlowFlag.CAPTURE)  # of a controller that was killed while it captured
        self.table = table
        self.events = EventReader(self._pins.directory)
        self.kernel = KernelCarrier(table, self._hops, FlowFlag.RTCP_COPY, self._config.media.latch_packets)
        self.engine = self._engine_carrier()

    def _check(self, table: FlowTable) -> None:
        """The attached program must have been built for this configuration."""
        media, found = self._config.media, table.config
        same_ports = (found.port_min, found.port_max) == (media.port_min, media.port_max)
        if not same_ports or set(found.addresses) != set(self.interfaces):
            raise DataPlaneError(
                "the attached relay has other media addresses or ports than the configuration; run: voxdp attach"
            )

    def _trust(self, check: Callable[[], None]) -> None:
        """The pinned program must be the one that was attached."""
        try:
            check()
        except (Untrusted, BpfError) as error:
            raise DataPlaneError(str(error)) from None

    def _ensure_engine(self, seconds: float = START_TIMEOUT) -> EngineProcess:
        run = self._config.run.directory
        return EngineProcess.ensure(run / ENGINE_SOCKET, log=run / "engine.log", timeout=seconds, owner=self._owner)

    def _engine_carrier(self) -> EngineCarrier:
        hops = self._hops if self.io.possible else None
        return EngineCarrier(self.process.client, self.kernel, hops, self._config.media.latch_packets)
