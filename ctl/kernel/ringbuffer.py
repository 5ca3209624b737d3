# SPDX-License-Identifier: GPL-3.0-or-later
"""A BPF ring buffer, mapped for its one consumer. See Documentation/bpf/ringbuf.rst of the kernel."""

from __future__ import annotations

import mmap
from typing import Any

from ctl.kernel._libbpf import ffi
from ctl.kernel.libbpf import Map


class RingBuffer:
    """Owns the map, and both mappings of it."""

    def __init__(self, ring: Map) -> None:
        self.map = ring
        size, page = ring.max_entries, mmap.PAGESIZE
        # The data is mapped twice in a row, so that a record that wraps reads as one piece.
        self._consumer = mmap.mmap(ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(ring.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._positions = ffi.from_buffer(self._consumer)
        self._records = ffi.from_buffer(self._producer)

    @property
    def memory(self) -> tuple[Any, Any, int, int]:
        """What the functions of ctl/events_shim.h take first."""
        return self._positions, self._records, mmap.PAGESIZE, self.map.max_entries - 1

    def close(self) -> None:
        """Unmap; what was not read stays for the next consumer."""
        ffi.release(self._positions)
        ffi.release(self._records)
        self._consumer.close()
        self._producer.close()
        self.map.close()
