# SPDX-License-Identifier: GPL-3.0-or-later
"""The two-instruction XDP program of the lab's endpoints.

A veth delivers what its peer sends by XDP_TX or redirect only while it has an XDP program of its own, so every
endpoint carries one that passes all. It is loaded by the system call itself: the lab must not depend on what it
proves, and no file system is mounted on the way.
"""

from __future__ import annotations

import ctypes
import os
import platform

from vm.process import LabError

BPF_PROG_LOAD = 5
BPF_PROG_TYPE_XDP = 6
SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
# r0 = XDP_PASS; exit  (struct bpf_insn: opcode, registers, offset, immediate)
PASS = bytes([0xB7, 0, 0, 0, 2, 0, 0, 0]) + bytes([0x95, 0, 0, 0, 0, 0, 0, 0])


class _LoadAttributes(ctypes.Structure):
    """The first members of union bpf_attr for BPF_PROG_LOAD (linux/bpf.h)."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


def load() -> int:
    """Load the program and return its file descriptor; LabError where the kernel refuses."""
    code = ctypes.create_string_buffer(PASS, len(PASS))
    terms = ctypes.create_string_buffer(b"GPL")
    attributes = _LoadAttributes(
        prog_type=BPF_PROG_TYPE_XDP,
        insn_cnt=len(PASS) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(terms),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    number = SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        raise LabError(f"the lab does not know the bpf system call of {platform.machine()}; add it to vm/xdp_pass.py")
    descriptor = int(libc.syscall(number, BPF_PROG_LOAD, ctypes.byref(attributes), ctypes.sizeof(attributes)))
    if descriptor < 0:
        problem = os.strerror(ctypes.get_errno())
        raise LabError(f"the kernel refuses an XDP program ({problem}); run as root, with CAP_BPF and CAP_NET_ADMIN")
    return descriptor
