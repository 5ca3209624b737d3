# SPDX-License-Identifier: GPL-3.0-or-later
"""Builders of frames for tests, and checksums computed in full."""

import socket
import struct

RELAY = ("10.0.0.1", 10000)
SECOND_RELAY = "10.0.0.2"
CALLER = ("192.0.2.10", 4000)
CALLEE = ("198.51.100.20", 6000)
RELAY6 = ("2001:db8:0:1::1", 10000)
CALLER6 = ("2001:db8:a::10", 4000)
CALLEE6 = ("2001:db8:b::20", 6000)
IN_MACS = bytes.fromhex("020000000001020000000002")
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, NONE = 0, 43, 44, 60, 59


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
    identity=7,
    vlans=(),
    macs=IN_MACS,
):
    """An Ethernet frame with IPv4 and UDP. What is None is computed; `checksum` 0 sends none."""
    payload = rtp() if payload is None else payload
    length = 8 + len(payload) if length is None else length
    total = 20 + len(options) + 8 + len(payload) if total is None else total
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(to[0])
    header = struct.pack("!BBHHHBBH", version << 4 | ihl, tos, total, identity, fragment, ttl, protocol, 0) + addresses
    header += options
    header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    return (
        macs
        + tags(vlans)
        + struct.pack("!H", ethertype)
        + header
        + udp(addresses, source, to, payload, length, checksum)
        + trailer
    )


def frame6(
    payload=None,
    *,
    source=CALLER6,
    to=RELAY6,
    ttl=64,
    tos=0,
    label=0,
    extensions=(),
    version=6,
    protocol=17,
    ethertype=0x86DD,
    total=None,
    length=None,
    checksum=None,
    trailer=b"",
    vlans=(),
    macs=IN_MACS,
):
    """The same with IPv6. `extensions` are (type, bytes after the first of the header); `total` the payload length."""
    payload = rtp() if payload is None else payload
    length = 8 + len(payload) if length is None else length
    kinds = [kind for kind, _ in extensions] + [protocol]
    chain = b"".join(bytes([following]) + rest for (_, rest), following in zip(extensions, kinds[1:], strict=True))
    total = len(chain) + 8 + len(payload) if total is None else total
    addresses = socket.inet_pton(socket.AF_INET6, source[0]) + socket.inet_pton(socket.AF_INET6, to[0])
    header = struct.pack("!IHBB", version << 28 | tos << 20 | label, total, kinds[0], ttl) + addresses
    datagram = udp(addresses, source, to, payload, length, checksum)
    return macs + tags(vlans) + struct.pack("!H", ethertype) + header + chain + datagram + trailer


def extension(units=0):
    """An extension header of nothing but padding, without its first byte."""
    return bytes([units]) + bytes(6 + 8 * units)


def tags(vlans):
    """802.1Q, the outer of two 802.1ad; a pair of type and id is taken as it is."""
    types = (0x88A8, 0x8100) if len(vlans) == 2 else (0x8100,) * len(vlans)
    pairs = (tag if isinstance(tag, tuple) else (kind, tag) for kind, tag in zip(types, vlans, strict=True))
    return b"".join(struct.pack("!HH", *pair) for pair in pairs)


def udp(addresses, source, to, payload, length, checksum):
    datagram = struct.pack("!HHHH", source[1], to[1], length & 0xFFFF, 0) + payload
    if checksum is None:
        checksum = udp_checksum(addresses, datagram)
    return datagram[:6] + struct.pack("!H", checksum) + datagram[8:]


def left_undone(data):
    """An untagged frame of either family whose UDP checksum is left for a card: the sum of the pseudo-header alone."""
    addresses, start = (data[22:54], 54) if data[12:14] == b"\x86\xdd" else (data[26:34], 34)
    check = ~internet_checksum(addresses + struct.pack("!H", 17) + data[start + 4 : start + 6]) & 0xFFFF
    return data[: start + 6] + struct.pack("!H", check) + data[start + 8 :]


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
    """Are all checksums of a forwarded frame right, by full computation? To IPv4, UDP 0 is none, and right."""
    network = 14
    while data[network - 2 : network] in (b"\x81\x00", b"\x88\xa8"):
        network += 4
    if data[network] >> 4 == 6:
        start, addresses, header = network + 40, data[network + 8 : network + 40], True
    else:
        start, addresses = network + 20, data[network + 12 : network + 20]
        header = internet_checksum(data[network:start]) == 0
    length = struct.unpack_from("!H", data, start + 4)[0]
    datagram = data[start : start + length]
    field = datagram[6:8]
    if field == b"\0\0":
        return header and data[network] >> 4 == 4
    plain = datagram[:6] + b"\0\0" + datagram[8:]
    return header and udp_checksum(addresses, plain) == int.from_bytes(field, "big")
