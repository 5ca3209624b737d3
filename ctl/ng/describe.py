# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a session description anew, line by line in the order that proxies are used to.

What the relay does not know is kept, at its place among the unknown. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ctl.addresses import unspecified
from sip.sdp import DIRECTIONS, Media, Origin, SessionDescription
from sip.sdp_parts import Codec, Connection

_ICE = {
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "ice-pacing",
}
_SECURITY = {"crypto", "setup", "fingerprint", "tls-id"}
_PLACED = {
    *_ICE,
    *_SECURITY,
    *DIRECTIONS,
    *("mid", "label", "bundle-only", "rtpmap", "fmtp", "rtcp-fb", "extmap", "rtcp", "rtcp-mux", "ptime", "maxptime"),
}
"""Attributes of a medium that have a place of their own; all others are written in between, as they came."""


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one m-line. rtp: our port, None: refused. rtcp: None where it is multiplexed on rtp's."""

    rtp: int | None
    rtcp: int | None = None
    protocol: str | None = None
    formats: tuple[str, ...] | None = None
    security: tuple[str, ...] = ()
    """Values of attributes, such as `crypto:1 ...`, in the order in which they are written."""
    candidates: tuple[str, ...] = ()
    """The same, of ICE."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What a proxy may ask for in the writing."""

    replace_origin: bool = False
    replace_username: bool = False
    replace_session_name: bool = False
    replace_zero_address: bool = False
    inactive: bool = False
    generate_mid: bool = False
    rtcp_attribute: bool = True
    full_rtcp_attribute: bool = False
    ptime: int | None = None
    label: str | None = None
    loop_mark: str | None = None


def describe(sdp: SessionDescription, address: str, lines: Sequence[Line], manner: Manner) -> bytes:
    """Return the description with our `address`, as peers are told it, and our ports; line ends are CRLF."""
    out = list(_session(sdp, address, manner))
    for index, (medium, line) in enumerate(zip(sdp.media, lines, strict=True)):
        out.extend(_medium(sdp, medium, line, address, manner, index))
    return "".join(f"{text}\r\n" for text in out).encode("utf-8", "surrogateescape")


def _session(sdp: SessionDescription, address: str, manner: Manner) -> Iterator[str]:
    session = sdp.session
    yield "v=0"
    yield f"o={_origin(sdp.origin, address, manner)}"
    yield f"s={'-' if manner.replace_session_name else session.value('s') or '-'}"
    for kind in "iuepb":
        yield from (f"{kind}={value}" for value in session.values(kind))
    yield from (f"t={value}" for value in session.values("t") or ["0 0"])
    yield from (f"r={value}" for value in session.values("r"))
    if manner.loop_mark:
        yield f"a=rtpengine:{manner.loop_mark}"
    dropped = {*_ICE, *_SECURITY, *DIRECTIONS}
    yield from (f"a={value}" for value in session.values("a") if _name(value) not in dropped)


def _origin(origin: Origin, address: str, manner: Manner) -> str:
    username = "-" if manner.replace_username else origin.username
    connection = Connection.to(address) if manner.replace_origin else origin.connection
    return str(Origin(username, origin.session, origin.version, connection))


def _medium(
    sdp: SessionDescription, medium: Media, line: Line, address: str, manner: Manner, index: int
) -> Iterator[str]:
    formats = line.formats or tuple(medium.formats)
    yield f"m={medium.media} {line.rtp or 0} {line.protocol or medium.proto} {' '.join(formats)}"
    yield from (f"i={value}" for value in medium.values("i"))
    yield f"c={_connection(sdp, medium, line, address, manner)}"
    yield from (f"b={value}" for value in medium.values("b"))
    yield from _identity(medium, manner, index)
    if not line.rtp:
        return
    yield from _codecs(medium, formats)
    yield from (f"a=extmap:{value}" for value in medium.attributes("extmap"))
    yield from (f"a={value}" for value in medium.values("a") if _name(value) not in _PLACED)
    yield f"a={_direction(sdp, medium, manner)}"
    yield from _rtcp(line, address, manner)
    yield from (f"a={value}" for value in line.security)
    yield from _packet_times(medium, manner)
    yield from (f"a={value}" for value in line.candidates)


def _connection(sdp: SessionDescription, medium: Media, line: Line, address: str, manner: Manner) -> Connection:
    if not line.rtp:
        return Connection.to("::" if ":" in address else "0.0.0.0")  # noqa: S104 - no address, nothing is bound
    said = sdp.connection_of(medium)
    if said and unspecified(said.address) and not manner.replace_zero_address:
        return said
    return Connection.to(address)


def _identity(medium: Media, manner: Manner, index: int) -> Iterator[str]:
    mid = medium.attribute("mid")
    if mid is not None or manner.generate_mid:
        yield f"a=mid:{mid or index + 1}"
    label = manner.label if manner.label is not None else medium.attribute("label")
    if label is not None:
        yield f"a=label:{label}"
    if medium.attribute("bundle-only") is not None:
        yield "a=bundle-only"


def _codecs(medium: Media, formats: Sequence[str]) -> Iterator[str]:
    """rtpmap, also of static types, fmtp and rtcp-fb, format by format."""
    known = medium.codecs
    for text in formats:
        codec = known.get(int(text)) if text.isascii() and text.isdigit() else None
        if codec is not None:
            yield f"a=rtpmap:{text} {_rtpmap(codec)}"
        for name in ("fmtp", "rtcp-fb"):
            yield from (f"a={name}:{value}" for value in medium.attributes(name) if value.split(" ", 1)[0] == text)
    yield from (f"a=rtcp-fb:{value}" for value in medium.attributes("rtcp-fb") if value.startswith("* "))


def _rtpmap(codec: Codec) -> str:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"{codec.name}/{codec.clock}{channels}"


def _direction(sdp: SessionDescription, medium: Media, manner: Manner) -> str:
    if manner.inactive:
        return "inactive"
    return sdp.direction_of(medium)


def _rtcp(line: Line, address: str, manner: Manner) -> Iterator[str]:
    if manner.rtcp_attribute:
        port = line.rtp if line.rtcp is None else line.rtcp
        full = f" {Connection.to(address)}" if manner.full_rtcp_attribute else ""
        yield f"a=rtcp:{port}{full}"
    if line.rtcp is None:
        yield "a=rtcp-mux"


def _packet_times(medium: Media, manner: Manner) -> Iterator[str]:
    ptime = str(manner.ptime) if manner.ptime else medium.attribute("ptime")
    if ptime is not None:
        yield f"a=ptime:{ptime}"
    longest = medium.attribute("maxptime")
    if longest is not None:
        yield f"a=maxptime:{longest}"


def _name(attribute: str) -> str:
    return attribute.partition(":")[0].rstrip()
