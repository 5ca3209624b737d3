# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay once more, in Python, from bpf/flow.h and docs/verdicts.md: slow, obvious, checksums in full."""

from dataclasses import dataclass, field

from tests.bpf import packets

PASS, DROP, TX, REDIRECT = 2, 1, 3, 4
OFF, LEARNING, PINNED = 0, 1, 2
FORWARD, ENGINE, BLOCK = 0, 1, 2
RTCP, RTCP_COPY, ZERO_CHECKSUM = 1, 2, 4
KEEP = 0xFF
INGRESS = 1
U32 = 0xFFFFFFFF

FORWARDED, UNKNOWN_PORT, SWITCHED_OFF, WRONG_SOURCE, SHORT, BAD_LENGTH, BAD_VERSION, BAD_RTCP = range(8)
OPTIONS, TTL, NO_NEXTHOP, BLOCKED, BAD_SOURCE_PORT = 9, 10, 12, 13, 14
NOT_IPV4, NOT_UDP, NOT_OURS, FRAGMENT, TO_ENGINE = range(32, 37)


@dataclass
class Flow:
    """Rule, track and tally of one entry: ports in host order, addresses packed, MACs target first."""

    generation: int = 0
    state: int = OFF
    action: int = FORWARD
    flags: int = 0
    source: tuple[bytes, int] = (bytes(4), 0)
    egress: tuple[bytes, int] = (bytes(4), 0)
    target: tuple[bytes, int] = (bytes(4), 0)
    dscp: int = KEEP
    macs: bytes = bytes(12)
    ifindex: int = 0
    clock: int = 0
    partner: int | None = None
    binding: tuple[int, int] = (0, 0)  # lower half of the generation, port
    override: tuple[int, int] = (0, 0)
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
    rejected_from: tuple[bytes, int] = (b"", 0)
    last_reason: int = 0
    lost: int = 0
    reordered: int = 0
    duplicates: int = 0
    ssrc_changes: int = 0
    resets: int = 0

    def bound(self, word):
        tag, port = word
        return port if tag == self.generation & 0xFFFF else 0


class Relay:
    """Addresses (packed) in the order of their slots, a port range, and flows by index."""

    def __init__(self, addresses, port_min, port_max):
        self.addresses, self.ports = addresses, range(port_min, port_max + 1)
        self.flows: dict[int, Flow] = {}
        self.reasons: dict[int, list[int]] = {}
        self.events: list[tuple] = []

    def run(self, data, now):
        """The verdict and the frame as it leaves. `now`: the kernel's time stamp, if it forwards."""
        reason, flow, out = self.decide(data, now)
        counted = self.reasons.setdefault(reason, [0, 0])
        counted[0] += 1
        counted[1] += len(data)
        if reason == FORWARDED:
            return (TX if flow.ifindex == INGRESS else REDIRECT), out
        if flow and flow.generation and reason < 32:
            self.refuse(flow, reason, data)
        return (PASS if reason >= 32 else DROP), data

    def refuse(self, flow, reason, data):
        if reason == WRONG_SOURCE:
            flow.rejected += 1
            flow.rejected_from = (data[26:30], number(data[34:36]))
        else:
            flow.dropped += 1
            flow.last_reason = reason

    def decide(self, data, now):
        stage = self.locate(data)
        if isinstance(stage, int):
            return stage, None, data
        index, udp = stage
        flow = self.flows.get(index) or Flow()
        reason = headers(data, udp) or rule(flow)
        if reason:
            return reason, flow, data
        payload = data[42 : 34 + number(data[38:40])]
        port = number(data[34:36])
        expected = flow.source[1] if flow.state == PINNED else flow.bound(flow.binding)
        if data[26:30] != flow.source[0] or (expected and port != expected) or (flow.state == PINNED and not expected):
            return WRONG_SOURCE, flow, data
        reason, is_rtcp = media(flow, payload)
        if reason:
            return reason, flow, data
        if not expected and (not is_rtcp or flow.flags & RTCP):
            self.learn(index, flow, port)
        if not flow.ifindex:
            return NO_NEXTHOP, flow, data
        self.observe(index, flow, data, payload, is_rtcp, now)
        return FORWARDED, flow, rewritten(flow, data)

    def locate(self, data):
        if len(data) < 34 or data[12:14] != b"\x08\x00" or data[14] >> 4 != 4 or data[14] & 15 < 5:
            return NOT_IPV4
        if data[23] != 17:
            return NOT_UDP
        if data[30:34] not in self.addresses:
            return NOT_OURS
        if number(data[20:22]) & 0x3FFF:
            return FRAGMENT
        udp = 14 + 4 * (data[14] & 15)
        if len(data) < udp + 8 or number(data[udp + 2 : udp + 4]) not in self.ports:
            return NOT_OURS
        return self.addresses.index(data[30:34]) * 65536 + number(data[udp + 2 : udp + 4]), udp

    def learn(self, index, flow, port):
        flow.binding = (flow.generation & 0xFFFF, port)
        if flow.partner is not None and flow.partner < 65536 * len(self.addresses):
            self.flows.setdefault(flow.partner, Flow()).override = flow.binding
        self.events.append(("learned", index, flow.generation, port))

    def observe(self, index, flow, data, payload, is_rtcp, now):
        gap = (now - flow.last_seen) // 1000
        if flow.last_seen and gap > flow.largest_gap:
            flow.largest_gap = min(gap, U32)
        flow.last_seen, flow.tos = now, data[15]
        flow.packets += 1
        flow.bytes += len(payload)
        if is_rtcp:
            if flow.flags & RTCP_COPY:
                self.events.append(("rtcp", index, flow.generation, payload[:80]))
        elif stream(flow, payload, now):
            self.events.append(("ssrc", index, flow.generation, flow.ssrc))


def headers(data, udp):
    total, length = number(data[16:18]), number(data[38:40])
    if udp != 34:
        return OPTIONS
    if data[22] <= 1:
        return TTL
    if total > len(data) - 14 or length < 8 or total != 20 + length:
        return BAD_LENGTH
    return BAD_SOURCE_PORT if data[34:36] == b"\0\0" else FORWARDED


def rule(flow):
    if not flow.generation:
        return UNKNOWN_PORT
    if flow.state == OFF:
        return SWITCHED_OFF
    return {FORWARD: FORWARDED, BLOCK: BLOCKED, ENGINE: TO_ENGINE}[flow.action]


def media(flow, payload):
    """(reason, is it RTCP)."""
    if len(payload) < 8:
        return SHORT, False
    if payload[0] >> 6 != 2:
        return BAD_VERSION, False
    if flow.flags & RTCP or 192 <= payload[1] <= 223:
        fits = 192 <= payload[1] <= 223 and 4 * (number(payload[2:4]) + 1) <= len(payload)
        return (FORWARDED if fits else BAD_RTCP), True
    end = 12 + 4 * (payload[0] & 15)
    if payload[0] & 0x10:
        if len(payload) < end + 4:
            return SHORT, False
        end += 4 + 4 * number(payload[end + 2 : end + 4])
    return (SHORT if len(payload) < end else FORWARDED), False


def stream(flow, payload, now):
    """Statistics of one RTP packet; True if the SSRC changed."""
    sequence, timestamp, ssrc = number(payload[2:4]), number(payload[4:8]), number(payload[8:12])
    transit = (((now >> 10) * flow.clock >> 32) - timestamp) & U32
    flow.payload_type = payload[1] & 127
    changed = flow.started and ssrc != flow.ssrc
    if flow.started and not changed and place(flow, sequence):
        if flow.clock:
            step = (transit - flow.transit) & U32
            step = min(step, 2**32 - step)
            flow.transit = transit
            if step < flow.clock >> 10:
                flow.jitter += step - ((flow.jitter + 8) >> 4)
        return False
    flow.ssrc_changes += changed
    flow.resets += flow.started and not changed
    flow.started, flow.seen, flow.sequence, flow.ssrc, flow.transit = True, {sequence}, sequence, ssrc, transit
    return changed


def place(flow, sequence):
    """Does the sequence number belong to the stream? Counts what it says."""
    ahead = (sequence - flow.sequence) % 65536
    behind = (flow.sequence - sequence) % 65536
    if behind < 64:
        if sequence in flow.seen:
            flow.duplicates += 1
        else:
            flow.seen.add(sequence)
            flow.reordered += 1
            flow.lost = max(flow.lost - 1, 0)
        return True
    if ahead >= 3000 or (ahead >= 64 and len(flow.seen) == 1):
        return False
    flow.lost += ahead - 1
    flow.seen = {old for old in flow.seen if (sequence - old) % 65536 < 64} | {sequence}
    flow.sequence = sequence
    return True


def rewritten(flow, data):
    """The frame as it leaves; what was wrong with a checksum before is wrong after."""
    total = number(data[16:18])
    tos = data[15] if flow.dscp == KEEP else flow.dscp << 2 | data[15] & 3
    port = flow.bound(flow.override) or flow.target[1]
    addresses = flow.egress[0] + flow.target[0]
    ip = data[14:15] + bytes([tos]) + data[16:22] + bytes([data[22] - 1]) + data[23:24]
    ip += carry(data[14:34], ip + bytes(2) + addresses) + addresses
    udp = flow.egress[1].to_bytes(2, "big") + port.to_bytes(2, "big") + data[38:40] + bytes(2)
    udp += data[42 : 14 + total]
    check = data[40:42]
    if flow.flags & ZERO_CHECKSUM:
        check = bytes(2)
    elif check != bytes(2):
        before = data[26:34] + data[34 : 14 + total]
        check = carry(before, addresses + udp)
        check = b"\xff\xff" if check == bytes(2) else check
    return flow.macs + data[12:14] + ip + udp[:6] + check + udp[8:] + data[14 + total :]


def carry(before, after):
    """The checksum of `after`, whose field is 0, wrong by as much as the one in `before` was."""
    error, right = (0xFFFF - packets.internet_checksum(words) for words in (before, after))
    return ((error - right) % 0xFFFF).to_bytes(2, "big")


def number(data):
    return int.from_bytes(data, "big")
