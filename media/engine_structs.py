# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows, keys and reports between Python and the structs of engine.h."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from socket import if_indextoname, ntohs
from typing import Any

from media._engine import ffi, lib
from media.flows import (
    CONTENTS,
    EngineDtls,
    EngineError,
    EngineEvent,
    EngineFlow,
    EngineHop,
    EngineKeys,
    EngineStatistics,
    EngineWire,
    FlowKey,
    Security,
)
from media.ice import MOST_CANDIDATES, MOST_TEXT, EngineIce, IceCandidate, IceRole, IceState

REASONS: dict[int, str] = {
    int(number): name.removeprefix("REASON_").lower().replace("_", "-")
    for number, name in ffi.typeof("enum reason").elements.items()
}
"""Number of a reason in bpf/flow.h → its name, such as "wrong-source"."""

SUITES: dict[str, int] = {
    name: int(number) for number, name in ffi.typeof("enum srtp_suite").elements.items() if number != lib.SRTP_NONE
}
"""Crypto suite as in session descriptions → its number."""
SUITE_NAMES = {number: name for name, number in SUITES.items()}

SECURITY: dict[int, Security] = {
    lib.ENGINE_PLAIN: "plain",
    lib.ENGINE_WAITING: "waiting",
    lib.ENGINE_SECURE: "secure",
    lib.ENGINE_FAILED: "failed",
}
EVENTS = {
    lib.ENGINE_EVENT_STAGE: "stage",
    lib.ENGINE_EVENT_SECURE: "secure",
    lib.ENGINE_EVENT_FAILED: "failed",
    lib.ENGINE_EVENT_RESTART: "restart",
    lib.ENGINE_EVENT_ICE: "ice",
    lib.ENGINE_EVENT_RTCP: "rtcp",
}
ICE_ROLES: dict[IceRole, int] = {
    "lite": lib.ICE_LITE,
    "controlled": lib.ICE_CONTROLLED,
    "controlling": lib.ICE_CONTROLLING,
}
ICE_STATES: dict[int, IceState] = {
    lib.ENGINE_ICE_OFF: "off",
    lib.ENGINE_ICE_CHECKING: "checking",
    lib.ENGINE_ICE_SELECTED: "selected",
    lib.ENGINE_ICE_LOST: "lost",
    lib.ENGINE_ICE_FAILED: "failed",
}

JITTER_SCALE = 16
"""flow_track.jitter counts sixteenths of a clock tick."""
UNSPECIFIED = bytes(16)


def pack_address(text: str) -> bytes:
    """16 bytes, IPv4 as ::ffff:a.b.c.d, of an IP literal."""
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpack_address(packed: bytes) -> str:
    """The reverse of `pack_address`; all zero is 0.0.0.0."""
    if packed == UNSPECIFIED:
        return "0.0.0.0"  # noqa: S104 - no address, nothing is bound
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def new_keys(keys: Sequence[FlowKey]) -> Any:
    """An array of struct engine_key."""
    array = ffi.new("struct engine_key[]", len(keys))
    for place, (address, port) in zip(array, keys, strict=True):
        place.address, place.port = pack_address(address), port
    return array


def read_key(key: Any) -> FlowKey:
    """The name in a struct engine_key."""
    return unpack_address(bytes(key.address)), key.port


def fill_flow(place: Any, flow: EngineFlow) -> None:
    """Write a flow into a struct engine_flow. Raises EngineError "bad-flow" for keys that fit no suite."""
    place.local.address, place.local.port = pack_address(flow.local_address), flow.local_port
    place.source_address, place.source_port = pack_address(flow.source_address), flow.source_port or 0
    place.target_address, place.target_port = pack_address(flow.target_address), flow.target_port
    place.clock_rate, place.rtcp, place.held = flow.clock_rate, CONTENTS.index(flow.kind), flow.held
    place.dscp = lib.DSCP_KEEP if flow.dscp is None else flow.dscp
    place.mux, place.demux, place.echo, place.resumed = flow.mux, flow.demux, flow.echo, flow.resumed
    place.latch, place.follows, place.apart = flow.latch, flow.follows, flow.apart
    place.ice, place.afresh = flow.ice is not None, flow.afresh
    if flow.bound:
        place.bound.address, place.bound.port = pack_address(flow.bound[0]), flow.bound[1]
    if len(flow.copies) > lib.ENGINE_COPIES:
        raise EngineError("bad-flow", f"a flow has at most {lib.ENGINE_COPIES} copies, not {len(flow.copies)}")
    for copied, (address, port) in zip(place.copies, flow.copies, strict=False):
        copied.address, copied.port = pack_address(address), port
    fill_srtp(place.open, flow.open)
    fill_srtp(place.seal, flow.seal)
    if flow.hop:
        place.hop.ifindex, place.hop.vlan = flow.hop.ifindex, [*flow.hop.vlans, 0, 0][:2]
        place.hop.target_mac, place.hop.egress_mac = flow.hop.target_mac, flow.hop.egress_mac
    if flow.dtls:
        place.dtls.role = lib.DTLS_ACTIVE if flow.dtls.active else lib.DTLS_PASSIVE
        place.dtls.bytes = min(len(flow.dtls.fingerprint), 255)
        ffi.memmove(place.dtls.fingerprint, flow.dtls.fingerprint[: lib.ENGINE_FINGERPRINT], place.dtls.bytes)


def new_ice(ice: EngineIce) -> Any:
    """A struct engine_ice. Raises EngineError "bad-flow" for what it cannot hold."""
    place = ffi.new("struct engine_ice *")
    if ice.role not in ICE_ROLES or len(ice.candidates) > MOST_CANDIDATES:
        raise EngineError(
            "bad-flow", f"ICE's role is one of {', '.join(ICE_ROLES)}, and {MOST_CANDIDATES} candidates fit"
        )
    place.role, place.complete, place.candidate_count = ICE_ROLES[ice.role], ice.complete, len(ice.candidates)
    place.priority, place.tiebreaker = ice.priority & 0xFFFFFFFF, ice.tiebreaker & 0xFFFFFFFFFFFFFFFF
    for name in ("own_name", "own_password", "peer_name", "peer_password"):
        text = getattr(ice, name).encode("ascii", "replace")
        if not 1 <= len(text) <= MOST_TEXT or 0 in text:
            raise EngineError("bad-flow", f"ICE's {name.replace('_', ' ')} has 1 to {MOST_TEXT} characters")
        ffi.memmove(getattr(place, name), text, len(text))
    for candidate, slot in zip(ice.candidates, place.candidates, strict=False):
        slot.address, slot.port = pack_address(candidate.address), candidate.port
        slot.priority = candidate.priority & 0xFFFFFFFF
    if ice.selected:
        place.selected.address, place.selected.port = pack_address(ice.selected[0]), ice.selected[1]
    return place


def read_ice(place: Any) -> EngineIce:
    """The settings in a struct engine_ice."""
    roles = {number: role for role, number in ICE_ROLES.items()}
    return EngineIce(
        role=roles[place.role],
        own_name=ffi.string(place.own_name).decode(),
        own_password=ffi.string(place.own_password).decode(),
        peer_name=ffi.string(place.peer_name).decode(),
        peer_password=ffi.string(place.peer_password).decode(),
        candidates=tuple(
            IceCandidate(unpack_address(bytes(each.address)), each.port, each.priority)
            for each in place.candidates[0 : place.candidate_count]
        ),
        priority=place.priority,
        tiebreaker=place.tiebreaker,
        complete=bool(place.complete),
        selected=(unpack_address(bytes(place.selected.address)), place.selected.port) if place.selected.port else None,
    )


def fill_srtp(place: Any, keys: EngineKeys | None) -> None:
    """Write keys, if there are any, into a struct srtp_keys. Raises EngineError "bad-flow"."""
    if keys is None:
        return
    suite = SUITES.get(keys.suite)
    if suite is None:
        raise EngineError("bad-flow", f"crypto suite {keys.suite!r:.40} is not known; known are {', '.join(SUITES)}")
    wanted = lib.srtp_master_length(suite)
    if len(keys.key) != wanted or len(keys.mki) > lib.SRTP_MKI_BYTES:
        raise EngineError("bad-flow", f"{keys.suite} wants {wanted} bytes of key and salt, not {len(keys.key)}")
    place.suite, place.mki_length = suite, len(keys.mki)
    ffi.memmove(place.master, keys.key, len(keys.key))
    ffi.memmove(place.mki, keys.mki, len(keys.mki))


def read_srtp(place: Any) -> EngineKeys | None:
    """The keys in a struct srtp_keys."""
    if place.suite == lib.SRTP_NONE:
        return None
    master = bytes(place.master)[: lib.srtp_master_length(place.suite)]
    return EngineKeys(SUITE_NAMES[place.suite], master, bytes(place.mki)[: place.mki_length])


def read_hop(place: Any) -> EngineHop | None:
    """The next hop in a struct engine_hop."""
    if not place.ifindex:
        return None
    vlans = tuple(filter(None, place.vlan))
    return EngineHop(place.ifindex, bytes(place.target_mac), bytes(place.egress_mac), vlans)


def read_wire(place: Any) -> EngineWire | None:
    """The AF_XDP socket in a struct engine_wire; None if its interface is gone."""
    try:
        name = if_indextoname(place.ifindex)
    except OSError:
        return None
    counts = place.received, place.sent, place.dropped
    return EngineWire(name, place.queue, place.worker, bool(place.zero_copy), *counts)


def read_flow(place: Any, ice: Any = None) -> EngineFlow:
    """The flow in a struct engine_flow, and its struct engine_ice if it has one."""
    dtls = place.dtls
    return EngineFlow(
        local_address=unpack_address(bytes(place.local.address)),
        local_port=place.local.port,
        source_address=unpack_address(bytes(place.source_address)),
        source_port=place.source_port or None,
        target_address=unpack_address(bytes(place.target_address)),
        target_port=place.target_port,
        kind=CONTENTS[place.rtcp],
        clock_rate=place.clock_rate,
        dscp=None if place.dscp == lib.DSCP_KEEP else place.dscp,
        held=bool(place.held),
        mux=bool(place.mux),
        demux=bool(place.demux),
        echo=bool(place.echo),
        latch=place.latch,
        follows=bool(place.follows),
        apart=bool(place.apart),
        open=read_srtp(place.open),
        seal=read_srtp(place.seal),
        dtls=EngineDtls(dtls.role == lib.DTLS_ACTIVE, bytes(dtls.fingerprint)[: dtls.bytes]) if dtls.role else None,
        resumed=bool(place.resumed),
        ice=read_ice(ice) if ice is not None else None,
        afresh=bool(place.afresh),
        hop=read_hop(place.hop),
        copies=tuple(read_key(each) for each in place.copies if each.port),
    )


def statistics(report: Any, flow: EngineFlow) -> EngineStatistics:
    """The statistics in a struct engine_report of a flow."""
    track, tally, clock = report.track, report.tally, report.clock_rate
    has_rtp = track.window != 0
    return EngineStatistics(
        flow=flow,
        learned_port=report.learned_port or None,
        learned_address=learned_address(report),
        learned_target=report.learned_target or None,
        packets=track.packets,
        bytes=track.bytes,
        last_seen=track.last_seen / 1e9 if track.last_seen else None,
        jitter=track.jitter / JITTER_SCALE / clock if clock else None,
        largest_gap=track.largest_gap / 1e6,
        ssrc=track.ssrc if has_rtp else None,
        payload_type=track.payload_type if has_rtp else None,
        tos=track.tos if track.last_seen else None,
        lost=tally.lost,
        reordered=tally.reordered,
        duplicates=tally.duplicates,
        ssrc_changes=tally.ssrc_changes,
        resets=tally.resets,
        rejected=tally.rejected,
        rejected_source=rejected_source(tally) if tally.rejected else None,
        dropped=tally.dropped,
        last_reason=REASONS[tally.last_reason] if tally.dropped else None,
        security=SECURITY[report.security],
        suite=SUITE_NAMES.get(report.suite),
        forged=report.forged,
        replayed=report.replayed,
        ice=ICE_STATES[report.ice],
        selected=(unpack_address(bytes(report.selected_address)), report.selected_port)
        if report.selected_port
        else None,
        sequence=track.sequence if has_rtp else None,
        timestamp=_timestamp(track, clock) if has_rtp and clock else None,
        checks=report.checks,
        refused=report.refused,
        received_by="af_xdp" if report.wired_in else "sockets",
        sent_by="af_xdp" if report.wired_out else "sockets",
    )


def _timestamp(track: Any, clock: int) -> int:
    """The last packet's, out of when it came and its transit; bpf/rtp_stats.h has the same sum the other way round."""
    ticks = (track.last_seen >> lib.CLOCK_SHIFT) * ((clock << (32 + lib.CLOCK_SHIFT)) // 10**9) >> 32
    return int(ticks - track.transit) & 0xFFFFFFFF


def learned_address(report: Any) -> str | None:
    """Where a flow that latches has found its source."""
    packed = bytes(report.learned_address)
    return None if packed == UNSPECIFIED else unpack_address(packed)


def rejected_source(tally: Any) -> FlowKey:
    """Who was rejected last."""
    return unpack_address(bytes(tally.rejected_address)), ntohs(tally.rejected_port)


def read_event(event: Any) -> EngineEvent:
    """The event in a struct engine_event."""
    data = bytes(event.data)[: event.length]
    return EngineEvent(read_key(event.key), EVENTS[event.type], event.kind, data, event.time / 1e9)
