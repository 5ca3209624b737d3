# SPDX-License-Identifier: GPL-3.0-or-later
"""What `voxdp attach` put into the kernel, written down for the controllers that find it there later.

A bpf file system holds no data, so the file lies among the sockets, and like them is gone after a boot.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AttachRecord:
    """tag: the kernel's hash of the program's instructions, 16 hexadecimal digits."""

    layout: int
    tag: str

    @staticmethod
    def path(state_dir: Path) -> Path:
        """Where the record of this process's network namespace is."""
        return state_dir / f"relay-{os.stat('/proc/thread-self/ns/net').st_ino}.json"

    @classmethod
    def read(cls, state_dir: Path) -> AttachRecord | None:
        """Return what was written; None if nothing was, or nothing that can be read."""
        try:
            return cls(**json.loads(cls.path(state_dir).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state_dir: Path) -> None:
        """Replace what was written before. Raises OSError."""
        path = self.path(state_dir)
        scratch = path.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "w") as file:
            json.dump(asdict(self), file)
        scratch.replace(path)

    @classmethod
    def remove(cls, state_dir: Path) -> None:
        """Forget it; again is harmless."""
        cls.path(state_dir).unlink(missing_ok=True)
