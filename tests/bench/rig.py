# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay and the programs it is measured against, loaded, with flows in place."""

import socket
import struct
from pathlib import Path

from ctl.kernel._libbpf import lib

from ctl.kernel.flowrule import FlowFlag, FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable, RelayConfig
from ctl.kernel.libbpf import BpfObject

BPF = Path(__file__).resolve().parents[2] / "bpf"
FIRST_PORT, LAST_PORT = 10000, 59999
STRIDE = 7919
CLOCK_RATE = 8000
FLOW_MAPS = ("flows", "ledgers")
DSCP = 46


class Relay:
    """A loaded relay for some addresses, and its flow table."""

    def __init__(self, *addresses: str) -> None:
        config = RelayConfig(lib.VOXDP_LAYOUT, addresses, FIRST_PORT, LAST_PORT)
        sizes = dict.fromkeys(FLOW_MAPS, 65536 * len(addresses))
        self.object = BpfObject.open(BPF / "relay.bpf.o", map_sizes=sizes, rodata=config.encode())
        self.object.load()
        self.program = self.object.program("relay")
        self.table = FlowTable(*map(self.object.map, (*FLOW_MAPS, "reasons")), config)


def baseline(flows: int, source: tuple[str, int], target: str, ifindex: int = 1, macs: bytes = bytes(12)) -> BpfObject:
    """The baseline programs; `generate` and `spread` make packets of `flows` flows from `source` to `target`.

    macs: target MAC and source MAC of the frames that `generate` sends out of `ifindex`.
    """
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target)
    config = struct.pack("=II", flows, STRIDE % flows) + addresses
    config += struct.pack("!H", source[1]) + struct.pack("=HI", FIRST_PORT, ifindex) + macs
    config += ip_header(addresses)[10:12] + bytes(2)
    loaded = BpfObject.open(BPF / "baseline.bpf.o", rodata=config)
    loaded.load()
    return loaded


def rule(
    source: tuple[str, int],
    egress: tuple[str, int],
    target: tuple[str, int],
    ifindex: int,
    macs: bytes,
    flags: FlowFlag = FlowFlag.NONE,
) -> FlowRule:
    """A pinned flow with everything on: jitter, DSCP, checksum deltas. macs: target's, then egress."""
    return FlowRule(
        state=FlowState.PINNED,
        source=source,
        egress=egress,
        target=target,
        flags=flags,
        target_mac=macs[:6],
        egress_mac=macs[6:],
        ifindex=ifindex,
        dscp=DSCP,
        clock_rate=CLOCK_RATE,
    )


def ip_header(addresses: bytes) -> bytes:
    """Of every test packet: 200 bytes, TTL 64."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 200, 0, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]


def frame(source: tuple[str, int], target: tuple[str, int], macs: bytes = bytes(12)) -> bytes:
    """G.711 of 20 ms in RTP: 214 bytes, or with IPv6 234."""
    if ":" in source[0]:
        addresses = socket.inet_pton(socket.AF_INET6, source[0]) + socket.inet_pton(socket.AF_INET6, target[0])
        header = b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 180, 17, 64) + addresses
    else:
        header = b"\x08\x00" + ip_header(socket.inet_aton(source[0]) + socket.inet_aton(target[0]))
    udp = struct.pack("!HHHH", source[1], target[1], 180, 0x1234)
    return macs + header + udp + struct.pack("!BBHII", 0x80, 0, 1, 160, 99) + bytes(160)
