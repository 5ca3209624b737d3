# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a session description anew, line by line in the order that proxies are used to.

What the relay does not know is kept, at its place among the unknown. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ctl.network.addresses import unspecified
from ctl.ng.hiding import ungrouped
from ctl.sessions.ice import ATTRIBUTES as ICE
from ctl.sessions.ice import IceOwn
from ctl.sessions.ice import lines as ice_lines
from ctl.sessions.ice import read as read_ice
from sip.sdp import DIRECTIONS, Media, Origin, Section, SessionDescription, codecs_of
from sip.sdp_parts import Connection

Named = Mapping[str, Sequence[str]]
"""Values of attributes by name."""
DTLS = ("setup", "fingerprint", "tls-id")
_PLACED = frozenset(
    {
        *ICE,
        *DTLS,
        "crypto",
        *DIRECTIONS,
        *(
            "mid",
            "label",
            "bundle-only",
            "rtpmap",
            "fmtp",
            "rtcp-fb",
            "extmap",
            "rtcp",
            "rtcp-mux",
            "ptime",
            "maxptime",
        ),
    }
)
"""Attributes of a medium that have a place of their own; all others are written in between, as they came."""
_MOVED = frozenset({*ICE, *DTLS, "crypto", *DIRECTIONS})
"""Attributes of a session that are written in its media, or not at all."""

DEAF = {"sendrecv": "sendonly", "recvonly": "inactive"}
"""Directions of who does not hear, by those of who does."""


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one m-line. rtp: our port, None: refused. rtcp: our port of that, None: the medium has none.

    mux: RTCP may come beside RTP. ice: what we say of it, None: nothing.
    """

    rtp: int | None
    rtcp: int | None = None
    mux: bool = False
    ice: IceOwn | None = None


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
    loop_protect: bool = False
    original_direction: bool = False
    """A direction that goes without saying is not said."""


def describe(
    sdp: SessionDescription,
    address: str,
    lines: Sequence[Line | None],
    manner: Manner,
    label: str | None = None,
    loop_mark: str = "",
    ptime: int = 0,
) -> bytes:
    """Return the description with our `address`, as peers are told it, and our ports; line ends are CRLF.

    lines: what becomes of each m-line, None: it is left out.
    label: of every medium, in place of its own. loop_mark: what `loop_protect` has us known by. ptime: of audio, in
    place of its own; 0: as it came.
    """
    out: list[str] = []
    both = list(zip(sdp.media, lines, strict=True))
    gone = frozenset(medium.attribute("mid") or "" for medium, line in both if line is None)
    _session(out, sdp, address, manner, loop_mark, gone)
    if any(line.ice.lite for line in lines if line and line.ice):
        out.append("a=ice-lite")
    for index, (medium, line) in enumerate(both):
        if line is None:
            continue
        _medium(out, sdp, medium, line, address, manner, label, index, ptime if medium.media == "audio" else 0)
    out.append("")
    return "\r\n".join(out).encode("utf-8", "surrogateescape")


def _session(
    out: list[str], sdp: SessionDescription, address: str, manner: Manner, loop_mark: str, gone: frozenset[str]
) -> None:
    session, said = sdp.session, sdp.session.by_kind()
    name = "-" if manner.replace_session_name else next(iter(said.get("s", ())), "") or "-"
    out += ("v=0", f"o={_origin(sdp.origin, address, manner)}", f"s={name}")
    for kind in "iuepb":
        if kind in said:
            out.extend([f"{kind}={value}" for value in said[kind]])
    out.extend([f"t={value}" for value in said.get("t", ("0 0",))])
    out.extend([f"r={value}" for value in said.get("r", ())])
    if manner.loop_protect:
        out.append(f"a=rtpengine:{loop_mark}")
    kept = _kept(session, _MOVED)
    out.extend([found for line in kept if (found := ungrouped(line, gone))] if gone else kept)


def _kept(section: Section, dropped: frozenset[str]) -> Sequence[str]:
    """The attributes but those of these names, as they came. No secret is remembered."""
    values, named = tuple(section.values("a")), section.named
    if not values:
        return ()
    return (_others if "crypto" in named or "ice-pwd" in named else _others_known)(values, dropped)


def _others(values: tuple[str, ...], dropped: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"a={text}" for text in values if text.partition(":")[0].rstrip() not in dropped)


_others_known = lru_cache(maxsize=1024)(_others)
"""Phones of a kind say the same."""


def _origin(origin: Origin, address: str, manner: Manner) -> Origin:
    if not manner.replace_origin and not manner.replace_username:
        return origin
    username = "-" if manner.replace_username else origin.username
    connection = Connection.to(address) if manner.replace_origin else origin.connection
    return Origin(username, origin.session, origin.version, connection)


def _medium(
    out: list[str],
    sdp: SessionDescription,
    medium: Media,
    line: Line,
    address: str,
    manner: Manner,
    label: str | None,
    index: int,
    ptime: int,
) -> None:
    out.append(f"m={medium.media} {line.rtp or 0} {medium.proto} {' '.join(medium.formats)}")
    out.extend([f"i={value}" for value in medium.values("i")])
    out.append(f"c={_connection(sdp, medium, line, address, manner)}")
    out.extend([f"b={value}" for value in medium.values("b")])
    named = medium.named
    _identity(out, named, manner, label, index)
    if not line.rtp:
        return
    out.extend(_codecs(*medium.coding, tuple(named.get("rtcp-fb", ()))))
    out.extend([f"a=extmap:{value}" for value in named.get("extmap", ())])
    out.extend(_kept(medium, _PLACED))
    direction = _direction(sdp, named, manner)
    if direction:
        out.append(f"a={direction}")
    _rtcp(out, line, address, manner)
    for name in ("crypto", *DTLS):
        out.extend([f"a={name}:{value}" for value in named.get(name, ())])
    _packet_times(out, named, ptime)
    if line.ice:
        said = ice_lines(line.ice, address, line.rtp, None if line.rtcp == line.rtp else line.rtcp)
        out.extend([f"a={name}:{value}" if value else f"a={name}" for name, value in said])


def _connection(sdp: SessionDescription, medium: Media, line: Line, address: str, manner: Manner) -> Connection:
    if not line.rtp:
        return Connection.to("::" if ":" in address else "0.0.0.0")  # noqa: S104 - no address, nothing is bound
    said = sdp.connection_of(medium)
    return said if said and not manner.replace_zero_address and _nowhere(sdp, medium) else Connection.to(address)


def _nowhere(sdp: SessionDescription, medium: Media) -> bool:
    """Whether nothing is to be sent to who says this."""
    said = sdp.connection_of(medium)
    return said is not None and unspecified(said.address) and read_ice(sdp, medium) is None


def say_deaf(sdp: SessionDescription) -> None:
    """Have who has no address say that it hears nothing (RFC 3264 §8.4), for those who go by that alone."""
    for medium in sdp.media:
        direction = sdp.direction_of(medium)
        if direction in DEAF and medium.port and _nowhere(sdp, medium):
            medium.direction = DEAF[direction]


def _identity(out: list[str], named: Named, manner: Manner, label: str | None, index: int) -> None:
    mid = _first(named, "mid")
    if mid is not None or manner.generate_mid:
        out.append(f"a=mid:{mid or index + 1}")
    label = _first(named, "label") if label is None else label
    if label is not None:
        out.append(f"a=label:{label}")
    if "bundle-only" in named:
        out.append("a=bundle-only")


@lru_cache(maxsize=1024)
def _codecs(
    formats: tuple[str, ...], rtpmaps: tuple[str, ...], fmtps: tuple[str, ...], feedback: tuple[str, ...]
) -> tuple[str, ...]:
    """rtpmap, also of static types, fmtp and rtcp-fb, format by format."""
    out: list[str] = []
    known = codecs_of(formats, rtpmaps, fmtps)
    described = [f"a={name}:{value}" for name, values in (("fmtp", fmtps), ("rtcp-fb", feedback)) for value in values]
    for text in formats:
        codec = known.get(int(text)) if text.isdecimal() else None
        if codec is not None:
            channels = f"/{codec.channels}" if codec.channels > 1 else ""
            out.append(f"a=rtpmap:{text} {codec.name}/{codec.clock}{channels}")
        beginnings = (f"a=fmtp:{text} ", f"a=rtcp-fb:{text} ")
        out.extend([each for each in described if each.startswith(beginnings)])
    out.extend([each for each in described if each.startswith(("a=fmtp:* ", "a=rtcp-fb:* "))])
    return tuple(out)


def _first(named: Named, name: str) -> str | None:
    found = named.get(name)
    return found[0] if found else None


def _direction(sdp: SessionDescription, named: Named, manner: Manner) -> str:
    if manner.inactive:
        return "inactive"
    own = [name for name in DIRECTIONS if name in named]
    usual = "" if manner.original_direction else "sendrecv"
    return own[0] if len(own) == 1 else sdp.session.direction or usual


def _rtcp(out: list[str], line: Line, address: str, manner: Manner) -> None:
    if manner.rtcp_attribute and line.rtcp is not None:
        full = f" {Connection.to(address)}" if manner.full_rtcp_attribute else ""
        out.append(f"a=rtcp:{line.rtcp}{full}")
    if line.mux:
        out.append("a=rtcp-mux")


def _packet_times(out: list[str], named: Named, asked: int) -> None:
    ptime = asked or _first(named, "ptime")
    if ptime is not None:
        out.append(f"a=ptime:{ptime}")
    longest = _first(named, "maxptime")
    if longest is not None:
        out.append(f"a=maxptime:{longest}")
