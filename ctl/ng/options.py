# SPDX-License-Identifier: GPL-3.0-or-later
"""What an offer or an answer asks of the relay, beyond carrying its media.

Three kinds of words: those that are done, those that ask for what the relay does anyway or that only concern how the
reference implementation works inside, and those that cannot be done here: these are refused, for a proxy must not
believe that something happens which does not. Words nobody knows are accepted and reported once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

from ctl.network.addresses import Family
from ctl.ng.describe import Manner
from ctl.ng.errors import NgError
from ctl.ng.filters import EVERYTHING, NONE, Codecs
from ctl.ng.request import MANNERS, OF_A_CALL, Request, canonical
from ctl.sessions.ice import IcePolicy
from ctl.sessions.relay_choice import ANY, Facing, Moves
from ctl.sessions.security import Bridge
from ctl.sessions.terms import USUAL, Mux
from media.flows import SUITE_KEY_BYTES

PROFILES = frozenset(
    f"{prefix}RTP/{profile}{feedback}"
    for prefix, profile in (("", "AVP"), ("", "SAVP"), ("UDP/TLS/", "SAVP"))
    for feedback in ("", "F")
)
TRANSCODED = {"pcmu": "PCMU", "pcma": "PCMA", "g722": "G722", "g729": "G729", "opus": "opus"}
IMPLIED = frozenset(
    {
        *("trust-address", "symmetric", "debug", "allow-transcoding", "no-port-latching", "no-redis-update"),
        *("no-jitter-buffer", "early-media", "provisional", "reuse-codecs", "strict-source", "no-tls-id"),
        *("nat-wait", "pierce-nat", "unidirectional", "recrypt", "reset", "port-latching"),
        *("reorder-codecs", "static-codecs", "inject-dtmf", "block-egress", "siprec", "all"),
    }
)
"""Flags that ask for what is so in any case, or for what has no meaning here."""
DONE = frozenset(
    {
        *("sip-source-address", "loop-protect", "no-rtcp-attribute", "full-rtcp-attribute", "generate-mid"),
        *("inactive", "new-branch", "record-call", "strip-extmap", "single-codec", "trickle-ice", "fragment"),
        *("always-transcode", "block-dtmf", "original-sendrecv", "media-handover", "asymmetric"),
    }
)
IMPOSSIBLE = {
    "generate-rtcp": "RTCP is passed on, not generated",
}
IMPOSSIBLE_KEYS = {
    "drop-traffic": "see: block media",
    "media-echo": "nobody hears himself on this relay",
    "audio-player": "a stream is made anew where it has to be transcoded alone",
    "moh": "see: media.hold_music and play media",
    "sdp-attr": "attributes of a description pass as they come",
    "sdp-media-remove": "m-lines pass as they come",
    "extmap": "header extensions pass as they come",
    "ptime-reverse": "packets have the length that each side asks for",
    "generate-rtcp": "RTCP is passed on, not generated",
}
KEYS = frozenset(
    {
        *("command", "flags", "supports", "sip-message-type", "sip-code", "repacketize", "template", "limit"),
        *("direction", "from-interface", "to-interface", "interface", "address-family", "media-address"),
        *("transport-protocol", "ice", "ice-lite", "dtls", "dtls-fingerprint", "sdes", "osrtp", "rtcp-mux", "bundle"),
        *("replace", "codec", "ptime", "t.38", "tos", "delete-delay", "delay-buffer", "endpoint-learning"),
        *("record-call", "consent", "tenant", "dtmf-security", "xmlrpc-callback", "all", "version"),
        *OF_A_CALL,
    }
)
"""Those that are read, or that say nothing to a relay of this kind."""
REPLACE = {
    "origin": "replace_origin",
    "username": "replace_username",
    "session-name": "replace_session_name",
    "zero-address": "replace_zero_address",
}
REPLACE_IMPLIED = frozenset({"session-connection", "sdp-version", "sess-version", "force-increment-sdp-ver"})
SDES_IMPLIED = frozenset({"off", "pad", "nonew", "lifetime", "prefer", "static"})
OSRTP_IMPLIED = frozenset({"accept", "offer", "accept-rfc", "offer-rfc"})
"""SRTP on plain profiles (RFC 8643) is offered and taken as `media.srtp` has it."""
LEARNING = frozenset({"immediate", "delayed", "heuristic"})
"""Ways of learning the source of media from whatever comes; here one, which asks for some consistent packets."""
ICE_WORDS = frozenset({"remove", "force", "force-relay", "default", "optional"})
ICE_LITE: dict[str, frozenset[str]] = {
    "backward": frozenset({"here"}),
    "answer": frozenset({"here"}),
    "forward": frozenset({"there"}),
    "offer": frozenset({"there"}),
    "both": frozenset({"here", "there"}),
    "off": frozenset(),
}
"""Which side we are lite toward."""
OFFERS = frozenset({"offer", "subscribe-request"})
"""Commands whose reply is an offer of ours."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a proxy wants of all its offers, or answers, alike. here, there: of our side toward the offerer and
    toward the other. media_address: what is written in place of our own. bridge: the profile for the other side.
    ice: whether it is spoken with the offerer of an answer; None: as with the offer. tos: of all
    packets, -1: as they came, None: not said. passive: the offerer begins a DTLS handshake that is left to us. unknown:
    words to be reported.
    """

    manner: Manner
    here: Facing = ANY
    there: Facing = ANY
    ice: IcePolicy | None = None
    media_address: str | None = None
    bridge: Bridge | None = None
    codecs: Codecs = NONE
    mux: Mux = USUAL.mux
    tos: int | None = None
    passive: bool = False
    unknown: tuple[str, ...] = ()


def options(request: Request) -> Options:
    """Read the options of an offer or answer. Raises NgError for what cannot be done."""
    return _options(request.manner or request)


@lru_cache(maxsize=MANNERS)
def _options(request: Request) -> Options:
    _refuse_impossible(request)
    here, there = _facing(request)
    return Options(
        manner=_manner(request),
        here=here,
        there=there,
        ice="remove" if "remove" in request.list("ice") else None,
        media_address=_media_address(request),
        bridge=_bridge(request),
        codecs=_codecs(request),
        mux=_mux(request),
        tos=_tos(request),
        passive="passive" in request.list("dtls"),
        unknown=tuple(sorted(_unknown(request))),
    )


def received_from(request: Request) -> str | None:
    """Return the address in ["IP4", "198.51.100.7"]; it may also come as one string. Raises NgError."""
    for word in request.words("received-from"):
        if word.upper() not in ("IP4", "IP6"):
            return _address(word, "received-from")
    return None


def _refuse_impossible(request: Request) -> None:
    for flag in sorted(request.flags & IMPOSSIBLE.keys()):
        raise NgError(f"{flag}: {IMPOSSIBLE[flag]}")
    for key, why in IMPOSSIBLE_KEYS.items():
        value = request.values.get(key)
        if value and str(value).lower() not in ("off", "no", "0"):
            raise NgError(f"{key}: {why}")
    for name in ("set", "ignore"):
        if request.codecs.get(name):
            raise NgError(f"codec-{name}: not available on this relay; see codec-transcode and codec-mask")
    for word in request.list("t.38"):
        if word in ("decode", "force"):
            raise NgError(f"T.38={word}: fax is not made of sound on this relay; UDPTL passes as it is")
    for word in request.list("ice"):
        if word not in ICE_WORDS:
            raise NgError(f"ICE={word}: not one of {', '.join(sorted(ICE_WORDS))}")
    if _ice_lite(request) not in ICE_LITE:
        raise NgError(f"ICE-lite={_ice_lite(request)}: not one of {', '.join(sorted(ICE_LITE))}")


def _manner(request: Request) -> Manner:
    replaced = {REPLACE[word]: True for word in request.list("replace") if word in REPLACE}
    return Manner(
        **replaced,
        inactive=request.has("inactive"),
        generate_mid=request.has("generate-mid") and request.command in OFFERS,
        rtcp_attribute=not request.has("no-rtcp-attribute"),
        full_rtcp_attribute=request.has("full-rtcp-attribute"),
        ptime=request.number("ptime"),
        loop_protect=request.has("loop-protect"),
        original_direction=request.has("original-sendrecv"),
    )


def _media_address(request: Request) -> str | None:
    value = request.text("media-address")
    return None if value is None else _address(value, "media-address")


@lru_cache(maxsize=1024)
def _address(text: str, key: str) -> str:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        raise NgError(f"{key}: {text!r} is not an IP address") from None


def _facing(request: Request) -> tuple[Facing, Facing]:
    """Interfaces by name, the family of our address toward the other side, and whether any source is accepted."""
    names = request.words("direction")
    alone = request.text("interface") or ""
    ingress = request.text("from-interface") or (names[0] if names else alone)
    egress = request.text("to-interface") or (names[1] if len(names) > 1 else alone)
    latch = bool(LEARNING.intersection(request.list("endpoint-learning")))
    lite, words = ICE_LITE[_ice_lite(request)], request.list("ice")
    follows: Moves = "handover" if request.has("media-handover") else ""
    here = Facing(
        interface=ingress,
        latch=latch,
        moves="asymmetric" if request.has("asymmetric") else follows,
        ice="lite" if "here" in lite else "full",
    )
    there = Facing(
        interface=egress,
        family=_family(request),
        latch=latch,
        moves=follows,
        ice="remove" if "remove" in words else "lite" if "there" in lite else "full",
        relayed="force-relay" in words,
        trickle=request.has("trickle-ice"),
        follow=not {"force", "force-relay"}.intersection(words),
    )
    return here, there


def _ice_lite(request: Request) -> str:
    return (request.text("ice-lite") or "off").lower()


def _family(request: Request) -> Family | None:
    value = (request.text("address-family") or "").upper()
    if value in ("", "IP4", "IP6"):
        return {"": None, "IP4": 4, "IP6": 6}[value]
    raise NgError(f"address-family: {value!r} is neither IP4 nor IP6")


def _bridge(request: Request) -> Bridge | None:
    value = (request.text("transport-protocol") or "").upper()
    if value in ("", "ACCEPT") or request.command not in OFFERS:
        return None
    if value not in PROFILES:
        raise NgError(f"transport-protocol: {value!r} is not one of {', '.join(sorted(PROFILES))}")
    sdes, dtls = "off" not in request.list("sdes"), "off" not in request.list("dtls")
    return Bridge(value, sdes, dtls, suites=_suites(request.list("sdes")))


def _suites(words: Iterable[str]) -> frozenset[str] | None:
    """What `SDES-only-SUITE` and `SDES-no-SUITE` leave of the suites that there are; None: all."""
    spelled = {canonical(suite): suite for suite in SUITE_KEY_BYTES}
    only = {word.removeprefix("only-") for word in words if word.startswith("only-")}
    without = {word.removeprefix("no-") for word in words if word.startswith("no-")}
    if not only and not without:
        return None
    return frozenset(suite for word, suite in spelled.items() if word not in without and (not only or word in only))


def _codecs(request: Request) -> Codecs:
    """`consume` masks, and `accept` shows, what is transcoded if only the offerer speaks it."""
    named = {key: tuple(name.lower() for name in found) for key, found in request.codecs.items()}
    transcoded = tuple(_transcode(request))
    hidden = frozenset((*named.get("mask", ()), *named.get("consume", ())))
    stripped = frozenset(named.get("strip", ()))
    added = tuple(name.lower() for name in transcoded)
    kept = frozenset((*named.get("except", ()), *named.get("offer", ()), *added))
    if transcoded and stripped & EVERYTHING:
        stripped, hidden = stripped - EVERYTHING, hidden | EVERYTHING  # or there would be nothing to transcode from
    return Codecs(
        strip=stripped,
        mask=hidden,
        kept=kept,
        first=(*named.get("offer", ()), *added),
        transcoded=transcoded,
        single=request.has("single-codec"),
        bridged=bool(transcoded or hidden or named.get("accept") or request.has("always-transcode")),
    )


def _mux(request: Request) -> Mux:
    """Words that contradict one another: the one that takes multiplexing away wins."""
    said = request.list("rtcp-mux")
    if request.command not in OFFERS or not said:
        return Mux()
    offered: Literal["", "never", "also", "alone"] = ""
    if "demux" in said:
        offered = "never"
    elif "require" in said:
        offered = "alone"
    elif "offer" in said:
        offered = "also"
    answered: Literal["", "never", "always"] = ""
    if "reject" in said:
        answered = "never"
    elif "demux" in said or "accept" in said:
        answered = "always"
    return Mux(offered, answered)


def _transcode(request: Request) -> Iterator[str]:
    for text in request.codecs.get("transcode", ()):
        name = TRANSCODED.get(text.partition("/")[0].lower())
        if name is None:
            raise NgError(f"codec-transcode: {text!r} is not one of {', '.join(TRANSCODED.values())}")
        yield name


def _tos(request: Request) -> int | None:
    value = request.number("tos")
    if value is not None and value > 255:
        raise NgError(f"TOS: {value} is not within 0-255")
    return value if value is None else max(value, -1)


def _unknown(request: Request) -> Iterator[str]:
    yield from request.flags - IMPLIED - DONE
    yield from request.values.keys() - KEYS - IMPOSSIBLE_KEYS.keys()
    yield from (f"replace-{word}" for word in set(request.list("replace")) - REPLACE.keys() - REPLACE_IMPLIED)
    known = {canonical(suite) for suite in SUITE_KEY_BYTES} | {"f8-128-hmac-sha1-80", "null-hmac-sha1-80"}
    for word in set(request.list("sdes")) - SDES_IMPLIED:
        if word.partition("-")[2] not in known or word.partition("-")[0] not in ("no", "only"):
            yield f"sdes-{word}"
    yield from (f"osrtp-{word}" for word in set(request.list("osrtp")) - OSRTP_IMPLIED)
