# SPDX-License-Identifier: GPL-3.0-or-later
"""Which codecs two legs speak with each other, and what is transcoded where they have none in common.

The media plan: what was offered, what was answered, what was chosen and why. A codec that both have is always
preferred, for it leaves the call in the kernel. Only where `media.transcode` names codecs, these are offered beside
those of the caller, and a callee that takes one of them is transcoded. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from media.stages import CodecSettings
from sip.facts import fact

if TYPE_CHECKING:
    from ctl.sessions.streams import Codec, Stream

Dtmf = Literal["auto", "rfc4733", "info", "inband"]
"""How digits reach a party and come from it: as the other form where it has no telephone events; as these, or tones; by
INFO; as tones in the sound. INFO and telephone events are understood from everybody.
"""

OTHER_FORMS = ("info", "inband")
"""Those that a party's telephone events are made into, or made of."""

CLOCKS = {"pcmu": 8000, "pcma": 8000, "g722": 8000, "g729": 8000, "opus": 48000}
"""RTP clock, in Hz, of every codec that can be transcoded, by its name in lower case."""

NAMES = {"pcmu": "PCMU", "pcma": "PCMA", "g722": "G722", "g729": "G729", "opus": "opus"}
_STATIC = {"pcmu": 0, "pcma": 8, "g722": 9, "g729": 18}
_WISHES = {"opus": "useinbandfec=1"}
_DYNAMIC = range(96, 128)
_ALL = set(_DYNAMIC)
_NOISE = 13
EVENTS = "telephone-event"
_WIDE = 16000  # Hz: prompts of 48 kHz would cost three times the memory, and nobody hears it
USUAL_PTIME = 20  # ms, RFC 3551 section 4.2
BITRATES = range(6000, 510_001)  # bit/s of Opus, RFC 7587 section 7.1
_FEC_LOSS = 10  # percent: what Opus is told to reckon with where the peer wants redundancy


@fact
class Offered:
    """A codec that we add to an offer. rtpmap: as its attribute says it; parameters: of fmtp, empty for none."""

    payload_type: int
    rtpmap: str
    parameters: str = ""


@fact
class Transcoding:
    """One direction through the engine: `heard` is what the leg sends, `sent` what the other leg gets."""

    heard: CodecSettings
    sent: CodecSettings
    why: str = ""
    """Why, where it is not for the codecs."""

    @property
    def reason(self) -> str:
        """Why the flow is not in the kernel."""
        return self.why or f"transcoding {self.heard.name} to {self.sent.name}: the legs have no codec in common"


@fact
class MediaPlan:
    """What was said of codecs and what came of it; names as people read them."""

    offered: tuple[str, ...]
    answered: tuple[str, ...]
    chosen: tuple[str, str]
    """The codec of the one leg and that of the other; empty names where there is none."""
    transcoded: bool
    reason: str


def additional(
    stream: Stream, wanted: Sequence[str], taken: Iterable[int], events: bool = False
) -> tuple[Offered, ...]:
    """Return the codecs to offer beside those of the stream; none where we could not transcode what it has.

    wanted: names in order of preference; taken: the payload types that the m-line uses for anything. Where the stream
    has telephone events, they are offered at the clock rate of each codec (RFC 4733 §2.5). events: offer them though
    the stream has none, for we make another form of them.
    """
    first = _first(stream)
    if stream.media != "audio" or not stream.rtp_port or first is None:
        return ()
    have = {codec.name.lower() for codec in stream.codecs}
    used = set(taken)
    free = (number for number in _DYNAMIC if number not in used)
    missing = [name.lower() for name in wanted if name.lower() not in have and (name != "opus" or not used >= _ALL)]
    codecs = [_offered(name, _STATIC[name] if name in _STATIC else next(free)) for name in missing]
    clocks: list[int] = []
    if stream.telephone_events or events:
        own = {first.clock_rate} if events else set()
        clocks = sorted((own | {CLOCKS[name] for name in missing}) - stream.events.keys())
    return (
        *codecs,
        *(Offered(number, f"{EVENTS}/{clock}", "0-15") for clock, number in zip(clocks, free, strict=False)),
    )


def settled(offered: Sequence[Codec], answered: Sequence[Codec], *, single: bool = False) -> tuple[Codec, ...]:
    """Return what of an answer counts: what both legs speak, or else, also where the answerer prefers it, the rest.

    The order of an answer says what its leg will send. single: of what both speak the first alone.
    """
    common = [codec for codec in answered if _spoken(codec, offered)]
    if common and _spoken(answered[0], offered):
        return tuple(common[:1] if single else common)
    return tuple(codec for codec in answered if not _spoken(codec, offered))


def decoded(offered: Sequence[Codec], answered: Sequence[Codec]) -> Codec | None:
    """Return the first codec of an answer that both legs speak and that we can decode; None where there is none."""
    able = (codec for codec in answered if CLOCKS.get(codec.name.lower()) == codec.clock_rate)
    return next((codec for codec in able if _spoken(codec, offered)), None)


def transcoding(sender: Stream, receiver: Stream) -> Transcoding | None:
    """Return what is to be done with what `sender` sends; None where both have a codec in common, or we cannot."""
    if sender.media != "audio" or any(_spoken(codec, receiver.codecs) for codec in sender.codecs):
        return None
    heard, sent = _first(sender), _first(receiver)
    if heard is None or sent is None:
        return None
    settings = _settings(heard, sender, sent)
    numbered = replace(
        settings,
        payload_type=settings.payload_type if heard.sends is None else heard.sends,
        events=settings.events if sender.event_sends is None else sender.event_sends,
    )
    return Transcoding(numbered, _settings(sent, receiver, heard))


def inserted(sender: Stream, receiver: Stream) -> CodecSettings | None:
    """Return what to encode sound in that `receiver` gets amid what `sender` sends; None where we cannot, or no audio.

    The first codec of the receiver that the sender has too, for that is what it hears already.
    """
    if receiver.media != "audio" or sender.media != "audio":
        return None
    able = [codec for codec in receiver.codecs if CLOCKS.get(codec.name.lower()) == codec.clock_rate]
    common = [codec for codec in able if _spoken(codec, sender.codecs)]
    if not common:
        return None
    settings = _settings(common[0], receiver, common[0])
    return replace(settings, rate=_WIDE if settings.name == "opus" else 0, dtx=False, noise=None)


def toned(sender: Stream, receiver: Stream, tones: bool) -> Transcoding | None:
    """Return how a direction goes through its own codec, so that digits in its sound can be heard or made.

    tones: the receiver gets digits as tones. Both legs use the receiver's payload types, but for telephone events that
    the sender alone has.
    """
    sent = inserted(sender, receiver)
    if sent is None:
        return None
    heard = with_events(sent, sender, receiver)
    return Transcoding(heard, replace(sent, events=None) if tones else sent, "digits as tones")


def repacked(
    through: Transcoding | None, sender: Stream, receiver: Stream, asked: tuple[int, int]
) -> Transcoding | None:
    """Return how a direction goes through codecs, be it its own alone, to leave in packets of a length that is asked.

    None where it need not. through: what would be without. asked: milliseconds of a packet to the sender, and to the
    receiver, 0: not said. A leg for which nothing is asked is taken to send, and gets, what it says itself.
    """
    there, wanted = (asked[0] or _packet_ms(sender)), (asked[1] or _packet_ms(receiver))
    if through:
        return replace(through, sent=replace(through.sent, ptime=wanted))
    sent = inserted(sender, receiver) if there != wanted else None
    if sent is None:
        return None
    sent = replace(sent, ptime=wanted)
    return Transcoding(with_events(sent, sender, receiver), sent, f"packets of {there} ms become {wanted} ms")


def at_bitrate(through: Transcoding, bitrate: int) -> Transcoding:
    """Return the same with Opus sent in so many bit/s, but in no more than its listener wants."""
    sent = through.sent
    if sent.name != NAMES["opus"]:
        return through
    return replace(through, sent=replace(sent, bitrate=min(bitrate, sent.bitrate or bitrate)))


def differ(one: Stream, other: Stream, asked: tuple[int, int]) -> bool:
    """Return whether packets to one leg are to be of another length than those to the other."""
    return any(asked) and (asked[0] or _packet_ms(one)) != (asked[1] or _packet_ms(other))


def with_events(codec: CodecSettings, sender: Stream, receiver: Stream) -> CodecSettings:
    """Return the codec with the telephone events that the sender sends beside it, be it that it alone has any."""
    if receiver.telephone_events:
        return codec
    clock = CLOCKS[codec.name.lower()]
    own = sender.event_type(clock) if sender.event_sends is None else sender.event_sends
    return replace(codec, events=own, event_rate=sender.event_clock(clock))


def media_plan(offer: Stream, answer: Stream, wanted: Sequence[str] = ()) -> MediaPlan:
    """Return what was chosen between two legs, and why."""
    offered = (*(codec.name for codec in offer.codecs), *_added(offer, wanted))
    answered = tuple(codec.name for codec in answer.codecs)
    common = next((codec for codec in answer.codecs if _spoken(codec, offer.codecs)), None)
    if common:
        return MediaPlan(offered, answered, (common.name, common.name), False, "both legs have it")
    found = transcoding(offer, answer)
    if found:
        return MediaPlan(offered, answered, (found.heard.name, found.sent.name), True, found.reason)
    return MediaPlan(offered, answered, ("", ""), False, "no codec in common, and none that can be transcoded")


def rtpmap_of(name: str) -> str:
    """Return what the rtpmap attribute of a codec says, by its name."""
    lower = name.lower()
    return f"{NAMES[lower]}/{CLOCKS[lower]}{'/2' if lower == 'opus' else ''}"


def wishes(codec: Codec) -> str:
    """Return what fmtp says of how we want to be sent a codec, in an answer to who offered it so; empty for nothing."""
    name = codec.name.lower()
    if name == "g729" and _parameters(codec.parameters).get("annexb") == "no":
        return "annexb=no"  # or neither side may have it (RFC 7261)
    return _WISHES.get(name, "")


def _added(offer: Stream, wanted: Sequence[str]) -> list[str]:
    names = (each.rtpmap.partition("/")[0] for each in additional(offer, wanted, ()))
    return [name for name in names if name != EVENTS]


def _offered(name: str, payload_type: int) -> Offered:
    return Offered(payload_type, rtpmap_of(name), _WISHES.get(name, ""))


def _spoken(codec: Codec, codecs: Iterable[Codec]) -> bool:
    name = codec.name.lower()
    return any(name == other.name.lower() and codec.clock_rate == other.clock_rate for other in codecs)


def _first(stream: Stream) -> Codec | None:
    """Return the first codec of the stream that we can transcode."""
    return next((codec for codec in stream.codecs if CLOCKS.get(codec.name.lower()) == codec.clock_rate), None)


def _settings(codec: Codec, stream: Stream, other: Codec) -> CodecSettings:
    """Return how a leg's codec is decoded and encoded; Opus at the rate that the other leg's codec has."""
    name, parameters = codec.name.lower(), _parameters(codec.parameters)
    opus = name == "opus"
    fec = opus and parameters.get("useinbandfec") == "1"
    return CodecSettings(
        NAMES[name],
        codec.payload_type,
        rate=16000 if opus and other.name.lower() == "g722" else 8000 if opus else 0,
        bitrate=_bitrate(parameters) if opus else 0,
        dtx=parameters.get("usedtx") == "1" if opus else name == "g729" and parameters.get("annexb") == "yes",
        fec=fec,
        loss=_FEC_LOSS if fec else 0,
        events=stream.event_type(codec.clock_rate),
        event_rate=stream.event_clock(codec.clock_rate),
        noise=next((each.payload_type for each in stream.codecs if each.payload_type == _NOISE), None),
        ptime=_packet_ms(stream),
    )


def _packet_ms(stream: Stream) -> int:
    return int(stream.ptime or USUAL_PTIME)


def _parameters(text: str) -> dict[str, str]:
    """Return the parameters of an fmtp attribute, in lower case."""
    pairs = (part.partition("=") for part in text.lower().split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _bitrate(parameters: dict[str, str]) -> int:
    """Return bit/s within what RFC 7587 allows; 0 where nothing readable is said."""
    text = parameters.get("maxaveragebitrate", "")
    readable = text.isascii() and text.isdigit() and len(text) < 8
    return min(max(int(text), BITRATES[0]), BITRATES[-1]) if readable else 0
