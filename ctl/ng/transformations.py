# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proxy wants made of sound that comes one way: from which codecs, to which, and where it goes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ctl.network.addresses import unspecified
from ctl.ng.errors import NgError
from ctl.ng.request import Request, canonical
from ctl.sessions.codecs import CLOCKS, EVENTS, NAMES, rtpmap_of
from ctl.sessions.streams import Direction, Endpoint
from sip.sdp import MAX_MEDIA
from sip.sdp_parts import Connection

_RTCP = range(64, 96)
"""Payload types that cannot be told from RTCP on the same port (RFC 5761 section 4)."""


@dataclass(frozen=True, slots=True)
class Coding:
    """A codec on one side. name: in lower case; clock_rate: Hz; parameters: as of fmtp, empty for none."""

    name: str
    payload_type: int
    clock_rate: int
    parameters: str

    @property
    def events(self) -> bool:
        """Whether it is no sound, but digits (RFC 4733)."""
        return self.name == EVENTS

    def attributes(self) -> Iterator[str]:
        """Yield what a description says of it."""
        rtpmap = f"{EVENTS}/{self.clock_rate}" if self.events else rtpmap_of(self.name)
        yield f"a=rtpmap:{self.payload_type} {rtpmap}"
        if self.parameters:
            yield f"a=fmtp:{self.payload_type} {self.parameters}"


@dataclass(frozen=True, slots=True)
class Transformation:
    """One medium. name: by which the reply tells it from others. Inputs and outputs run alongside."""

    name: str
    inputs: tuple[Coding, ...]
    outputs: tuple[Coding, ...]
    destination: Endpoint

    def input(self) -> Iterator[str]:
        """Yield the m-line of who sends; where from is not known, so it stands for nothing but our side there."""
        return _lines(self.destination, self.inputs, "sendonly")

    def output(self) -> Iterator[str]:
        """Yield the m-line of the destination."""
        return _lines(self.destination, self.outputs, "recvonly")


def read(value: Any) -> list[Transformation]:
    """Read the list `media` of a request. Raises NgError for what is missing, wrong or cannot be done."""
    media = _list(value, "media")
    if len(media) > MAX_MEDIA:
        raise NgError(f"media: more than {MAX_MEDIA} are not transformed by one request")
    return [_medium(each, str(number)) for number, each in enumerate(media, 1)]


def description(media: Sequence[Iterator[str]], address: str) -> bytes:
    """Return a session description of these m-lines; its origin is `address`."""
    head = ["v=0", f"o=- 0 0 {Connection.to(address)}", "s=-", "t=0 0"]
    return "".join(f"{line}\r\n" for line in (*head, *(line for each in media for line in each))).encode()


def _lines(where: Endpoint, codings: Sequence[Coding], direction: Direction) -> Iterator[str]:
    address, port = where
    yield f"m=audio {port} RTP/AVP {' '.join(str(each.payload_type) for each in codings)}"
    yield f"c={Connection.to(address)}"
    for each in codings:
        yield from each.attributes()
    yield f"a={direction}"
    yield "a=rtcp-mux"  # one port is all that either side is told


def _medium(value: Any, number: str) -> Transformation:
    said = _part(value, "media")
    kind = said.required("type", "media: no type")
    if kind.lower() != "audio":
        raise NgError(f"media: {kind!r} is not transformed, only audio is")
    pairs = [_pair(each) for each in _list(said.values.get("codec"), "codec")]
    _check(pairs)
    inputs, outputs = zip(*pairs, strict=True)
    return Transformation(said.text("id") or number, inputs, outputs, _destination(said.values.get("destination")))


def _pair(value: Any) -> tuple[Coding, Coding]:
    said = _part(value, "codec")
    return _coding(said.values.get("input"), "input"), _coding(said.values.get("output"), "output")


def _coding(value: Any, side: str) -> Coding:
    said = _part(value, side)
    name = said.required("codec", f"{side}: no codec").lower()
    if name not in (*NAMES, EVENTS):
        raise NgError(f"{side}: {name!r} is not one of {', '.join((*NAMES.values(), EVENTS))}")
    if said.values.get("options"):
        raise NgError(f"{side}: options are not known on this relay; what a codec is told is in its format")
    rates = [CLOCKS[name]] if name in CLOCKS else sorted({*CLOCKS.values()})
    rate = said.number("clock-rate") or rates[0]
    channels = said.number("channels") or _channels(name)
    if rate not in rates or channels != _channels(name):
        raise NgError(f"{side}: {name} with a clock rate of {rate} Hz and {channels} channels is not transformed")
    number = said.number("payload-type")
    if number is None or not 0 <= number < 128 or number in _RTCP:
        raise NgError(f"{side}: the payload type of {name} is to be within 0-63 or 96-127")
    parameters = said.text("format") or ""
    if not parameters.isprintable():
        raise NgError(f"{side}: the format of {name} is not one line of text")
    return Coding(name, number, rate, parameters)


def _channels(name: str) -> int:
    return 2 if name == "opus" else 1


def _check(pairs: Sequence[tuple[Coding, Coding]]) -> None:
    """The engine decodes one codec of a flow and encodes one; all else passes as it is, or not at all."""
    if any(one.events != other.events for one, other in pairs):
        raise NgError(f"codec: {EVENTS} becomes {EVENTS}, and no codec does")
    sound = [pair for pair in pairs if not pair[0].events]
    changed = [(one, other) for one, other in sound if one != other]
    if not sound:
        raise NgError("codec: there is no pair of sound")
    if len(pairs) - len(sound) > 1 or (changed and len(sound) > 1):
        raise NgError(f"codec: one pair is transcoded, or all pass as they are; one more may be {EVENTS}")
    if any(one.name == other.name for one, other in changed):
        raise NgError("codec: the same codec passes as it is, by the same payload type and in the same format")
    if not changed and any(one != other for one, other in pairs):
        raise NgError(f"codec: {EVENTS} passes as it is where nothing is transcoded, by the same payload type")
    for codings in zip(*pairs, strict=True):
        if len({each.payload_type for each in codings}) < len(codings):
            raise NgError("codec: a payload type is named twice")


def _destination(value: Any) -> Endpoint:
    said = _part(value, "destination")
    family = said.text("family") or ""
    if family.upper() not in ("IP4", "IP6"):
        raise NgError(f"destination: family {family!r} is neither IP4 nor IP6")
    text = said.required("address", "destination: no address")
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or f"IP{address.version}" != family.upper() or "%" in text or unspecified(str(address)):
        raise NgError(f"destination: {text!r} is no address of {family.upper()} that can be sent to")
    port = said.number("port")
    if port is None or not 0 < port < 65536:
        raise NgError("destination: the port is to be within 1-65535")
    return str(address), port


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise NgError(f"{what}: no list, or an empty one")
    return value


def _part(value: Any, what: str) -> Request:
    """A dictionary in the request, whose keys are spelled as freely as its own."""
    if not isinstance(value, Mapping):
        raise NgError(f"{what}: no dictionary")
    return Request({canonical(key): each for key, each in value.items()}, frozenset(), {}, {})
