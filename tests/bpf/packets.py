# SPDX-License-Identifier: GPL-3.0-or-later
"""Builders of frames for tests, and checksums computed in full."""

import socket
import struct

RELAY = ("10.0.0.1", 10000)
SECOND_RELAY = "10.0.0.2"
CALLER = ("192.0.2.10", 4000)
CALLEE = ("198.51.100.20", 6000)
IN_MACS = bytes.fromhex("020000000001020000000002")


def rtp(sequence=1, timestamp=160, ssrc=0x1234, *, payload_type=0, marker=False, first=0x80, body=bytes(160)):
    """An RTP packet; `body` follows the fixed header, so it holds CSRCs and extension where `first` says so."""
    second = payload_type | (0x80 if marker else 0)
    return struct.pack("!BBHII", first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + body


def rtcp(payload_type=200, *, words=6, first=0x80, body=bytes(20)):
    """One RTCP packet: by default a sender report without blocks, 28 bytes."""
    return struct.pack("!BBHI", first, payload_type, words, 0x1234) + body


def frame(
    payload=None,
    *,
    source=CALLER,
    to=RELAY,
    ttl=64,
    tos=0,
    options=b"",
    fragment=0,
    version=4,
    protocol=17,
    ethertype=0x0800,
    total=None,
    length=None,
    checksum=None,
    trailer=b"",
    ihl=None,
):
    """An Ethernet frame with IPv4 and UDP. What is None is computed; `checksum` 0 sends none."""
    payload = rtp() if payload is None else payload
    length = 8 + len(payload) if length is None else length
    total = 20 + len(options) + 8 + len(payload) if total is None else total
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(to[0])
    header = struct.pack("!BBHHHBBH", version << 4 | ihl, tos, total, 7, fragment, ttl, protocol, 0) + addresses
    header += options
    header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    udp = struct.pack("!HHHH", source[1], to[1], length & 0xFFFF, 0) + payload
    if checksum is None:
        checksum = udp_checksum(addresses, udp)
    udp = udp[:6] + struct.pack("!H", checksum) + udp[8:]
    return IN_MACS + struct.pack("!H", ethertype) + header + udp + trailer


def internet_checksum(data):
    """RFC 1071 over the whole data."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data)) if len(data) % 2 == 0 else odd_sum(data)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def odd_sum(data):
    return sum(struct.unpack(f"!{len(data) // 2 + 1}H", data + b"\0"))


def udp_checksum(addresses, udp):
    """Of a UDP datagram whose checksum field is 0; never 0 itself (RFC 768)."""
    pseudo = addresses + struct.pack("!HH", 17, len(udp))
    return internet_checksum(pseudo + udp) or 0xFFFF


def checksums_hold(data):
    """Are both checksums of a forwarded frame right, by full computation? UDP 0 is none, and right."""
    total = struct.unpack_from("!H", data, 16)[0]
    udp = data[34 : 14 + total]
    field = udp[6:8]
    plain = udp[:6] + b"\0\0" + udp[8:]
    return internet_checksum(data[14:34]) == 0 and (
        field == b"\0\0" or udp_checksum(data[26:34], plain) == int.from_bytes(field, "big")
    )
