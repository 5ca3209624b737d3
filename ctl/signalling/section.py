# SPDX-License-Identifier: GPL-3.0-or-later
"""The table [sip] of the configuration, and those within it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from ctl.config_values import Network, Seconds, SipListen, is_among
from ctl.section import Section
from sip.settings import DiversionPolicy
from sip.steering import MAX_WORKERS


class Certificate(Section):
    """A certificate for connections that ask for one of these host names (SNI)."""

    hosts: Annotated[tuple[str, ...], Field(min_length=1)]
    certificate: Path
    key: Path


class TlsSection(Section):
    """TLS for `tls:` and `wss:`: what we show and whom we believe. Files are read again by `voxdp sip reload`."""

    certificate: Path | None = None
    key: Path | None = None
    names: tuple[Certificate, ...] = ()
    authorities: Path | None = None
    """PEM file of the authorities that peers' certificates must come from; none: the system's."""
    verify_client: Literal["none", "optional", "required"] = "none"


class LimitsSection(Section):
    """What strangers may cost: connections, their time, and requests."""

    connections: Annotated[int, Field(ge=1)] = 10_000
    connections_per_source: Annotated[int, Field(ge=1)] = 64
    handshake: Annotated[float, Field(gt=0)] = 5.0
    message: Annotated[float, Field(gt=0)] = 10.0
    idle: Annotated[float, Field(gt=0)] = 120.0
    requests_per_source: Annotated[float, Field(ge=0)] = 100.0
    """Messages a second from one address, a hundred times as many where users have authenticated from; 0: any."""
    amplification: Annotated[float, Field(ge=0)] = 1.2
    """How many times the bytes of a datagram are answered to an address that no user has authenticated from; 0: any."""
    calls_per_user: Annotated[float, Field(ge=0)] = 5.0
    """Calls a second that one user may begin; 0: any."""
    ban: Annotated[float, Field(ge=0)] = 600.0
    """Seconds for which a scanner, or one that only offends, is not heard; 0: everybody is."""


class TrunkSection(Section):
    """A trunk of a host whose trunks are not in the database: where it is, who it is, which numbers it carries."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    domain: Annotated[str, Field(min_length=1)]
    proxies: tuple[str, ...] = ()
    """Where it is reached, as SIP URIs, in the order to try; none: its domain."""
    username: str = ""
    password: SecretStr = SecretStr("")
    realm: str = ""
    registration: bool = False
    expires: Seconds = 3600
    sources: tuple[Network, ...] = ()
    """Networks that its calls come from; none: where it is reached."""
    certificates: tuple[str, ...] = ()
    channels: Annotated[int, Field(ge=0)] = 0
    probe: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between OPTIONS that ask whether it is there; 0: it is not asked."""
    trusted: bool = False
    refer: bool = False
    from_user: str = ""
    dial: tuple[str, ...] = ()
    """Beginnings of the numbers that it carries; of several trunks the first that is listed is tried first."""
    strip: Annotated[int, Field(ge=0, le=15)] = 0
    prepend: str = ""
    deliver: str = ""
    """The user who gets its calls to what is no user of ours; none: they are refused."""
    media: str = ""
    """Name of the media interface toward it; empty: what its signalling or its route leads to."""
    latch: bool = False
    """Accept its media from whatever source first sends `media.latch_packets` consistent packets."""
    ice: Literal["remove", "lite", "full"] | None = None
    """Whether ICE is spoken with it; None: as `media.ice` says."""
    srtp: Literal["off", "preferred", "required"] | None = None
    """Whether its media is protected; None: as `media.srtp` says."""
    dtmf: Literal["auto", "rfc4733", "info", "inband"] = "auto"
    """How digits reach it."""

    @model_validator(mode="after")
    def _known(self) -> TrunkSection:
        if self.registration and not self.username:
            raise ValueError("registration needs username and password")
        return self


class SipSection(Section):
    """Signalling: where we listen, whom we serve, how registrations expire."""

    listen: tuple[SipListen, ...] = ("127.0.0.1:5060",)
    """None: no signalling of ours, media for proxies alone, see NgSection."""
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    """Processes that share the signalling."""
    domain: str = "localhost"
    algorithms: Annotated[tuple[Literal["SHA-256", "MD5"], ...], Field(min_length=1)] = ("SHA-256", "MD5")
    min_expires: Seconds = 60
    default_expires: Seconds = 3600
    max_expires: Seconds = 7200
    tls: TlsSection = TlsSection()
    origins: tuple[str, ...] = ()
    """Web pages that may connect by WebSocket, as `https://phone.example.org`; none: any."""
    limits: LimitsSection = LimitsSection()
    drain: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that calls are given to end when we are stopped; 0: the next controller takes them up."""
    lateness: Annotated[float, Field(ge=0)] = 0.4
    """Seconds that our event loop may be late before new calls are refused as too many; 0: however late it is."""
    trunks: tuple[TrunkSection, ...] = ()
    session_expires: Annotated[int, Field(ge=0)] = 1800
    """Seconds of session timers (RFC 4028) at most; 0: none are used."""
    min_session_expires: Annotated[int, Field(ge=90)] = 90
    redirections: Annotated[int, Field(ge=0, le=10)] = 0
    """How many redirections of one call are followed."""
    foreign_domains: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")], ...] = ()
    """Domains of others that users may call, as they are found by DNS; `*.example.com`: all below it."""
    diversion: DiversionPolicy = "all"
    """Who is told that a call was sent on (RFC 5806): nobody, trunks that are trusted, or these and users."""
    history_info: DiversionPolicy = "none"
    """The same by History-Info (RFC 7044)."""
    nat_keepalive: Annotated[int, Field(ge=0, le=3600)] = 25
    """Seconds between OPTIONS to phones behind NAT, and of silence until those that connected are asked by TCP whether
    they are there, so that their way stays open; 0: none are asked."""
    info: tuple[Annotated[str, Field(pattern=r"^(\*|[a-z0-9.+_-]+/[a-z0-9.+_-]+)$")], ...] = (
        "application/dtmf-relay",
        "application/dtmf",
        "application/media_control+xml",
    )
    """Types of body that an INFO may bring to the other party; a star takes all."""
    pass_headers: tuple[str, ...] = ()
    """Headers of an INVITE that reach the callee beside the usual ones; a star at the end takes all that begin so."""

    @model_validator(mode="after")
    def _ordered(self) -> SipSection:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("min_expires <= default_expires <= max_expires must hold")
        if len({trunk.name for trunk in self.trunks}) < len(self.trunks):
            raise ValueError("two trunks have the same name")
        if is_among(self.domain, self.foreign_domains):
            raise ValueError(f"sip.foreign_domains: {self.domain} is ours")
        if self.secure and not (self.tls.certificate and self.tls.key):
            raise ValueError("tls: and wss: need sip.tls.certificate and sip.tls.key")
        return self

    @property
    def secure(self) -> bool:
        """Whether anything is listened on by TLS."""
        return any(listen.startswith(("tls:", "wss:")) for listen in self.listen)
