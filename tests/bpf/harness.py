# SPDX-License-Identifier: GPL-3.0-or-later
"""The loaded relay under BPF_PROG_TEST_RUN: rules in, packets through, counters, events and copies out."""

import contextlib
import ctypes
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from ctl.kernel._libbpf import ffi, lib

from ctl.kernel.copies import CopyReader
from ctl.kernel.events import Dtmf, Learned, Rejected, Rtcp, SsrcChanged, decode
from ctl.kernel.flowrule import FlowAction, FlowFlag, FlowRule, FlowState, mapped, pack_rule, unmapped
from ctl.kernel.flowtable import RelayConfig
from ctl.kernel.libbpf import BpfObject, check
from ctl.kernel.ringbuffer import RingBuffer
from tests.bpf import model

ROOT = Path(__file__).resolve().parents[2]
OBJECT = ROOT / "bpf" / "relay.bpf.o"
TEXTS = ("10.0.0.1", "10.0.0.2", "2001:db8:0:1::1", "2001:db8:0:2::1")
ADDRESSES = tuple(map(mapped, TEXTS))
ENTRIES = 65536 * len(ADDRESSES)
PORT_MIN, PORT_MAX = 10000, 10999
CLONE_NEWNET = 0x40000000
FLOW_MAPS = ("flows", "ledgers")
RINGS = ("mirror", "captures")
COPIES = 100_000
TALLIED = ("rejected", "dropped", "policed", "last_reason", "lost", "reordered", "duplicates", "ssrc_changes", "resets")
EXPRESS = struct.Struct("=62sH")
METADATA = 216


class Outcome(NamedTuple):
    verdict: int
    data: bytes


class Harness:
    """One loaded relay; `clear` makes it as new."""

    def __init__(self, unmatched_rate=0, unmatched_burst=0):
        require_object()
        self.config = RelayConfig(lib.VOXDP_LAYOUT, TEXTS, PORT_MIN, PORT_MAX, unmatched_rate, unmatched_burst)
        self.object = BpfObject.open(OBJECT, map_sizes=dict.fromkeys(FLOW_MAPS, ENTRIES), rodata=self.config.encode())
        self.object.load()
        self.program = self.object.program("relay")
        self.reason_map = self.object.map("reasons")
        self.memories = [self.object.map(name).mmap(True) for name in FLOW_MAPS]
        self.flows = ffi.from_buffer("struct flow[]", self.memories[0])
        self.ledgers = ffi.from_buffer("struct flow_ledger[]", self.memories[1])
        self.ring = RingBuffer(self.object.map("events"))
        self.taken = ffi.new("struct event[]", 16384)
        self.readers = [CopyReader(self.object.map(name)) for name in RINGS]
        self.used = set()

    def run(self, data):
        result = self.program.test_run(data)
        return Outcome(result.retval, result.data)

    def run_cramped(self, data):
        """The verdict with metadata before the frame, so that hardly any room is left there."""
        whole = bytes(METADATA) + data
        options = ffi.new("struct bpf_test_run_opts *", {"sz": ffi.sizeof("struct bpf_test_run_opts")})
        context = ffi.new("struct xdp_md *", {"data": METADATA, "data_end": len(whole)})
        options.data_in, options.data_size_in = ffi.from_buffer(whole), len(whole)
        options.ctx_in, options.ctx_size_in = context, ffi.sizeof("struct xdp_md")
        check(lib.bpf_prog_test_run_opts(self.program.fd, options), "run with metadata")
        return options.retval

    def put(self, index, flow, movable=False):
        """Write the rule of a model flow, as the controller would."""
        entry, ledger = self.flows[index], self.ledgers[index]
        self.used.update((index, flow.partner or index))
        wanted = ffi.from_buffer("struct flow_wanted *", pack_rule(index, rule_of(flow)))
        encoded = ffi.new("struct flow_rule *")
        lib.rule_encode(wanted, ffi.from_buffer("uint32_t[4]", ADDRESSES[index >> 16]), encoded, ledger_wide(ledger))
        if flow.police:
            encoded.police_interval = flow.police[0]
        encoded.generation = flow.generation
        encoded.flags |= lib.FLAG_MOVABLE if movable else 0
        entry.rule.state = model.OFF
        ffi.memmove(ffi.addressof(entry, "rule"), encoded, ffi.sizeof("struct flow_rule"))
        entry.track.express = 0

    def clear(self):
        for index in self.used:
            if not 0 <= index < ENTRIES:  # partners may be anywhere
                continue
            for entry in (self.flows[index], self.ledgers[index]):
                ffi.memmove(ffi.addressof(entry), bytes(ffi.sizeof(entry)), ffi.sizeof(entry))
        self.used.clear()
        self.events()
        self.copies()
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
        """Track and tally as the kernel left them, but for what may take the express way."""
        track, tally = self.flows[index].track, self.ledgers[index].tally
        kept, _ = EXPRESS.unpack(ffi.buffer(ffi.addressof(track)))
        return kept, tally_image(tally)

    def raw_events(self):
        """The events as struct event; they stay readable until the next are read."""
        return self.taken[0 : lib.events_drain(*self.ring.memory, self.taken, len(self.taken))]

    def events(self):
        """(name, flow, generation, detail) as the model tells them; of `rejected` source and reason."""
        return [as_told(decode(raw)) for raw in self.raw_events()]

    def copies(self):
        """(kind, flow, generation, length, data) as the model tells them; those of `mirror` come first."""
        found = [copy for reader in self.readers for copy in reader.read(COPIES)]
        return [(int(copy.kind), copy.flow, copy.generation, copy.length, copy.data) for copy in found]


def rule_of(flow):
    """The controller's rule of a model flow. What it has no way to say, `put` writes."""
    return FlowRule(
        FlowState(flow.state),
        *(endpoint(each) for each in (flow.source, flow.egress, flow.target)),
        action=FlowAction(flow.action),
        flags=FlowFlag(flow.flags),
        target_mac=flow.macs[:6],
        egress_mac=flow.macs[6:],
        ifindex=flow.ifindex,
        dscp=None if flow.dscp == model.KEEP else flow.dscp,
        clock_rate=int(flow.clock * 10**9 / 2**42 + 0.5),
        partner=flow.partner,
        vlans=flow.vlans,
        latch_packets=flow.latch_packets,
        previous_source=flow.previous and endpoint(flow.previous),
        police=flow.police and (1, flow.police[1]),
        payload_types=flow.payload_types,
        dtmf_type=flow.dtmf_type,
        demux=flow.demux,
        stun=flow.stun,
    )


def endpoint(packed):
    return unmapped(packed[0]), packed[1]


def ledger_wide(ledger):
    return ffi.addressof(ledger, "wide")


def as_told(event):
    name, head = NAMES[type(event)], (event.flow, event.generation)
    return name, *head, DETAILS[type(event)](event)


NAMES = {Learned: "learned", Rejected: "rejected", SsrcChanged: "ssrc", Rtcp: "rtcp", Dtmf: "dtmf"}
DETAILS = {
    Learned: lambda event: (mapped(event.source[0]), event.source[1]),
    Rejected: lambda event: (mapped(event.source[0]), event.source[1], event.reason),
    SsrcChanged: lambda event: event.ssrc,
    Rtcp: lambda event: event.payload,
    Dtmf: lambda event: (event.ssrc, event.event, event.volume, event.timestamp, event.duration),
}


def pack_track(flow):
    """struct flow_track of a model flow, but for its last field."""
    window = sum(1 << (flow.sequence - seen) % 65536 for seen in flow.seen)
    return (
        b"".join(struct.pack("=I", tag << 16 | socket.htons(port)) for tag, port in (flow.binding, flow.override))
        + struct.pack("=QQQQ", flow.packets, flow.bytes, flow.last_seen, window)
        + struct.pack("=IIIH", flow.ssrc, flow.transit, flow.jitter, flow.sequence)
        + struct.pack("=BBIBB", flow.payload_type, flow.tos, flow.largest_gap, 0, flow.moved)
    )


def tally_image(tally):
    """What a model knows of a struct flow_tally; the time of the last event is the kernel's own."""
    source = bytes(tally.rejected_address), socket.ntohs(tally.rejected_port)
    return tuple(getattr(tally, name) for name in TALLIED), source, tally.settled


def expected_tally(flow):
    """The same of a model flow."""
    return tuple(getattr(flow, name) for name in TALLIED), flow.rejected_from, flow.settled


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
