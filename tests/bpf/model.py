# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay once more, in Python, from bpf/flow.h and docs/verdicts.md: slow, obvious, checksums in full."""

from dataclasses import dataclass, field

from tests.bpf.streams import observe_rtp, telephone_events

PASS, DROP, TX, REDIRECT = 2, 1, 3, 4
OFF, LEARNING, PINNED, LATCHING = range(4)
FORWARD, ENGINE, BLOCK, RAW = range(4)
RTCP, RTCP_COPY, ZERO_CHECKSUM, MIRROR, CAPTURE, RTCP_MUX, FULL_CHECKSUM = (1 << bit for bit in range(7))
BEFORE, AFTER, PAYLOAD = 1, 2, 3
KEEP = 0xFF
INGRESS = 1
U32 = 0xFFFFFFFF
EXTENSIONS_MAX = 4
COPY_BYTES, EVENT_BYTES = 2024, 88
NOWHERE = bytes(16)
MAPPED = bytes(10) + b"\xff\xff"

FORWARDED, UNKNOWN_PORT, SWITCHED_OFF, WRONG_SOURCE, SHORT, BAD_LENGTH, BAD_VERSION, BAD_RTCP = range(8)
BAD_PAYLOAD_TYPE, OPTIONS, TTL, POLICED, NO_NEXTHOP, BLOCKED, BAD_SOURCE_PORT, BAD_CHECKSUM = range(8, 16)
EXTENSIONS, HEADROOM, TOO_BIG, UNLATCHED, NOT_MUXED, FLOOD = range(16, 22)
NOT_IP, NOT_UDP, NOT_OURS, FRAGMENT, TO_ENGINE = range(32, 37)


@dataclass(slots=True)
class Flow:
    """Rule, track and ledger of one entry: ports in host order, addresses 16 bytes, MACs target first."""

    generation: int = 0
    state: int = OFF
    action: int = FORWARD
    flags: int = 0
    source: tuple[bytes, int] = (NOWHERE, 0)
    egress: tuple[bytes, int] = (NOWHERE, 0)
    target: tuple[bytes, int] = (NOWHERE, 0)
    dscp: int = KEEP
    macs: bytes = bytes(12)
    ifindex: int = 0
    clock: int = 0
    partner: int | None = None
    vlans: tuple[int, ...] = ()
    latch_packets: int = 5
    previous: tuple[bytes, int] | None = None
    police: tuple[int, int] | None = None  # ns a packet, packets at once
    payload_types: frozenset[int] | None = None
    dtmf_type: int | None = None
    demux: bool = False
    stun: bool = False
    binding: tuple[int, int] = (0, 0)  # lower half of the generation, port
    override: tuple[int, int] = (0, 0)
    moved: bool = False
    packets: int = 0
    bytes: int = 0
    last_seen: int = 0
    seen: set[int] = field(default_factory=set)  # sequence numbers, at most 63 behind
    started: bool = False
    ssrc: int = 0
    transit: int = 0
    jitter: int = 0
    sequence: int = 0
    payload_type: int = 0
    tos: int = 0
    largest_gap: int = 0
    rejected: int = 0
    dropped: int = 0
    policed: int = 0
    rejected_from: tuple[bytes, int] = (NOWHERE, 0)
    last_reason: int = 0
    lost: int = 0
    reordered: int = 0
    duplicates: int = 0
    ssrc_changes: int = 0
    resets: int = 0
    full_at: int = 0
    settled: int = 0
    candidate: tuple[int, int] = (0, 0)  # generation, SSRC
    latch: tuple[bytes, int] = (NOWHERE, 0)
    latch_sequence: int = 0
    latch_count: int = 0
    digit: tuple[int, ...] | None = None  # SSRC, event, volume, time stamp, duration of the event last seen
    digit_open: bool = False

    def bound(self, word):
        tag, port = word
        return port if tag == self.generation & 0xFFFF else 0


@dataclass(slots=True)
class Packet:
    """A frame and what its headers say."""

    data: bytes
    network: int
    ipv6: bool
    source: tuple[bytes, int] = (NOWHERE, 0)
    udp: int = 0
    tos: int = 0
    ttl: int = 0
    index: int = 0
    payload: bytes = b""
    body: int = 0
    is_rtcp: bool = False
    former: bool = False


class Relay:
    """Addresses (16 bytes) in the order of their slots, a port range, and flows by index."""

    def __init__(self, addresses, port_min, port_max):
        self.slots = {address: slot for slot, address in enumerate(addresses)}
        self.entries = 65536 * len(addresses)
        self.ports = range(port_min, port_max + 1)
        self.flows: dict[int, Flow] = {}
        self.reasons: dict[int, list[int]] = {}
        self.events: list[tuple] = []
        self.copies: list[tuple] = []

    def run(self, data, now):
        """The verdict and the frame as it leaves. `now`: the kernel's time stamp, or if it does not forward any before.

        As what is too much at one time was too much at any time before, that one is good enough.
        """
        packet = self.locate(data)
        if isinstance(packet, int):
            reason, flow, out = packet, None, data
        else:
            flow = self.flows.get(packet.index) or Flow()
            reason, out = self.to_flow(flow, packet, now)
        counted = self.reasons.setdefault(reason, [0, 0])
        counted[0] += 1
        counted[1] += len(data)
        if reason == FORWARDED:
            return (TX if flow.ifindex == INGRESS else REDIRECT), out
        if flow and flow.generation and reason < 32:
            refuse(flow, reason, packet)
        return (PASS if reason >= 32 else DROP), data

    def to_flow(self, flow, packet, now):
        if flow.flags & CAPTURE:
            self.copy(packet.index, flow, BEFORE, packet.data)
        reason = self.decide(flow, packet, now)
        if reason:
            return reason, packet.data
        target = self.aim(flow)
        if not flow.ifindex:
            return NO_NEXTHOP, packet.data
        if not packet.ipv6 and len(flow.target[0].removeprefix(MAPPED)) == 16 and damaged(packet):
            return BAD_CHECKSUM, packet.data
        out = rewritten(flow, packet, target)
        self.observe(flow, packet, now)
        if flow.flags & CAPTURE:
            self.copy(packet.index, flow, AFTER, out)
        return FORWARDED, out

    def decide(self, flow, packet, now):
        reason = headers(packet) or rule(flow)
        if flow.stun and reason in (FORWARDED, BLOCKED) and is_stun(packet.payload):
            return TO_ENGINE
        if reason:
            return reason
        reason, unbound = check_source(flow, packet)
        reason = reason or media(flow, packet)
        if reason:
            return reason
        if not packet.former:
            teaches = not packet.is_rtcp or flow.flags & RTCP
            if unbound:
                reason = self.bind(flow, packet, teaches)
            if not reason and teaches and flow.previous:
                flow.settled = flow.generation
        if not reason and flow.police and not conforms(flow, now):
            return POLICED
        return reason

    def bind(self, flow, packet, teaches):
        if flow.state == LATCHING and not (teaches and latched(flow, packet)):
            return UNLATCHED
        if teaches:
            self.learn(flow, packet)
        return FORWARDED

    def locate(self, data):
        network, kind = 14, data[12:14]
        while kind in (b"\x81\x00", b"\x88\xa8") and network < 22 and len(data) >= network + 4:
            kind = data[network + 2 : network + 4]
            network += 4
        packet = Packet(data, network, kind == b"\x86\xdd")
        if packet.ipv6:
            reason, to = ipv6(packet)
        elif kind == b"\x08\x00":
            reason, to = ipv4(packet)
        else:
            return NOT_IP
        if reason == NOT_IP:
            return reason
        slot = self.slots.get(to)
        if slot is None or (packet.ipv6 and to.startswith(MAPPED)):
            return NOT_OURS
        if reason:
            return reason
        if len(data) < packet.udp + 8:
            return NOT_OURS
        port = number(data[packet.udp + 2 : packet.udp + 4])
        if port not in self.ports:
            return NOT_OURS
        packet.source = (packet.source[0], number(data[packet.udp : packet.udp + 2]))
        packet.index = slot * 65536 + port
        beside = self.flows.get(packet.index)
        if beside and beside.demux and beside.flags & RTCP_MUX and looks_like_rtcp(packet):
            packet.index += 1
        return packet

    def learn(self, flow, packet):
        flow.binding = (flow.generation & 0xFFFF, packet.source[1])
        if flow.partner is not None and flow.partner < self.entries:
            partner = self.flows.setdefault(flow.partner, Flow())
            partner.override, partner.moved = flow.binding, flow.state == LATCHING
        self.events.append(("learned", packet.index, flow.generation, packet.source))

    def aim(self, flow):
        port = flow.bound(flow.override)
        if not port:
            return flow.target
        if flow.moved and flow.partner is not None and flow.partner < self.entries:
            return self.flows.get(flow.partner, Flow()).latch[0], port
        return flow.target[0], port

    def observe(self, flow, packet, now):
        gap = (now - flow.last_seen) // 1000
        if flow.last_seen and gap > flow.largest_gap:
            flow.largest_gap = min(gap, U32)
        flow.last_seen, flow.tos = now, packet.tos
        flow.packets += 1
        flow.bytes += len(packet.payload)
        head = packet.index, flow.generation
        if packet.is_rtcp:
            if flow.flags & RTCP_COPY:
                self.events.append(("rtcp", *head, packet.payload[:EVENT_BYTES]))
            return
        if observe_rtp(flow, packet.payload, now):
            self.events.append(("ssrc", *head, flow.ssrc))
        if flow.dtmf_type is not None:
            self.events += [("dtmf", *head, told) for told in telephone_events(flow, packet)]
        if flow.flags & MIRROR:
            self.copy(packet.index, flow, PAYLOAD, packet.payload)

    def copy(self, index, flow, kind, data):
        self.copies.append((kind, index, flow.generation, len(data), data[:COPY_BYTES]))


def looks_like_rtcp(packet):
    """By version and packet type, where the frame has both and the SSRC."""
    head = packet.data[packet.udp + 8 : packet.udp + 16]
    return len(head) == 8 and head[0] >> 6 == 2 and 192 <= head[1] <= 223


def refuse(flow, reason, packet):
    if reason == WRONG_SOURCE:
        flow.rejected += 1
        flow.rejected_from = packet.source
        return
    flow.dropped += 1
    flow.policed += reason == POLICED
    flow.last_reason = reason


def ipv4(packet):
    """(reason, destination)."""
    data, network = packet.data, packet.network
    if len(data) < network + 20 or data[network] >> 4 != 4 or data[network] & 15 < 5:
        return NOT_IP, None
    packet.source = (MAPPED + data[network + 12 : network + 16], 0)
    packet.tos, packet.ttl = data[network + 1], data[network + 8]
    packet.udp = network + 4 * (data[network] & 15)
    reason = FORWARDED
    if data[network + 9] != 17:
        reason = NOT_UDP
    elif number(data[network + 6 : network + 8]) & 0x3FFF:
        reason = FRAGMENT
    return reason, MAPPED + data[network + 16 : network + 20]


def ipv6(packet):
    data, network = packet.data, packet.network
    if len(data) < network + 40 or data[network] >> 4 != 6:
        return NOT_IP, None
    packet.source = (data[network + 8 : network + 24], 0)
    packet.tos, packet.ttl = (data[network] & 15) << 4 | data[network + 1] >> 4, data[network + 7]
    packet.udp = network + 40
    return walk(packet, data[network + 6]), data[network + 24 : network + 40]


def walk(packet, kind):
    for walked in range(EXTENSIONS_MAX + 1):
        if kind == 17:
            return FORWARDED
        if kind == 44:
            return FRAGMENT
        if kind not in (0, 43, 60) or (kind == 0 and walked):
            return NOT_UDP
        if walked == EXTENSIONS_MAX:
            return EXTENSIONS
        extension = packet.data[packet.udp : packet.udp + 8]
        if len(extension) < 8 or (kind == 43 and extension[3]):
            return NOT_OURS
        kind = extension[0]
        packet.udp += 8 + 8 * extension[1]
    raise AssertionError("the loop ends by itself")


def headers(packet):
    data, udp = packet.data, packet.udp
    if not packet.ipv6 and udp != packet.network + 20:
        return OPTIONS
    if packet.ttl <= 1:
        return TTL
    length = number(data[udp + 4 : udp + 6])
    if packet.ipv6:
        end = packet.network + 40 + number(data[packet.network + 4 : packet.network + 6])
    else:
        end = packet.network + number(data[packet.network + 2 : packet.network + 4])
    if end > len(data) or length < 8 or end != udp + length:
        return BAD_LENGTH
    if not packet.source[1]:
        return BAD_SOURCE_PORT
    if packet.ipv6 and data[udp + 6 : udp + 8] == b"\0\0":
        return BAD_CHECKSUM
    packet.payload = data[udp + 8 : end]
    return FORWARDED


def rule(flow):
    if not flow.generation:
        return UNKNOWN_PORT
    if flow.state == OFF:
        return SWITCHED_OFF
    return (FORWARDED, TO_ENGINE, BLOCKED, FORWARDED)[flow.action]


def is_stun(payload):
    return len(payload) >= 20 and payload[0] < 4 and payload[4:8] == b"\x21\x12\xa4\x42"


def check_source(flow, packet):
    """(reason, is the source still to be learned from a valid packet)."""
    address, port = flow.source
    if flow.state != PINNED:
        port = flow.bound(flow.binding)
        if flow.state == LATCHING:
            address = flow.latch[0]
        if not port and (flow.state == LATCHING or packet.source[0] == address):
            return FORWARDED, True
    if packet.source == (address, port):
        return FORWARDED, False
    packet.former = flow.previous == packet.source and flow.settled != flow.generation
    return (FORWARDED if packet.former else WRONG_SOURCE), False


def media(flow, packet):
    payload = packet.payload
    if flow.action == RAW:
        packet.is_rtcp = True
        return FORWARDED
    if len(payload) < 8:
        return SHORT
    if payload[0] >> 6 != 2:
        return BAD_VERSION
    packet.is_rtcp = bool(flow.flags & RTCP) or 192 <= payload[1] <= 223
    if packet.is_rtcp:
        if not 192 <= payload[1] <= 223:
            return BAD_RTCP
        if not flow.flags & (RTCP | RTCP_MUX):
            return NOT_MUXED
        return BAD_RTCP if 4 * (number(payload[2:4]) + 1) > len(payload) else FORWARDED
    end = 12 + 4 * (payload[0] & 15)
    if payload[0] & 0x10:
        if len(payload) < end + 4:
            return SHORT
        end += 4 + 4 * number(payload[end + 2 : end + 4])
    packet.body = end
    if len(payload) < end:
        return SHORT
    allowed = flow.payload_types
    return FORWARDED if allowed is None or payload[1] & 127 in allowed else BAD_PAYLOAD_TYPE


def latched(flow, packet):
    """One more packet of the candidate, or the first of another: are they enough?"""
    where = 4 if packet.is_rtcp else 8
    ssrc = 0 if flow.action == RAW else number(packet.payload[where : where + 4])
    sequence = 0 if packet.is_rtcp else number(packet.payload[2:4])
    follows = packet.is_rtcp or 1 <= (sequence - flow.latch_sequence) % 65536 <= 64
    if (flow.candidate, flow.latch) != ((flow.generation, ssrc), packet.source) or not follows:
        flow.candidate, flow.latch, flow.latch_count = (flow.generation, ssrc), packet.source, 0
    flow.latch_sequence = sequence
    flow.latch_count += 1
    return flow.latch_count >= flow.latch_packets


def conforms(flow, now):
    """A bucket that is empty once its packets came at once, and full again when each has had its time."""
    interval, burst = flow.police
    moment = max(flow.full_at, now)
    if moment - now > interval * (burst - 1):
        return False
    flow.full_at = moment + interval
    return True


def damaged(packet):
    return residue(packet.data[packet.network : packet.network + 20]) != 0


def rewritten(flow, packet, target):
    """The frame as it leaves; what was wrong with a checksum before is wrong after, unless it is made anew."""
    data = packet.data
    tos = packet.tos if flow.dscp == KEEP else flow.dscp << 2 | packet.tos & 3
    udp = (
        flow.egress[1].to_bytes(2, "big") + target[1].to_bytes(2, "big") + (len(packet.payload) + 8).to_bytes(2, "big")
    )
    to6 = not flow.target[0].startswith(MAPPED)
    udp += udp_check(flow, packet, target, udp, to6) + packet.payload
    header = (header6 if to6 else header4)(flow, packet, target, tos, len(udp))
    kind = b"\x86\xdd" if to6 else b"\x08\x00"
    end = packet.udp + 8 + len(packet.payload)
    return flow.macs + tags(flow.vlans) + kind + header + udp + data[end:]


def tags(vlans):
    outer = b"\x88\xa8" if len(vlans) == 2 else b"\x81\x00"
    return b"".join(kind + vlan.to_bytes(2, "big") for kind, vlan in zip((outer, b"\x81\x00"), vlans, strict=False))


def header4(flow, packet, target, tos, length):
    start = packet.network
    identity = b"\0\0\x40\0" if packet.ipv6 else packet.data[start + 4 : start + 8]
    addresses = flow.egress[0][12:] + target[0][12:]
    header = bytes([0x45, tos]) + (20 + length).to_bytes(2, "big") + identity + bytes([packet.ttl - 1, 17])
    if packet.ipv6:
        check = (-residue(header + addresses)) % 0xFFFF
    else:
        check = (residue(packet.data[start : start + 20]) - residue(header + addresses)) % 0xFFFF
    return header + check.to_bytes(2, "big") + addresses


def header6(flow, packet, target, tos, length):
    label = number(packet.data[packet.network : packet.network + 4]) & 0xFFFFF if packet.ipv6 else 0
    first = 6 << 28 | tos << 20 | label
    header = first.to_bytes(4, "big") + length.to_bytes(2, "big") + bytes([17, packet.ttl - 1])
    return header + flow.egress[0] + target[0]


def udp_check(flow, packet, target, udp, to6):
    start = packet.data[packet.udp : packet.udp + 8]
    after = residue(flow.egress[0] + target[0] + udp + udp[4:6] + b"\0\x11" + padded(packet.payload))
    none = start[6:] == b"\0\0" or flow.flags & ZERO_CHECKSUM
    if flow.flags & FULL_CHECKSUM or (none and to6) or (not none and is_partial(packet)):
        before = 0
    elif none:
        return b"\0\0"
    else:
        before = residue(pseudo_header(packet) + start + padded(packet.payload))
    return ((before - after) % 0xFFFF or 0xFFFF).to_bytes(2, "big")


def is_partial(packet):
    check = packet.data[packet.udp + 6 : packet.udp + 8]
    return check != b"\0\0" and residue(pseudo_header(packet)) == residue(check)


def pseudo_header(packet):
    start, length = (24, 16) if packet.ipv6 else (16, 4)
    destination = packet.data[packet.network + start : packet.network + start + length]
    return packet.source[0] + destination + packet.data[packet.udp + 4 : packet.udp + 6] + b"\0\x11"


def padded(data):
    return data + b"\0" if len(data) % 2 else data


def residue(data):
    """The ones' complement sum of an even number of bytes: 2^16 is 1 modulo 0xffff."""
    return int.from_bytes(data, "big") % 0xFFFF


def number(data):
    return int.from_bytes(data, "big")
