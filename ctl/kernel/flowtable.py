# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows of the kernel relay: rules written to, and counters read from, two mapped arrays.

Works on the pins alone: whoever may read and write the files needs no capability. There must be one writer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, Self

from ctl.kernel._libbpf import ffi, lib
from ctl.kernel.flowcounts import decode as decode_counts
from ctl.kernel.flowrule import (
    MAPPED,
    POLICE_MAX,
    REASONS,
    Endpoint,
    FlowFlag,
    FlowRule,
    FlowStatistics,
    canonical,
    decode_rule,
    mapped,
    mapped_endpoint,
    pack_rule,
    unmapped,
)
from ctl.kernel.libbpf import Map
from sip.facts import fact

ADDRESS_SIZE = 16
IndexedRule = tuple[int, FlowRule]
"""A flow's place in the table and its rule."""


@fact
class RelayConfig:
    """What the loaded program was built for: its relay addresses by slot, first and last media port.

    unmatched_rate, unmatched_burst: packets per second, and at once, that the host gets of one source to a relay
    address though they belong to no flow; 0: all. A source is an IPv4 address or an IPv6 network of 64 bits.
    """

    layout: int
    addresses: tuple[str, ...]
    port_min: int
    port_max: int
    unmatched_rate: int = 0
    unmatched_burst: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", tuple(map(canonical, self.addresses)))

    def encode(self) -> bytes:
        """The bytes of a struct relay_config. Raises ValueError for what it cannot hold."""
        if not 0 <= self.unmatched_rate <= POLICE_MAX or not 0 <= self.unmatched_burst <= POLICE_MAX:
            raise ValueError(f"unmatched packets: give a rate and a burst within 0-{POLICE_MAX}")
        encoded = ffi.new("struct relay_config *")
        encoded.layout, encoded.address_count = self.layout, len(self.addresses)
        encoded.port_min, encoded.port_max = self.port_min, self.port_max
        encoded.unmatched_interval = lib.rate_interval(self.unmatched_rate)
        encoded.unmatched_rate, encoded.unmatched_burst = self.unmatched_rate, self.unmatched_burst
        unused = int(lib.RELAY_ADDRESSES) - len(self.addresses)
        places = [mapped(address) for address in (*self.addresses, *self.addresses[:1] * unused)]
        packed = b"".join(places)
        ffi.memmove(encoded.addresses, packed, len(packed))
        packed = b"".join(place[12:] if place.startswith(MAPPED) else bytes(4) for place in places)
        ffi.memmove(encoded.ipv4, packed, len(packed))
        return bytes(ffi.buffer(encoded))

    @classmethod
    def decode(cls, data: bytes) -> RelayConfig:
        """From the bytes of a struct relay_config."""
        encoded = ffi.from_buffer("struct relay_config *", data)
        packed = bytes(ffi.buffer(encoded.addresses))
        places = range(0, ADDRESS_SIZE * encoded.address_count, ADDRESS_SIZE)
        return cls(
            encoded.layout,
            tuple(unmapped(packed[place : place + ADDRESS_SIZE]) for place in places),
            encoded.port_min,
            encoded.port_max,
            encoded.unmatched_rate,
            encoded.unmatched_burst,
        )


@fact
class ReasonCount:
    """Packets, and bytes of whole frames, that met one end."""

    packets: int
    bytes: int


@fact
class FlowColumns:
    """Counters of many flows, column by column, in the order of the indexes asked for.

    last_seen: ns of CLOCK_MONOTONIC, 0: no packet yet. jitter: sixteenths of an RTP clock tick. largest_gap:
    microseconds. payload_type: last seen, 0 before the first.
    """

    packets: array[int]
    bytes: array[int]
    last_seen: array[int]
    rejected: array[int]
    dropped: array[int]
    jitter: array[int]
    largest_gap: array[int]
    lost: array[int]
    reordered: array[int]
    duplicates: array[int]
    payload_type: array[int]


COLUMN_TYPES = {
    each.name: "Q" if each.name in ("packets", "bytes", "last_seen", "rejected", "dropped") else "I"
    for each in fields(FlowColumns)
}


class FlowTable:
    """The flow table of a loaded relay."""

    def __init__(self, flows: Map, ledgers: Map, reasons: Map, config: RelayConfig) -> None:
        self.config = config
        self._maps = flows, ledgers, reasons
        self._memories = flows.mmap(writable=True), ledgers.mmap(writable=True)
        self._flows = ffi.from_buffer("struct flow *", self._memories[0])
        self._ledgers = ffi.from_buffer("struct flow_ledger *", self._memories[1])
        self._entries = min(flows.max_entries, ledgers.max_entries)
        self._slots = {address: slot for slot, address in enumerate(config.addresses)}
        self._table = ffi.new("struct flow_table *")
        self._table.flows, self._table.ledgers, self._table.entries = self._flows, self._ledgers, self._entries
        packed = b"".join(map(mapped, config.addresses))
        ffi.memmove(self._table.addresses, packed, len(packed))
        self._table.generation = lib.flows_generation(self._table)

    @classmethod
    def open(cls, pin_dir: Path) -> Self:
        """Open the pins in `<bpffs>/voxdp/v<LAYOUT>`; BpfError with ENOENT if nothing is attached."""
        config = Map.from_pin(pin_dir / "config")
        return cls(
            Map.from_pin(pin_dir / "flows"),
            Map.from_pin(pin_dir / "ledgers"),
            Map.from_pin(pin_dir / "reasons"),
            RelayConfig.decode(config.lookup(bytes(config.key_size))),
        )

    def close(self) -> None:
        """Unmap; the kernel goes on."""
        ffi.release(self._flows)
        ffi.release(self._ledgers)
        for each in (*self._memories, *self._maps):
            each.close()

    def index(self, address: str, port: int) -> int:
        """Where the flow of a relay address and port is; ValueError if it is not the relay's."""
        slot = self._slots.get(canonical(address))
        if slot is None:
            raise ValueError(f"{address} is no relay address of the attached program; run: voxdp attach")
        if not self.config.port_min <= port <= self.config.port_max:
            span = f"{self.config.port_min}-{self.config.port_max}"
            raise ValueError(f"port {port} is outside the attached program's range {span}; run: voxdp attach")
        return slot * int(lib.FLOWS_PER_ADDRESS) + port

    def local(self, index: int) -> Endpoint:
        """The reverse of `index`."""
        slot, port = divmod(index, lib.FLOWS_PER_ADDRESS)
        return self.config.addresses[slot], port

    def write(self, index: int, rule: FlowRule, *, fresh: bool = True, tenant: int = 0) -> None:
        """Write one flow; counters start at zero if `fresh`, else all goes on, with what was learned.

        A partner that names this flow in return gets the new generation too, so that it can still tell and be
        told what is learned.
        """
        partner = self._partner_of(index, rule)
        if fresh and partner and partner[1].state:
            raise ValueError(f"flow {index} has a partner that is on: use write_pair for a new call")
        group = ((index, rule), partner) if partner and not fresh else ((index, rule),)
        self._write(group, len(group), fresh, tenant)

    def write_pair(self, first: IndexedRule, second: IndexedRule, *, fresh: bool = True, tenant: int = 0) -> None:
        """Write both directions of a stream, under one generation."""
        self._write((first, second), 2, fresh, tenant)

    def write_pairs(
        self, pairs: Iterable[tuple[IndexedRule, IndexedRule]], *, fresh: bool = True, tenant: int = 0
    ) -> None:
        """`write_pair` for each, 5,000 pairs within 10 ms; nothing is written if one rule of them is refused."""
        self._write(chain.from_iterable(pairs), 2, fresh, tenant)

    def off(self, index: int) -> None:
        """Drop every packet from now on. The counters stay to be read."""
        lib.flow_off(self._at(index))

    def set_flags(self, index: int, flags: FlowFlag, clear: FlowFlag = FlowFlag.NONE) -> None:
        """Set some flags and clear others while the flow goes on; ValueError if no rule was ever written there."""
        if not lib.flow_set_flags(self._at(index), flags, clear):
            raise ValueError(f"flow {index} was never written")

    def clear_flags(self, flags: FlowFlag) -> int:
        """Clear flags of every flow that has one of them; return how many did."""
        return int(lib.flows_clear_flags(self._table, flags))

    def rule(self, index: int) -> FlowRule | None:
        """The rule as it was written; None if there never was one."""
        encoded = self._at(index).rule
        return decode_rule(encoded, self._ledgers[index].wide) if encoded.generation else None

    def settled(self, index: int) -> bool:
        """Whether the source has yielded a valid packet since the rule was written: the previous one has no right."""
        self._at(index)
        return bool(self._ledgers[index].tally.settled == self.generation(index))

    def generation(self, index: int) -> int:
        """The rule's generation, which events carry; 0: never written."""
        return int(self._at(index).rule.generation)

    def read(self, index: int) -> FlowStatistics:
        """What was counted since the flow was written fresh; also while it is off."""
        return self.read_many((index,))[0]

    def read_many(self, indexes: Iterable[int]) -> list[FlowStatistics]:
        """`read` for each, 2,000 flows in some 15 ms. For a few counters of very many flows use `columns`."""
        wanted = array("I", indexes)
        gathered = ffi.new("struct flow_counts[]", len(wanted))
        if not lib.flows_counts(self._table, ffi.from_buffer("uint32_t[]", wanted), len(wanted), gathered):
            raise ValueError(f"flow {max(wanted)} is beyond the table's {self._entries} entries")
        return decode_counts(bytes(ffi.buffer(gathered)), wanted, self._rejected_source, self._learned_source)

    def columns(self, indexes: Sequence[int]) -> FlowColumns:
        """The counters of many flows in one call of C: 20,000 flows within 1 ms if `indexes` is an array("I")."""
        wanted = indexes if isinstance(indexes, array) else array("I", indexes)
        columns = {name: array(code, bytes(len(wanted) * array(code).itemsize)) for name, code in COLUMN_TYPES.items()}
        into = ffi.new("struct flow_columns *")
        views = {name: ffi.from_buffer(f"{_c_type(name)}[]", column) for name, column in columns.items()}
        for name, view in views.items():
            setattr(into, name, view)
        if not lib.flows_columns(self._table, ffi.from_buffer("uint32_t[]", wanted), len(wanted), into):
            raise ValueError(f"flow {max(wanted)} is beyond the table's {self._entries} entries")
        return FlowColumns(**columns)

    def active(self) -> array[int]:
        """Indexes of the flows that are on. Scans the table: about 1 ms for each relay address."""
        capacity = self._entries
        found = array("I", bytes(4 * capacity))
        count = lib.flows_active(self._table, ffi.from_buffer("uint32_t[]", found), capacity)
        return found[:count]

    def reasons(self) -> dict[str, ReasonCount]:
        """What became of all packets, over all CPUs: every reason by its name in bpf/flow.h, lower case."""
        return {name: self._reason(number) for number, name in sorted(REASONS.items())}

    def _reason(self, number: int) -> ReasonCount:
        per_cpu = self._maps[2].lookup_percpu(bytes(ffi.buffer(ffi.new("uint32_t *", number))))
        counts = [ffi.from_buffer("struct reason_count *", value) for value in per_cpu]
        return ReasonCount(sum(each.packets for each in counts), sum(each.bytes for each in counts))

    def _write(self, flows: Iterable[IndexedRule], size: int, fresh: bool, tenant: int) -> None:
        """Groups of `size` flows; those of a group get one generation."""
        flows = tuple(flows)
        packed = b"".join([pack_rule(index, rule) for index, rule in flows])
        if not lib.flows_write(self._table, packed, len(flows), size, tenant, fresh):
            self._at(max(index for index, _ in flows))

    def _partner_of(self, index: int, rule: FlowRule) -> tuple[int, FlowRule] | None:
        if rule.partner is None:
            return None
        partner = self.rule(rule.partner)
        if partner is None or partner.partner != index:
            return None
        return (rule.partner, partner) if self.generation(rule.partner) == self.generation(index) else None

    def _rejected_source(self, index: int) -> Endpoint | None:
        tally = self._ledgers[index].tally
        return mapped_endpoint(tally.rejected_address, tally.rejected_port)

    def _learned_source(self, index: int) -> Endpoint | None:
        """Latched address, or the one that was given, and the port that was bound."""
        ledger, port = self._ledgers[index], self._flows[index].track.binding & 0xFFFF
        latched = mapped_endpoint(ledger.tally.latch_address, port)
        return latched or mapped_endpoint(ffi.buffer(ledger.wide.source_address), port)

    def _at(self, index: int) -> Any:
        if not 0 <= index < self._entries:
            raise ValueError(f"flow {index} is beyond the table's {self._entries} entries")
        return self._flows + index


def _c_type(column: str) -> str:
    return "uint64_t" if COLUMN_TYPES[column] == "Q" else "uint32_t"
