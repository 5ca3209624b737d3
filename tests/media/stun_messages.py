# SPDX-License-Identifier: GPL-3.0-or-later
"""STUN written and read in Python, apart from the engine's own, for tests that speak with it."""

import hmac
import os
import struct
import zlib
from dataclasses import dataclass, field
from hashlib import sha1
from ipaddress import ip_address

COOKIE = 0x2112A442
REQUEST, INDICATION, SUCCESS, ERROR = 0x0001, 0x0011, 0x0101, 0x0111
USERNAME, INTEGRITY, ERROR_CODE, UNKNOWN = 0x0006, 0x0008, 0x0009, 0x000A
MAPPED, PRIORITY, USE_CANDIDATE, FINGERPRINT = 0x0020, 0x0024, 0x0025, 0x8028
CONTROLLED, CONTROLLING = 0x8029, 0x802A


@dataclass
class Message:
    """kind: type of the message; attributes: their values by type, those behind MESSAGE-INTEGRITY left out."""

    kind: int
    transaction: bytes = field(default_factory=lambda: os.urandom(12))
    attributes: dict[int, bytes] = field(default_factory=dict)
    data: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> "Message | None":
        """A STUN message, or None for other bytes."""
        if len(data) < 20 or data[0] > 3 or data[4:8] != struct.pack("!I", COOKIE):
            return None
        kind, length = struct.unpack_from("!HH", data)
        assert length == len(data) - 20
        message = cls(kind, data[8:20], {}, data)
        at = 20
        while at < len(data) and INTEGRITY not in message.attributes:
            type_, length = struct.unpack_from("!HH", data, at)
            message.attributes[type_] = data[at + 4 : at + 4 + length]
            at += 4 + (length + 3) // 4 * 4
        return message

    def pack(self, password: str | None = None, *, fingerprint: bool = True) -> bytes:
        """The bytes, sealed with a password."""
        body = b"".join(map(attribute, self.attributes, self.attributes.values()))
        if password is not None:
            covered = self._header(len(body) + 24) + body
            body += attribute(INTEGRITY, hmac.digest(password.encode(), covered, sha1))
        if fingerprint:
            covered = self._header(len(body) + 8) + body
            body += attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(covered) ^ 0x5354554E))
        return self._header(len(body)) + body

    def authentic(self, password: str) -> bool:
        """Whether a parsed message was sealed with a password."""
        at = self.data.index(struct.pack("!HH", INTEGRITY, 20) + self.attributes[INTEGRITY])
        covered = self.data[:2] + struct.pack("!H", at + 4) + self.data[4:at]
        return hmac.digest(password.encode(), covered, sha1) == self.attributes[INTEGRITY]

    @property
    def mapped(self) -> tuple[str, int]:
        """Address and port of XOR-MAPPED-ADDRESS."""
        value = self.attributes[MAPPED]
        mask = struct.pack("!I", COOKIE) + self.transaction
        address = bytes(one ^ other for one, other in zip(value[4:], mask, strict=False))
        return str(ip_address(address)), struct.unpack_from("!H", value, 2)[0] ^ (COOKIE >> 16)

    @property
    def error(self) -> int:
        """The number of ERROR-CODE."""
        value = self.attributes[ERROR_CODE]
        return value[2] * 100 + value[3]

    def _header(self, length: int) -> bytes:
        return struct.pack("!HHI12s", self.kind, length, COOKIE, self.transaction)


def attribute(type_: int, value: bytes) -> bytes:
    """An attribute with its header and padding."""
    return struct.pack("!HH", type_, len(value)) + value + bytes(-len(value) % 4)


def mapped_value(address: str, port: int, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS."""
    packed = ip_address(address).packed
    mask = struct.pack("!I", COOKIE) + transaction
    family = 1 if len(packed) == 4 else 2
    value = bytes(one ^ other for one, other in zip(packed, mask, strict=False))
    return struct.pack("!BBH", 0, family, port ^ (COOKIE >> 16)) + value


def check(username: str, *, controlling: bool = True, use: bool = False, priority: int = 1, tie: int = 7) -> Message:
    """A connectivity check (RFC 8445 §7.2)."""
    attributes = {USERNAME: username.encode(), PRIORITY: struct.pack("!I", priority)}
    attributes[CONTROLLING if controlling else CONTROLLED] = struct.pack("!Q", tie)
    if use:
        attributes[USE_CANDIDATE] = b""
    return Message(REQUEST, attributes=attributes)
