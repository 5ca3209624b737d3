# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay reads in a session description, and the few lines of it that it writes anew."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from ctl.network.addresses import canonical, unspecified
from ctl.sessions.call_media import Media as Agreed
from ctl.sessions.codecs import EVENTS, additional, decoded, differ, rtpmap_of, settled, transcoding, wishes
from ctl.sessions.ice import ATTRIBUTES as ICE
from ctl.sessions.ice import IceOwn
from ctl.sessions.ice import lines as ice_lines
from ctl.sessions.ice import read as read_ice
from ctl.sessions.security import CryptoLine, Setup, Spoken, dtls_hash
from ctl.sessions.streams import Codec, Direction, Endpoint, Stream, StreamRefused
from ctl.sessions.terms import Mux, is_offered
from media.stages import CodecSettings
from sip.effects import Leg
from sip.errors import SdpError
from sip.sdp import Media, Origin, Section, SessionDescription, codecs_of
from sip.sdp_parts import Connection, Crypto, Fingerprint

_PROTECTION = ("crypto", "fingerprint", "setup", "tls-id", "zrtp-hash", "key-mgmt")
_SETUPS: dict[str, Setup] = {
    "active": "active",
    "passive": "passive",
    "actpass": "actpass",
    "holdconn": "holdconn",
}
_DIRECTIONS: dict[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "sendonly",
    "recvonly": "recvonly",
    "inactive": "inactive",
}


class Description:
    """One session description on its way through the relay."""

    def __init__(self, body: bytes) -> None:
        """Raise SdpError if `body` is none, or if a line that the relay must rewrite cannot be read."""
        self._sdp = SessionDescription.parse(body)
        self._origin = self._sdp.origin
        for section in self._sections():
            _ = section.connection  # or SdpError

    @property
    def sdp(self) -> SessionDescription:
        """What was parsed; to be read."""
        return self._sdp

    def streams(self, signalling: str) -> tuple[Stream, ...]:
        """Return the m-lines in order. signalling: the address that the leg's signalling came from.

        Raises StreamRefused for one that has no address, or a port that leaves no room for RTCP.
        """
        return tuple(self._stream(medium, signalling) for medium in self._sdp.media)

    def offer_also(
        self, streams: Sequence[Stream], wanted: Sequence[str], events: bool = False
    ) -> tuple[tuple[Codec, ...], ...]:
        """Offer the codecs that are `wanted` beside those of each of the description's `streams`; return them.

        events: and telephone events, though the streams have none.
        """
        return tuple(_offer_also(*each, wanted, events) for each in zip(self._sdp.media, streams, strict=True))

    def keep_hearing(self, streams: Sequence[Stream]) -> None:
        """Hold without making deaf: who is held by `inactive` is told `sendonly`, for it is to hear music of ours.

        So is one who is held by 0.0.0.0 (RFC 2543), and gets an address in place of that, which becomes ours.
        """
        for medium, stream in zip(self._sdp.media, streams, strict=True):
            if stream.media != "audio" or not medium.port or not (stream.held or stream.direction == "inactive"):
                continue
            medium.direction = "sendonly"
            if stream.held:
                medium.connection = Connection.to(stream.signalling)

    def stay_inactive(self, offered: Sequence[Stream]) -> None:
        """Answer `inactive` where that was offered, whatever the party said that was told `sendonly`."""
        for medium, offer in zip(self._sdp.media, offered, strict=True):
            if offer.media == "audio" and medium.port and offer.direction == "inactive":
                medium.direction = "inactive"

    def answer_events(self, offered: Sequence[Stream], answered: Sequence[Stream]) -> None:
        """Take the telephone events that were offered, though the answer has none: we make another form of them."""
        for medium, offer, answer in zip(self._sdp.media, offered, answered, strict=True):
            if medium.port and answer.codecs and offer.telephone_events and not answer.telephone_events:
                clock = answer.codecs[0].clock_rate
                number = offer.event_type(clock)
                medium.set_formats([*medium.formats, str(number)])
                medium.add_attribute("rtpmap", f"{number} {EVENTS}/{offer.event_clock(clock)}")
                medium.add_attribute("fmtp", f"{number} 0-15")

    def answer_with(
        self,
        offered: Sequence[Stream],
        answered: Sequence[Stream],
        added: Sequence[Sequence[Codec]] = (),
        ptimes: tuple[int, int] = (0, 0),
    ) -> tuple[Stream, ...]:
        """Leave in an answer only what was `offered`; where that is nothing that can be spoken, what we transcode to.

        added: what `offer_also` returned. ptimes: of packets to the offerer and to the answerer, where that was asked
        for; if they become others, a single codec is left. Returns the streams as they count from now on: codecs that
        the answer names in vain are left out, and each is sent by the payload type that it was offered by.
        """
        besides = [*added, *[()] * (len(offered) - len(added))]
        both = zip(self._sdp.media, offered, answered, besides, strict=True)
        return tuple(_answer_with(*each, ptimes) for each in both)

    def answer_one(self, offered: Sequence[Stream], answered: Sequence[Stream]) -> tuple[Stream, ...]:
        """Leave in an answer one codec of those that both have, as the engine decodes but one to hear tones, or make
        them; return the streams as they count from now on. Where there is none that we decode, all stay.
        """
        return tuple(_answer_one(*each) for each in zip(self._sdp.media, offered, answered, strict=True))

    def redirected(
        self, address: str, ports: Sequence[int | None], ices: Sequence[IceOwn | None] = (), *, answer: bool = False
    ) -> bytes:
        """Return the description with `address` and, for each m-line, our RTP port in place of the peer's.

        Rewrites o=, c=, the port of m= and a=rtcp, puts our lines of ICE, if any, in place of the peer's and takes out
        a=ssrc of audio and, where there are several m-lines, BUNDLE. What says hold (0.0.0.0) or refuses (port 0)
        stays, and an m-line without a port of ours is refused. May be called once.
        """
        ours, found = Connection.to(address), any(read_ice(self._sdp, medium) for medium in self._sdp.media)
        origin = self._origin
        self._sdp.origin = Origin(origin.username, origin.session, origin.version, ours)
        for section in self._sections():
            _redirect_connection(section, ours, holds=not found)
            section.remove_attributes(*ICE)
        self.stand_alone()
        for medium, port in zip(self._sdp.media, ports, strict=True):
            if medium.port:
                _redirect_ports(medium, (address, port or 0))
        self._speak_ice(address, ices, answer=answer)
        return self._sdp.to_bytes()

    def offered_mux(self, mux: Mux) -> tuple[bool, ...]:
        """Return for each m-line whether RTCP may come beside RTP, of an offer that is offered on."""
        return tuple(is_offered(mux, medium.rtcp_mux) for medium in self._sdp.media)

    def multiplex(self, wanted: Sequence[bool]) -> None:
        """Say for each m-line whether RTCP comes beside RTP, where the peer said another."""
        for medium, mux in zip(self._sdp.media, wanted, strict=False):
            if not medium.port or medium.rtcp_mux == mux or "RTP/" not in medium.proto:
                continue
            if mux:
                medium.add_attribute("rtcp-mux")
            else:
                medium.remove_attributes("rtcp-mux")

    def stand_alone(self) -> None:
        """Take out what does not hold of our ports and streams: BUNDLE, and the sources of sound.

        Each m-line has a port of its own here, so that nobody may send all of them to one (RFC 8843 §7.3.2); one that
        is offered for a bundle alone, and has no port therefore, is refused without. Sound may come under an SSRC of
        ours, and browsers play none but those that are named, if any are.
        """
        if sum(medium.port > 0 or medium.has_attributes("bundle-only") for medium in self._sdp.media) > 1:
            self._sdp.session.remove_values("group", "BUNDLE")
            for medium in self._sdp.media:
                medium.remove_attributes("bundle-only")
        for medium in self._sdp.media:
            if medium.media == "audio":
                medium.remove_attributes("ssrc", "ssrc-group")

    def _speak_ice(self, address: str, ices: Sequence[IceOwn | None], *, answer: bool) -> None:
        """An offer of multiplexing has a candidate for RTCP too, for those who cannot."""
        for medium, own in zip(self._sdp.media, ices, strict=False):
            if own is None or not medium.port:
                continue
            if own.lite and self._sdp.session.attribute("ice-lite") is None:
                self._sdp.session.add_attribute("ice-lite")
            rtcp = None if answer and medium.rtcp_mux else medium.port + 1
            for name, value in ice_lines(own, address, medium.port, rtcp):
                medium.add_attribute(name, value)

    def protect(self, spoken: Sequence[Spoken]) -> None:
        """Say for each m-line how it is protected, in place of what the peer said of that.

        One of which nothing is spoken, as of one that is refused, keeps its profile.
        """
        if not any(each.touched for each in spoken) and not self._protected():
            for medium, said in zip(self._sdp.media, spoken, strict=True):
                if medium.port and said.protocol and medium.proto != said.protocol:
                    medium.set_proto(said.protocol)
            return
        for section in self._sections():
            section.remove_attributes(*_PROTECTION)
        for medium, said in zip(self._sdp.media, spoken, strict=True):
            if medium.port and said.protocol:
                _protect(medium, said)

    def _protected(self) -> bool:
        return any(section.has_attributes(*_PROTECTION) for section in self._sections())

    def _sections(self) -> tuple[Section, ...]:
        return self._sdp.session, *self._sdp.media

    def _stream(self, medium: Media, signalling: str) -> Stream:
        connection = self._sdp.connection_of(medium)
        if connection is None and medium.port:
            raise StreamRefused(f"{medium.media} has no connection address (c= line)")
        codecs, events, event_clocks = _spoken(*medium.coding)
        said = medium.named.keys() | self._sdp.session.named.keys()
        return Stream(
            media=medium.media,
            protocol=medium.proto,
            address=canonical(connection.address) if connection else "0.0.0.0",  # noqa: S104 - no address, nothing is bound
            rtp_port=medium.port,
            rtcp_port=_rtcp_port(medium),
            signalling=signalling,
            rtcp_mux=medium.rtcp_mux,
            direction=_DIRECTIONS[self._sdp.direction_of(medium)],
            codecs=codecs,
            telephone_events=events,
            event_clocks=event_clocks,
            ptime=medium.ptime,
            cryptos=tuple(map(_crypto, medium.cryptos)) if "crypto" in said else (),
            fingerprint=_fingerprint(self._sdp.fingerprints_of(medium)) if "fingerprint" in said else "",
            ice=read_ice(self._sdp, medium),
            setup=_setup(medium.attribute("setup") or self._sdp.session.attribute("setup")) if "setup" in said else "",
        )


@lru_cache(maxsize=1024)
def _spoken(
    formats: tuple[str, ...], rtpmaps: tuple[str, ...], fmtps: tuple[str, ...]
) -> tuple[tuple[Codec, ...], tuple[int, ...], tuple[int, ...]]:
    """Codecs, and payload types and clocks of telephone events, of what `Media.coding` says."""
    known = codecs_of(formats, rtpmaps, fmtps)
    events = {pt: codec.clock for pt, codec in known.items() if _event(codec.name)}
    codecs = (Codec(pt, codec.name, codec.clock, codec.fmtp) for pt, codec in known.items() if pt not in events)
    return tuple(codecs), tuple(events), tuple(events.values())


def _offer_also(medium: Media, stream: Stream, wanted: Sequence[str], events: bool) -> tuple[Codec, ...]:
    taken = (int(text) for text in medium.formats if text.isascii() and text.isdigit())
    added = additional(stream, wanted, taken, events)
    for codec in added:
        medium.set_formats([*medium.formats, str(codec.payload_type)])
        medium.add_attribute("rtpmap", f"{codec.payload_type} {codec.rtpmap}")
        if codec.parameters:
            medium.add_attribute("fmtp", f"{codec.payload_type} {codec.parameters}")
    return tuple(Codec(each.payload_type, each.rtpmap.split("/")[0], int(each.rtpmap.split("/")[1])) for each in added)


def _answer_with(
    medium: Media, offer: Stream, answer: Stream, added: Sequence[Codec], ptimes: tuple[int, int]
) -> Stream:
    if answer.media != "audio" or not answer.rtp_port or not answer.codecs:
        return answer
    spoken = settled(offer.codecs, answer.codecs, single=differ(offer, answer, ptimes))
    counts = _numbered(answer, spoken, offer, added)
    back = transcoding(counts, offer)
    if back is None:
        events = {number for clock, number in answer.events.items() if clock in offer.events}
        kept = {str(number) for number in events | {codec.payload_type for codec in counts.codecs}}
        known = {str(each.payload_type) for each in answer.codecs} | {str(each) for each in answer.telephone_events}
        medium.set_formats(text for text in medium.formats if text in kept or text not in known)
        return counts
    _answer_transcoded(medium, offer, back.sent)
    return counts


def _answer_one(medium: Media, offer: Stream, answer: Stream) -> Stream:
    kept = decoded(offer.codecs, answer.codecs) if answer.media == "audio" and answer.rtp_port else None
    if kept is None:
        return answer
    gone = {str(codec.payload_type) for codec in answer.codecs if codec != kept}
    medium.set_formats(text for text in medium.formats if text not in gone)
    return replace(answer, codecs=(kept,))


def _numbered(answer: Stream, counts: Sequence[Codec], offer: Stream, added: Sequence[Codec]) -> Stream:
    """The answer with the codecs that count, and the payload types that its leg sends: the offer's (RFC 3264 §6.1)."""
    codecs, number = [*offer.codecs, *added], answer.event_type(counts[0].clock_rate if counts else 0)
    offered = {(codec.name.lower(), codec.clock_rate): codec.payload_type for codec in reversed(codecs)}
    events = offer.events | {codec.clock_rate: codec.payload_type for codec in added if _event(codec.name)}
    told = next((rate for rate, event in answer.events.items() if event == number), 0)
    return replace(
        answer,
        codecs=tuple([each.sent_by(offered.get((each.name.lower(), each.clock_rate))) for each in counts]),
        event_sends=events.get(told),
    )


def _answer_transcoded(medium: Media, offer: Stream, sent: CodecSettings) -> None:
    """Say nothing but the codec that we transcode to, and telephone events as the offer had them beside it."""
    numbers = [sent.payload_type, *([] if sent.events is None else [sent.events])]
    medium.set_formats([])
    medium.set_formats(map(str, numbers))
    medium.add_attribute("rtpmap", f"{sent.payload_type} {rtpmap_of(sent.name)}")
    wished = next((wishes(codec) for codec in offer.codecs if codec.payload_type == sent.payload_type), "")
    if wished:
        medium.add_attribute("fmtp", f"{sent.payload_type} {wished}")
    for clock, number in offer.events.items():
        if number == sent.events:
            medium.add_attribute("rtpmap", f"{number} {EVENTS}/{clock}")
            medium.add_attribute("fmtp", f"{number} 0-15")


def redirected(description: Description, media: Agreed, toward: Leg) -> bytes:
    """Return the description with our addresses in place of the peer's: what is written unless asked otherwise."""
    description.multiplex(media.muxed.get(toward, ()) if media.agreed else description.offered_mux(media.terms.mux))
    return description.redirected(
        media.address(toward), media.ports[toward], media.ices.get(toward, ()), answer=media.agreed
    )


def refused(error: SdpError) -> str:
    """Return the error as the reason of a refusal."""
    return f"session description: {error.reason}"


def _crypto(line: Crypto) -> CryptoLine:
    return CryptoLine(line.tag, line.suite, b64encode(line.key).decode(), line.lifetime, line.mki, line.params)


def _fingerprint(found: Sequence[Fingerprint]) -> str:
    """Of several, the one of the strongest hash that we can check."""
    written = [f"{each.algorithm} {each.value.hex(':').upper()}" for each in found]
    return max(written, key=lambda each: len(dtls_hash(each) or b""), default="")


def _setup(value: str | None) -> Setup:
    return _SETUPS.get((value or "").strip().lower(), "")


def _protect(medium: Media, said: Spoken) -> None:
    medium.set_proto(said.protocol)
    for line in said.cryptos:
        medium.add_attribute("crypto", str(line))
    if said.fingerprint:
        medium.add_attribute("fingerprint", said.fingerprint)
        medium.add_attribute("setup", said.setup)


def _event(name: str) -> bool:
    return name.lower() == EVENTS


def _rtcp_port(medium: Media) -> int:
    said = medium.rtcp
    port = said[0] if said and said[0] else medium.port + 1
    if port > 65535:
        raise StreamRefused(f"{medium.media} port {medium.port} leaves no port for RTCP")
    return port


def _redirect_connection(section: Section, ours: Connection, *, holds: bool) -> None:
    """What says hold goes on saying it, in the family of our address. With ICE it says that candidates will come."""
    connection = section.connection
    if holds and connection and unspecified(connection.address):
        section.connection = Connection.to("::" if ours.family == 6 else "0.0.0.0")  # noqa: S104 - nothing is bound
    elif connection:
        section.connection = ours


def _redirect_ports(medium: Media, ours: Endpoint) -> None:
    """RTCP is at the port above ours, or where RTP is if that is what the peer said of itself (RFC 8035)."""
    address, port = ours
    said = medium.rtcp
    if said:
        rtcp = port if said[0] == medium.port else port + 1
        medium.set_attribute("rtcp", f"{rtcp} {Connection.to(address)}" if said[1] else str(rtcp))
    elif medium.attribute("rtcp") is not None:
        medium.remove_attributes("rtcp")
    medium.set_port(port)
