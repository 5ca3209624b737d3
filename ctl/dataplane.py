# SPDX-License-Identifier: GPL-3.0-or-later
"""What carries packets on this host at this moment: the pinned relay, where it is attached, and the engine."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

import structlog

from ctl import xdp
from ctl.carriers import EngineCarrier, KernelCarrier
from ctl.config import Config, sip_listen
from ctl.events import Event, EventReader
from ctl.flowrule import Endpoint, FlowFlag
from ctl.flowtable import FlowTable
from ctl.libbpf import BpfError
from ctl.nexthop import NextHops
from ctl.pins import Pins
from ctl.plan import DataPlane
from media.client import EngineClient, EngineProcess

log = structlog.get_logger()

ENGINE_SOCKET = "engine.sock"
HIDDEN = 0  # no file has this inode number: pins are there, and we may not even look at them


class DataPlaneError(Exception):
    """Nothing can carry media as configured; one line with the remedy."""


def relay_addresses(config: Config) -> tuple[str, ...]:
    """Return the addresses that peers send media to: those configured, else those of IPv4 that signalling has."""
    listening = (host for listen in config.sip.listen for host, _, _ in sip_listen(listen) if ":" not in host)
    return config.media.addresses or tuple(dict.fromkeys(listening))


def relay_interfaces(config: Config, hops: NextHops) -> dict[str, str]:
    """Return the interface of each relay address. Raises DataPlaneError if this host does not have one."""
    found: dict[str, str] = {}
    for address in relay_addresses(config):
        interface = hops.interface_of(address)
        if interface is None:
            raise DataPlaneError(f"media.addresses: {address} is on no interface; see: ip -4 address")
        found[address] = interface
    return found


class Carriers:
    """Owner of the opened pins and of the engine process."""

    def __init__(self, config: Config, hops: NextHops) -> None:
        self._config = config
        self._hops = hops
        self._pins = Pins(config.xdp.bpffs)
        self.interfaces: Mapping[str, str] = relay_interfaces(config, hops)
        self.table: FlowTable | None = None
        self.events: EventReader | None = None
        self.kernel: KernelCarrier | None = None
        self._opened: int | None = None
        self._former: list[FlowTable] = []
        self.process = EngineProcess.ensure(
            config.run.directory / ENGINE_SOCKET, log=config.run.directory / "engine.log"
        )
        self.engine = self._engine_carrier()
        self.look()

    def look(self) -> DataPlane:
        """Say where the relay is attached now; open the pins if they have appeared or are others than before.

        `kernel` and `engine` may be new ones then; the former table stays mapped until `forget_former`.
        Raises DataPlaneError.
        """
        if self._config.xdp.mode != "off" and (pinned := self._pinned()) != self._opened:
            self._leave()
            if pinned is not None:
                self._open(pinned)
        attached = frozenset(name for name in self.interfaces.values() if self.table and self._attached(name))
        return DataPlane(interfaces=self.interfaces, attached=attached)

    def forget_former(self) -> None:
        """Unmap the tables that no flow is in any more."""
        for table in self._former:
            table.close()
        self._former.clear()

    def restart_engine(self) -> EngineCarrier:
        """Start another engine in place of one that died; it has no flows. Raises EngineError."""
        self.process.close()
        self.process = EngineProcess.ensure(self.process.client.path, log=self._config.run.directory / "engine.log")
        self.engine = self._engine_carrier()
        return self.engine

    def close(self) -> None:
        """Let go of everything; what is in the kernel stays. The engine ends if it has nothing to carry."""
        self._leave()
        self.forget_former()
        if not EngineClient(self.process.client.path).list():
            self.process.stop()
        self.process.close()

    def take_events(self) -> list[tuple[Event, Endpoint]]:
        """Return what the kernel has reported, with the address and port of the flow; not of rules since replaced."""
        assert self.events is not None
        assert self.table is not None
        current = (each for each in self.events.drain() if each.generation == self.table.generation(each.flow))
        return [(event, self.table.local(event.flow)) for event in current]

    def _pinned(self) -> int | None:
        """Return what tells one pinned table from the next; a pin made anew is another file."""
        try:
            return self._pins.map("flows").stat().st_ino
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
        self._check(table)
        self.table = table
        self.events = EventReader(self._pins.directory)
        self.kernel = KernelCarrier(table, self._hops, FlowFlag.RTCP_COPY)
        self.engine = self._engine_carrier()

    def _check(self, table: FlowTable) -> None:
        """The attached program must have been built for this configuration."""
        media, found = self._config.media, table.config
        same_ports = (found.port_min, found.port_max) == (media.port_min, media.port_max)
        if not same_ports or set(found.addresses) != set(self.interfaces):
            raise DataPlaneError(
                "the attached relay has other media addresses or ports than the configuration; run: voxdp attach"
            )

    def _attached(self, interface: str) -> bool:
        if interface not in self._pins.links():
            return False
        return xdp.attached(xdp.interface_index(interface)) is not None

    def _engine_carrier(self) -> EngineCarrier:
        return EngineCarrier(self.process.client, self.kernel)
