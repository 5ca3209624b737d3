# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows of an older relay, whose bpf/flow.h was laid out differently, taken over by a new one under traffic.

The kernel knows how the older maps are laid out, as their type information is kept with them, so fields are found
by name. What names cannot tell, which layouts mean the same by the same names, stands in TRANSLATIONS.
"""

from __future__ import annotations

import errno
import socket
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

from ctl.kernel._libbpf import ffi, lib
from ctl.kernel.flowtable import RelayConfig
from ctl.kernel.libbpf import BpfError, Map, check
from ctl.kernel.pins import Pins

FIELDS = 256
SEQUENCES = 1 << 16
COUNTED = ("track.packets", "track.bytes")
TALLIED = ("reordered", "duplicates", "resets", "ssrc_changes", "rejected", "dropped")
LEARNED = ("track.binding", "track.target")


@dataclass(frozen=True, slots=True)
class Translation:
    """What differs in meaning between a layout and the present one.

    renamed: {name now: name then}. complete: called with a struct flow and its struct flow_ledger once their fields
    are copied, to set those that the former layout had not. moved: {name in the ledger now: name in the flow then}.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    complete: Callable[[Any, Any], None] = lambda flow, ledger: None
    moved: Mapping[str, str] = field(default_factory=dict)


_BEFORE_5 = Translation(moved={"wide.partner": "rule.partner", "wide.vlan": "rule.vlan"})
TRANSLATIONS: dict[int, Translation] = dict.fromkeys((3, 4), _BEFORE_5)
"""The layouts whose flows can be taken over. Since 3 there are maps more, those of the engine's AF_XDP sockets; what
became of the policing of a flow is not taken from those before 5, so that each begins with a full bucket."""

Place = tuple[int, int]
"""Offset and size in bytes of a field in a map's value."""


def fields_of(pinned: Map) -> dict[str, Place]:
    """Return where the fields of a map's value are, nested ones as `outer.inner`. Raises BpfError."""
    places = ffi.new("struct field_place[]", FIELDS)
    count = check(lib.map_fields(pinned.fd, places, FIELDS), f"read the type of map {pinned.name}")
    return {ffi.string(each.name).decode(): (each.offset, each.size) for each in places[0:count]}


def config_of(pins: Pins) -> RelayConfig:
    """Return what a relay of any layout was attached for. Raises BpfError."""
    with Map.from_pin(pins.map("config")) as pinned:
        places = fields_of(pinned)
        value = pinned.lookup(bytes(pinned.key_size))

    def raw(name: str) -> bytes:
        offset, size = places[name]
        return value[offset : offset + size]

    count = int.from_bytes(raw("address_count"), "little")
    packed = raw("addresses")
    step = len(packed) // lib.RELAY_ADDRESSES
    addresses = tuple(_address(packed[at : at + step]) for at in range(0, count * step, step))
    ports = (int.from_bytes(raw(name), "little") for name in ("port_min", "port_max"))
    return RelayConfig(pins.layout, addresses, *ports)


def live_flows(pins: Pins) -> int:
    """Return how many flows of a relay of any layout are on. Raises BpfError."""
    with Map.from_pin(pins.map("flows")) as flows:
        offset, _ = fields_of(flows)["rule.state"]
        memory = flows.mmap(writable=False)
        try:
            return sum(state != lib.FLOW_OFF for state in memory[offset :: flows.value_size])
        finally:
            memory.close()


class Takeover:
    """From one relay's maps to another's: `copy` before the links change over, `catch_up` after."""

    def __init__(self, former: Pins, flows: Map, ledgers: Map) -> None:
        """former: of a layout in TRANSLATIONS. Raises BpfError if the maps do not match."""
        translation = TRANSLATIONS[former.layout]
        self._complete, self._moved = translation.complete, translation.moved
        self._flows = _Copying(Map.from_pin(former.map("flows")), flows, translation)
        self._ledgers = _Copying(Map.from_pin(former.map("ledgers")), ledgers, translation)

    def copy(self) -> None:
        """Copy every flow as it is now, while no packet meets the new maps."""
        self._flows.copy()
        self._ledgers.copy()
        for index in self._flows.used("rule.generation"):
            self._finish(index, self._flows.at(index, "struct flow *"))

    def catch_up(self) -> int:
        """Bring over what changed in the former maps since `copy`; return in how many flows.

        To be called when no packet meets them any more. What packets have counted in the new maps meanwhile stays;
        the sequence numbers that the former relay took are no loss.
        """
        flows, ledgers = self._flows, self._ledgers
        changed = {*flows.changed(), *ledgers.changed()}
        for index in changed:
            if flows.differs(index, "rule"):
                flow = flows.renewed(index)
                ledgers.recopy(index)
                self._finish(index, flow)
                lib.flow_renew(flow, flows.at(index, "struct flow *"))
            elif flows.untouched(index, "track.packets"):
                flows.recopy(index, "track.")
                ledgers.recopy(index, "tally.")
            else:
                self._merge(index)
        return len(changed)

    def close(self) -> None:
        """Unmap everything."""
        self._flows.close()
        self._ledgers.close()

    def _finish(self, index: int, flow: Any) -> None:
        """What goes from a flow to its ledger, and what no field of the former layout says."""
        for now, then in self._moved.items():
            self._ledgers.bring(index, now, self._flows, then)
        self._complete(flow, self._ledgers.at(index, "struct flow_ledger *"))

    def _merge(self, index: int) -> None:
        flows, ledgers = self._flows, self._ledgers
        missed = flows.growth(index, "track.sequence") % SEQUENCES
        for name in COUNTED:
            flows.add(index, name, flows.growth(index, name))
        for name in TALLIED:
            ledgers.add(index, f"tally.{name}", ledgers.growth(index, f"tally.{name}"))
        counted_lost = ledgers.value(index, "tally.lost") - ledgers.then(index, "tally.lost")
        ledgers.add(index, "tally.lost", ledgers.growth(index, "tally.lost") - min(missed, max(0, counted_lost)))
        for name in LEARNED:
            if flows.growth(index, name) and flows.untouched(index, name):
                flows.add(index, name, flows.growth(index, name))


class _Copying:
    """One map to its successor."""

    def __init__(self, source: Map, target: Map, translation: Translation) -> None:
        self._before, self._after = fields_of(source), fields_of(target)
        self._renamed = translation.renamed
        self._sizes = source.value_size, target.value_size
        self._entries = source.max_entries
        if self._entries != target.max_entries:
            raise BpfError(errno.EPROTO, f"map {source.name} has {self._entries} entries, not {target.max_entries}")
        self._maps = source, target
        self._memories = source.mmap(writable=False), target.mmap(writable=True)
        self._source, self._target = map(ffi.from_buffer, self._memories)
        self._snapshot = b""
        self._copies = self._plan()

    def copy(self) -> None:
        self._snapshot = self._memories[0][:]
        source = ffi.from_buffer(self._snapshot)
        lib.entries_copy(source, self._sizes[0], self._target, self._sizes[1], self._entries, *self._copies)

    def changed(self) -> array[int]:
        found = array("I", bytes(4 * self._entries))
        indexes, snapshot = ffi.from_buffer("uint32_t[]", found), ffi.from_buffer(self._snapshot)
        count = lib.entries_differing(snapshot, self._source, self._sizes[0], self._entries, indexes)
        return found[:count]

    def differs(self, index: int, prefix: str) -> bool:
        """Whether any field below `prefix` of the former entry is another than it was."""
        names = (name for name in self._before if name.startswith(f"{prefix}."))
        return any(self._read(self._snapshot, index, name) != self._now(index, name) for name in names)

    def untouched(self, index: int, name: str) -> bool:
        """Whether the new entry has still what was copied."""
        return self.value(index, name) == self.then(index, name)

    def used(self, name: str) -> Iterable[int]:
        """Return the entries whose field of 4 bytes is not 0."""
        offset, _ = self._before[name]
        places = range(offset, len(self._snapshot), self._sizes[0])
        return [number for number, at in enumerate(places) if any(self._snapshot[at : at + 4])]

    def recopy(self, index: int, prefix: str = "") -> None:
        """Copy the fields whose names begin so as they are by now."""
        lib.entry_copy(self._source_at(index), self._target_at(index), *self._plan(prefix))

    def bring(self, index: int, name: str, other: _Copying, then: str) -> None:
        """Copy a field that was in the former entry of another map."""
        to, size = self._after[name]
        at, _ = other._before[then]
        field = ffi.new("struct field_copy[]", [(at, to, size)])
        lib.entry_copy(other._source_at(index), self._target_at(index), field, 1)

    def renewed(self, index: int) -> Any:
        """Return a new struct flow with what is in the former entry by now, else with what the new one has."""
        flow = ffi.new("struct flow *", self.at(index, "struct flow *")[0])
        lib.entry_copy(self._source_at(index), ffi.cast("char *", flow), *self._copies)
        return flow

    def at(self, index: int, kind: str) -> Any:
        return ffi.cast(kind, self._target_at(index))

    def value(self, index: int, name: str) -> int:
        offset, size = self._after[name]
        at = index * self._sizes[1] + offset
        return int.from_bytes(self._memories[1][at : at + size], "little")

    def then(self, index: int, name: str) -> int:
        return self._read(self._snapshot, index, name)

    def growth(self, index: int, name: str) -> int:
        return self._now(index, name) - self.then(index, name)

    def add(self, index: int, name: str, amount: int) -> None:
        """Add to a counter of the new entry, whatever the kernel counts there meanwhile."""
        if amount:
            offset, size = self._after[name]
            lib.counter_add(self._target_at(index) + offset, size, amount)

    def close(self) -> None:
        for view in (self._source, self._target):
            ffi.release(view)
        for each in (*self._memories, *self._maps):
            each.close()

    def _now(self, index: int, name: str) -> int:
        return self._read(self._memories[0], index, name)

    def _read(self, memory: Any, index: int, name: str) -> int:
        offset, size = self._before.get(self._renamed.get(name, name), (0, 0))
        at = index * self._sizes[0] + offset
        return int.from_bytes(memory[at : at + size], "little")

    def _source_at(self, index: int) -> Any:
        return self._source + index * self._sizes[0]

    def _target_at(self, index: int) -> Any:
        return self._target + index * self._sizes[1]

    def _plan(self, prefix: str = "") -> tuple[Any, int]:
        """Return the copies of the fields that both layouts have, neighbours joined, and their number."""
        names = (name for name in self._after if name.startswith(prefix))
        both = [(self._renamed.get(name, name), self._after[name]) for name in names]
        places = sorted((to, *self._before[old], size) for old, (to, size) in both if old in self._before)
        joined: list[list[int]] = []
        for to, at, had, size in places:
            if joined and had == size and joined[-1][0] + joined[-1][2] == at and joined[-1][1] + joined[-1][2] == to:
                joined[-1][2] += size
            else:
                joined.append([at, to, min(had, size)])
        return ffi.new("struct field_copy[]", joined), len(joined)


def _address(packed: bytes) -> str:
    """Return an address of 4 bytes, or of 16 where IPv4 is written as ::ffff:a.b.c.d."""
    if len(packed) == 4:
        return socket.inet_ntoa(packed)
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
