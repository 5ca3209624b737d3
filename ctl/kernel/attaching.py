# SPDX-License-Identifier: GPL-3.0-or-later
"""From the configuration to what is attached where, for `voxdp attach` and for a controller that may do it itself."""

from __future__ import annotations

import pwd

from ctl.config import Config
from ctl.kernel import steering
from ctl.kernel.loader import AttachSettings
from ctl.network.media_interfaces import DataPlaneError, relay_interfaces
from ctl.network.nexthop import NextHops
from media import opener_process
from media.cpu_latency import UNBOUNDED
from media.wire_opener import OPENER_SOCKET, OpenerSettings

OPENER_LOG = "xsk.log"


def attach_settings(config: Config, hops: NextHops) -> AttachSettings:
    """Return what to attach. Raises DataPlaneError."""
    if config.xdp.mode == "off":
        raise DataPlaneError("xdp.mode is off; set it to native or generic")
    by_address = relay_interfaces(config, hops)
    uid, gid = owner(config)
    return AttachSettings(
        bpffs=config.xdp.bpffs,
        interfaces=tuple(dict.fromkeys([*config.xdp.interfaces, *by_address.values()])),
        addresses=tuple(by_address),
        port_min=config.media.port_min,
        port_max=config.media.port_max,
        mode=config.xdp.mode,
        owner_uid=uid,
        owner_gid=gid,
        state_dir=config.run.directory,
        unmatched_rate=config.xdp.unmatched_rate,
        unmatched_burst=config.xdp.unmatched_burst,
    )


def steer(config: Config) -> bool:
    """Pin the program that deals datagrams out to workers, if there are several; else remove it. Whether it is there.

    Needs root. Raises DataPlaneError, BpfError or OSError.
    """
    if config.sip.workers == 1:
        steering.unpin(config.xdp.bpffs)
        return False
    steering.pin(config.xdp.bpffs, *owner(config))
    return True


def opener_settings(config: Config, settings: AttachSettings) -> OpenerSettings:
    """Return what is to be opened for an engine that may not."""
    wires = config.media.engine_io == "af_xdp" or (config.media.engine_io == "auto" and settings.mode == "native")
    return OpenerSettings(
        socket=config.run.directory / OPENER_SOCKET,
        interfaces=settings.interfaces if wires else (),
        uid=settings.owner_uid,
        gid=settings.owner_gid,
        cpu_latency=config.media.cpu_dma_latency != UNBOUNDED,
    )


def start_opener(config: Config, settings: AttachSettings) -> tuple[int, str]:
    """Start what opens things for the engine, in place of a former one; return its process and what it opens.

    0: none is needed. Raises EngineError.
    """
    wanted = opener_settings(config, settings)
    if not wanted.opens or not wanted.uid:
        opener_process.stop(wanted.socket)
        return 0, ""
    return opener_process.start(wanted, config.run.directory / OPENER_LOG), wanted.opens


def owner(config: Config) -> tuple[int, int]:
    """Return user and group id that pins are given to. Raises DataPlaneError."""
    name = config.xdp.owner
    if not name:
        return 0, 0
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise DataPlaneError(f"xdp.owner: no user {name}; create it: useradd --system {name}") from None
    return entry.pw_uid, entry.pw_gid
