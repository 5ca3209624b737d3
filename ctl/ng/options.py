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
from ctl.ng.attributes import Amendments, amendments, removed_media
from ctl.ng.calls import Echo
from ctl.ng.codec_options import codecs
from ctl.ng.describe import Manner
from ctl.ng.errors import NgError
from ctl.ng.filters import NONE, Codecs
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
IMPLIED = frozenset(
    {
        *("trust-address", "symmetric", "debug", "allow-transcoding", "no-port-latching", "no-redis-update"),
        *("no-jitter-buffer", "early-media", "provisional", "reuse-codecs", "strict-source", "no-tls-id"),
        *("nat-wait", "pierce-nat", "unidirectional", "recrypt", "reset", "port-latching"),
        *("reorder-codecs", "static-codecs", "inject-dtmf", "block-egress", "siprec", "all", "pad-crypto"),
    }
)
"""Flags that ask for what is so in any case, or for what has no meaning here."""
DONE = frozenset(
    {
        *("sip-source-address", "loop-protect", "no-rtcp-attribute", "full-rtcp-attribute", "generate-mid"),
        *("inactive", "new-branch", "record-call", "strip-extmap", "single-codec", "trickle-ice", "fragment"),
        *("always-transcode", "block-dtmf", "original-sendrecv", "media-handover", "asymmetric"),
        *("generate-rtcp", "reject-ice"),
    }
)
IMPOSSIBLE_KEYS = {
    "audio-player": "a stream is made anew where it is transcoded, packed anew or played into (transcoding), and else "
    "passes",
}
UNASKED = frozenset({"off", "no", "0", "disable", "disabled", "default", "on-demand", "transcoding"})
"""Values by which such a key asks for nothing: streams are made anew where they are transcoded or played into."""
KEYS = frozenset(
    {
        *("command", "flags", "supports", "sip-message-type", "sip-code", "repacketize", "template", "limit"),
        *("direction", "from-interface", "to-interface", "interface", "address-family", "media-address"),
        *("transport-protocol", "ice", "ice-lite", "dtls", "dtls-fingerprint", "sdes", "osrtp", "rtcp-mux", "bundle"),
        *("drop-traffic", "media-echo", "sdp-attr", "sdp-media-remove", "extmap"),
        *("replace", "codec", "ptime", "ptime-reverse", "t.38", "tos", "delete-delay", "delay-buffer"),
        *(
            "endpoint-learning",
            "generate-rtcp",
            "record-call",
            "consent",
            "tenant",
            *("dtmf-security", "frequency", "frequencies", "volume"),
            "xmlrpc-callback",
            "all",
            "version",
        ),
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
SWITCH = {"on": True, "yes": True, "1": True, "off": False, "no": False, "0": False}
DROPS = {"": None, "start": True, "stop": False}
ECHOES: dict[str, Echo | None] = {
    "": None,
    **dict.fromkeys(("blackhole", "sinkhole"), "blackhole"),
    **dict.fromkeys(("forward", "fwd", "fw"), "b"),
    **dict.fromkeys(("backward", "backwards", "reverse", "back", "bkw", "bk"), "a"),
    "both": "both",
    "off": "",
}
PTIMES = range(10, 70, 10)
"""Milliseconds of sound that our encoders put into a packet."""
OFFERS = frozenset({"offer", "subscribe-request"})
"""Commands whose reply is an offer of ours."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a proxy wants of all its offers, or answers, alike. here, there: of our side toward the offerer and
    toward the other. media_address: what is written in place of our own. bridge: the profile for the other side.
    ice: whether it is spoken with the offerer of an answer; None: as with the offer. tos: of all
    packets, -1: as they came, None: not said. passive: the offerer begins a DTLS handshake that is left to us. reports:
    RTCP is ours. hidden: types of media that the other side is not to see. dropped:
    whether no media is to pass; echo: who is to hear himself, `a` for who sends this and `b` for who gets it; None: as
    before. unknown: words to be reported.
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
    reports: bool = False
    amendments: Amendments | None = None
    hidden: frozenset[str] = frozenset()
    dropped: bool | None = None
    echo: Echo | None = None
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
        codecs=codecs(request),
        mux=_mux(request),
        tos=_tos(request),
        passive="passive" in request.list("dtls"),
        reports=_reports(request),
        amendments=amendments(request),
        hidden=removed_media(request) if request.command == "offer" else frozenset(),
        dropped=_dropped(request),
        echo=_echo(request),
        unknown=tuple(sorted(_unknown(request))),
    )


def received_from(request: Request) -> str | None:
    """Return the address in ["IP4", "198.51.100.7"]; it may also come as one string. Raises NgError."""
    for word in request.words("received-from"):
        if word.upper() not in ("IP4", "IP6"):
            return _address(word, "received-from")
    return None


def _refuse_impossible(request: Request) -> None:
    for key, why in IMPOSSIBLE_KEYS.items():
        value = request.values.get(key)
        if value and str(value).lower() not in UNASKED:
            raise NgError(f"{key}: {why}")
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
        ice="remove" if request.has("reject-ice") else "lite" if "here" in lite else "full",
        ptime=_ptime(request, "ptime-reverse"),
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
        ptime=_ptime(request, "ptime"),
    )
    return here, there


def _ice_lite(request: Request) -> str:
    return (request.text("ice-lite") or "off").lower()


def _ptime(request: Request, key: str) -> int:
    """Of an offer; the answer to it goes by that, whatever it asks for."""
    value = request.number(key) if request.command in OFFERS else None
    if value and (value not in PTIMES):
        raise NgError(f"{key}: packets are of {', '.join(map(str, PTIMES))} ms on this relay, not of {value}")
    return value or 0


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


def _reports(request: Request) -> bool:
    value = (request.text("generate-rtcp") or "off").lower()
    if value not in SWITCH:
        raise NgError(f"generate-RTCP: {value!r} is neither on nor off")
    return SWITCH[value] or request.has("generate-rtcp")


def _dropped(request: Request) -> bool | None:
    value = (request.text("drop-traffic") or "").lower()
    if value not in DROPS:
        raise NgError(f"drop-traffic: {value!r} is neither start nor stop")
    return DROPS[value]


def _echo(request: Request) -> Echo | None:
    value = (request.text("media-echo") or "").lower()
    if value not in ECHOES:
        raise NgError(f"media-echo: {value!r} is none of {', '.join(filter(None, ECHOES))}")
    return ECHOES[value]


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
