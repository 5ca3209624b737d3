# SPDX-License-Identifier: GPL-3.0-or-later
"""Two network namespaces and two veth pairs for the end to end figures; all of it ends with the block."""

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from ctl.kernel.libbpf import Program
from tests.bench.rig import FIRST_PORT

OUTSIDE, RELAY_SPACE = "vxbench-out", "vxbench-relay"
SOURCE, RELAY = ("10.77.0.2", 4000), "10.77.0.1"
EGRESS, TARGET = "10.77.1.1", "10.77.1.2"
PAIRS = (("vxba", "vxra", f"{RELAY}/24"), ("vxbb", "vxrb", f"{EGRESS}/24"))
SOCKETS = Path(__file__).with_name("mmsg.c")
CLONE_NEWNET = 0x40000000
FOREMOST = -20


class Built:
    """Something whose `_build` is undone, as far as it came, when its block ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        raise NotImplementedError


class Topology(Built):
    """Interfaces vxba and vxbb outside, vxra and vxrb at the relay; polled on `cpu`, None: where packets come from."""

    def __init__(self, cpu: int | None) -> None:
        super().__init__()
        self.cpu = cpu
        self._links: dict[str, tuple[int, bytes]] = {}

    def ifindex(self, interface: str) -> int:
        return self._links[interface][0]

    def mac(self, interface: str) -> bytes:
        return self._links[interface][1]

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """The relay's namespace as an IP router."""
        with inside(RELAY_SPACE):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        try:
            yield
        finally:
            with inside(RELAY_SPACE):
                Path("/proc/sys/net/ipv4/ip_forward").write_text("0")

    @contextmanager
    def packet_sink(self, program: Program) -> Iterator[None]:
        """Count and drop what arrives outside as socket buffers, before the network stack."""
        with filtered(OUTSIDE, "vxbb", program):
            yield

    @contextmanager
    def socket_relay(self, flows: int) -> Iterator[None]:
        """A relay in user space, on the CPU that carries packets."""
        with tempfile.TemporaryDirectory() as folder:
            run("gcc", "-O2", "-o", f"{folder}/mmsg", str(SOCKETS))
            command = [f"{folder}/mmsg", RELAY, str(FIRST_PORT), str(flows), TARGET]
            limits = ["nice", "-n", str(FOREMOST), "prlimit", "--nofile=8192:8192"]
            with inside(RELAY_SPACE), on_cpu(self.cpu or 0):
                process = subprocess.Popen([*limits, *command], stdout=subprocess.PIPE, text=True)
            try:
                if process.stdout is None or process.stdout.readline() != "ready\n":
                    raise RuntimeError("the relay on sockets did not start: its message is above")
                yield
            finally:
                process.kill()
                process.communicate()

    def _build(self) -> None:
        for space in (OUTSIDE, RELAY_SPACE):
            run("ip", "netns", "add", space)
            self._stack.callback(run, "ip", "netns", "del", space)
        for outside, relay, address in PAIRS:
            run(
                "ip", "-n", OUTSIDE, "link", "add", outside, "type", "veth", "peer", "name", relay, "netns", RELAY_SPACE
            )
            for space, interface in ((OUTSIDE, outside), (RELAY_SPACE, relay)):
                run("ip", "-n", space, "link", "set", interface, "up")
                run("ip", "netns", "exec", space, "ethtool", "-K", interface, "gro", "on")
                if self.cpu is not None:
                    run("ip", "netns", "exec", space, "sh", "-c", f"echo 1 > /sys/class/net/{interface}/threaded")
                self._links[interface] = identity(space, interface)
            run("ip", "-n", RELAY_SPACE, "address", "add", address, "dev", relay)
        neighbours = ((SOURCE[0], "vxra", "vxba"), (TARGET, "vxrb", "vxbb"))
        for host, interface, peer in neighbours:
            mac = self.mac(peer).hex(":")
            run("ip", "-n", RELAY_SPACE, "neigh", "add", host, "lladdr", mac, "dev", interface)
        if self.cpu is not None:
            pin_threads([interface for pair in PAIRS for interface in pair[:2]], self.cpu)


def pin_threads(interfaces: list[str], cpu: int) -> None:
    """The kernel threads that poll these interfaces run on one CPU only, before what else the machine does."""
    for process in Path("/proc").glob("[0-9]*/comm"):
        name = process.read_text().strip() if process.exists() else ""
        if name.startswith(tuple(f"napi/{interface}-" for interface in interfaces)):
            thread = int(process.parent.name)
            os.sched_setaffinity(thread, {cpu})
            os.setpriority(os.PRIO_PROCESS, thread, FOREMOST)


@contextmanager
def filtered(space: str, interface: str, program: Program) -> Iterator[None]:
    """A tc program at an interface's ingress."""
    with inside(space), tempfile.TemporaryDirectory() as folder:
        run("mount", "-t", "bpf", "none", folder)
        try:
            program.pin(Path(folder) / "filter")
            run("tc", "qdisc", "add", "dev", interface, "clsact")
            run("tc", "filter", "add", "dev", interface, "ingress", "bpf", "da", "object-pinned", f"{folder}/filter")
        finally:
            run("umount", folder)
    try:
        yield
    finally:
        with inside(space):
            run("tc", "qdisc", "del", "dev", interface, "clsact")


def identity(space: str, interface: str) -> tuple[int, bytes]:
    with inside(space):
        words = run("ip", "-o", "link", "show", interface).split()
    return int(words[0].rstrip(":")), bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


@contextmanager
def inside(space: str) -> Iterator[None]:
    """This thread in a named network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{space}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter network namespace {space}: run as root")
        try:
            yield
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """This thread, and what it starts, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(*command: str) -> str:
    """Run to the end; RuntimeError with what the command said if it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
