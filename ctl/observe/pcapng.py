# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures as Wireshark, tshark and tcpdump read them: pcapng (draft-ietf-opsawg-pcapng), written block by block.

Pure. Time stamps are nanoseconds since 1970; each frame says which way it went, by which interface, and in words what
it belongs to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Literal

Direction = Literal["in", "out"]

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
BYTE_ORDER = 0x1A2B3C4D
ETHERNET = 1
NANOSECONDS = 9  # as a power of ten
COMMENT, IF_NAME, IF_DESCRIPTION, IF_TIME_RESOLUTION, PACKET_FLAGS, HARDWARE, APPLICATION = 1, 2, 3, 9, 2, 2, 4
DIRECTIONS: dict[Direction, int] = {"in": 1, "out": 2}


class Writer:
    """Makes the blocks of one section; whoever has it writes them in their order."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._interfaces: dict[str, int] = {}

    def head(self, comment: str) -> bytes:
        """Return the block that begins the file."""
        options = [(COMMENT, comment.encode()), (APPLICATION, self._application.encode())]
        return _block(SECTION, struct.pack("=IHHq", BYTE_ORDER, 1, 0, -1), options)

    def frame(
        self, interface: str, direction: Direction, nanoseconds: int, length: int, data: bytes, comment: str
    ) -> bytes:
        """Return the block of one frame, after that of its interface if it is the first there.

        length: of the frame on the wire, of which `data` is the beginning.
        """
        number = self._interfaces.get(interface)
        before = b""
        if number is None:
            number = self._interfaces[interface] = len(self._interfaces)
            before = _interface(interface)
        fixed = struct.pack("=IIIII", number, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF, len(data), length)
        options = [(COMMENT, comment.encode()), (PACKET_FLAGS, struct.pack("=I", DIRECTIONS[direction]))]
        return before + _block(PACKET, fixed + _padded(data), options)


def _interface(name: str) -> bytes:
    options = [
        (IF_NAME, name.encode()),
        (IF_DESCRIPTION, b"as the kernel relay received and sent"),
        (IF_TIME_RESOLUTION, bytes([NANOSECONDS])),
    ]
    return _block(INTERFACE, struct.pack("=HHI", ETHERNET, 0, 0), options)


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    body += b"".join(struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options)
    body += struct.pack("=HH", 0, 0)
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
