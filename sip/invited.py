# SPDX-License-Identifier: GPL-3.0-or-later
"""What the peer of a leg asks of us: its INVITE, and how we answer it, provisionally and finally (RFC 3261 §13.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sip.agent import ALLOWED, SUPPORTED, Fields
from sip.dialog import dialog_of_request
from sip.early import Early, Tags
from sip.effects import Address, Send
from sip.errors import ProtocolError
from sip.headers import CSeq
from sip.leg_table import LegSignal, LegState
from sip.message import Request
from sip.reliable import TAG as RELIABLE
from sip.reliable import Reliable, requires, supports
from sip.repeater import Repeater
from sip.transaction import Transaction

if TYPE_CHECKING:
    from sip.leg import Leg


class Invited:
    """The server's side of one leg.

    invite, server: the INVITE that waits for our final response; `last` is the CSeq of the last one, `branch` its
    Via's. update: an UPDATE, or a PRACK with an offer, that waits. early: early dialogs by our tag. success: our last
    2xx until its ACK. first: CSeq of the INVITE that made the leg, None where that was ours; uri: its request URI.
    """

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self.invite: Request | None = None
        self.server: Transaction | None = None
        self.update: tuple[Request, Transaction] | None = None
        self.first: CSeq | None = None
        self.last: CSeq | None = None
        self.branch: str | None = None
        self.uri = ""
        self.tags = Tags(leg.tag)
        self.early: dict[str, Early] = {}
        self.success = b""
        self._held: tuple[bytes, str] | None = None
        agent = leg.agent
        self._repeater = Repeater(agent.timers, self._resend, self._unacknowledged, cap=agent.settings.intervals.t2)

    def receive(self, request: Request, transaction: Transaction) -> None:
        """Take what is to be answered."""
        if request.method == "INVITE":
            self.invite, self.server, self.last = request, transaction, request.cseq
            self.branch = request.via.branch
            if self.first is None and self._leg.dialog is None:
                self.first, self.uri = request.cseq, request.uri
        else:
            self.update = request, transaction

    @property
    def request(self) -> Request | None:
        """What waits for an answer, a change first."""
        return self.update[0] if self.update else self.invite

    @property
    def any_settled(self) -> bool:
        """Whether a description went over reliably in one of the early dialogs."""
        return any(early.settled for early in self.early.values())

    # --- provisional ---

    def alert(self, status: int, reason: str | None, sdp: bytes, now: float, branch: str) -> None:
        """Send a 1xx; reliably where the peer insists, or where a description would be lost with it (RFC 3262)."""
        if not self.server or not self.invite:
            return
        agent, invite, server = self._leg.agent, self.invite, self.server
        if status == 100 or self._leg.dialog:
            headers = [self._leg.contact(server.local), ALLOWED] if status > 100 else []
            agent.respond(server, invite, status, now, reason, self._leg.tag, headers, sdp)
            return
        tag = self.tags.claim(branch, agent.token()) if sdp else self.tags.get(branch)
        early = self._early(tag)
        sdp = self._leg.speak(sdp)
        headers = [self._leg.contact(server.local), ALLOWED, SUPPORTED]
        if not (requires(invite, RELIABLE) or (sdp and supports(invite, RELIABLE))):
            agent.respond(server, invite, status, now, reason, tag, headers, sdp)
            return

        def write(rseq: int, when: float) -> bytes:
            fields = [*headers, ("Require", RELIABLE), ("RSeq", str(rseq))]
            return agent.respond(server, invite, status, when, reason, tag, fields, sdp)

        self._reliable(early).send(write, bool(sdp), now)

    def acknowledge(self, request: Request, now: float) -> bool:
        """Take a PRACK; whether a description is settled by it. Raises ProtocolError (400, 481)."""
        early = self.early.get(request.to.tag or "")
        if not early or not early.reliable or not self.last:
            raise ProtocolError(481, "No Such Response")
        described = early.reliable.acknowledge(request, self.last, now)
        early.settled = early.settled or described
        return described

    def release(self, now: float) -> None:
        """After the answer to a PRACK: a 2xx that waited for it may go (RFC 3262 §3)."""
        if self._held and not self._owed:
            (sdp, branch), self._held = self._held, None
            self.answer(sdp, now, branch)

    def _early(self, tag: str) -> Early:
        assert self.invite
        assert self.server
        early = self.early.get(tag)
        if early is None:
            assert self._leg.source
            trunk = bool(self._leg.trunk)
            early = Early(dialog_of_request(self.invite, tag, self._leg.source, self.server.local, trunk))
            self.early[tag] = early
            self._leg.joined(early.dialog)
        return early

    def _reliable(self, early: Early) -> Reliable:
        if early.reliable is None:
            agent = self._leg.agent
            first = 1 + int(agent.chance() * 2**30)
            early.reliable = Reliable(agent.timers, agent.settings.intervals, first, self._again, self._unpracked)
        return early.reliable

    @property
    def _owed(self) -> bool:
        return any(early.reliable and early.reliable.owed for early in self.early.values())

    def _again(self, data: bytes, now: float) -> None:
        if self.server:
            self.server.respond(180, data, now)

    def _unpracked(self, now: float) -> None:
        self._leg.feed(LegSignal.NO_PRACK, now)

    # --- final ---

    def answer(self, sdp: bytes, now: float, branch: str = "") -> None:
        """Send the 2xx to what waits."""
        if self.update:
            self._answer_update(sdp, now)
        elif self.server and self.invite:
            if self._owed:
                self._held = sdp, branch
            else:
                self._answer_invite(sdp, now, branch)

    def _answer_update(self, sdp: bytes, now: float) -> None:
        assert self.update
        (request, transaction), self.update = self.update, None
        sdp = self._leg.speak(sdp)
        headers = [self._leg.contact(transaction.local), ALLOWED, SUPPORTED]
        if request.method == "UPDATE":
            headers += self._leg.session.grant(request, now)
        tag = request.to.tag or self._leg.tag
        self._leg.agent.respond(transaction, request, 200, now, None, tag, headers, sdp)
        self.release(now)

    def _answer_invite(self, sdp: bytes, now: float, branch: str) -> None:
        leg, agent = self._leg, self._leg.agent
        invite, server = self._take_pending()
        if leg.dialog is None:
            sdp = self._confirm(invite, server, sdp, branch)
        sdp = leg.speak(sdp)
        headers = [self._leg.contact(server.local), ALLOWED, SUPPORTED, *leg.session.grant(invite, now)]
        self.success = agent.respond(server, invite, 200, now, None, leg.tag, headers, sdp)
        leg.feed(LegSignal.ANSWER, now)

    def _confirm(self, invite: Request, server: Transaction, sdp: bytes, branch: str) -> bytes:
        """Make the dialog; return what the 2xx has to carry: nothing that went over reliably (RFC 6337 §3.1)."""
        leg = self._leg
        assert leg.source
        leg.tag = self.tags.claim(branch, leg.agent.token()) if sdp else self.tags.get(branch)
        early = self.early.get(leg.tag)
        known = early.dialog if early else None
        leg.dialog = known or dialog_of_request(invite, leg.tag, leg.source, server.local, bool(leg.trunk))
        self._forget_early()
        leg.joined(leg.dialog)
        return b"" if early and early.settled else sdp

    def reject(self, status: int, reason: str | None, now: float, headers: Fields) -> None:
        """Send the final failure to what waits, a change first."""
        agent, leg = self._leg.agent, self._leg
        if self.update:
            (request, transaction), self.update = self.update, None
            agent.respond(transaction, request, status, now, reason, request.to.tag, headers)
            self.release(now)
        elif self.server and self.invite:
            invite, server = self._take_pending()
            agent.respond(server, invite, status, now, reason, leg.tag, headers)

    def repeated(self, request: Request) -> bool:
        """Whether `request` is the INVITE that made this leg, seen again; a 2xx not acknowledged is sent again."""
        if (request.cseq, request.via.branch) != (self.last, self.branch) or self.uri not in ("", request.uri):
            return False
        if self._leg.state in (LegState.UNACKED, LegState.PARTING):
            self._resend(0.0)
        return True

    def repeat(self, now: float) -> None:
        """Send the 2xx again until its ACK comes."""
        self._repeater.start(self._leg.agent.settings.intervals, now)

    def hush(self) -> None:
        """Repeat nothing any more."""
        self._repeater.stop()
        self._forget_early()
        self.success = b""

    def resume(self, target: Address, local: Address, now: float) -> None:
        """Go on after a restart, in the transaction with this peer."""
        if self.invite:
            self.server = self._leg.agent.layer.serve(self.invite, target, local, now)
        if self._leg.state is LegState.UNACKED:
            self.repeat(now)

    def _take_pending(self) -> tuple[Request, Transaction]:
        assert self.invite
        assert self.server
        for early in self.early.values():
            if early.reliable:
                early.reliable.stop()
        self._held = None
        pending = self.invite, self.server
        self.invite = self.server = None
        return pending

    def _forget_early(self) -> None:
        for early in self.early.values():
            if early.reliable:
                early.reliable.stop()
        self.early = {}

    def _resend(self, now: float) -> None:
        leg = self._leg
        if leg.dialog:
            leg.agent.effects.append(Send(self.success, leg.source or leg.dialog.peer, leg.dialog.local))

    def _unacknowledged(self, now: float) -> None:
        self._leg.feed(LegSignal.NO_ACK, now)
