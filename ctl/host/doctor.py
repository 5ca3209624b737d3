# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host is fit to carry calls in the kernel: facts in, findings out, each with the command that mends it.

Pure. A failure keeps calls from the kernel relay or makes them unsafe; a warning costs quality or speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ctl.host.ethtool import DriverSettings
from ctl.terminal.table import counted

Status = Literal["ok", "warn", "fail"]

OLDEST_KERNEL = (5, 15)
LARGEST_MTU = 3498
"""Of frames that a native XDP program gets in one page, with its head room and what the kernel keeps behind them."""

GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "timebase", "tod")
# fmt: off
NATIVE_DRIVERS = frozenset((
    "atlantic", "bnxt_en", "dpaa2-eth", "ena", "enetc", "fec", "gve", "hinic3", "i40e", "iavf", "ice", "igb",
    "igbvf", "igc", "ionic", "ixgbe", "ixgbevf", "lan966x", "mana", "mlx4_en", "mlx5_core", "mtk_soc_eth", "mvneta",
    "mvpp2", "netsec", "nfp", "octeontx2-nicpf", "qede", "sfc", "stmmac", "tsnep", "tun", "veth", "virtio_net",
    "vmxnet3", "xen-netfront",
))
# fmt: on
"""Those of Linux 6.x that have an XDP hook of their own."""


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """One interface of the relay. mtu 0: it is not there. attached: mode of the program on it, ours or not."""

    name: str
    mtu: int
    up: bool
    driver: DriverSettings
    attached: str | None
    ours: bool
    forwarding: bool | None
    rp_filter: int | None
    vlans_above: bool


@dataclass(frozen=True, slots=True)
class HostFacts:
    """None: it cannot be read, by this user or at all. obstacles: to attaching, see `ctl.host.privileges`.

    no_head_room: frames that the relay had to drop, as their driver leaves no room before them. xdp_sockets: the kernel
    has AF_XDP; opener: `voxdp xsk` listens, or is not needed. idle_states: name and microseconds to wake of those that
    the kernel chooses among, by depth. latency: what is wanted of them, -1: nothing; latency_trouble: why it is not to
    be had, and after a semicolon what mends it.
    """

    kernel: str
    btf: bool
    cpus: int
    mode: str
    clock_source: str | None
    jit: int | None
    jit_harden: int | None
    unprivileged_bpf: int | None
    obstacles: Sequence[str]
    bpffs: Sequence[str]
    loaded: bool
    no_head_room: int | None
    port_min: int
    port_max: int
    unreserved: int
    config_trouble: str
    interfaces: Sequence[InterfaceFacts]
    engine_io: Literal["auto", "sockets", "af_xdp"] = "auto"
    xdp_sockets: bool = True
    opener: bool = True
    compiled: bool = True
    latency: int = -1
    latency_trouble: str = ""
    idle_states: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """remedy: a command, empty if nothing needs to be done."""

    check: str
    status: Status
    text: str
    remedy: str = ""


def examine(facts: HostFacts) -> list[Finding]:
    """Look at everything, in the order in which one would mend it."""
    return [
        *(*_kernel(facts), *_safety(facts), *_relay(facts), *_engine(facts), *_idle(facts), *_ports(facts)),
        *(*_interfaces(facts), *_signalling(facts)),
    ]


def _kernel(facts: HostFacts) -> Iterator[Finding]:
    release = facts.kernel.split("-")[0].split(".")
    numbers = tuple(int(part) for part in release[:2] if part.isdecimal())
    oldest = ".".join(map(str, OLDEST_KERNEL))
    if numbers < OLDEST_KERNEL:
        yield Finding("kernel", "fail", f"{facts.kernel} is older than {oldest}", "apt-get install linux-image-amd64")
    else:
        yield Finding("kernel", "ok", facts.kernel)
    if not facts.btf:
        text = "no type information in /sys/kernel/btf, which the relay is fitted by"
        yield Finding("btf", "fail", text, "apt-get install linux-image-amd64")
    if facts.jit == 0:
        text = "BPF programs are interpreted, ten times slower"
        yield Finding("bpf jit", "fail", text, "sysctl -w net.core.bpf_jit_enable=1")
    else:
        yield Finding(
            "bpf jit",
            "ok",
            "compiled" if facts.jit else "not told here; a kernel with BPF_JIT_ALWAYS_ON compiles always",
        )
    if facts.jit_harden == 2:
        text = "constants are blinded for root's programs too, which slows every packet"
        yield Finding("bpf jit harden", "warn", text, "sysctl -w net.core.bpf_jit_harden=1")
    if facts.clock_source not in GOOD_CLOCKS:
        text = f"{facts.clock_source} is slow to read, and each packet is stamped"
        remedy = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        yield Finding("clock source", "warn", text, remedy)
    else:
        yield Finding("clock source", "ok", str(facts.clock_source))


def _safety(facts: HostFacts) -> Iterator[Finding]:
    if facts.unprivileged_bpf == 0:
        text = "any user may load BPF programs"
        yield Finding("unprivileged bpf", "fail", text, "sysctl -w kernel.unprivileged_bpf_disabled=1")
    else:
        yield Finding("unprivileged bpf", "ok", "disabled" if facts.unprivileged_bpf else "not readable by this user")


def _relay(facts: HostFacts) -> Iterator[Finding]:
    if facts.config_trouble:
        yield Finding("configuration", "fail", facts.config_trouble, "voxdp config check")
    if facts.mode == "off":
        yield Finding("relay", "warn", "xdp.mode is off: the engine carries every call", 'set xdp.mode to "native"')
        return
    for text in facts.bpffs:
        words, _, remedy = text.partition("; mount one: ")
        yield Finding("bpf file system", "fail", words, remedy)
    if not facts.bpffs:
        yield Finding("bpf file system", "ok", "mounted, and open to the owner of the relay")
    if facts.obstacles and not facts.loaded:
        yield Finding("capabilities", "fail", "; ".join(facts.obstacles), "sudo voxdp attach")
    elif facts.obstacles:
        yield Finding("capabilities", "ok", "none to attach with, and none needed: the relay is loaded")
    else:
        yield Finding("capabilities", "ok", "all that attaching needs")
    if facts.no_head_room:
        text = f"{counted(facts.no_head_room, 'frame')} had no room for a longer header (IPv4 to IPv6, VLAN tags)"
        yield Finding("head room", "warn", text, 'set xdp.mode to "generic", then: sudo voxdp attach')
    elif facts.no_head_room is not None:
        yield Finding("head room", "ok", "every frame had room for the headers that it left with")
    if facts.loaded:
        yield Finding("relay", "ok", "loaded and pinned")
    else:
        yield Finding("relay", "fail", "the kernel relay is not loaded", "sudo voxdp attach")


def _engine(facts: HostFacts) -> Iterator[Finding]:
    sockets = 'set media.engine_io to "sockets"'
    if facts.engine_io == "sockets":
        yield Finding("engine io", "ok", "sockets, as configured")
    elif facts.engine_io == "auto" and facts.mode != "native":
        yield Finding("engine io", "ok", f"sockets, as xdp.mode is {facts.mode}")
    elif facts.mode == "off":
        text = "AF_XDP takes the kernel relay to lead packets to it, and xdp.mode is off"
        yield Finding("engine io", "warn", text, sockets)
    elif not facts.xdp_sockets:
        yield Finding("engine io", "warn", "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)", sockets)
    elif not facts.opener:
        text = "nobody opens AF_XDP sockets for an engine that may not: it goes by sockets"
        yield Finding("engine io", "warn", text, "sudo voxdp attach")
    else:
        yield Finding("engine io", "ok", "AF_XDP, and its sockets can be opened")


def _idle(facts: HostFacts) -> Iterator[Finding]:
    """A bound may be held and change nothing: that would be found out only by measuring."""
    bound, deepest = facts.latency, max((latency for _, latency in facts.idle_states), default=0)
    if bound < 0:
        yield Finding("cpu latency", "ok", "processors sleep as the host lets them, as configured")
    elif facts.latency_trouble:
        text, _, remedy = facts.latency_trouble.partition("; ")
        yield Finding("cpu latency", "warn", text, remedy.removeprefix("run: "))
    elif not deepest:
        text = "the kernel has no idle states to choose among, so that media.cpu_dma_latency changes nothing"
        yield Finding("cpu latency", "warn", text, "on a virtual machine: modprobe cpuidle_haltpoll force=1")
    elif bound >= deepest:
        text = f"every idle state is left within {deepest} µs, so that a bound of {bound} changes nothing"
        yield Finding("cpu latency", "warn", text, f"set media.cpu_dma_latency to {deepest - 1} or less")
    else:
        shallow = [each for each in facts.idle_states if each[1] <= bound]
        name, latency = shallow[-1] if shallow else facts.idle_states[0]
        text = f"while the engine has flows, {name} is the deepest idle state, left within {latency} µs"
        yield Finding("cpu latency", "ok", text)


def _ports(facts: HostFacts) -> Iterator[Finding]:
    span = f"{facts.port_min}-{facts.port_max}"
    if facts.mode == "off" or not facts.unreserved:
        yield Finding("media ports", "ok", f"{span}, kept from other programs of this host")
        return
    text = f"{facts.unreserved} of {span} may be given to other programs of this host, which then hear nothing"
    yield Finding("media ports", "fail", text, f"sysctl -w net.ipv4.ip_local_reserved_ports={span}")


def _signalling(facts: HostFacts) -> Iterator[Finding]:
    if facts.compiled:
        yield Finding("signalling", "ok", "compiled")
    else:
        text = "runs as Python, not compiled, which takes more of a processor for each call"
        yield Finding("signalling", "warn", text, "scripts/setup")


def _interfaces(facts: HostFacts) -> Iterator[Finding]:
    for interface in facts.interfaces:
        if interface.name == "lo" and facts.mode != "off":
            text = "media would arrive at loopback, which has no frames to attach to"
            yield Finding("lo", "fail", text, "set media.addresses to addresses of network cards")
            continue
        if not interface.mtu:
            yield Finding(interface.name, "fail", "there is no such interface", "ip link; then set xdp.interfaces")
            continue
        findings = [*_link(interface, facts), *_offloads(interface, facts), *_routing(interface, facts)]
        yield from findings


def _link(interface: InterfaceFacts, facts: HostFacts) -> Iterator[Finding]:
    name, driver = interface.name, interface.driver.driver or "unknown"
    if not interface.up:
        yield Finding(name, "fail", "the interface is down", f"ip link set {name} up")
    if facts.mode == "off":
        return
    queues = counted(interface.driver.queues, "queue") if interface.driver.queues else "queues unknown"
    told = f"driver {driver}, {queues} for {counted(facts.cpus, 'CPU')}, MTU {interface.mtu}"
    if interface.attached and not interface.ours:
        text = f"another XDP program is attached ({interface.attached})"
        yield Finding(name, "fail", text, f"ip link set dev {name} xdp off; sudo voxdp attach")
    elif facts.loaded and not interface.attached:
        yield Finding(name, "fail", f"the relay is not attached here; {told}", "sudo voxdp attach")
    elif interface.attached == "generic" and facts.mode == "native":
        text = f"attached in generic mode, several times slower; {told}"
        yield Finding(name, "warn", text, "sudo voxdp detach; sudo voxdp attach")
    elif facts.mode == "native" and driver not in NATIVE_DRIVERS:
        text = f"driver {driver} is not known to run XDP natively"
        yield Finding(name, "warn", text, 'set xdp.mode to "generic" if attaching is refused')
    else:
        yield Finding(name, "ok", f"{interface.attached or 'ready'}; {told}")
    if facts.mode == "native" and interface.mtu > LARGEST_MTU:
        text = f"MTU {interface.mtu} is beyond {LARGEST_MTU}, what a native program takes"
        yield Finding(f"{name} mtu", "fail", text, f"ip link set {name} mtu 1500")


def _offloads(interface: InterfaceFacts, facts: HostFacts) -> Iterator[Finding]:
    name, driver = interface.name, interface.driver
    if facts.mode == "off":
        return
    if driver.lro:
        text = "large receive offload merges packets before XDP"
        yield Finding(f"{name} offloads", "fail", text, f"ethtool -K {name} lro off")
    if driver.rx_vlan and interface.vlans_above and driver.driver != "veth":
        text = "the card strips VLAN tags before XDP sees them"
        yield Finding(f"{name} offloads", "fail", text, f"ethtool -K {name} rxvlan off")
    if driver.driver == "veth" and driver.tx_checksum:
        text = "programs at the other end of a veth send partial checksums, which peers refuse"
        yield Finding(f"{name} offloads", "warn", text, "at its other end: ethtool -K PEER tx off gro on")
    if driver.queues and driver.queues_max and driver.queues < min(facts.cpus, driver.queues_max):
        wanted = min(facts.cpus, driver.queues_max)
        text = f"{driver.queues} of {driver.queues_max} queues in use for {facts.cpus} CPUs"
        yield Finding(f"{name} queues", "warn", text, f"ethtool -L {name} combined {wanted}")


def _routing(interface: InterfaceFacts, facts: HostFacts) -> Iterator[Finding]:
    name = interface.name
    if interface.forwarding is False and facts.mode != "off":
        text = "forwarding is off, so that packets whose next hop is not yet known are lost"
        yield Finding(f"{name} forwarding", "warn", text, f"sysctl -w net.ipv4.conf.{name}.forwarding=1")
    if interface.rp_filter == 1:
        text = "strict reverse path filtering drops what comes by another way than it would go"
        yield Finding(f"{name} rp_filter", "warn", text, f"sysctl -w net.ipv4.conf.{name}.rp_filter=2")
