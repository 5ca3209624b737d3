# SPDX-License-Identifier: GPL-3.0-or-later
"""What a leg of a call sends, offered to somebody who listens in: the session in which a subscriber gets copies.

In that session leg a is our own engine, whose packets come from the port that the copied leg sends to, and leg b the
subscriber. So ports, keys, ICE and codecs are agreed on with it as with anybody. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ctl.sessions.call_media import Media
from ctl.sessions.codecs import EVENTS, rtpmap_of
from ctl.sessions.descriptions import Description
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.security import CryptoLine, Protection
from ctl.sessions.streams import Codec, Direction, Endpoint, Stream
from sip.effects import Leg
from sip.facts import fact


@fact
class Source:
    """What a leg sends in one m-line, `stream`, as our engine gets and copies it. local: where; peer: from whom.

    codecs: by the payload types that it is sent in, telephone events included. key: what it is protected with, where
    the engine does not open it; None: nothing.
    """

    stream: int
    media: str
    local: Endpoint
    peer: str
    codecs: tuple[Codec, ...]
    protocol: str
    direction: Direction
    ptime: float | None = None
    key: CryptoLine | None = None


class Copied(Description):
    """An offer of copies: its streams go through none of the checks that peers' do."""

    def streams(self, signalling: str) -> tuple[Stream, ...]:
        """See Description. signalling: of no use, for they come from where they say."""
        return tuple(replace(each, signalling=each.address, copied=True) for each in super().streams(signalling))


def sources(plans: Iterable[FlowPlan], media: Media, leg: Leg) -> list[Source]:
    """Return what a leg sends by those of the flows that are its own."""
    streams, known = media.streams.get(leg, ()), media.protections.get(leg, ())
    own = (plan for plan in plans if plan.leg == leg)
    return [_source(plan, streams[plan.stream], known[plan.stream : plan.stream + 1]) for plan in own]


def _source(plan: FlowPlan, said: Stream, protection: Sequence[Protection]) -> Source:
    opened = plan.open is not None or plan.dtls is not None
    key = protection[0].sends if protection and not opened else None
    codecs = tuple(_sent(plan, said))
    return Source(
        plan.stream, said.media, plan.local, plan.source[0], codecs, said.protocol, said.direction, said.ptime, key
    )


def offer(sources: Sequence[Source], labels: Sequence[str], version: int) -> Copied:
    """Offer sources, an m-line each. labels: of each m-line, empty for none. version: of the description (o=)."""
    lines = ["v=0", f"o=- {version} {version} IN {_in(sources[0].local[0])}", "s=-", "t=0 0"]
    for each, label in zip(sources, labels, strict=True):
        lines += _medium(each, label)
    return Copied("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))


def following(media: Media, found: Sequence[Source]) -> Media | None:
    """Return the media of a subscriber's session whose leg a, the copies, comes from `found`; None if it does."""
    before = media.streams.get("a", ())
    if not media.agreed or len(before) != len(found):
        return None
    offered = offer(found, [""] * len(found), 0).streams("")
    streams = tuple(
        replace(was, address=now.address, signalling=now.signalling, rtp_port=now.rtp_port, cryptos=now.cryptos)
        for was, now in zip(before, offered, strict=True)
    )
    if streams == before:
        return None
    keys = tuple(Protection(sends=each.key) for each in found)
    return replace(media, streams={**media.streams, "a": streams}, protections={**media.protections, "a": keys})


def _sent(plan: FlowPlan, said: Stream) -> Iterator[Codec]:
    """A leg sends by the payload types that the other leg has named, or that it was answered if it is transcoded."""
    if plan.transcoding:
        heard = plan.transcoding.heard
        clock = int(rtpmap_of(heard.name).split("/")[1])
        yield Codec(heard.payload_type, heard.name, clock)
        if heard.events is not None:
            yield Codec(heard.events, EVENTS, heard.event_rate or clock, "0-15")
        return
    spoken = {(codec.name.lower(), codec.clock_rate) for codec in said.codecs}
    yield from [each for each in plan.codecs if (each.name.lower(), each.clock_rate) in spoken] or plan.codecs
    if plan.dtmf_type is not None and said.telephone_events:
        yield Codec(plan.dtmf_type, EVENTS, plan.dtmf_clock or 8000, "0-15")


def _medium(source: Source, label: str) -> Iterator[str]:
    address, port = source.local
    profile = ("SAVP" if source.key else "AVP") + ("F" if source.protocol.endswith("F") else "")
    formats = " ".join(str(each.payload_type) for each in source.codecs)
    yield f"m={source.media} {port} RTP/{profile} {formats}"
    yield f"c=IN {_in(address)}"
    if label:
        yield f"a=label:{label}"
    for codec in source.codecs:
        channels = "/2" if codec.name.lower() == "opus" else ""
        yield f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}"
        if codec.parameters:
            yield f"a=fmtp:{codec.payload_type} {codec.parameters}"
    yield "a=sendonly"
    if source.key:
        yield f"a=crypto:{source.key}"
    if source.ptime:
        yield f"a=ptime:{source.ptime:g}"


def _in(address: str) -> str:
    return f"IP{6 if ':' in address else 4} {address}"
