# SPDX-License-Identifier: GPL-3.0-or-later
"""STUN on the SIP port: a client behind NAT keeps its flow open and learns its address (RFC 5626 §4.4.2, RFC 8489)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from sip.effects import Address

_MAGIC = 0x2112A442
_REQUEST, _RESPONSE = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS = 0x0020
_HEADER = struct.Struct("!HHI12s")


def binding_response(data: bytes, source: Address) -> bytes | None:
    """The answer to a Binding request from `source`; None where `data` is none."""
    if len(data) < _HEADER.size or data[0] > 1:
        return None
    kind, length, magic, transaction = _HEADER.unpack_from(data)
    if kind != _REQUEST or magic != _MAGIC or length != len(data) - _HEADER.size or length % 4:
        return None
    packed = ip_address(source.host).packed
    mask = data[4 : 4 + len(packed)]
    value = struct.pack("!BBH", 0, 1 if len(packed) == 4 else 2, source.port ^ (_MAGIC >> 16))
    value += bytes(byte ^ key for byte, key in zip(packed, mask, strict=True))
    attribute = struct.pack("!HH", _XOR_MAPPED_ADDRESS, len(value)) + value
    return _HEADER.pack(_RESPONSE, len(attribute), _MAGIC, transaction) + attribute


def is_stun(data: bytes) -> bool:
    """Whether a datagram is STUN and so not SIP, which is text."""
    return len(data) >= _HEADER.size and data[0] <= 1 and data[4:8] == _MAGIC.to_bytes(4, "big")
