# SPDX-License-Identifier: GPL-3.0-or-later
"""The loaded relay under BPF_PROG_TEST_RUN: rules in, packets through, counters and events out."""

import contextlib
import ctypes
import mmap
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from ctl._libbpf import ffi, lib

from ctl.libbpf import BpfObject
from tests.bpf import model

ROOT = Path(__file__).resolve().parents[2]
OBJECT = ROOT / "bpf" / "relay.bpf.o"
ADDRESSES = (socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2"))
ENTRIES = 65536 * len(ADDRESSES)
PORT_MIN, PORT_MAX = 10000, 10999
CLONE_NEWNET = 0x40000000
TALLIED = (
    *("rejected", "dropped", "rejected_port", "last_reason"),
    *("lost", "reordered", "duplicates", "ssrc_changes", "resets"),
)
MAPPED = bytes(10) + b"\xff\xff"
EVENT_HEADER, EVENT_SIZE = 8, 144
NAMES = {1: "learned", 2: "rejected", 3: "ssrc", 4: "rtcp"}


class Outcome(NamedTuple):
    verdict: int
    data: bytes


class Harness:
    """One loaded relay; `clear` makes it as new."""

    def __init__(self):
        require_object()
        sizes = dict.fromkeys(("flows", "ledgers"), ENTRIES)
        rodata = configuration(ADDRESSES, PORT_MIN, PORT_MAX)
        self.object = BpfObject.open(OBJECT, map_sizes=sizes, rodata=rodata)
        self.object.load()
        self.program = self.object.program("relay")
        self.reason_map = self.object.map("reasons")
        self.memories = [self.object.map(name).mmap(True) for name in sizes]
        self.flows = ffi.from_buffer("struct flow[]", self.memories[0])
        self.ledgers = ffi.from_buffer("struct flow_ledger[]", self.memories[1])
        self.ring = Ring(self.object.map("events"))
        self.used = set()

    def run(self, data):
        result = self.program.test_run(data)
        return Outcome(result.retval, result.data)

    def put(self, index, flow):
        """Write the rule of a model flow, as the controller would."""
        rule = self.flows[index].rule
        self.used.update((index, flow.partner or index))
        rule.state = model.OFF
        ffi.memmove(ffi.addressof(rule), pack_rule(index, flow), 64)

    def clear(self):
        for index in self.used & set(range(ENTRIES)):
            for entry in (self.flows[index], self.ledgers[index]):
                ffi.memmove(ffi.addressof(entry), bytes(ffi.sizeof(entry)), ffi.sizeof(entry))
        self.used.clear()
        self.ring.drain()
        cpus = len(self.reason_map.lookup_percpu(bytes(4)))
        for reason in range(64):
            self.reason_map.update(struct.pack("=I", reason), bytes(16 * cpus))

    def reasons(self):
        """{reason: [packets, bytes]} of those that occurred."""
        totals = {}
        for reason in range(64):
            values = [struct.unpack("=QQ", v) for v in self.reason_map.lookup_percpu(struct.pack("=I", reason))]
            total = [sum(column) for column in zip(*values, strict=True)]
            if total[0]:
                totals[reason] = total
        return totals

    def state(self, index):
        """Track and tally as the kernel left them."""
        track, tally = self.flows[index].track, self.ledgers[index].tally
        return bytes(ffi.buffer(ffi.addressof(track))), tally_image(tally)

    def events(self):
        return [decode_event(raw) for raw in self.ring.drain()]


class Ring:
    """Consumer of a BPF ring buffer, see Documentation/bpf/ringbuf.rst of the kernel."""

    def __init__(self, ring):
        self.size, page = ring.max_entries, mmap.PAGESIZE
        self.consumer = mmap.mmap(ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.producer = mmap.mmap(ring.fd, page + 2 * self.size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)

    def drain(self):
        position, end = (struct.unpack_from("=Q", memory)[0] for memory in (self.consumer, self.producer))
        records = []
        while position < end:
            start = mmap.PAGESIZE + position % self.size + EVENT_HEADER
            records.append(self.producer[start : start + EVENT_SIZE])
            position += EVENT_HEADER + EVENT_SIZE
        struct.pack_into("=Q", self.consumer, 0, position)
        return records


def decode_event(raw):
    """(name, flow, generation, detail) as the model tells them; `rejected` has (address, port, reason)."""
    _, flow, generation, kind, reason, length, ssrc = struct.unpack_from("=QIIBBHI", raw)
    address, port = raw[24:40], int.from_bytes(raw[40:42], "big")
    assert address[:12] == bytes(10) + b"\xff\xff"
    detail = {"learned": port, "rejected": (address[12:], port, reason), "ssrc": ssrc, "rtcp": raw[56 : 56 + length]}
    return NAMES[kind], flow, generation, detail[NAMES[kind]]


def configuration(addresses, port_min, port_max):
    """struct relay_config."""
    places = [*addresses, *addresses[:1] * (8 - len(addresses))]
    mapped = b"".join(MAPPED + each for each in places)
    ipv4 = b"".join(places)
    return struct.pack("=IIHHIII", lib.VOXDP_LAYOUT, len(addresses), port_min, port_max, 0, 0, 0) + mapped + ipv4


def pack_rule(index, flow):
    """struct flow_rule of a model flow, with the deltas that flow.h asks for."""
    relay = ADDRESSES[index >> 16] + struct.pack("!H", index & 0xFFFF)
    addresses = flow.egress[0] + flow.target[0]
    ports = struct.pack("!HH", flow.egress[1], flow.target[1])
    port = 0 if flow.state == model.LEARNING else flow.source[1]
    ip_delta = delta(addresses + b"\xfe\xff", flow.source[0] + relay[:4])
    udp_delta = delta(addresses + ports, flow.source[0] + relay + struct.pack("!H", port))
    return (
        struct.pack("=IBBH", flow.generation, flow.state, flow.action, flow.flags)
        + flow.source[0]
        + struct.pack("!HH", port, ip_delta)
        + addresses
        + ports
        + struct.pack("!HBx", udp_delta, flow.dscp)
        + flow.macs
        + struct.pack("=IHHI", flow.ifindex, 0, 0, flow.clock)
        + struct.pack("=IHH", 0xFFFFFFFF if flow.partner is None else flow.partner, 0, 0)
    )


def delta(after, before):
    """Ones' complement sum of `after` minus that of `before`, folded, as a number in network order."""
    return (words(after) - words(before)) % 0xFFFF or 0xFFFF


def words(data):
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def pack_track(flow):
    """struct flow_track of a model flow."""
    window = sum(1 << (flow.sequence - seen) % 65536 for seen in flow.seen)
    return (
        b"".join(struct.pack("=I", tag << 16 | socket.htons(port)) for tag, port in (flow.binding, flow.override))
        + struct.pack("=QQQQ", flow.packets, flow.bytes, flow.last_seen, window)
        + struct.pack("=IIIH", flow.ssrc, flow.transit, flow.jitter, flow.sequence)
        + struct.pack("=BBII", flow.payload_type, flow.tos, flow.largest_gap, 0)
    )


def tally_image(tally):
    """What a model knows of a struct flow_tally, by field; the time of the last event is the kernel's own."""
    return {name: getattr(tally, name) for name in TALLIED} | {"from": bytes(tally.rejected_address)}


def expected_tally(flow):
    """The same of a model flow."""
    address, port = flow.rejected_from
    known = {name: getattr(flow, name) for name in TALLIED if name != "rejected_port"}
    return known | {"rejected_port": socket.htons(port), "from": MAPPED + address if address else bytes(16)}


def require_object():
    sources = [*OBJECT.parent.glob("*.h"), OBJECT.parent / "relay.bpf.c"]
    assert os.geteuid() == 0, "BPF tests load programs: run them as root"
    assert OBJECT.exists(), f"{OBJECT} is not built: run scripts/setup"
    newest = max(source.stat().st_mtime for source in sources)
    assert newest <= OBJECT.stat().st_mtime, f"{OBJECT} is older than its sources: run scripts/setup"


@contextlib.contextmanager
def network_namespace():
    """This thread in a new network namespace of its own, until the block ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no new network namespace: run as root")
        try:
            yield
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)
