# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call needs of those who have it."""

from __future__ import annotations

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

    def ask_offer(self, call: Call, leg: Leg, sdp: bytes, other: Leg, signal: CallSignal, now: float) -> None:
        """Ask for the offer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""

    def ask_answer(self, call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
        """Ask for the answer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""

    def auth(self, trunk: str) -> ClientAuth | None:
        """What to answer the challenges of a trunk with."""

    def equip(self, leg: Leg, destination: Destination) -> None:
        """Give a leg what it needs towards its destination: credentials, a channel of its trunk."""

    def invitation(self, call: Call, leg: Leg, destination: Destination, local: Address, sdp: bytes) -> Request:
        """Write the INVITE that makes a leg."""

    def found(self, call: Call, leg: Leg, key: DialogKey) -> None:
        """Find the requests of this dialog from now on."""

    def left(self, call: Call, leg: Leg) -> None:
        """And those of none of its dialogs any longer."""

    def hunt(self, shapes: int = 1) -> Hunt:
        """A search that has no targets yet, and asks those with so many times the usual shapes of an offer."""

    def ask_attend(self, call: Call, leg: Leg, sdp: bytes, now: float) -> None:
        """Ask media to be the peer of this leg ourselves; MEDIA_READY or REFUSED comes back."""

    def settle(self, call: Call, offerer: Leg, answerer: Leg, now: float) -> None:
        """Tell media what both legs have said last, where neither needs to hear of it any more."""

    def save(self, call: Call) -> None:
        """Write the call down."""

    def forget(self, call: Call) -> None:
        """Nothing of the call is left."""
