# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call needs of those who have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sip.agent import Agent
from sip.call_table import CallSignal
from sip.client_auth import ClientAuth
from sip.dialog import DialogKey
from sip.effects import Address
from sip.hunt import Hunt
from sip.leg import Leg
from sip.message import Request, Response
from sip.outgoing import Destination

if TYPE_CHECKING:
    from sip.call import Call


class CallHost(Protocol):
    """What a call needs of the core."""

    agent: Agent

    def ask_route(self, call: Call, now: float, redirection: Response | None = None) -> None:
        """Ask where the call goes, or where the callee's redirection leads to."""

    def ask_offers(self, call: Call, leg: Leg, sdp: bytes, others: Sequence[Leg], now: float) -> None:
        """Ask for the offer of `leg` as each of these shall see it, one of each side that is to ring.

        `offers_ready` comes back.
        """

    def ask_offer(self, call: Call, leg: Leg, sdp: bytes, other: Leg, signal: CallSignal, now: float) -> None:
        """Ask for the offer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""

    def ask_answer(self, call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
        """Ask for the answer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""

    def auth(self, trunk: str) -> ClientAuth | None:
        """What to answer the challenges of a trunk with."""

    def equip(self, leg: Leg) -> None:
        """Give a leg that is about to be called what it needs: a channel of its trunk, and credentials for it."""

    def invitation(self, call: Call, leg: Leg, destination: Destination, local: Address, sdp: bytes) -> Request:
        """Write the INVITE that makes a leg."""

    def found(self, call: Call, leg: Leg, key: DialogKey) -> None:
        """Find the requests of this dialog from now on."""

    def left(self, call: Call, leg: Leg) -> None:
        """And those of none of its dialogs any longer."""

    def hunt(self, rounds: int = 1) -> Hunt:
        """A search that has no targets yet, and asks those so many times with all shapes of an offer."""

    def ask_attend(self, call: Call, leg: Leg, sdp: bytes, now: float) -> None:
        """Ask media to be the peer of this leg ourselves; MEDIA_READY or REFUSED comes back."""

    def ask_attends(self, call: Call, legs: Sequence[Leg], now: float) -> None:
        """Ask media for an offer of ours to each of these; `offers_ready` comes back."""

    def settle(self, call: Call, offerer: Leg, answerer: Leg, now: float) -> None:
        """Tell media what both legs have said last, where neither needs to hear of it any more."""

    def save(self, call: Call) -> None:
        """Write the call down."""

    def forget(self, call: Call) -> None:
        """Nothing of the call is left."""
