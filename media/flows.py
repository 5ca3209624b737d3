# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's process and its clients say to each other: flows, statistics and errors, and their JSON.

Knows nothing of sockets or C, so that a client need not load the engine.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from ipaddress import ip_address
from operator import attrgetter
from typing import Any, Literal

from media.ice import EngineIce, IceState, ice_from_json, ice_to_json, redacted_ice

Security = Literal["plain", "waiting", "secure", "failed"]
Io = Literal["sockets", "af_xdp"]

FlowKey = tuple[str, int]
"""A flow's name: the relay's own IP address and UDP port."""

MESSAGE_BYTES = 65536
"""Longest request or reply."""
MAC_BYTES = 6
KEYS_AT_ONCE = 64
"""Most keys in one request: their statistics fit into one reply."""
EVENTS_AT_ONCE = 250
"""Most events in one reply."""


class EngineError(Exception):
    """The engine refused, or could not be asked. The text is one line that names the remedy.

    code: "port-in-use", "address-not-ours", "not-permitted", "no-files", "full", "bad-flow", "bad-pair",
    "bad-request", "system", "gone" (no engine answers) or "running" (another one does).
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


SUITE_KEY_BYTES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AES_192_CM_HMAC_SHA1_80": 38,
    "AES_192_CM_HMAC_SHA1_32": 38,
    "AES_256_CM_HMAC_SHA1_80": 46,
    "AES_256_CM_HMAC_SHA1_32": 46,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"""The engine's crypto suites, and how long master key and salt are together."""


@dataclass(frozen=True, slots=True)
class EngineKeys:
    """One SRTP master key of one direction. suite: as in RFC 4568 and its like; key: master key and salt together."""

    suite: str
    key: bytes = field(repr=False)
    mki: bytes = b""


@dataclass(frozen=True, slots=True)
class EngineDtls:
    """DTLS-SRTP with the peer that a flow receives from. fingerprint: SHA-1 or SHA-2 hash of its certificate.

    active: we begin the handshake.
    """

    active: bool
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class EngineHop:
    """Where packets to a target go first; MAC addresses of 6 bytes, ids of VLAN tags from the outer one on."""

    ifindex: int
    target_mac: bytes
    egress_mac: bytes
    vlans: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineFlow:
    """One direction of a stream: what reaches `local` from `source` goes on to `target`.

    It leaves from the local address of the flow's partner. Addresses are IP literals; source and local are of one
    family, and so are target and the partner's local address.
    """

    local_address: str
    local_port: int
    source_address: str
    source_port: int | None
    """None: learned inside `source_address` from the first valid packet, and never again; or see `latch`."""
    target_address: str
    """0.0.0.0: nowhere yet."""
    target_port: int
    """0: nowhere, until the partner learns it."""
    kind: Literal["rtp", "rtcp", "raw"] = "rtp"
    """raw: anything, such as UDPTL."""
    clock_rate: int = 0
    """Hz; 0: unknown, and so is the jitter."""
    dscp: int | None = None
    """None: as it came."""
    held: bool = False
    """Everything that arrives is dropped."""
    mux: bool = False
    """RTCP comes beside RTP; between keyed flows only where this says so."""
    latch: int = 0
    """Without source port and DTLS: so many consistent packets from anywhere bind the source, up to 255; 0: none do."""
    demux: bool = False
    """With mux: that RTCP goes on by the flow at the port above, and what that one's leg is to get comes from here."""
    open: EngineKeys | None = None
    """What comes in is SRTP of this key."""
    seal: EngineKeys | None = None
    """What goes out is to be SRTP of this key."""
    dtls: EngineDtls | None = None
    """Keys come by DTLS with the source: for what comes in here, and for what the partner sends."""
    resumed: bool = False
    """These keys have been used by an engine before."""
    ice: EngineIce | None = None
    """The leg's media comes from and goes to where ICE finds it, whatever source and target say."""
    afresh: bool = False
    """Count from zero, also where the flow stands already."""
    hop: EngineHop | None = None
    """None: not known, so that what goes to the target has to leave by a socket."""
    follows: bool = False
    """With latch: so many packets of another source take the place of the one that is bound."""
    apart: bool = False
    """With latch: what goes to the leg goes where it is said to, not to where it sends from."""
    copies: tuple[FlowKey, ...] = ()
    """Other flows of the local address's family, whose source this one is: they get its RTP too, opened."""

    @property
    def key(self) -> FlowKey:
        """The flow's name."""
        return self.local_address, self.local_port


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What became of a flow since it was opened; times are seconds, `last_seen` of CLOCK_MONOTONIC."""

    flow: EngineFlow
    """As it was set, but `redacted`."""
    learned_port: int | None
    """Source port in use where it was to be learned; None: nothing learned."""
    learned_address: str | None
    """Source address in use where that was to be learned too."""
    learned_target: int | None
    """Port that the partner learned and that replaces the flow's target port."""
    packets: int
    """Forwarded, as `bytes`, which counts UDP payload."""
    bytes: int
    last_seen: float | None
    jitter: float | None
    """Seconds, RFC 3550 A.8; None: clock rate unknown."""
    largest_gap: float
    ssrc: int | None
    payload_type: int | None
    tos: int | None
    """IPv4 type of service as it came, all eight bits."""
    lost: int
    reordered: int
    duplicates: int
    ssrc_changes: int
    resets: int
    rejected: int
    """Packets from a source that is not the flow's."""
    rejected_source: FlowKey | None
    """The last of those sources."""
    dropped: int
    """Packets dropped for any other reason."""
    last_reason: str | None
    """Why the last one was dropped."""
    security: Security = "plain"
    """"waiting" for keys, "failed" in getting them by DTLS, or there: "secure"."""
    suite: str | None = None
    """Crypto suite of what comes in."""
    forged: int = 0
    """Of `dropped`: SRTP of another key, damaged, or not protected."""
    replayed: int = 0
    """Of `dropped`: SRTP seen before, or too old to know."""
    ice: IceState = "off"
    selected: FlowKey | None = None
    """The remote end of the pair that ICE has selected."""
    checks: int = 0
    """Messages of ICE that were believed."""
    refused: int = 0
    """And those that were not."""
    received_by: Io = "sockets"
    """How the last packet came in, and how the last one went out."""
    sent_by: Io = "sockets"

    @property
    def key(self) -> FlowKey:
        """The flow's name."""
        return self.flow.key


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """What the engine tells by itself. type: "stage" (kind and data are the stage's), "secure" (DTLS has given keys),

    "failed" (DTLS, data: why), "restart" (the worker numbered `kind` was replaced; flow: whose packet it had), "ice" or
    "rtcp" (data: how a compound begins that the flow's leg has sent, or we in its stead). time: seconds of
    CLOCK_MONOTONIC.
    """

    flow: FlowKey
    type: str
    kind: int
    data: bytes
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineSummary:
    """The engine as a whole. reasons: packets and bytes of UDP payload by reason, those not 0."""

    workers: int
    flows: int
    capacity: int
    restarts: int
    """Workers that crashed or hung, and were replaced."""
    fingerprint: str
    """SHA-256 hash of the certificate that DTLS shows, as a=fingerprint has it."""
    processes: tuple[int, ...]
    """Those of the workers."""
    reasons: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class EngineWire:
    """An AF_XDP socket on one receive queue of an interface, which one worker has. Counts are packets."""

    interface: str
    queue: int
    worker: int
    zero_copy: bool
    """The driver shares the memory; else the kernel copies every packet."""
    received: int
    sent: int
    dropped: int
    """Came while the worker was too slow to take them."""


@dataclass(frozen=True, slots=True)
class EngineWires:
    """Those that an engine has, and why it has not all that it was to have; empty if it has."""

    wires: tuple[EngineWire, ...]
    trouble: str


def flow_to_json(flow: EngineFlow) -> dict[str, Any]:
    """The flow as a JSON object."""
    members = dict(zip(FLOW_NAMES, flow_values(flow), strict=True))
    for name in ("open", "seal"):
        members[name] = keys_to_json(members[name])
    if flow.dtls:
        members["dtls"] = {"active": flow.dtls.active, "fingerprint": flow.dtls.fingerprint.hex()}
    members["ice"] = ice_to_json(flow.ice)
    if flow.hop:
        macs = {name: getattr(flow.hop, name).hex(":") for name in ("target_mac", "egress_mac")}
        members["hop"] = {"ifindex": flow.hop.ifindex, **macs, "vlans": list(flow.hop.vlans)}
    return members


def keys_to_json(keys: EngineKeys | None) -> dict[str, str] | None:
    """The keys as a JSON object."""
    if keys is None:
        return None
    return {"suite": keys.suite, "key": b64encode(keys.key).decode(), "mki": keys.mki.hex()}


def keys_from_json(value: object) -> EngineKeys | None:
    """The keys in a JSON object, or null. Raises EngineError "bad-request" or "bad-flow"."""
    if value is None:
        return None
    given = members(value, {"suite": (str,), "key": (str,), "mki": (str,)}, optional=frozenset({"mki"}))
    try:
        return EngineKeys(given["suite"], b64decode(given["key"], validate=True), bytes.fromhex(given.get("mki", "")))
    except ValueError:
        raise EngineError("bad-flow", "key is base64, mki is hexadecimal") from None


def dtls_from_json(value: object) -> EngineDtls | None:
    """The DTLS peer in a JSON object, or null. Raises EngineError "bad-request" or "bad-flow"."""
    if value is None:
        return None
    given = members(value, {"active": (bool,), "fingerprint": (str,)})
    try:
        return EngineDtls(given["active"], bytes.fromhex(given["fingerprint"]))
    except ValueError:
        raise EngineError("bad-flow", "fingerprint is hexadecimal") from None


def _ice(value: object) -> EngineIce | None:
    try:
        ice = ice_from_json(value, members)
    except ValueError as error:
        raise EngineError("bad-request", str(error)) from None
    named = [(each.address, each.port) for each in ice.candidates] if ice else []
    for address, port in [*named, *([ice.selected] if ice and ice.selected else [])]:
        check_address("candidate", address)
        check_range("candidate's port", port, 1, 65535)
    return ice


def hop_from_json(value: object) -> EngineHop | None:
    """The next hop in a JSON object, or null. Raises EngineError "bad-request" or "bad-flow"."""
    if value is None:
        return None
    given = members(value, {"ifindex": (int,), "target_mac": (str,), "egress_mac": (str,), "vlans": (list,)})
    check_range("ifindex", given["ifindex"], 1, 0x7FFFFFFF)
    try:
        target, egress = (bytes.fromhex(given[name].replace(":", "")) for name in ("target_mac", "egress_mac"))
        vlans = tuple(map(int, given["vlans"]))
    except (ValueError, TypeError):
        raise EngineError("bad-flow", "MAC addresses are hexadecimal, VLANs are numbers") from None
    if {len(target), len(egress)} != {MAC_BYTES} or len(vlans) > 2 or not all(0 < each < 4095 for each in vlans):
        raise EngineError("bad-flow", "a MAC address has 6 bytes, and of VLANs there are at most two, within 1-4094")
    return EngineHop(given["ifindex"], target, egress, vlans)


def flow_from_json(value: object) -> EngineFlow:
    """The flow in a JSON object. Raises EngineError "bad-request" or "bad-flow"."""
    flow = members(value, FLOW_TYPES, optional=FLOW_OPTIONAL)
    for name in ("local_address", "source_address", "target_address"):
        check_address(name, flow[name])
    for name, least in (("local_port", 1), ("source_port", 1), ("target_port", 0)):
        if flow[name] is not None:
            check_range(name, flow[name], least, 65535)
    check_range("clock_rate", flow.get("clock_rate", 0), 0, 900_000)
    check_range("dscp", flow.get("dscp") or 0, 0, 63)
    check_range("latch", flow.get("latch", 0), 0, 255)
    if flow.get("kind", "rtp") not in CONTENTS:
        raise EngineError("bad-flow", f"kind is {flow['kind']!r}; it must be rtp or rtcp")
    made: dict[str, Any] = {"open": keys_from_json(flow.get("open")), "seal": keys_from_json(flow.get("seal"))}
    made |= {"dtls": dtls_from_json(flow.get("dtls")), "ice": _ice(flow.get("ice"))}
    made["copies"] = tuple(map(key_from_json, flow.get("copies", ())))
    return EngineFlow(**{**flow, **made, "hop": hop_from_json(flow.get("hop"))})


def redacted(flow: EngineFlow) -> EngineFlow:
    """The flow with a hash in place of each key: enough to compare by, no secret to tell."""
    if not flow.open and not flow.seal and not flow.resumed and not flow.ice and not flow.afresh:
        return flow
    opened, sealed, ice = _redacted_keys(flow.open), _redacted_keys(flow.seal), redacted_ice(flow.ice)
    return replace(flow, open=opened, seal=sealed, ice=ice, resumed=False, afresh=False)


def _redacted_keys(keys: EngineKeys | None) -> EngineKeys | None:
    return keys and replace(keys, key=sha256(keys.suite.encode() + keys.key).digest()[:8])


def statistics_to_json(statistics: EngineStatistics) -> dict[str, Any]:
    """The statistics as a JSON object."""
    members = dict(zip(STATISTICS_NAMES, statistics_values(statistics), strict=True))
    return {**members, "flow": flow_to_json(statistics.flow)}


def statistics_from_json(value: Mapping[str, Any]) -> EngineStatistics:
    """The statistics in a JSON object that `statistics_to_json` made."""
    source = value["rejected_source"]
    selected = value["selected"]
    changed = {
        "flow": flow_from_json(value["flow"]),
        "rejected_source": source and (source[0], source[1]),
        "selected": selected and (selected[0], selected[1]),
    }
    return EngineStatistics(**{**value, **changed})


def wires_from_json(value: Mapping[str, Any]) -> EngineWires:
    """The AF_XDP sockets in a JSON object."""
    return EngineWires(tuple(EngineWire(**wire) for wire in value["wires"]), value["trouble"])


def event_to_json(event: EngineEvent) -> dict[str, Any]:
    """The event as a JSON object."""
    return {"flow": event.flow, "type": event.type, "kind": event.kind, "data": event.data.hex(), "time": event.time}


def event_from_json(value: Mapping[str, Any]) -> EngineEvent:
    """The event in a JSON object that `event_to_json` made."""
    address, port = value["flow"]
    return EngineEvent((address, port), value["type"], value["kind"], bytes.fromhex(value["data"]), value["time"])


def key_from_json(value: object) -> FlowKey:
    """A flow's name as JSON has it, [address, port]. Raises EngineError "bad-request" or "bad-flow"."""
    match value:
        case [str(address), int(port)] if not isinstance(port, bool):
            check_address("address", address)
            check_range("port", port, 1, 65535)
            return address, port
    raise EngineError("bad-request", "a key must be [address, port]")


def members(value: object, types: Mapping[str, tuple[type, ...]], optional: Set[str] = frozenset()) -> dict[str, Any]:
    """The members of a JSON object, each of its type; none unknown, none missing but the optional ones."""
    if not isinstance(value, dict):
        raise EngineError("bad-request", "a JSON object is wanted")
    for name, member in value.items():
        if name not in types:
            raise EngineError("bad-request", f"unknown key {name!r:.60}; known are {', '.join(sorted(types))}")
        if type(member) not in types[name]:
            raise EngineError("bad-request", f"{name} cannot be a value of type {type(member).__name__}")
    missing = types.keys() - value.keys() - optional
    if missing:
        raise EngineError("bad-request", f"missing key {', '.join(sorted(missing))}")
    return value


def check_address(name: str, text: str) -> None:
    """Raises EngineError "bad-flow" unless `text` is an IP literal."""
    try:
        ip_address(text)
    except ValueError:
        raise EngineError("bad-flow", f"{name} {text!r:.60} is not an IP address") from None


def check_range(name: str, number: int, least: int, most: int) -> None:
    """Raises EngineError "bad-flow" unless `number` lies between the two."""
    if not least <= number <= most:
        raise EngineError("bad-flow", f"{name} {number!r:.60} is not between {least} and {most}")


# dataclasses.asdict copies deeply: four fifths of the time that 2,000 flows' statistics took.
FLOW_NAMES = tuple(field.name for field in fields(EngineFlow))
STATISTICS_NAMES = tuple(field.name for field in fields(EngineStatistics))
flow_values = attrgetter(*FLOW_NAMES)
statistics_values = attrgetter(*STATISTICS_NAMES)

NONE = type(None)
FLOW_TYPES: dict[str, tuple[type, ...]] = {
    "local_address": (str,),
    "local_port": (int,),
    "source_address": (str,),
    "source_port": (int, NONE),
    "target_address": (str,),
    "target_port": (int,),
    "kind": (str,),
    "clock_rate": (int,),
    "dscp": (int, NONE),
    "held": (bool,),
    "mux": (bool,),
    "latch": (int,),
    "demux": (bool,),
    "open": (dict, NONE),
    "seal": (dict, NONE),
    "dtls": (dict, NONE),
    "resumed": (bool,),
    "ice": (dict, NONE),
    "afresh": (bool,),
    "hop": (dict, NONE),
    "follows": (bool,),
    "apart": (bool,),
    "copies": (list, tuple),
}
CONTENTS: tuple[Literal["rtp", "rtcp", "raw"], ...] = ("rtp", "rtcp", "raw")
"""In the order of enum engine_content."""
FLOW_OPTIONAL = FLOW_TYPES.keys() - {
    "local_address",
    "local_port",
    "source_address",
    "source_port",
    "target_address",
    "target_port",
}
