# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says about XDP on an interface. Asking needs no capability."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from ctl.kernel._libbpf import ffi, lib
from ctl.kernel.libbpf import Mode, Program, check, failure_log

KERNEL_MESSAGE = "Kernel error message:"
MODE_FLAGS = {"native": lib.XDP_FLAGS_DRV_MODE, "generic": lib.XDP_FLAGS_SKB_MODE}
MODES: dict[int, Mode] = {lib.XDP_ATTACHED_DRV: "native", lib.XDP_ATTACHED_SKB: "generic"}


@dataclass(frozen=True, slots=True)
class Attached:
    """The program on an interface. mode: None if it runs on the card itself or in several modes."""

    program_id: int
    mode: Mode | None


def attached(ifindex: int) -> Attached | None:
    """Whatever XDP program is on the interface."""
    answer = ffi.new("struct bpf_xdp_query_opts *", {"sz": ffi.sizeof("struct bpf_xdp_query_opts")})
    check(lib.bpf_xdp_query(ifindex, 0, answer), f"ask for XDP on interface {ifindex}")
    if answer.attach_mode == lib.XDP_ATTACHED_NONE:
        return None
    program_id = answer.prog_id or answer.drv_prog_id or answer.skb_prog_id
    return Attached(program_id, MODES.get(answer.attach_mode))


def interface_index(name: str) -> int:
    """Index in this network namespace; 0 if there is no such interface."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def refusal(program: Program, ifindex: int, mode: Mode) -> str | None:
    """The driver's own words for why it takes no program. A link's creation gives a number only, netlink a text."""
    flags = MODE_FLAGS[mode] | lib.XDP_FLAGS_UPDATE_IF_NOEXIST
    lib.libbpf_log_clear()
    if lib.bpf_xdp_attach(ifindex, program.fd, flags, ffi.NULL) == 0:
        check(lib.bpf_xdp_detach(ifindex, MODE_FLAGS[mode], ffi.NULL), "take the trial program off")
        return None
    said = [line.partition(KERNEL_MESSAGE)[2].strip() for line in failure_log() if KERNEL_MESSAGE in line]
    return said[-1] if said else None
