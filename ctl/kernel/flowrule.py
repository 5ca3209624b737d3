# SPDX-License-Identifier: GPL-3.0-or-later
"""A flow's rule and its statistics in Python's terms, and how they translate to bpf/flow.h."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import field
from enum import IntEnum, IntFlag
from functools import lru_cache
from ipaddress import IPv6Address
from socket import inet_aton
from typing import Any, Literal

from ctl.kernel._libbpf import ffi, lib
from sip.facts import fact

CLOCK_SCALE = 2 ** (32 + lib.CLOCK_SHIFT)
NANOSECONDS = 1_000_000_000
CLOCK_RATE_MAX = 0xFFFFFFFF * NANOSECONDS // CLOCK_SCALE
POLICE_MAX = 1_000_000
"""Packets per second, and packets at once, above which no limit makes sense."""
PAYLOAD_TYPES = 128
VLAN_ID_MAX = 4094
NO_MAC = bytes(6)
NO_PARTNER, DSCP_KEEP = int(lib.NO_PARTNER), int(lib.DSCP_KEEP)
MAPPED = bytes(10) + b"\xff\xff"
"""What comes before an IPv4 address where it is written as IPv6."""
PACK = struct.Struct("=4I16s16s16s48s4H3B6s6s??BH16s").pack
PACK_SETTINGS = struct.Struct("=16s16s2I3H2B").pack
NOWHERE = bytes(16)
LATCH_PACKETS = 5

Endpoint = tuple[str, int]
"""IPv4 or IPv6 address and UDP port."""


class FlowState(IntEnum):
    """Whether a flow is on, and what of its source is still to be learned."""

    OFF = lib.FLOW_OFF
    LEARNING = lib.FLOW_LEARNING
    PINNED = lib.FLOW_PINNED
    LATCHING = lib.FLOW_LATCHING


class FlowAction(IntEnum):
    """What becomes of a packet from the right source."""

    FORWARD = lib.ACTION_FORWARD
    ENGINE = lib.ACTION_ENGINE
    DROP = lib.ACTION_DROP
    RAW = lib.ACTION_RAW


class FlowFlag(IntFlag):
    """What is special about a flow; bpf/flow.h tells each."""

    NONE = 0
    RTCP = lib.FLAG_RTCP
    RTCP_COPY = lib.FLAG_RTCP_COPY
    ZERO_CHECKSUM = lib.FLAG_ZERO_CHECKSUM
    MIRROR = lib.FLAG_MIRROR
    CAPTURE = lib.FLAG_CAPTURE
    RTCP_MUX = lib.FLAG_RTCP_MUX
    FULL_CHECKSUM = lib.FLAG_FULL_CHECKSUM


TO_STACK: int = lib.SEAT_STACK - 1
"""As the seat of a rule: what is handed up goes to the socket that is bound to the port, and to no other."""
ANY_FLAG = FlowFlag(sum(FlowFlag))
REASONS = {number: name.removeprefix("REASON_").lower() for name, number in ffi.typeof("enum reason").relements.items()}


@fact
class FlowRule:
    """What the kernel does with packets to one relay address and port.

    source: who may send; its port is without meaning while learning, all of it while latching. egress: relay address
    and port that packets leave from; target: where they go; both IPv4 or both IPv6, whichever the source is. MACs are
    6 bytes, source and next hop; ifindex 0: the kernel asks its own routing table. dscp: 0-63, None keeps what came.
    clock_rate: RTP clock in Hz, 0: no jitter. partner: index of the flow in the other direction. vlans: ids of the
    tags that packets leave with, outer first. latch_packets: how many consistent packets bind a latching flow.
    previous_source: may send until the source does. police: packets per second, and packets at once. payload_types:
    those that RTP may have, None: all. dtmf_type: payload type of telephone events, which are told. demux: RTCP that
    comes beside RTP is for the flow at the port above. stun: checks of ICE pass to the engine's socket.
    seat: number of the engine's worker that has the flow, where that is known, or TO_STACK. bound: what a source
    that is to be learned is bound to at once, where the flow begins; it is not read back.
    """

    state: FlowState
    source: Endpoint
    egress: Endpoint
    target: Endpoint
    action: FlowAction = FlowAction.FORWARD
    flags: FlowFlag = FlowFlag.NONE
    egress_mac: bytes = NO_MAC
    target_mac: bytes = NO_MAC
    ifindex: int = 0
    dscp: int | None = None
    clock_rate: int = 0
    partner: int | None = None
    vlans: tuple[int, ...] = ()
    latch_packets: int = LATCH_PACKETS
    previous_source: Endpoint | None = None
    police: tuple[int, int] | None = None
    payload_types: frozenset[int] | None = None
    dtmf_type: int | None = None
    demux: bool = False
    stun: bool = False
    seat: int | None = None
    bound: Endpoint | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        former = self.previous_source
        if ":" in self.source[0] or ":" in self.egress[0] or ":" in self.target[0] or (former and ":" in former[0]):
            for name in ("source", "egress", "target", "previous_source"):
                endpoint = getattr(self, name)
                if endpoint:
                    object.__setattr__(self, name, (canonical(endpoint[0]), endpoint[1]))


@fact
class FlowStatistics:
    """What the kernel counted since the call began. Times of CLOCK_MONOTONIC.

    bytes: UDP payload. lost: by RTP sequence numbers, less what came late. last_reason: of the last drop.
    learned_port, learned_source: where a source was to be learned and was. rejected_source: the last one. policed: of
    those dropped, the ones that came too fast. copies_dropped: recording or capture that user space was too slow for.
    mode: name of the flow's state. forged, replayed: of those dropped, SRTP that was not authentic, and that had come
    before. security: how far the engine is with keys, "plain" where none are to be; suite: of what comes in.
    received_by, sent_by: how the last packet reached the engine, and left it; None: the engine does not carry it.
    sequence, timestamp: of RTP, the highest number and the last time stamp; None without a packet or a known clock.
    """

    packets: int
    bytes: int
    lost: int
    reordered: int
    duplicates: int
    resets: int
    ssrc_changes: int
    jitter_ms: float | None
    largest_gap_ms: float
    last_seen: float | None
    ssrc: int | None
    payload_type: int | None
    dscp: int | None
    rejected: int
    rejected_source: Endpoint | None
    dropped: int
    last_reason: str | None
    learned_port: int | None
    learned_source: Endpoint | None = None
    policed: int = 0
    copies_dropped: int = 0
    mode: str = "off"
    forged: int = 0
    replayed: int = 0
    security: str = "plain"
    suite: str | None = None
    received_by: Literal["sockets", "af_xdp"] | None = None
    sent_by: Literal["sockets", "af_xdp"] | None = None
    sequence: int | None = None
    timestamp: int | None = None


def pack_rule(index: int, rule: FlowRule) -> bytes:
    """A struct flow_wanted of ctl/flowrule_shim.h: what C encodes into the flow at `index`.

    Raises ValueError for what bpf/flow.h cannot hold.
    """
    _check(rule)
    source, egress, target, bound = rule.source, rule.egress, rule.target, rule.bound
    try:
        flags, settings = _settings_of(rule)
        return PACK(
            index,
            rule.ifindex,
            rule.clock_rate,
            NO_PARTNER if rule.partner is None else rule.partner,
            mapped(source[0]),
            mapped(egress[0]),
            mapped(target[0]),
            settings,
            source[1],
            egress[1],
            target[1],
            int.__or__(rule.flags, flags),
            rule.state,
            rule.action,
            DSCP_KEEP if rule.dscp is None else rule.dscp,
            rule.target_mac,
            rule.egress_mac,
            rule.demux,
            rule.stun,
            0 if rule.seat is None else rule.seat + 1,
            bound[1] if bound else 0,
            mapped(bound[0]) if bound else NOWHERE,
        )
    except (struct.error, OSError) as error:
        raise ValueError(f"flow {index}: {rule} does not fit: {error}") from None


def decode_rule(encoded: Any, wide: Any) -> FlowRule:
    """What `pack_rule` was given, from a struct flow_rule and the struct flow_wide of its ledger."""
    flags = encoded.flags
    return FlowRule(
        state=FlowState(encoded.state),
        action=FlowAction(encoded.action),
        flags=FlowFlag(flags & ANY_FLAG),
        source=_endpoint(wide.source_address, encoded.source_port),
        egress=_endpoint(wide.egress_address, encoded.egress_port),
        target=_endpoint(wide.target_address, encoded.target_port),
        egress_mac=bytes(encoded.egress_mac),
        target_mac=bytes(encoded.target_mac),
        ifindex=encoded.ifindex,
        dscp=None if encoded.dscp == lib.DSCP_KEEP else encoded.dscp,
        clock_rate=clock_rate(encoded.clock),
        partner=None if wide.partner == lib.NO_PARTNER else wide.partner,
        vlans=tuple(filter(None, map(socket.ntohs, wide.vlan))),
        latch_packets=wide.latch_packets,
        previous_source=_endpoint(wide.previous_address, wide.previous_port) if flags & lib.FLAG_PREVIOUS else None,
        police=(wide.police_rate, wide.police_burst) if flags & lib.FLAG_POLICED else None,
        payload_types=_types(wide.payload_types) if flags & lib.FLAG_PAYLOAD_TYPES else None,
        dtmf_type=wide.dtmf_type if flags & lib.FLAG_DTMF else None,
        demux=bool(wide.demux),
        stun=bool(wide.stun),
        seat=wide.seat - 1 if wide.seat else None,
    )


def jitter_ms(jitter: int, rate: int) -> float:
    """RFC 3550 A.8's interarrival jitter, kept in sixteenths of a clock tick, as milliseconds."""
    return jitter / 16 / rate * 1000


def canonical(address: str) -> str:
    """The one text of an address that the flow table gives back; raises ValueError if it is none."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed)


def mapped(address: str) -> bytes:
    """The 16 bytes of an address; IPv4 as ::ffff:a.b.c.d. Raises OSError if it is none."""
    return socket.inet_pton(socket.AF_INET6, address) if ":" in address else MAPPED + inet_aton(address)


def unmapped(raw: bytes) -> str:
    """The reverse of `mapped`."""
    if raw.startswith(MAPPED):
        return socket.inet_ntoa(raw[12:])
    return str(IPv6Address(raw))


def mapped_endpoint(address: Any, port: int) -> Endpoint | None:
    """An endpoint of 16 bytes and a port in network order; None if the address is all zero."""
    raw = bytes(address)
    return (unmapped(raw), socket.ntohs(port)) if any(raw) else None


def clock_rate(clock: int) -> int:
    """Hz of what struct flow_rule has as its clock."""
    return int(clock * NANOSECONDS / CLOCK_SCALE + 0.5)


def _check(rule: FlowRule) -> None:
    """Refuse what would fit into its field and yet mean something else."""
    if rule.dscp is not None and not 0 <= rule.dscp <= 63:
        raise ValueError(f"DSCP {rule.dscp} is not within 0-63")
    if len(rule.target_mac) != 6 or len(rule.egress_mac) != 6:
        raise ValueError("a MAC address has 6 bytes")
    if rule.clock_rate > CLOCK_RATE_MAX:
        raise ValueError(f"RTP clock rate {rule.clock_rate} Hz is above {CLOCK_RATE_MAX}")
    if (":" in rule.egress[0]) != (":" in rule.target[0]):
        raise ValueError(f"egress {rule.egress[0]} and target {rule.target[0]} are of different families")


def _settings_of(rule: FlowRule) -> tuple[int, bytes]:
    """Flags, and that part of a struct flow_wanted, which is the same for most. Raises ValueError or struct.error."""
    asked = rule.payload_types, rule.dtmf_type, rule.police, rule.vlans, rule.latch_packets
    previous = rule.previous_source
    return _usual_settings(*asked) if previous is None else _settings(*asked, previous)


def _settings(
    types: frozenset[int] | None,
    dtmf_type: int | None,
    limit: tuple[int, int] | None,
    vlans: tuple[int, ...],
    latch_packets: int,
    previous: Endpoint | None = None,
) -> tuple[int, bytes]:
    police = limit or (0, 0)
    if len(vlans) > 2 or not all(1 <= each <= VLAN_ID_MAX for each in vlans):
        raise ValueError(f"VLANs {vlans}: give at most two ids within 1-{VLAN_ID_MAX}")
    if limit and not all(1 <= each <= POLICE_MAX for each in police):
        raise ValueError(f"police {police}: give packets per second and at once within 1-{POLICE_MAX}")
    if not all(0 <= each < PAYLOAD_TYPES for each in (*(types or ()), dtmf_type or 0)):
        raise ValueError(f"payload types are within 0-{PAYLOAD_TYPES - 1}, not {types}, {dtmf_type}")
    if latch_packets < 1:
        raise ValueError("a latching flow needs at least one packet")
    flags = lib.FLAG_PAYLOAD_TYPES if types is not None else 0
    flags |= lib.FLAG_DTMF if dtmf_type is not None else 0
    flags |= lib.FLAG_PREVIOUS if previous else 0
    address, port = (mapped(previous[0]), previous[1]) if previous else (NOWHERE, 0)
    outer, inner, *_ = *vlans, 0, 0
    settings = PACK_SETTINGS(address, _bits(types or ()), *police, port, outer, inner, dtmf_type or 0, latch_packets)
    return flags, settings


_usual_settings = lru_cache(maxsize=1024)(_settings)
"""Of codecs and limits there are few; a former source is of one flow alone."""


def _bits(types: Iterable[int]) -> bytes:
    return sum(1 << each for each in types).to_bytes(PAYLOAD_TYPES // 8, "little")


def _types(words: Any) -> frozenset[int]:
    bits = int.from_bytes(ffi.buffer(words), "little")
    return frozenset(each for each in range(PAYLOAD_TYPES) if bits >> each & 1)


def _endpoint(address: Any, port: int) -> Endpoint:
    return unmapped(bytes(ffi.buffer(address))), socket.ntohs(port)
