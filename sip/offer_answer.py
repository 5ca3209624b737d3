# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of offers and answers that hold in each dialog by itself (RFC 3264, RFC 6337).

They look at o= and m= lines alone, on bytes: who relays the media reads the rest.
"""

from __future__ import annotations

import re

from sip.errors import SdpError
from sip.sdp import DIRECTIONS, Media, SessionDescription

_ORIGIN = re.compile(rb"^o=\S+ +\d+ +\d+ +(IN +IP[46] +\S+)[ \t]*(?=\r?$)", re.MULTILINE)
_VERSION = re.compile(rb"^o=\S+ +(\d+) +(\d+) ", re.MULTILINE)
_MEDIA = re.compile(rb"^m=(\S+) +(\d+)\S* +(\S+)", re.MULTILINE)


def renumbered(sdp: bytes, said: bytes, session: int) -> bytes:
    """A description as one of a dialog of ours, whoever wrote it: user, session and version of o= are ours.

    The version goes up by one where anything else differs from what was `said` last, and only then (RFC 3264 §8).
    session: the number of a session that nothing was said of yet.
    """
    origin = _ORIGIN.search(sdp)
    if origin is None:
        return sdp
    before = _VERSION.search(said)
    number, version = (int(before[1]), int(before[2])) if before else (session, 0)
    head, tail = sdp[: origin.start()], sdp[origin.end() :]

    def written(count: int) -> bytes:
        return b"%so=- %d %d %s%s" % (head, number, count, origin[1], tail)

    return said if before and written(version) == said else written(version + 1)


def fresh_offer(sdp: bytes) -> bytes:
    """The offer to somebody new that an earlier description of a peer allows: whatever was on hold is so no more.

    Raises SdpError.
    """
    description = SessionDescription.parse(sdp)
    for section in (description.session, *description.media):
        section.remove_attributes(*DIRECTIONS)
    return description.to_bytes()


def narrowed(heard: bytes, said: bytes) -> bytes:
    """A peer's description with the formats alone that we have agreed on with it, so that it need hear of no other.

    heard: the last description of the peer; said: our own to it. Raises SdpError.
    """
    description, ours = SessionDescription.parse(heard), SessionDescription.parse(said)
    for medium, agreed in zip(description.media, ours.media, strict=False):
        if agreed.port:
            medium.set_formats(each for each in medium.formats if each in set(agreed.formats))
        else:
            medium.set_port(0)
    return description.to_bytes()


def same_media(one: bytes, other: bytes) -> bool:
    """Whether two descriptions of ours tell a peer the same of where to send what; o= and directions may differ.

    Raises SdpError.
    """
    first, second = SessionDescription.parse(one), SessionDescription.parse(other)
    return len(first.media) == len(second.media) and all(
        _essence(first, a) == _essence(second, b) for a, b in zip(first.media, second.media, strict=True)
    )


def _essence(description: SessionDescription, medium: Media) -> object:
    """What a peer would have to be told anew where it changes."""
    if not medium.port:
        return 0
    codecs = {number: (codec.name.lower(), codec.clock) for number, codec in medium.codecs.items()}
    protection = medium.cryptos, tuple(description.fingerprints_of(medium))
    return medium.port, medium.proto, description.connection_of(medium), codecs, protection


def check_answer(offer: bytes, answer: bytes) -> None:
    """Raises SdpError (488) where the answer is none to this offer (RFC 3264 §6).

    That is another number of m-lines, another medium or profile in one of them, or a refused one that is accepted.
    """
    offered, answered = _MEDIA.findall(offer), _MEDIA.findall(answer)
    if len(offered) != len(answered):
        raise SdpError(488, "Answer Has Another Number Of Media")
    for (medium, port, profile), (other, answer_port, answer_profile) in zip(offered, answered, strict=True):
        if medium.lower() != other.lower():
            raise SdpError(488, "Answer Names Another Medium")
        if int(answer_port) and not int(port):
            raise SdpError(488, "Answer Accepts What Was Refused")
        if int(answer_port) and profile.upper() != answer_profile.upper():
            raise SdpError(488, "Answer Names Another Profile")


def check_offer(offer: bytes, *before: bytes) -> None:
    """Raises SdpError (488) where an offer has fewer m-lines than the dialog had: they may only be refused (§8)."""
    known = max((len(_MEDIA.findall(sdp)) for sdp in before), default=0)
    if len(_MEDIA.findall(offer)) < known:
        raise SdpError(488, "Offer Has Fewer Media Than Before")
