# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's process and its clients say to each other: flows, statistics, events and errors.

Knows nothing of sockets or C, so that a client need not load the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from media.ice import EngineIce, IceState, redacted_ice

Security = Literal["plain", "waiting", "secure", "failed"]
Io = Literal["sockets", "af_xdp"]

FlowKey = tuple[str, int]
"""A flow's name: the relay's own IP address and UDP port."""

MESSAGE_BYTES = 65536
"""Longest request or reply."""
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
    echo: bool = False
    """RTP goes back to where it comes from, under another SSRC, and RTCP nowhere."""
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
    bound: FlowKey | None = None
    """Of a source that is to be learned: the one that another carrier of the flow has learned, not read back."""
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
    sequence: int | None = None
    """Of RTP, the highest number, and the last time stamp, which takes a known clock rate."""
    timestamp: int | None = None

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


@dataclass(frozen=True, slots=True)
class EngineLatency:
    """held: processors are kept from deep sleep at the moment. trouble: why they cannot be; empty if they can."""

    held: bool
    trouble: str


def redacted(flow: EngineFlow) -> EngineFlow:
    """The flow with a hash in place of each key: enough to compare by, no secret to tell."""
    if not flow.open and not flow.seal and not flow.resumed and not flow.ice and not flow.afresh and not flow.bound:
        return flow
    opened, sealed, ice = _redacted_keys(flow.open), _redacted_keys(flow.seal), redacted_ice(flow.ice)
    return replace(flow, open=opened, seal=sealed, ice=ice, resumed=False, afresh=False, bound=None)


def _redacted_keys(keys: EngineKeys | None) -> EngineKeys | None:
    return keys and replace(keys, key=sha256(keys.suite.encode() + keys.key).digest()[:8])


CONTENTS: tuple[Literal["rtp", "rtcp", "raw"], ...] = ("rtp", "rtcp", "raw")
"""In the order of enum engine_content."""
