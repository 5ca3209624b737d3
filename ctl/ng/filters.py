# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes out of a description what a proxy does not want the other side to see, before the relay plans by it."""

from __future__ import annotations

from ctl.ng.errors import NgError
from ctl.ng.options import Options
from sip.sdp import Media, SessionDescription

ALL = frozenset({"all", "full"})


def strip(sdp: SessionDescription, asked: Options) -> None:
    """Take out the codecs to be stripped. Raises NgError if nothing would be left of a medium."""
    if asked.strip or asked.keep:
        for medium in sdp.media:
            _strip(medium, asked)


def _strip(medium: Media, asked: Options) -> None:
    """`codec-offer-X` alone leaves nothing but X; with strip-all it says, as `codec-except-X` does, what stays."""
    everything = bool(asked.strip & ALL) or not asked.strip
    known = {str(payload_type): codec for payload_type, codec in medium.codecs.items()}
    kept = []
    for text in medium.formats:
        codec = known.get(text)
        names = {codec.name.lower(), f"{codec.name.lower()}/{codec.clock}"} if codec else set()
        gone = bool(names) and (everything or not names.isdisjoint(asked.strip)) and names.isdisjoint(asked.keep)
        if not gone:
            kept.append(text)
    if not kept:
        raise NgError(f"no codec of the {medium.media} stream is left")
    if kept != medium.formats:
        medium.set_formats(kept)
