# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of an exchange beyond what both sides say, as by a proxy that knows more than they do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sip.effects import Leg

if TYPE_CHECKING:
    from ctl.sessions.streams import Stream


@dataclass(frozen=True, slots=True)
class Mux:
    """RTCP beside RTP on one port (RFC 5761), which each side has for itself.

    offered: whether the other side is offered it: as the offerer does, never, with a port for RTCP besides, or alone.
    answered: whether the offerer, if it has it, is answered so: where the other side takes it too, never, or always.
    """

    offered: Literal["", "never", "also", "alone"] = ""
    answered: Literal["", "never", "always"] = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """dscp: of all that we send, None: as it came. bridged: where the sides have no codec in common there is
    transcoding, whatever the configuration says. bitrate: bit/s of Opus that we encode, 0: as its listener has it.
    reports: RTCP of each side ends at us, and each gets ours.
    """

    mux: Mux = Mux()
    dscp: int | None = None
    bridged: bool = False
    bitrate: int = 0
    reports: bool = False

    def marking(self, tos: int | None) -> Terms:
        """The same with another type of service, 0-255 or -1: as it came; None: no other."""
        return self if tos is None else replace(self, dscp=tos >> 2 if tos >= 0 else None)


USUAL = Terms()


def beside(offerer: bool, other: bool) -> Terms:
    """Return what is asked where ICE is spoken with the offerer, or the other side: one port each is enough for both.

    Browsers want no other; who has no ICE is left to say it.
    """
    if not offerer and not other:
        return USUAL
    return Terms(Mux("also" if other else "", "always" if offerer else ""))


def is_offered(mux: Mux, offerer: bool) -> bool:
    """Whether the other side is offered it. offerer: whether the offerer has it."""
    return offerer if not mux.offered else mux.offered != "never"


def agree(mux: Mux, offerer: bool, answerer: bool) -> tuple[bool, bool]:
    """Return whether offerer and answerer multiplex, by what both have said."""
    takes = answerer and is_offered(mux, offerer)
    if mux.answered == "never":
        return False, takes
    return offerer and (takes or mux.answered == "always"), takes


def muxed(answerer: Leg, offers: Iterable[Stream], answers: Iterable[Stream], mux: Mux) -> dict[Leg, tuple[bool, ...]]:
    """Return for each leg which m-lines have RTCP beside RTP."""
    both = [agree(mux, offer.rtcp_mux, said.rtcp_mux) for offer, said in zip(offers, answers, strict=True)]
    mine, theirs = tuple(one for one, _ in both), tuple(other for _, other in both)
    return {"a": theirs, "b": mine} if answerer == "a" else {"a": mine, "b": theirs}
