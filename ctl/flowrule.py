# SPDX-License-Identifier: GPL-3.0-or-later
"""A flow's rule and its statistics in Python's terms, and how they translate to bpf/flow.h."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from socket import inet_aton
from typing import Any

from ctl._libbpf import ffi, lib

CLOCK_SCALE = 2 ** (32 + lib.CLOCK_SHIFT)
NANOSECONDS = 1_000_000_000
CLOCK_RATE_MAX = 0xFFFFFFFF * NANOSECONDS // CLOCK_SCALE
NO_MAC = bytes(6)
NO_PARTNER, DSCP_KEEP = int(lib.NO_PARTNER), int(lib.DSCP_KEEP)
PACK = struct.Struct("=4I4s4s4s4H3B6s6sx").pack

Endpoint = tuple[str, int]
"""IPv4 address and UDP port."""


class FlowState(IntEnum):
    """Whether a flow is on, and whether its source port is still to be learned."""

    OFF = lib.FLOW_OFF
    LEARNING = lib.FLOW_LEARNING
    PINNED = lib.FLOW_PINNED


class FlowAction(IntEnum):
    """What becomes of a packet from the right source."""

    FORWARD = lib.ACTION_FORWARD
    ENGINE = lib.ACTION_ENGINE
    DROP = lib.ACTION_DROP


class FlowFlag(IntFlag):
    """What is special about a flow."""

    NONE = 0
    RTCP = lib.FLAG_RTCP
    RTCP_COPY = lib.FLAG_RTCP_COPY
    ZERO_CHECKSUM = lib.FLAG_ZERO_CHECKSUM


REASONS = {number: name.removeprefix("REASON_").lower() for name, number in ffi.typeof("enum reason").relements.items()}


@dataclass(frozen=True, slots=True)
class FlowRule:
    """What the kernel does with packets to one relay address and port.

    source: who may send; its port is without meaning while learning. egress: relay address and port that packets
    leave from; target: where they go. MACs are 6 bytes, source and next hop; ifindex 0: the kernel asks its own
    routing table. dscp: 0-63, None keeps what came. clock_rate: RTP clock in Hz, 0: no jitter. partner: index of
    the flow in the other direction.
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


@dataclass(frozen=True, slots=True)
class FlowStatistics:
    """What the kernel counted since the call began. Times of CLOCK_MONOTONIC.

    bytes: UDP payload. lost: by RTP sequence numbers, less what came late. last_reason: of the last drop.
    learned_port: the source port, where it was to be learned and was. rejected_source: the last one.
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


def pack_rule(index: int, rule: FlowRule) -> bytes:
    """A struct flow_wanted of ctl/flowrule_shim.h: what C encodes into the flow at `index`.

    Raises ValueError for what a struct flow_rule cannot hold.
    """
    dscp, rate, partner = rule.dscp, rule.clock_rate, rule.partner
    if dscp is not None and not 0 <= dscp <= 63:
        raise ValueError(f"DSCP {dscp} is not within 0-63")
    if len(rule.target_mac) != 6 or len(rule.egress_mac) != 6:
        raise ValueError("a MAC address has 6 bytes")
    if rate > CLOCK_RATE_MAX:
        raise ValueError(f"RTP clock rate {rate} Hz is above {CLOCK_RATE_MAX}")
    source, egress, target = rule.source, rule.egress, rule.target
    try:
        return PACK(
            *(index, rule.ifindex, rate, NO_PARTNER if partner is None else partner),
            *(inet_aton(source[0]), inet_aton(egress[0]), inet_aton(target[0]), source[1], egress[1], target[1]),
            *(rule.flags, rule.state, rule.action, DSCP_KEEP if dscp is None else dscp),
            *(rule.target_mac, rule.egress_mac),
        )
    except (struct.error, OSError) as error:
        raise ValueError(f"flow {index}: {rule} does not fit: {error}") from None


def decode_rule(encoded: Any) -> FlowRule:
    """What `pack_rule` was given, from a struct flow_rule."""
    return FlowRule(
        state=FlowState(encoded.state),
        action=FlowAction(encoded.action),
        flags=FlowFlag(encoded.flags),
        source=_endpoint(encoded.source_address, encoded.source_port),
        egress=_endpoint(encoded.egress_address, encoded.egress_port),
        target=_endpoint(encoded.target_address, encoded.target_port),
        egress_mac=bytes(encoded.egress_mac),
        target_mac=bytes(encoded.target_mac),
        ifindex=encoded.ifindex,
        dscp=None if encoded.dscp == lib.DSCP_KEEP else encoded.dscp,
        clock_rate=_clock_rate(encoded.clock),
        partner=None if encoded.partner == lib.NO_PARTNER else encoded.partner,
    )


def decode_statistics(flow: Any, tally: Any) -> FlowStatistics:
    """The statistics in a struct flow and the struct flow_tally of its ledger."""
    rule, track = flow.rule, flow.track
    seen = bool(track.packets)
    rate = _clock_rate(rule.clock)
    return FlowStatistics(
        packets=track.packets,
        bytes=track.bytes,
        lost=tally.lost,
        reordered=tally.reordered,
        duplicates=tally.duplicates,
        resets=tally.resets,
        ssrc_changes=tally.ssrc_changes,
        jitter_ms=jitter_ms(track.jitter, rate) if seen and rate else None,
        largest_gap_ms=track.largest_gap / 1000,
        last_seen=track.last_seen / NANOSECONDS if track.last_seen else None,
        ssrc=track.ssrc if seen and not rule.flags & lib.FLAG_RTCP else None,
        payload_type=track.payload_type if seen and not rule.flags & lib.FLAG_RTCP else None,
        dscp=track.tos >> 2 if seen else None,
        rejected=tally.rejected,
        rejected_source=mapped_endpoint(tally.rejected_address, tally.rejected_port),
        dropped=tally.dropped,
        last_reason=REASONS.get(tally.last_reason) if tally.dropped else None,
        learned_port=_learned_port(track.binding, rule),
    )


def jitter_ms(jitter: int, clock_rate: int) -> float:
    """RFC 3550 A.8's interarrival jitter, kept in sixteenths of a clock tick, as milliseconds."""
    return jitter / 16 / clock_rate * 1000


def mapped_endpoint(address: Any, port: int) -> Endpoint | None:
    """An endpoint whose IPv4 address is written as ::ffff:a.b.c.d; None if all is zero."""
    raw = bytes(address)
    return (socket.inet_ntoa(raw[12:]), socket.ntohs(port)) if any(raw) else None


def _endpoint(address: int, port: int) -> Endpoint:
    return socket.inet_ntoa(bytes(ffi.buffer(ffi.new("uint32_t *", address)))), socket.ntohs(port)


def _clock_rate(clock: int) -> int:
    return int(clock * NANOSECONDS / CLOCK_SCALE + 0.5)


def _learned_port(binding: int, rule: Any) -> int | None:
    current = binding and binding >> 16 == rule.generation & 0xFFFF
    return socket.ntohs(binding & 0xFFFF) if current else None
