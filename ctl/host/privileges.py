# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host or the process lacks to load and attach the relay, each as one line that names the remedy."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ctl.kernel._libbpf import lib

BPF_FS_MAGIC = 0xCAFE4A11

# linux/capability.h
CAP_CHOWN, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 0, 12, 21, 38, 39
NAMES = {CAP_CHOWN: "CAP_CHOWN", CAP_NET_ADMIN: "CAP_NET_ADMIN", CAP_PERFMON: "CAP_PERFMON", CAP_BPF: "CAP_BPF"}


def missing_to_attach(bpffs: Path, owner_uid: int = 0, owner_gid: int = 0) -> list[str]:
    """What stands in the way of `voxdp attach` with pins below `bpffs` for that owner; empty if nothing does."""
    return [*missing_capabilities(owner_uid, owner_gid), *unusable_bpffs(bpffs, owner_uid, owner_gid)]


def missing_capabilities(owner_uid: int = 0, owner_gid: int = 0) -> list[str]:
    """The capabilities that loading, attaching and giving the pins away need and this process has not."""
    effective = capabilities()
    needed = {CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON}
    if (owner_uid, owner_gid) != (os.geteuid(), os.getegid()):
        needed.add(CAP_CHOWN)
    if CAP_SYS_ADMIN in effective:
        needed -= {CAP_BPF, CAP_PERFMON}
    lacking = " and ".join(NAMES[each] for each in sorted(needed - effective))
    return [f"{lacking} missing; run voxdp as root, by sudo"] if lacking else []


def unusable_bpffs(bpffs: Path, owner_uid: int = 0, owner_gid: int = 0) -> list[str]:
    """Why the pins cannot lie below `bpffs`, or its owner could not reach them."""
    if not is_bpffs(bpffs):
        return [f"{bpffs} is not a bpf file system; mount one: mount -t bpf -o mode=0711 bpf {bpffs}"]
    for directory in (bpffs, *bpffs.resolve().parents):
        if not may_traverse(directory, owner_uid, owner_gid):
            return [f"user id {owner_uid} cannot pass through {directory}; allow it: chmod o+x {directory}"]
    return []


def capabilities() -> frozenset[int]:
    """Numbers of this process's effective capabilities."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(number for number in range(64) if mask >> number & 1)
    raise OSError("/proc/self/status has no CapEff line; mount /proc")


def is_bpffs(path: Path) -> bool:
    """Whether the path lies in a bpf file system."""
    return int(lib.file_system_magic(os.fsencode(path))) == BPF_FS_MAGIC


def may_traverse(directory: Path, uid: int, gid: int) -> bool:
    """Whether the mode bits let that user through the directory; root passes always."""
    status = directory.stat()
    if uid == 0:
        return True
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
