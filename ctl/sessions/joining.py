# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts two legs of different sessions together, each as it was agreed on: what both were told of us goes on.

Or one of them alone, which is to hear the other and not to be heard. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ctl.sessions.call_media import LEGS, CallMedia, Media
from ctl.sessions.copies import Source, offer
from ctl.sessions.security import Protection
from ctl.sessions.streams import Stream, StreamRefused
from ctl.sessions.treatment import NOTHING, treated
from sip.effects import Leg

Party = tuple[CallMedia | None, Leg]
"""A session, None where there is none, and which of its legs is meant."""

_BY_LEG = ("relays", "ports", "streams", "shown", "dtmf", "protections", "muxed", "policies", "ices", "moves", "ptimes")
"""What Media has of each leg."""


def joined(one: Party, other: Party) -> CallMedia:
    """Return a session whose leg a is `one`, and leg b `other`.

    Raises StreamRefused where they cannot hear each other without an exchange of descriptions: m-lines of different
    kinds, or payload types that one was told to send by and the other does not know.
    """
    (first, leg_a), (second, leg_b) = one, other
    if not first or not second or first is second or not (first.current.agreed and second.current.agreed):
        raise StreamRefused("both must be in calls of their own that have been answered")
    _check(first.current, leg_a, second.current.streams[leg_b])
    _check(second.current, leg_b, first.current.streams[leg_a])
    made: dict[str, Any] = {
        name: {**_of(first.current, leg_a, name, "a"), **_of(second.current, leg_b, name, "b")} for name in _BY_LEG
    }
    latched = leg_a in first.current.latching, leg_b in second.current.latching
    latching = tuple(leg for leg, latch in zip(LEGS, latched, strict=True) if latch)
    terms = replace(first.current.terms, bridged=True)
    wished = treated((first.treatments, leg_a), (second.treatments, leg_b))
    media = Media(**made, latching=latching, terms=terms)
    return CallMedia(media, treatments=wished, pairs={**first.pairs, **second.pairs})


def overheard(found: Sequence[Source], hearer: Party) -> CallMedia:
    """Return a session whose leg b, the hearer, gets copies of `found` in place of its peer; leg a has no ports yet.

    Raises StreamRefused as `joined` does.
    """
    known, leg = hearer
    if not known or not known.current.agreed:
        raise StreamRefused("who is to hear must be in a call that has been answered")
    media = known.current
    _check_copies(found, media.streams[leg])
    copied = [replace(each, direction="sendrecv") for each in offer(found, [""] * len(found), 0).streams("")]
    made: dict[str, Any] = {name: _of(media, leg, name, "b") for name in _BY_LEG}
    made["relays"] = {**made["relays"], "a": found[0].local[0]}
    made["streams"] = {**made["streams"], "a": tuple(copied)}
    made["protections"] = {**made["protections"], "a": tuple(Protection(sends=each.key) for each in found)}
    latching: tuple[Leg, ...] = ("b",) if leg in media.latching else ()
    wished = treated((NOTHING, "a"), (known.treatments, leg))
    return CallMedia(
        Media(**made, latching=latching, terms=replace(media.terms, bridged=True)), treatments=wished, pairs=known.pairs
    )


def _check_copies(found: Sequence[Source], hearer: tuple[Stream, ...]) -> None:
    if len(found) != len(hearer):
        raise StreamRefused(f"one has {len(found)} m-lines, the other {len(hearer)}; connect them by a new offer")
    for source, heard in zip(found, hearer, strict=True):
        if source.media != heard.media or heard.raw:
            raise StreamRefused(f"one sends {source.media}, the other has {heard.kind}; connect them by a new offer")
        sent = {(codec.name.lower(), codec.clock_rate): codec.payload_type for codec in source.codecs}
        _check_types(sent, heard)


def _of(media: Media, was: Leg, name: str, leg: Leg) -> Mapping[Leg, Any]:
    known: Mapping[Leg, Any] = getattr(media, name)
    return {leg: known[was]} if was in known else {}


def _check(media: Media, leg: Leg, hearer: tuple[Stream, ...]) -> None:
    """Whether what a leg sends, by the payload types that its peer until now has named, is known to its hearer."""
    peer = media.streams["b" if leg == "a" else "a"]
    if len(peer) != len(hearer):
        raise StreamRefused(f"one has {len(peer)} m-lines, the other {len(hearer)}; connect them by a new offer")
    for said, told, heard in zip(media.streams[leg], peer, hearer, strict=True):
        if said.media != heard.media or said.raw != heard.raw:
            raise StreamRefused(f"one has {said.kind}, the other {heard.kind}; connect them by a new offer")
        spoken = {(codec.name.lower(), codec.clock_rate) for codec in said.codecs}
        named = {(codec.name.lower(), codec.clock_rate): codec.payload_type for codec in told.codecs}
        _check_types({codec: number for codec, number in named.items() if codec in spoken}, heard)


def _check_types(sent: Mapping[tuple[str, int], int], heard: Stream) -> None:
    """Raise StreamRefused where a codec is sent by another payload type than its hearer wants."""
    for codec in heard.codecs:
        number = sent.get((codec.name.lower(), codec.clock_rate), codec.payload_type)
        if number != codec.payload_type:
            raise StreamRefused(
                f"one was told to send {codec.name} as {number}, the other wants it as {codec.payload_type}; "
                "connect them by a new offer"
            )
