# SPDX-License-Identifier: GPL-3.0-or-later
"""Has both legs' protection agreed on by what this host can do: `security`, asked by the media sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from secrets import token_bytes

from ctl.sessions.call_media import CallMedia, Media
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.relay_choice import Facing
from ctl.sessions.security import (
    Agreement,
    Bridge,
    CryptoLine,
    Policy,
    Spoken,
    agree_all,
    attempts,
    of_both,
    propose_all,
)
from ctl.sessions.streams import Stream
from sip.effects import Leg

Sides = tuple[Facing, Facing]
"""What is asked of our side toward the leg that offers, and toward the other."""


def propose(
    plane: DataPlane,
    streams: Sequence[Stream],
    before: Sequence[str],
    attempt: int,
    bridge: Bridge | None,
    sides: Sides,
    fresh: bool = False,
) -> tuple[tuple[Spoken, ...], Policy, int]:
    """Return what the other leg is offered, the policy of the one that offers, and in how many ways it can be.

    Raises Insecure.
    before: the profiles that the other leg has had. attempt: how many offers of this exchange it has refused. fresh: it
    may not share keys with the one that offers, for what we say to it is not what that one says.
    """
    spoken = [each.spoken for each in streams]
    here, there = of_both(sides[0].srtp or plane.srtp, sides[1].srtp or plane.srtp)
    if any(each.inside for each in streams):  # what we send to ourselves does not leave the host
        here = "preferred" if any(each and each.secured for each in spoken) else "off"
    keyed = next((each.protocol for each in spoken if each and each.cryptos), None) if fresh else None
    if keyed:
        bridge = replace(bridge or Bridge(keyed), fresh=True)
    both, web = (here, there), sides[1].web
    offered = propose_all(spoken, both, plane.fingerprint, token_bytes, before, attempt, bridge, web)
    return offered, here, 1 if bridge else attempts(there, spoken)


def told_again(offered: Sequence[Spoken], before: Media, leg: Leg, streams: Sequence[Stream]) -> tuple[Spoken, ...]:
    """Return what is `offered`, with our keys of an offer of `leg` that went before where all else is the same."""
    theirs = {line for each in (*before.streams.get(leg, ()), *streams) for line in each.cryptos}
    both = zip(offered, before.offered, strict=False)
    return (
        *(known if _but_for_keys(each, theirs) == _but_for_keys(known, theirs) else each for each, known in both),
        *offered[len(before.offered) :],
    )


def _but_for_keys(spoken: Spoken, theirs: Collection[CryptoLine]) -> Spoken:
    """The same without the keys that are ours."""
    lines = (line if line in theirs else replace(line, key="") for line in spoken.cryptos)
    return replace(spoken, cryptos=tuple(lines))


def agree(
    plane: DataPlane, media: CallMedia, offered: Iterable[Stream], answers: Iterable[Stream], passive: bool
) -> Agreement:
    """Return what an answer to the exchange under way makes of it. passive: the offerer begins DTLS if it may.

    Raises Insecure.
    """
    assert media.proposed
    assert media.offerer
    return agree_all(
        [each.spoken for each in offered],
        media.proposed.offered,
        [each.spoken for each in answers],
        media.agreed.protections.get(media.offerer, ()),
        media.proposed.srtp or plane.srtp,
        plane.fingerprint,
        token_bytes,
        passive,
    )
