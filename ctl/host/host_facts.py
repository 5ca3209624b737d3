# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what `ctl.host.doctor` judges, as far as this user may read it."""

from __future__ import annotations

import errno
import os
import platform
import pwd
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

from ctl.compiled.loader import usable
from ctl.config import Config
from ctl.host import ethtool
from ctl.host.doctor import HostFacts, InterfaceFacts
from ctl.host.privileges import missing_capabilities, unusable_bpffs
from ctl.host.reserved_ports import SYSCTL, parse_ports
from ctl.kernel import xdp
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import BpfError, Program
from ctl.kernel.pins import Pins
from ctl.network.media_interfaces import DataPlaneError, relay_interfaces
from ctl.network.nexthop import NextHops
from media.cpu_latency import UNBOUNDED, trouble
from media.wire_opener import AF_XDP, LATENCY_DEVICE, OPENER_SOCKET, ask_latency_device

PROC, SYS = Path("/proc/sys"), Path("/sys")
IDLE = SYS / "devices/system/cpu/cpu0/cpuidle"
VLANS = Path("/proc/net/vlan/config")


def gather(config: Config) -> HostFacts:
    """Look at this host, in this network namespace."""
    pins = Pins(config.xdp.bpffs)
    media, wanted = config.media, set(range(config.media.port_min, config.media.port_max + 1))
    names, trouble = _interfaces(config)
    owner = _owner(config.xdp.owner)
    reserved = _text(SYSCTL)
    return HostFacts(
        kernel=platform.release(),
        btf=(SYS / "kernel/btf/vmlinux").exists(),
        cpus=os.cpu_count() or 1,
        mode=config.xdp.mode,
        clock_source=_text(SYS / "devices/system/clocksource/clocksource0/current_clocksource"),
        jit=_number(PROC / "net/core/bpf_jit_enable"),
        jit_harden=_number(PROC / "net/core/bpf_jit_harden"),
        unprivileged_bpf=_number(PROC / "kernel/unprivileged_bpf_disabled"),
        obstacles=missing_capabilities(*owner),
        bpffs=unusable_bpffs(config.xdp.bpffs, *owner),
        loaded=pins.exist(),
        no_head_room=_no_head_room(pins),
        port_min=media.port_min,
        port_max=media.port_max,
        unreserved=len(wanted - parse_ports(reserved)) if reserved is not None else len(wanted),
        config_trouble=trouble,
        interfaces=[_interface(name, _ours(pins)) for name in names],
        engine_io=media.engine_io,
        xdp_sockets=_has_xdp_sockets(),
        opener=not any(owner) or _listens(config.run.directory / OPENER_SOCKET),
        compiled=usable(),
        latency=media.cpu_dma_latency,
        latency_trouble=_latency_trouble(config, *owner) if media.cpu_dma_latency != UNBOUNDED else "",
        idle_states=_idle_states(),
    )


def _idle_states() -> list[tuple[str, int]]:
    """Those of the first processor, by depth: a host's are alike, but for what is switched off in each."""
    states = sorted(IDLE.glob("state[0-9]*"), key=lambda each: int(each.name.removeprefix("state")))
    enabled = [each for each in states if _number(each / "disable") != 1]
    return [(_text(each / "name") or each.name, _number(each / "latency") or 0) for each in enabled]


def _latency_trouble(config: Config, uid: int, gid: int) -> str:
    """Why the engine's user has no /dev/cpu_dma_latency; nothing if he has, or if this user cannot find out."""
    try:
        device = LATENCY_DEVICE.stat()
    except OSError as error:
        return trouble(error.errno or errno.EIO, uid)
    other = device.st_mode & stat.S_IWOTH
    group = device.st_mode & stat.S_IWGRP and device.st_gid == gid
    own = device.st_mode & stat.S_IWUSR and device.st_uid == uid
    if not uid or own or group or other or os.geteuid() not in (0, uid):
        return ""
    opened = ask_latency_device(config.run.directory / OPENER_SOCKET)
    if opened < 0:
        return trouble(-opened, uid)
    os.close(opened)
    return ""


def _has_xdp_sockets() -> bool:
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


def _listens(path: Path) -> bool:
    """Whether somebody does at a Unix socket, this user or another."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.setblocking(False)
        return asking.connect_ex(str(path)) not in (errno.ENOENT, errno.ECONNREFUSED)


def _interfaces(config: Config) -> tuple[list[str], str]:
    """The interfaces that the relay is to be on, and what is wrong with the configuration of them."""
    hops = NextHops()
    try:
        by_address, trouble = relay_interfaces(config, hops), ""
    except DataPlaneError as error:
        by_address, trouble = {}, str(error)
    finally:
        hops.close()
    return list(dict.fromkeys([*config.xdp.interfaces, *by_address.values()])), trouble


def _interface(name: str, ours: int | None) -> InterfaceFacts:
    index = xdp.interface_index(name)
    found = xdp.attached(index) if index else None
    return InterfaceFacts(
        name=name,
        mtu=ethtool.mtu(name),
        up=ethtool.is_up(name),
        driver=ethtool.settings(name),
        attached=None if found is None else found.mode or "hardware",
        ours=found is not None and found.program_id == ours,
        forwarding=_flag(PROC / f"net/ipv4/conf/{name}/forwarding"),
        rp_filter=_strictest(PROC / f"net/ipv4/conf/{each}/rp_filter" for each in ("all", name)),
        vlans_above=name in _below_vlans(),
    )


def _below_vlans() -> set[str]:
    """The interfaces that VLAN devices stand on: the last word of each line of the kernel's list."""
    lines = (_text(VLANS) or "").splitlines()[2:]
    return {line.rpartition("|")[2].strip() for line in lines}


def _no_head_room(pins: Pins) -> int | None:
    """What the relay has counted, if it is loaded and this user may look."""
    try:
        table = FlowTable.open(pins.directory)
    except BpfError:
        return None
    try:
        return table.reasons()["headroom"].packets
    finally:
        table.close()


def _ours(pins: Pins) -> int | None:
    """The id of the pinned program, if this user may look."""
    try:
        return Program.from_pin(pins.program).id
    except BpfError:
        return None


def _owner(name: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(name) if name else None
    except KeyError:
        entry = None
    return (entry.pw_uid, entry.pw_gid) if entry else (0, 0)


def _strictest(paths: Iterable[Path]) -> int | None:
    """Ip-sysctl.rst: the greater of `all` and the interface's own counts."""
    return max((value for value in map(_number, paths) if value is not None), default=None)


def _flag(path: Path) -> bool | None:
    value = _number(path)
    return None if value is None else bool(value)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
