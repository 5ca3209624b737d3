# SPDX-License-Identifier: GPL-3.0-or-later
"""An editor of session descriptions that touches only the lines it is told to (RFC 8866).

Lines are kept as bytes with their own line ends; `to_bytes` of what was parsed is what was parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from itertools import pairwise

from sip.errors import ForbiddenCharacter, SdpError
from sip.facts import fact
from sip.sdp_parts import STATIC_TYPES, Candidate, Codec, Connection, Crypto, Fingerprint, rtcp, rtpmap

MAX_BYTES = 65536
MAX_MEDIA = 16
MAX_ATTRIBUTES = 256
"""Attributes of one section."""
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

_ORDER = "vosiuepcbtrzka"
_MEDIA = re.compile(r"(\S+) +([0-9]{1,5})(?:/([0-9]{1,5}))? +(\S+)((?: +\S+)*) *")
_ORIGIN = re.compile(r"(\S+) +([0-9]+) +([0-9]+) +IN +IP([46]) +(\S+) *")
Coding = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Formats of an m-line, and the values of its attributes rtpmap and fmtp."""
_LINE = re.compile(rb"[A-Za-z]=")
_PTIME = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5})?")
_FORBIDDEN = re.compile(r"[\r\n\0]")
_OF_ONE_CALL = re.compile(rb"a=(?:crypto|fingerprint|ice-|candidate|ssrc|msid|tls-id)", re.ASCII)
"""What differs from call to call, or is nobody's business once the call is over."""
_REMEMBERED_LINES, _REMEMBERED_BYTES = 32, 1024
_ATTRIBUTE = ord("a")


@fact
class Origin:
    """An o= line. session, version: numbers as text, for they may exceed 64 bits; see `next`."""

    username: str
    session: str
    version: str
    connection: Connection

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, value: str) -> Origin:
        """Raises SdpError (400)."""
        match = _ORIGIN.fullmatch(value)
        if not match:
            raise SdpError(400, "Malformed Origin")
        return cls(match[1], match[2], match[3], Connection(int(match[4]), match[5]))

    def __str__(self) -> str:
        return f"{self.username} {self.session} {self.version} {self.connection}"


@fact
class Attributes:
    """All attributes of a section. texts: in order, name and value; named: the values by name, "" for a flag."""

    texts: tuple[str, ...] = ()
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)


_NO_ATTRIBUTES = Attributes()


class Section:
    """Lines of the session or of one medium, in order, each with its line end."""

    def __init__(self, lines: list[bytes], ending: bytes = b"\r\n") -> None:
        self._lines = lines
        self._ending = ending
        self._attributes: Attributes | None = None
        """What was read of the attributes; None: not yet, or they have changed since."""

    @property
    def lines(self) -> Sequence[bytes]:
        """All lines, to be read."""
        return self._lines

    def values(self, kind: str) -> Sequence[str]:
        """Values of all lines of a type such as "b"."""
        if kind == "a":
            return self._read().texts
        prefix = f"{kind}=".encode()
        return [_text(line[2:]) for line in self._lines if line.startswith(prefix)]

    def by_kind(self) -> Mapping[str, Sequence[str]]:
        """Values of all lines by their type, attributes left out."""
        found: dict[str, list[str]] = {}
        for line in self._lines:
            if line[1:2] == b"=" and line[0] != _ATTRIBUTE:
                found.setdefault(chr(line[0]), []).append(_text(line[2:]))
        return found

    def value(self, kind: str) -> str | None:
        """Value of the first line of a type; None where there is none."""
        prefix = f"{kind}=".encode()
        for line in self._lines:
            if line.startswith(prefix):
                return _text(line[2:])
        return None

    def set_value(self, kind: str, value: str) -> None:
        """Write the first line of a type, or put one where RFC 8866 §5 wants it."""
        prefix = f"{kind}=".encode()
        for place, line in enumerate(self._lines):
            if line.startswith(prefix):
                self._set(place, self._line(kind, value, like=line))
                return
        self._insert(kind, value)

    def attributes(self, name: str) -> Sequence[str]:
        """Values of all attributes of that name; "" for a flag."""
        return self.named.get(name, ())

    @property
    def named(self) -> Mapping[str, Sequence[str]]:
        """Values of all attributes by name, to be read; "" for a flag."""
        return self._read().named

    def attribute(self, name: str) -> str | None:
        """Value of the first attribute of that name, "" for a flag; None where there is none."""
        found = self.named.get(name)
        return found[0] if found else None

    def set_attribute(self, name: str, value: str = "") -> None:
        """Write the first attribute of that name in its place, or add it at the section's end."""
        text = f"{name}:{value}" if value else name
        for place, line in enumerate(self.lines):
            if _attribute_name(line) == name:
                self._set(place, self._line("a", text, like=line))
                return
        self._insert("a", text)

    def add_attribute(self, name: str, value: str = "") -> None:
        """Add one more attribute at the section's end."""
        self._insert("a", f"{name}:{value}" if value else name)

    def has_attributes(self, *names: str) -> bool:
        """Whether there is an attribute of one of these names."""
        named = self.named
        return bool(named) and not named.keys().isdisjoint(names)

    def remove_attributes(self, *names: str) -> None:
        """Take out every attribute of these names."""
        if self.has_attributes(*names):
            self._keep(lambda line: _attribute_name(line) not in names)

    def remove_values(self, name: str, beginning: str) -> None:
        """Take out every attribute of this name whose value begins so."""
        prefix = f"a={name}:{beginning}".encode()
        self._keep(lambda line: not line.startswith(prefix))

    @property
    def connection(self) -> Connection | None:
        """This section's own c= line; a medium without one uses the session's. Raises SdpError (400)."""
        value = self.value("c")
        return None if value is None else Connection.parse(value)

    @connection.setter
    def connection(self, connection: Connection) -> None:
        self.set_value("c", str(connection))

    @property
    def direction(self) -> str | None:
        """The last direction attribute of this section; None where unsaid."""
        if not self.has_attributes(*DIRECTIONS):
            return None
        names = (value.partition(":")[0].rstrip() for value in reversed(self.values("a")))
        return next(name for name in names if name in DIRECTIONS)

    @direction.setter
    def direction(self, direction: str) -> None:
        place = next((name for name in DIRECTIONS if self.attribute(name) is not None), None)
        if place is None:
            self.set_attribute(direction)
            return
        first = next(i for i, line in enumerate(self.lines) if _attribute_name(line) == place)
        written = self._line("a", direction, like=self.lines[first])
        self._set(first, written)
        self._keep(lambda line: line is written or _attribute_name(line) not in DIRECTIONS)

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """Readable certificate fingerprints."""
        return [found for value in self.attributes("fingerprint") if (found := Fingerprint.parse(value))]

    @property
    def candidates(self) -> list[Candidate]:
        """Readable ICE candidates."""
        return [found for value in self.attributes("candidate") if (found := Candidate.parse(value))]

    def _insert(self, kind: str, value: str) -> None:
        """Behind the last line that may stand before one of this type; never before a section's first line."""
        rank = _rank(kind)
        place = 1
        for index, line in enumerate(self.lines):
            if index > 0 and line.strip() and _rank(chr(line[0])) <= rank:
                place = index + 1
        if place <= len(self.lines) and self.lines and not self.lines[place - 1].endswith((b"\n", b"\r")):
            self._lines[place - 1] += self._ending
        self._lines.insert(place, self._line(kind, value, like=self._ending))
        self._changed()

    def _read(self) -> Attributes:
        if self._attributes is None:
            self._attributes = _attributes_of(self._lines)
        return self._attributes

    def _set(self, place: int, line: bytes) -> None:
        self._lines[place] = line
        if line.startswith(b"a="):
            self._changed()

    def _keep(self, wanted: Callable[[bytes], bool]) -> None:
        self._lines = [line for line in self._lines if wanted(line)]
        self._changed()

    def _changed(self) -> None:
        """Attributes are others now."""
        self._attributes = None

    def _line(self, kind: str, value: str, *, like: bytes) -> bytes:
        """A line with the end of the line `like`. Raises ForbiddenCharacter."""
        if _FORBIDDEN.search(value):
            raise ForbiddenCharacter(f"line end or NUL in {value!r}: remove it before it goes into an SDP line")
        ending = like[len(like.rstrip(b"\r\n")) :]
        return f"{kind}={value}".encode("utf-8", "surrogateescape") + ending


class Media(Section):
    """One medium: its m= line and what belongs to it.

    media: audio, video…; port: 0 where refused; port_count: of `port/count`; proto: RTP/AVP…; formats: as spelled.
    """

    def __init__(self, lines: list[bytes], ending: bytes = b"\r\n") -> None:
        super().__init__(lines, ending)
        self._codecs: Mapping[int, Codec] | None = None
        match = _MEDIA.fullmatch(_text(lines[0][2:]))
        if not match or int(match[2]) > 65535:
            raise SdpError(400, "Malformed Media Line")
        self.media, self.proto = match[1], match[4]
        self.port, self.port_count = int(match[2]), int(match[3] or 1)
        self.formats = match[5].split()

    def set_port(self, port: int) -> None:
        """Another port; a count of ports is dropped."""
        self.port, self.port_count = port, 1
        self._write_media()

    def set_proto(self, proto: str) -> None:
        """Another profile, such as RTP/SAVP."""
        self.proto = proto
        self._write_media()

    def set_formats(self, formats: Iterable[str]) -> None:
        """Other formats; the attributes of those taken out (rtpmap, fmtp, rtcp-fb) go with them."""
        kept = list(formats)
        if kept == self.formats:
            return
        gone = set(self.formats) - set(kept)
        self.formats = kept
        self._write_media()
        if gone:
            self._keep(lambda line: not _describes(line, gone))

    @property
    def codecs(self) -> Mapping[int, Codec]:
        """Payload type to codec in the order of the m= line; a dynamic type without rtpmap is left out."""
        if self._codecs is None:
            self._codecs = codecs_of(*self.coding)
        return self._codecs

    @property
    def coding(self) -> Coding:
        """All that says which payload type stands for what."""
        named = self.named
        return tuple(self.formats), tuple(named.get("rtpmap", ())), tuple(named.get("fmtp", ()))

    @property
    def cryptos(self) -> list[Crypto]:
        """SDES keys that can be used, in order of preference."""
        return [found for value in self.attributes("crypto") if (found := Crypto.parse(value))]

    @property
    def rtcp(self) -> tuple[int, str | None] | None:
        """Port and address of a=rtcp (RFC 3605); None where unsaid, which means the port above."""
        value = self.attribute("rtcp")
        return None if value is None else rtcp(value)

    @property
    def rtcp_mux(self) -> bool:
        """Whether RTCP may use the port of RTP (RFC 5761)."""
        return "rtcp-mux" in self.named

    @property
    def ptime(self) -> float | None:
        """Milliseconds of audio in a packet; None where unsaid or unreadable."""
        value = (self.attribute("ptime") or "").strip()
        return float(value) if _PTIME.fullmatch(value) else None

    def _changed(self) -> None:
        super()._changed()
        self._codecs = None

    def _write_media(self) -> None:
        port = str(self.port) if self.port_count == 1 else f"{self.port}/{self.port_count}"
        text = " ".join([self.media, port, self.proto, *self.formats])
        self._set(0, self._line("m", text, like=self.lines[0]))


def _attributes_of(lines: Sequence[bytes]) -> Attributes:
    """The attributes among the lines of a section. Those of phones of a kind are the same in each call: read once."""
    said = tuple([line for line in lines if line.startswith(b"a=")])
    if not said:
        return _NO_ATTRIBUTES
    text = b"".join(said)
    if len(said) > _REMEMBERED_LINES or len(text) > _REMEMBERED_BYTES or _OF_ONE_CALL.search(text):
        return _read_attributes(said)
    return _remembered_attributes(said)


def _read_attributes(lines: tuple[bytes, ...]) -> Attributes:
    texts = tuple([_text(line[2:]) for line in lines])
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, value = text.partition(":")
        found.setdefault(name.rstrip(), []).append(value)
    return Attributes(texts, {name: tuple(values) for name, values in found.items()})


_remembered_attributes = lru_cache(maxsize=512)(_read_attributes)
"""At most some 2 MB are kept."""


@lru_cache(maxsize=1024)
def codecs_of(formats: tuple[str, ...], rtpmaps: tuple[str, ...], fmtps: tuple[str, ...]) -> Mapping[int, Codec]:
    """`Media.codecs` of what `Media.coding` says; read once, for phones of a kind say the same."""
    mapped = dict(found for value in rtpmaps if (found := rtpmap(value)))
    fmtp = {pt: text for pt, _, text in (value.partition(" ") for value in reversed(fmtps))}
    numbers = [int(text) for text in formats if text.isascii() and text.isdigit() and len(text) <= 3]
    known = {pt: mapped.get(pt) or STATIC_TYPES.get(pt) for pt in numbers}
    return {
        pt: Codec(codec.name, codec.clock, codec.channels, fmtp.get(str(pt), ""))
        for pt, codec in known.items()
        if codec is not None
    }


class SessionDescription:
    """A whole description: `session` is the section above the first m= line, `media` one section for each."""

    def __init__(self, session: Section, media: list[Media]) -> None:
        self.session = session
        self.media = media

    @classmethod
    def parse(cls, body: bytes) -> SessionDescription:
        """Raises SdpError: 400 for what is no SDP, 413 and 488 beyond MAX_BYTES, MAX_MEDIA, MAX_ATTRIBUTES."""
        if len(body) > MAX_BYTES:
            raise SdpError(413, "Session Description Too Large")
        lines = body.splitlines(keepends=True)
        if b"\0" in body:
            raise SdpError(400, "NUL In Session Description")
        if not lines or lines[0].rstrip() != b"v=0":
            raise SdpError(400, "Session Description Does Not Start With v=0")
        if not all(map(_LINE.match, lines)) and any(line.strip() and not _LINE.match(line) for line in lines):
            raise SdpError(400, "Malformed Session Description Line")
        starts = [place for place, line in enumerate(lines) if line.startswith(b"m=")]
        sections = [lines[start:end] for start, end in pairwise((0, *starts, len(lines)))]
        _check_limits(sections)
        ending = lines[0][3:].lstrip(b" \t") or b"\r\n"
        return cls(Section(sections[0], ending), [Media(section, ending) for section in sections[1:]])

    @property
    def origin(self) -> Origin:
        """The o= line. Raises SdpError (400) where it is missing or unreadable."""
        return Origin.parse(self.session.value("o") or "")

    @origin.setter
    def origin(self, origin: Origin) -> None:
        self.session.set_value("o", str(origin))

    def connection_of(self, medium: Media) -> Connection | None:
        """Where a medium is to be sent: its own c= line or the session's. Raises SdpError (400)."""
        return medium.connection or self.session.connection

    def direction_of(self, medium: Media) -> str:
        """A medium's own direction, else the session's, else sendrecv (RFC 8866 §6.7)."""
        return medium.direction or self.session.direction or "sendrecv"

    def fingerprints_of(self, medium: Media) -> list[Fingerprint]:
        """A medium's own fingerprints, else the session's (RFC 8122 §5)."""
        return medium.fingerprints or self.session.fingerprints

    def to_bytes(self) -> bytes:
        """The description as it goes on the wire."""
        return b"".join([line for section in (self.session, *self.media) for line in section.lines])


def _check_limits(sections: list[list[bytes]]) -> None:
    if len(sections) > MAX_MEDIA + 1:
        raise SdpError(488, "Too Many Media")
    for lines in sections:
        if len(lines) > MAX_ATTRIBUTES and sum(line[:2] == b"a=" for line in lines) > MAX_ATTRIBUTES:
            raise SdpError(488, "Too Many Attributes")


def _text(value: bytes) -> str:
    return value.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def _attribute_name(line: bytes) -> str | None:
    return _text(line[2:]).partition(":")[0].rstrip() if line[:2] == b"a=" else None


def _describes(line: bytes, formats: set[str]) -> bool:
    if _attribute_name(line) not in ("rtpmap", "fmtp", "rtcp-fb"):
        return False
    words = _text(line).partition(":")[2].split(maxsplit=1)
    return bool(words) and words[0] in formats


def _rank(kind: str) -> int:
    return _ORDER.find(kind) if kind in _ORDER else len(_ORDER)
