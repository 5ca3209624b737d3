# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for the callee: the legs that ring at the same time, and what each of their branches has said."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sip.causes import redirects
from sip.hunt import Hunt
from sip.leg import Leg
from sip.message import Message, Response
from sip.outgoing import Destination, Group
from sip.questions import Described

_ELSEWHERE = (("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),)
"""So that the phones which rang do not show a missed call (RFC 3326)."""


class Offers:
    """The offers to the sides of a group, until media has made or refused each of them.

    made: by side; refused: with status and reason. ready: told when nothing more is to come.
    """

    def __init__(self, expected: int, ready: Callable[[Offers, float], None]) -> None:
        self.made: dict[str, bytes] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.shapes = 1
        self._expected = expected
        self._ready = ready

    def take(self, side: str, described: Described, now: float) -> None:
        """Media has made one."""
        self.made[side] = described.sdp
        self.shapes = max(self.shapes, described.shapes)
        self._look(now)

    def refuse(self, side: str, status: int, reason: str, now: float) -> None:
        """Media has refused to make one."""
        self.refused[side] = status, reason
        self._look(now)

    def _look(self, now: float) -> None:
        if len(self.made) + len(self.refused) == self._expected:
            self._ready(self, now)


class Branches:
    """legs: those under way, with where each goes. early: the last description of each branch, by its name.

    offers: what each side of those under way is offered, {} where it is they who offer.
    """

    def __init__(self, hunt: Hunt, redirections: int) -> None:
        self.hunt = hunt
        self.legs: dict[Leg, Destination] = {}
        self.early: dict[str, bytes] = {}
        self.offers: dict[str, bytes] = {}
        self.redirection: tuple[Leg, Response] | None = None
        """Who of those under way has pointed elsewhere, which is followed when nobody else answers."""
        self._redirections = redirections

    def begin(self, group: Group, legs: Iterable[Leg]) -> None:
        """Try these next."""
        self.legs = dict(zip(legs, group, strict=True))
        self.early, self.offers, self.redirection = {}, {}, None
        sides = list(dict.fromkeys(destination.side for destination in group))
        for leg, destination in self.legs.items():
            place = sides.index(destination.side)
            leg.side = str(place) if place else ""

    @property
    def faces(self) -> tuple[Leg, ...]:
        """One leg of each side."""
        found: dict[str, Leg] = {}
        for leg in self.legs:
            found.setdefault(leg.side, leg)
        return tuple(found.values())

    def offer(self, offers: Offers) -> None:
        """Go on with those for whom media has made an offer."""
        self.offers, self.hunt.shapes = offers.made, offers.shapes
        self.legs = {leg: destination for leg, destination in self.legs.items() if leg.side not in offers.refused}

    @property
    def setup_time(self) -> float:
        """How long those under way may give no sign at all, 0: as long as they may ring."""
        return max((destination.setup for destination in self.legs.values()), default=0.0)

    @property
    def ring_time(self) -> float:
        """The longest that one of those under way may ring, 0: as the settings say."""
        return max((destination.ring for destination in self.legs.values()), default=0.0)

    def failed(self, leg: Leg, message: Message | None, now: float) -> None:
        """Note that a leg failed; a 6xx ends those beside it (RFC 3261 §16.7 step 5)."""
        destination = self.legs.pop(leg, None)
        if destination:
            self.hunt.failed(destination, message)
        if isinstance(message, Response) and message.status >= 600:
            self.give_up((), now)

    def decides(self, leg: Leg, response: Message | None) -> bool:
        """Whether with this leg nobody is left that rings, or it speaks for all of them."""
        final = isinstance(response, Response) and response.status >= 600
        return final or not (self.legs.keys() - {leg})

    def note_redirection(self, leg: Leg, response: Message | None) -> None:
        """Keep a redirection that is to be followed; the first of a group is."""
        if self.redirection or self._redirections <= 0 or not isinstance(response, Response):
            return
        if redirects(response):
            self._redirections -= 1
            self.redirection = leg, response

    def give_up(self, reason: Iterable[tuple[str, str]], now: float) -> None:
        """Cancel all that are under way."""
        legs, self.legs = self.legs, {}
        for leg in legs:
            leg.end((480, None), reason, now)

    def won(self, leg: Leg, now: float) -> None:
        """One leg answered: the others are told so."""
        self.legs.pop(leg, None)
        self.give_up(_ELSEWHERE, now)
        self.hunt.stop()


def branch_of(leg: Leg, message: Message) -> str:
    """The name of the branch of a fork that a response of this leg is from."""
    return f"{leg.tag}/{message.to.tag or ''}"
