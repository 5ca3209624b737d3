# SPDX-License-Identifier: GPL-3.0-or-later
"""The table [media] of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ctl.config_values import Ip
from ctl.section import Section
from ctl.sessions.playback_section import PlaybackKeys

RELAY_ADDRESSES = 8  # as in bpf/flow.h


class MediaInterface(Section):
    """An address of ours under a name; several addresses, as one of each family, may share one.

    advertised: what peers are told instead, where a router before us translates addresses one to one. signalling:
    addresses that SIP listens on; who signals to one of them has its media here.
    """

    name: Annotated[str, Field(min_length=1, max_length=63)]
    address: Ip
    advertised: Ip | None = None
    signalling: tuple[Ip, ...] = ()

    @model_validator(mode="after")
    def _one_family(self) -> MediaInterface:
        if self.advertised and (":" in self.advertised) != (":" in self.address):
            raise ValueError("address and advertised must be of one family")
        return self


class MediaSection(PlaybackKeys):
    """The relay addresses that peers send media to, the ports on them, and what calls may do."""

    addresses: tuple[Ip, ...] = ()
    """Relay addresses without a name; which one a party gets, routes decide."""
    interfaces: tuple[MediaInterface, ...] = ()
    """Relay addresses by name."""
    default: str = ""
    """Name of the interface that is taken where nothing says another; empty: routes decide."""
    police: Annotated[float, Field(ge=0)] = 3.0
    """How many times its codec's packets one direction of audio may carry; 0: any number."""
    latch_packets: Annotated[int, Field(ge=1, le=255)] = 5
    """How many consistent packets bind a flow whose source is free; only where a trunk asks for it."""
    port_min: Annotated[int, Field(ge=1024, le=65534)] = 16384
    port_max: Annotated[int, Field(ge=1025, le=65535)] = 32767
    quarantine: Annotated[float, Field(ge=0)] = 60.0
    transcode: tuple[Literal["PCMU", "PCMA", "G722", "G729", "opus"], ...] = ()
    """Codecs that callees are offered beside the caller's; one that both have is preferred. None: no transcoding."""
    timeout: Annotated[float, Field(ge=0)] = 120.0
    """Seconds without a packet after which a call is ended; 0: never."""
    engine_io: Literal["auto", "sockets", "af_xdp"] = "auto"
    """How packets reach the engine: by a UDP socket of each flow, or by AF_XDP where the relay is attached. auto: by
    AF_XDP where the relay is attached natively and the sockets can be had, and no complaint where not."""
    cpu_dma_latency: Annotated[int, Field(ge=-1, le=1_000_000)] = -1
    """Microseconds within which the host's processors wake while the engine has flows, by the kernel's PM QoS; 0: they
    do not sleep at all. -1: they sleep as the host lets them."""
    srtp: Literal["off", "preferred", "required"] = "preferred"
    """off: RTP alone. preferred: SRTP with each party that wants it. required: SRTP with both, or no call. Of all
    parties but those whose tenant or trunk says another."""
    ice: Literal["remove", "lite", "full"] = "remove"
    """remove: no ICE. lite: checks are answered. full: and made. Of all parties but those that say another."""
    ice_web: Literal["remove", "lite", "full"] = "lite"
    """The same of users who signal by WebSocket: browsers send no media without it."""
    hold_timeout: Annotated[float, Field(ge=0)] = 3600.0
    """The same while a party holds the call: then silence is what both want."""

    @model_validator(mode="after")
    def _ordered(self) -> MediaSection:
        if self.port_min >= self.port_max:
            raise ValueError("port_min must be below port_max")
        names = {each.name for each in self.interfaces}
        if self.default and self.default not in names:
            raise ValueError(f"default names no interface; there are {', '.join(sorted(names)) or 'none'}")
        addresses = [*self.addresses, *(each.address for each in self.interfaces)]
        if len(set(addresses)) < len(addresses) or len(addresses) > RELAY_ADDRESSES:
            raise ValueError(f"give at most {RELAY_ADDRESSES} relay addresses, none of them twice")
        return self
