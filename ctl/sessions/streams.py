# SPDX-License-Identifier: GPL-3.0-or-later
"""What one leg says of its media: m-lines and their codecs, read by `descriptions`, planned by `plan`."""

from __future__ import annotations

from typing import Literal

from ctl.network.addresses import unspecified
from ctl.sessions.ice import IceSaid
from ctl.sessions.security import CryptoLine, Setup, Spoken
from sip.facts import fact

Endpoint = tuple[str, int]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

PROFILES = tuple(
    f"{transport}{profile}{feedback}"
    for transport, profile in (("RTP/", "AVP"), ("RTP/", "SAVP"), ("UDP/TLS/RTP/", "SAVP"))
    for feedback in ("", "F")
)
_EVENT_CLOCK = 8000
UDPTL = "udptl"


class StreamRefused(Exception):
    """The stream cannot be relayed as described; the request that brought it is answered with 488."""


@fact
class Codec:
    """One payload type of an m-line. clock_rate in Hz is that of its RTP time stamps."""

    payload_type: int
    name: str
    clock_rate: int
    parameters: str = ""
    """Of fmtp, as spelled."""
    sends: int | None = None
    """Payload type by which the leg sends it, where it was named another than the one it wants (RFC 3264 §5.1)."""

    def sent_by(self, payload_type: int | None) -> Codec:
        """The same, sent by this one."""
        return Codec(self.payload_type, self.name, self.clock_rate, self.parameters, payload_type)


@fact
class Stream:
    """What one leg says of one m-line: where it listens and what it speaks. rtp_port 0: refused or ended."""

    media: str
    protocol: str
    address: str
    rtp_port: int
    rtcp_port: int
    signalling: str
    """Address that the leg's signalling came from."""
    rtcp_mux: bool = False
    direction: Direction = "sendrecv"
    codecs: tuple[Codec, ...] = ()
    telephone_events: tuple[int, ...] = ()
    event_clocks: tuple[int, ...] = ()
    """Clock rate of each of them, Hz; none said: 8000."""
    event_sends: int | None = None
    """As `Codec.sends`, for telephone events."""
    ptime: float | None = None
    """Milliseconds of audio in one packet."""
    cryptos: tuple[CryptoLine, ...] = ()
    fingerprint: str = ""
    setup: Setup = ""
    ice: IceSaid | None = None
    """What it says of ICE; None also where no ICE is spoken with this leg."""
    house: bool = False
    """Nobody's: what goes there is heard by nobody, and what comes from there is played by the engine."""
    copied: bool = False
    """Our engine's copies of what comes to another flow, at this address and port. Nothing goes there."""

    @property
    def inside(self) -> bool:
        """Whether it is of this host, and no peer's."""
        return self.house or self.copied

    @property
    def spoken(self) -> Spoken | None:
        """What is said of protection; None for a stream that is refused or ended."""
        return Spoken(self.protocol, self.cryptos, self.fingerprint, self.setup) if self.rtp_port else None

    @property
    def events(self) -> dict[int, int]:
        """Payload type of telephone events by their clock rate, the first of each (RFC 4733 §2.5)."""
        clocks = self.event_clocks or (_EVENT_CLOCK,) * len(self.telephone_events)
        return dict(zip(reversed(clocks), reversed(self.telephone_events), strict=True))

    def event_type(self, clock: int) -> int | None:
        """Return the payload type of telephone events beside a codec of this clock rate, None where there are none."""
        return self.events.get(clock, self.telephone_events[0] if self.telephone_events else None)

    def event_clock(self, clock: int) -> int:
        """Return the clock rate, Hz, of those events; that of the codec where nothing else is said."""
        return clock if clock in self.events else next(iter(self.event_clocks), clock)

    @property
    def kind(self) -> str:
        """Of media over which protocol, as people read it."""
        return f"{self.media} over {self.protocol}"

    @property
    def raw(self) -> bool:
        """Whether it is not of RTP at all: fax by UDPTL (ITU-T T.38)."""
        return self.protocol.lower() == UDPTL

    @property
    def held(self) -> bool:
        """Whether the leg has no address for the time being (hold as in RFC 2543). With ICE it may have yet to come."""
        return unspecified(self.address) and self.ice is None
