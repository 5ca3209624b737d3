# SPDX-License-Identifier: GPL-3.0-or-later
"""Which codecs of a description the other side is shown.

What is stripped is taken out before the relay plans by it, as if it had never been there. What is masked is taken out
afterwards: the side that offered it can still be spoken to in it, by transcoding.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from sip.sdp import Media, SessionDescription
from sip.sdp_parts import Codec

EVERYTHING = frozenset({"all", "full"})
SUPPLEMENTAL = frozenset({"telephone-event", "cn"})
"""Formats that go with a codec, and are none."""


@dataclass(frozen=True, slots=True)
class Codecs:
    """Names in lower case, as `pcma`, `opus/48000` or `opus/48000/2`, or payload types.

    ignored: taken out as it comes, also what is offered anew then. kept: of those stripped or masked by "all". first:
    the order in which what is kept goes out, where "all" is stripped or masked. transcoded: what is offered besides.
    single: an answer names one codec alone.
    """

    ignored: frozenset[str] = frozenset()
    strip: frozenset[str] = frozenset()
    mask: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    first: tuple[str, ...] = ()
    transcoded: tuple[str, ...] = ()
    single: bool = False
    bridged: bool = False
    """Codecs may differ from side to side, and are transcoded then."""
    bitrate: int = 0
    """bit/s of Opus where we make it; 0: as its listener has it."""


NONE = Codecs()


def strip(sdp: SessionDescription, codecs: Codecs) -> None:
    """Take out what is to be stripped. A medium of which nothing would be left stays as it is."""
    for medium in sdp.media if codecs.strip or codecs.ignored else ():
        if codecs.ignored:
            _take_out(medium, codecs.ignored, NONE)
        if codecs.strip:
            _take_out(medium, codecs.strip, codecs)


def show(sdp: SessionDescription, codecs: Codecs, *, answer: bool) -> None:
    """Take out what the other side is not to see, and put telephone events behind the codecs that were added."""
    for medium in sdp.media:
        if codecs.mask and not answer:
            _take_out(medium, codecs.mask, codecs)
        if codecs.transcoded and not answer:
            _order(medium)
        if codecs.single and answer:
            _single(medium)


def _take_out(medium: Media, names: Set[str], codecs: Codecs) -> None:
    everything = bool(names & EVERYTHING)
    known = {str(payload_type): _names(codec, payload_type) for payload_type, codec in medium.codecs.items()}
    kept = [
        text
        for text in medium.formats
        if text not in known
        or not known[text].isdisjoint(codecs.kept)
        or not (everything or not known[text].isdisjoint(names))
    ]
    if not kept or (kept == medium.formats and not everything):
        return
    if everything:
        places = {name: place for place, name in enumerate(codecs.first)}
        kept.sort(key=lambda text: min((places.get(name, len(places)) for name in known.get(text, ())), default=0))
    medium.set_formats(kept)


def _names(codec: Codec, payload_type: int) -> frozenset[str]:
    """All by which a format may be meant."""
    name = codec.name.lower()
    clocked = f"{name}/{codec.clock}"
    return frozenset({name, clocked, f"{clocked}/{codec.channels}", str(payload_type)})


def _order(medium: Media) -> None:
    supplemental = _supplemental(medium)
    ordered = sorted(medium.formats, key=lambda text: text in supplemental)
    if ordered != medium.formats:
        medium.set_formats(ordered)


def _single(medium: Media) -> None:
    supplemental = _supplemental(medium)
    first = next((text for text in medium.formats if text not in supplemental), None)
    kept = [text for text in medium.formats if text == first or text in supplemental]
    if kept != medium.formats:
        medium.set_formats(kept)


def _supplemental(medium: Media) -> frozenset[str]:
    return frozenset(str(number) for number, codec in medium.codecs.items() if codec.name.lower() in SUPPLEMENTAL)
