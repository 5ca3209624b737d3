# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a session description anew, line by line in the order that proxies are used to.

What the relay does not know is kept, at its place among the unknown. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ctl.network.addresses import unspecified
from ctl.sessions.descriptions import ICE
from sip.sdp import DIRECTIONS, Media, Origin, Section, SessionDescription
from sip.sdp_parts import Codec, Connection

SECURITY = ("crypto", "setup", "fingerprint", "tls-id")
_PLACED = {
    *ICE,
    *SECURITY,
    *DIRECTIONS,
    *("mid", "label", "bundle-only", "rtpmap", "fmtp", "rtcp-fb", "extmap", "rtcp", "rtcp-mux", "ptime", "maxptime"),
}
"""Attributes of a medium that have a place of their own; all others are written in between, as they came."""
_MOVED = {*ICE, *SECURITY, *DIRECTIONS}
"""Attributes of a session that are written in its media, or not at all."""


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one m-line. rtp: our port, None: refused. rtcp: None where it is multiplexed on rtp's."""

    rtp: int | None
    rtcp: int | None = None


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


class _Lines:
    """The lines of a section, read once: values by kind, values of attributes by name, and attributes as they came."""

    def __init__(self, section: Section) -> None:
        self.kinds: dict[str, list[str]] = {}
        self.attributes: dict[str, list[str]] = {}
        self.every: list[tuple[str, str]] = []
        for line in section.lines:
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if text[:2] != "a=":
                self.kinds.setdefault(text[:1], []).append(text[2:])
                continue
            name, _, value = text[2:].partition(":")
            name = name.rstrip()
            self.attributes.setdefault(name, []).append(value)
            self.every.append((name, text))

    def first(self, name: str) -> str | None:
        """Value of the first attribute of a name."""
        found = self.attributes.get(name)
        return found[0] if found else None

    def kept(self, dropped: Set[str]) -> Iterator[str]:
        """The attributes but those of these names, as they came."""
        return (text for name, text in self.every if name not in dropped)


def _session(sdp: SessionDescription, address: str, manner: Manner) -> Iterator[str]:
    lines = _Lines(sdp.session)
    yield "v=0"
    yield f"o={_origin(sdp.origin, address, manner)}"
    yield f"s={'-' if manner.replace_session_name else next(iter(lines.kinds.get('s', ())), '-') or '-'}"
    for kind in "iuepb":
        yield from (f"{kind}={value}" for value in lines.kinds.get(kind, ()))
    yield from (f"t={value}" for value in lines.kinds.get("t", ("0 0",)))
    yield from (f"r={value}" for value in lines.kinds.get("r", ()))
    if manner.loop_mark:
        yield f"a=rtpengine:{manner.loop_mark}"
    yield from lines.kept(_MOVED)


def _origin(origin: Origin, address: str, manner: Manner) -> str:
    username = "-" if manner.replace_username else origin.username
    connection = Connection.to(address) if manner.replace_origin else origin.connection
    return str(Origin(username, origin.session, origin.version, connection))


def _medium(
    sdp: SessionDescription, medium: Media, line: Line, address: str, manner: Manner, index: int
) -> Iterator[str]:
    lines = _Lines(medium)
    yield f"m={medium.media} {line.rtp or 0} {medium.proto} {' '.join(medium.formats)}"
    yield from (f"i={value}" for value in lines.kinds.get("i", ()))
    yield f"c={_connection(sdp, medium, line, address, manner)}"
    yield from (f"b={value}" for value in lines.kinds.get("b", ()))
    yield from _identity(lines, manner, index)
    if not line.rtp:
        return
    yield from _codecs(medium, lines)
    yield from (f"a=extmap:{value}" for value in lines.attributes.get("extmap", ()))
    yield from lines.kept(_PLACED)
    yield f"a={_direction(sdp, lines, manner)}"
    yield from _rtcp(line, address, manner)
    yield from (f"a={name}:{value}" for name in SECURITY for value in lines.attributes.get(name, ()))
    yield from _packet_times(lines, manner)


def _connection(sdp: SessionDescription, medium: Media, line: Line, address: str, manner: Manner) -> Connection:
    if not line.rtp:
        return Connection.to("::" if ":" in address else "0.0.0.0")  # noqa: S104 - no address, nothing is bound
    said = sdp.connection_of(medium)
    if said and unspecified(said.address) and not manner.replace_zero_address:
        return said
    return Connection.to(address)


def _identity(lines: _Lines, manner: Manner, index: int) -> Iterator[str]:
    mid = lines.first("mid")
    if mid is not None or manner.generate_mid:
        yield f"a=mid:{mid or index + 1}"
    label = manner.label if manner.label is not None else lines.first("label")
    if label is not None:
        yield f"a=label:{label}"
    if "bundle-only" in lines.attributes:
        yield "a=bundle-only"


def _codecs(medium: Media, lines: _Lines) -> Iterator[str]:
    """rtpmap, also of static types, fmtp and rtcp-fb, format by format."""
    known = {str(payload_type): codec for payload_type, codec in medium.codecs.items()}
    described = [(name, value) for name in ("fmtp", "rtcp-fb") for value in lines.attributes.get(name, ())]
    for text in medium.formats:
        codec = known.get(text)
        if codec is not None:
            yield f"a=rtpmap:{text} {_rtpmap(codec)}"
        yield from (f"a={name}:{value}" for name, value in described if value.partition(" ")[0] == text)
    yield from (f"a={name}:{value}" for name, value in described if value.startswith("* "))


def _rtpmap(codec: Codec) -> str:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"{codec.name}/{codec.clock}{channels}"


def _direction(sdp: SessionDescription, lines: _Lines, manner: Manner) -> str:
    if manner.inactive:
        return "inactive"
    own = [name for name in DIRECTIONS if name in lines.attributes]
    return own[0] if len(own) == 1 else sdp.session.direction or "sendrecv"


def _rtcp(line: Line, address: str, manner: Manner) -> Iterator[str]:
    if manner.rtcp_attribute:
        port = line.rtp if line.rtcp is None else line.rtcp
        full = f" {Connection.to(address)}" if manner.full_rtcp_attribute else ""
        yield f"a=rtcp:{port}{full}"
    if line.rtcp is None:
        yield "a=rtcp-mux"


def _packet_times(lines: _Lines, manner: Manner) -> Iterator[str]:
    ptime = str(manner.ptime) if manner.ptime else lines.first("ptime")
    if ptime is not None:
        yield f"a=ptime:{ptime}"
    longest = lines.first("maxptime")
    if longest is not None:
        yield f"a=maxptime:{longest}"
