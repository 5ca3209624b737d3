# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that all workers have in common: a file that each of them maps, and the kernel's lock on it.

A worker that dies with the lock leaves it free.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path


class SharedMemory:
    """`table` is so many bytes, zeros at first; `with` it, nobody else changes them."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self:
            if os.fstat(self._file).st_size < size:
                os.ftruncate(self._file, size)
        self.table = mmap.mmap(self._file, size)

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file, which stays as it is."""
        self.table.close()
        os.close(self._file)
