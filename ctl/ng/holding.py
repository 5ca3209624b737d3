# SPDX-License-Identifier: GPL-3.0-or-later
"""Music for whom a participant puts on hold, where a proxy has named some for that participant (`moh`).

Who holds says so in an offer of its own (RFC 3264 section 8.4). The other side is told to listen, and who holds gets
the answer that it has asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ctl.network.addresses import unspecified
from ctl.ng.blobs import blob
from ctl.ng.errors import NgError
from ctl.ng.request import Request, canonical
from ctl.sessions.streams import Stream
from sip.sdp import SessionDescription
from sip.sdp_parts import Connection

HOLDS = frozenset({"sendonly", "inactive"})


@dataclass(frozen=True, slots=True)
class Music:
    """file: as of `play media`. sendrecv: the other side is told so, not `sendonly`. zero: and that media goes nowhere,
    as those who know but RFC 2543 say it.
    """

    file: str
    sendrecv: bool = False
    zero: bool = False


def music(request: Request, keep: Callable[[bytes], str]) -> Music | None:
    """Return what is to be played whenever who sends this holds; None where nothing is said. Raises NgError.

    keep: takes in a sound that comes with the request, and returns its name.
    """
    asked = request.values.get("moh")
    if not asked:
        return None
    if not isinstance(asked, Mapping):
        raise NgError("moh: no dictionary")
    said = {canonical(str(key)): value for key, value in asked.items()}
    file, sound = said.get("file"), blob(said)
    if said.get("db-id"):
        raise NgError("moh: name a file below media.prompts, or hand in a blob; db-id is not read here")
    if sound is None and (not isinstance(file, str) or not file):
        raise NgError("moh: name a file below media.prompts, tone/music, or hand in a blob")
    mode, connection = (str(said.get(key, "")).lower() for key in ("mode", "connection"))
    if mode not in ("", "sendonly", "sendrecv") or connection not in ("", "zero"):
        raise NgError("moh: mode is sendonly or sendrecv, connection is zero, or neither is said")
    return Music(str(file) if sound is None else keep(sound), mode == "sendrecv", connection == "zero")


def offered(sdp: SessionDescription, played: Music, address: str) -> None:
    """Change what the other side is told of a hold. address: ours toward it."""
    for medium in sdp.media:
        said = sdp.connection_of(medium)
        nowhere = said is not None and unspecified(said.address)
        if medium.media != "audio" or not medium.port or not (nowhere or sdp.direction_of(medium) in HOLDS):
            continue
        medium.direction = "sendrecv" if played.sendrecv else "sendonly"
        nothing = "::" if ":" in address else "0.0.0.0"  # noqa: S104 - no address, nothing is bound
        medium.connection = Connection.to(nothing if played.zero else address)


def answered(sdp: SessionDescription, offer: Sequence[Stream]) -> None:
    """Answer who holds by what it has offered, whatever the other side made of what it was told."""
    for medium, stream in zip(sdp.media, offer, strict=True):
        if medium.media == "audio" and medium.port and stream.direction in HOLDS:
            medium.direction = "inactive" if stream.direction == "inactive" else "recvonly"
