# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own side of a call that we answer or begin ourselves: what we say of the media that is played to its one leg.

A session of such a call has the house in place of the other leg. What the leg sends is heard by nobody but those who
wait for digits; what it hears is played by the engine. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ctl.sessions.codecs import CLOCKS, NAMES, rtpmap_of
from ctl.sessions.descriptions import Description
from ctl.sessions.security import Bridge
from ctl.sessions.streams import Stream
from sip.sdp import Media, SessionDescription
from sip.sdp_parts import Connection

INSIDE = Bridge("RTP/AVP", inside=True)
"""Between the engine and ourselves nothing needs to be protected, whatever the leg's own profile."""
_NOWHERE = 9
"""The port of discard: nothing is sent there, nor comes from there."""
_ANSWERS = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_OFFERED = {"PCMA": 8, "PCMU": 0, "G722": 9}
_EVENTS = 101
_SUPPLEMENTAL = frozenset({"telephone-event", "cn"})


class House(Description):
    """A description of ours: its streams are the house's, and go through none of the checks that peers' do."""

    def streams(self, signalling: str) -> tuple[Stream, ...]:
        """See Description. signalling: our own address."""
        return tuple(replace(stream, house=True) for stream in super().streams(signalling))


def house_answer(offer: bytes) -> House | None:
    """Answer an offer as the house: its first audio that we can play to, in one codec; None where there is none.

    offer: as `MediaSessions.offer` hands it on, with our own addresses in it.
    """
    description = SessionDescription.parse(offer)
    found = False
    for medium in description.media:
        playable = None if found or medium.media != "audio" or not medium.port else _playable(medium)
        if playable is None:
            medium.set_port(0)
            continue
        found = True
        medium.set_formats(playable)
        medium.set_port(_NOWHERE)
        medium.remove_attributes("rtcp")
        direction = _ANSWERS.get(description.direction_of(medium))
        if direction:
            medium.direction = direction
    return House(description.to_bytes()) if found else None


def house_offer(address: str) -> House:
    """The house's own offer, to a leg that made none. address: ours."""
    family = "IP6" if ":" in address else "IP4"
    lines = [
        *("v=0", f"o=- 0 0 IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0"),
        f"m=audio {_NOWHERE} RTP/AVP {' '.join(map(str, _OFFERED.values()))} {_EVENTS}",
        *(f"a=rtpmap:{number} {rtpmap_of(name)}" for name, number in _OFFERED.items()),
        *(f"a=rtpmap:{_EVENTS} telephone-event/8000", f"a=fmtp:{_EVENTS} 0-15", "a=ptime:20"),
    ]
    return House("".join(f"{line}\r\n" for line in lines).encode())


def listener(offer: bytes, accepted: Collection[str]) -> House:
    """Answer an offer as somebody who listens and says nothing: one codec of each m-line, or those `accepted`.

    offer: as `MediaSessions.offer` hands it on. accepted: names in lower case; those that were not offered say nothing.
    """
    description = SessionDescription.parse(offer)
    connection = description.connection_of(description.media[0]) if description.media else None
    address = connection or description.origin.connection
    number = description.origin.session
    lines = ["v=0", f"o=- {number} {number} {address}", "s=-", "t=0 0"]
    for medium in description.media:
        lines += _listening(medium, address, accepted, description.direction_of(medium))
    return House("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))


def _listening(medium: Media, address: Connection, accepted: Collection[str], offered: str) -> Iterator[str]:
    spoken = {number: codec for number, codec in medium.codecs.items() if codec.name.lower() not in _SUPPLEMENTAL}
    chosen = {number: codec for number, codec in spoken.items() if codec.name.lower() in accepted}
    kept = chosen or dict(list(spoken.items())[:1])
    if not medium.port or not kept:
        yield f"m={medium.media} 0 {medium.proto} {' '.join(medium.formats)}"
        return
    yield f"m={medium.media} {_NOWHERE} {medium.proto} {' '.join(map(str, kept))}"
    yield f"c={address}"
    for number, codec in kept.items():
        yield f"a=rtpmap:{number} {codec.name}/{codec.clock}{f'/{codec.channels}' if codec.channels > 1 else ''}"
        if codec.fmtp:
            yield f"a=fmtp:{number} {codec.fmtp}"
    yield f"a={'recvonly' if offered in ('sendrecv', 'sendonly') else 'inactive'}"
    if medium.ptime:
        yield f"a=ptime:{medium.ptime:g}"


def _playable(medium: Media) -> list[str] | None:
    """The formats of an answer: one codec that the engine speaks, and the events that go with its clock."""
    for number, codec in medium.codecs.items():
        name = codec.name.lower()
        if name in NAMES and CLOCKS[name] == codec.clock:
            events = [
                str(each)
                for each, other in medium.codecs.items()
                if other.name.lower() == "telephone-event" and other.clock == codec.clock
            ]
            return [str(number), *events[:1]]
    return None
