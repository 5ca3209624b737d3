# SPDX-License-Identifier: GPL-3.0-or-later
"""The media ports, kept from programs that ask the kernel for any free port.

The sysctl belongs to the network namespace and to whoever administers the host: only what we added is taken
back. What that is stands in a small file, for a bpf file system holds no data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from itertools import pairwise
from pathlib import Path

SYSCTL = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LEAST_LEFT = 1024
"""Ports that the host's own connections are left with, at least."""


class TooManyPorts(Exception):
    """Hardly a port would be left for connections of this host; one line with the remedy."""


def parse_ports(text: str) -> set[int]:
    """Ports of a list such as `5060,16384-32767`, as the sysctl writes it."""
    ports: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            ports.update(range(int(first), int(last or first) + 1))
    return ports


def format_ports(ports: set[int]) -> str:
    """The reverse of `parse_ports`, as short as it can be."""
    if not ports:
        return ""
    ordered = sorted(ports)
    breaks = [(last, first) for last, first in pairwise(ordered) if first != last + 1]
    firsts = [ordered[0], *(first for _, first in breaks)]
    lasts = [*(last for last, _ in breaks), ordered[-1]]
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in zip(firsts, lasts, strict=True))


class ReservedPorts:
    """The reservation of this process's network namespace, remembered in `state_dir`."""

    def __init__(self, state_dir: Path, sysctl: Path = SYSCTL, ephemeral: Path = EPHEMERAL) -> None:
        self._state_dir, self._sysctl, self._ephemeral = state_dir, sysctl, ephemeral
        self._memory = state_dir / f"reserved-{os.stat('/proc/thread-self/ns/net').st_ino}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time: held by all that changes what is attached."""
        self._state_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory = os.open(self._state_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flock(directory, LOCK_EX)
            yield
        finally:
            os.close(directory)

    def ours(self) -> set[int]:
        """The ports that we added and that are still reserved."""
        return self._remembered() & self._reserved()

    def reserve(self, first: int, last: int) -> None:
        """Reserve the ports from `first` to `last`, in place of those that we reserved before. Raises TooManyPorts."""
        theirs = self._reserved() - self.ours()
        wanted = set(range(first, last + 1))
        self._leave_some(theirs | wanted, f"{first}-{last}")
        self._remember(wanted - theirs)
        self._sysctl.write_text(format_ports(theirs | wanted) + "\n")

    def release(self) -> set[int]:
        """Take back what we added; again is harmless. Returns the ports."""
        ours = self.ours()
        if ours:
            self._sysctl.write_text(format_ports(self._reserved() - ours) + "\n")
        self._memory.unlink(missing_ok=True)
        return ours

    def _leave_some(self, reserved: set[int], ports: str) -> None:
        """Whoever connects without naming a port gets one of the range that is not reserved, or EAGAIN."""
        lowest, highest = map(int, self._ephemeral.read_text().split())
        left = len(set(range(lowest, highest + 1)) - reserved)
        if left < LEAST_LEFT:
            raise TooManyPorts(
                f"ports {ports} would leave connections of this host {left} of {lowest}-{highest}; narrow"
                " media.port_min to media.port_max, or widen net.ipv4.ip_local_port_range"
            )

    def _reserved(self) -> set[int]:
        return parse_ports(self._sysctl.read_text())

    def _remembered(self) -> set[int]:
        try:
            return parse_ports(json.loads(self._memory.read_text())["reserved"])
        except FileNotFoundError:
            return set()

    def _remember(self, ports: set[int]) -> None:
        scratch = self._memory.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(scratch, flags, 0o600), "w") as file:
            json.dump({"reserved": format_ports(ports)}, file)
        scratch.replace(self._memory)
