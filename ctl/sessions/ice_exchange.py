# SPDX-License-Identifier: GPL-3.0-or-later
"""What an exchange of descriptions makes of ICE, for both legs of a call. Pure but for the randomness it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ctl.network.addresses import refusal
from ctl.sessions import ice
from ctl.sessions.call_media import CallMedia, Media
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.ice import Draw, Endpoint, IceOwn, IcePair, IcePolicy, IceSide
from ctl.sessions.relay_choice import Facing
from ctl.sessions.streams import Stream
from sip.effects import Leg

Owns = Mapping[Leg, tuple[IceOwn | None, ...]]


def heard(stream: Stream, plane: DataPlane, *, speak: bool) -> Stream:
    """Return the stream with the candidates that we may send to, or without ICE where that is not spoken."""
    said = stream.ice
    if said is None:
        return stream
    if not speak or said.mismatch or stream.raw:
        return replace(stream, ice=None)
    return replace(stream, ice=ice.usable(said, lambda address: bool(refusal(address, plane.own, plane.allowed))))


def offered(before: Media, leg: Leg, streams: Sequence[Stream], there: Facing, draw: Draw) -> Owns:
    """Return what both legs are told of ICE once `leg` is offered the other's `streams`. before: what they know."""
    policies: list[IcePolicy] = ["remove" if there.follow and each.ice is None else there.ice for each in streams]
    made = ice.offer_all(policies, before.ices.get(leg, ()), draw, relayed=there.relayed, trickle=there.trickle)
    return {**before.ices, leg: made}


def answered(
    media: CallMedia, leg: Leg, streams: Sequence[Stream], policy: IcePolicy | None, plane: DataPlane, draw: Draw
) -> tuple[tuple[Stream, ...], Owns]:
    """Return the offerer's streams as they count once `leg` has answered with `streams`, and what both are told of ICE.

    policy: toward the offerer; None: as it was when it offered.
    """
    assert media.proposed
    offerer: Leg = "b" if leg == "a" else "a"
    policy = policy or media.proposed.policies.get(offerer, "remove")
    counting = tuple(heard(each, plane, speak=policy != "remove") for each in media.proposed.streams[offerer])
    before = [each.ice for each in media.agreed.streams.get(offerer, ())]
    own = ice.answer_all(policy, [each.ice for each in counting], media.agreed.ices.get(offerer, ()), before, draw)
    theirs = ice.accept_all(media.proposed.ices.get(leg, ()), [each.ice for each in streams])
    return counting, {offerer: own, leg: theirs}


def trickled(media: Media, leg: Leg, body: bytes, plane: DataPlane) -> Media | None:
    """Return the media with the candidates of a fragment from `leg`; None where it has not described itself.

    The parts of a fragment are the m-lines that speak ICE, in their order.
    """
    if leg not in media.streams:
        return None
    found, streams = ice.fragment(body), list(media.streams[leg])
    speaking = [index for index, stream in enumerate(streams) if stream.ice]
    for index, (fresh, ended) in zip(speaking, found.parts, strict=False):
        said = streams[index].ice
        assert said
        more = replace(streams[index], ice=ice.trickled(said, found.name, fresh, ended=ended))
        streams[index] = heard(more, plane, speak=True)
    return replace(media, streams={**media.streams, leg: tuple(streams)})


def own_at(media: Media, leg: Leg, index: int) -> IceOwn | None:
    """Return what we say of ICE to a leg for one m-line."""
    known = media.ices.get(leg, ())
    return known[index] if index < len(known) else None


def speaks(media: Media, leg: Leg, index: int) -> bool:
    """Whether we speak ICE with a leg for one m-line."""
    return own_at(media, leg, index) is not None


def side(media: Media, pairs: Mapping[Endpoint, IcePair], leg: Leg, index: int) -> IceSide | None:
    """Return the ICE that the engine speaks with a leg for one m-line."""
    return ice.side(own_at(media, leg, index), media.streams[leg][index].ice, pairs)


def kept_pairs(media: Media, pairs: Mapping[Endpoint, IcePair]) -> Mapping[Endpoint, IcePair]:
    """Return those pairs whose legs still speak ICE."""
    if not pairs:
        return pairs
    alive = {
        (media.relays[leg], port + component)
        for leg, ports in media.ports.items()
        for index, port in enumerate(ports)
        if port is not None and own_at(media, leg, index)
        for component in (0, 1)
    }
    return {local: pair for local, pair in pairs.items() if local in alive}
