# SPDX-License-Identifier: GPL-3.0-or-later
"""m-lines that one side of a dialogue does not see, because a proxy keeps their type from it, or has left out. Pure.

Each keeps its place among those of the dialogue, as one that is refused: who sees it is answered so (RFC 3264
section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ctl.ng.errors import NgError
from ctl.sessions.streams import Stream
from sip.effects import Leg
from sip.sdp import Media, SessionDescription

KNOWN = frozenset({"audio", "video", "text", "application", "message", "image"})
"""Types of media that have a name of their own in `sdp-media-remove`; `other` stands for the rest."""
Hidden = tuple[Leg, int, str]
"""From which leg, the place from 0, and the m-line as it is answered."""


@dataclass
class Hiding:
    """What passes between both legs in one offer or answer of `sender`. hidden: of the dialogue, when it is through.

    agreed: how many m-lines both have agreed on before; these stay hidden, or are never hidden from who has seen them.
    types: that the other is not to see; None: this is an answer. lines: the m-lines of all that both have agreed on,
    or that were offered, as they are refused. Some leave out what they refuse or use no longer, where they are to say
    so (RFC 3264 section 6, section 8.2).
    """

    hidden: Sequence[Hidden]
    sender: Leg
    agreed: int = 0
    types: frozenset[str] | None = None
    lines: Sequence[str] = ()

    def apply(self, sdp: SessionDescription) -> frozenset[int]:
        """Put in what the sender does not see, refuse what the other is not to see; return the places of the latter.

        Raises NgError where nothing would be left to be seen.
        """
        for leg, place, line in sorted(self.hidden, key=lambda each: each[1]):
            if leg == self.sender:
                sdp.media.insert(place, _medium(line))
        for place in range(len(sdp.media), len(self.lines)):
            sdp.media.append(_medium(self.lines[place]))
            if self.types is not None:
                self.hidden = [*self.hidden, (self.sender, place, self.lines[place])]
        if self.types is not None:
            self.hidden = [*self._kept(), *self._new(sdp.media)]
        unseen = frozenset(place for leg, place, _ in self.hidden if leg != self.sender)
        for place, medium in enumerate(sdp.media):
            if place in unseen or self._meant(medium):
                medium.set_port(0)
        if unseen and len(unseen) >= len(sdp.media):
            raise NgError("sdp-media-remove: nothing would be left of the description")
        return unseen

    def _kept(self) -> Iterable[Hidden]:
        return (each for each in self.hidden if each[0] == self.sender or each[1] < self.agreed)

    def _new(self, media: Sequence[Media]) -> Iterable[Hidden]:
        other: Leg = "b" if self.sender == "a" else "a"
        for place, medium in enumerate(media[self.agreed :], self.agreed):
            if self._meant(medium):
                word = medium.formats[0] if medium.formats else "-"
                yield other, place, _line(medium.media, medium.proto, word)

    def _meant(self, medium: Media) -> bool:
        name, types = medium.media.lower(), self.types or ()
        return name in types or ("other" in types and name not in KNOWN)


def refused(stream: Stream) -> str:
    """Return the m-line that refuses one."""
    return _line(stream.media, stream.protocol)


def _line(kind: str, protocol: str, word: str = "-") -> str:
    return f"{kind} 0 {protocol} {'0' if 'RTP/' in protocol else word}"


def _medium(line: str) -> Media:
    return Media([f"m={line}\r\n".encode("utf-8", "surrogateescape")])


def ungrouped(attribute: str, hidden: frozenset[str]) -> str | None:
    """Return a session's `a=` line without the m-lines of these names in its group; None where that leaves none."""
    if not hidden or not attribute.startswith("a=group:"):
        return attribute
    semantics, *names = attribute.split()
    left = [name for name in names if name not in hidden]
    return " ".join((semantics, *left)) if left else None
