# SPDX-License-Identifier: GPL-3.0-or-later
"""One leg of a call: runs the table of `sip.leg_table` over the INVITE transactions and the dialog of one peer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Protocol

from sip.agent import ALLOWED, Agent, Fields
from sip.dialog import Dialog, dialog_of_request, dialog_of_response
from sip.effects import Address, Send
from sip.headers import CSeq
from sip.leg_table import LEG, TALKING, LegDo, LegSignal, LegState
from sip.message import Request, Response
from sip.timers import Alarm
from sip.transaction import Transaction
from sip.transaction_table import Signal, State


class LegUser(Protocol):
    """The call that a leg belongs to."""

    def told(self, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
        """Something happened to the leg that the call must know."""

    def left(self, leg: Leg, now: float) -> None:
        """The leg is gone."""

    def joined(self, leg: Leg) -> None:
        """The leg has a dialog from now on."""


class Leg:
    """One peer.

    invite, server: the INVITE or UPDATE of the peer that waits for our final response; `last` is the CSeq of the last
    one. sent, client: our INVITE, until it is acknowledged. ack: the ACK of the peer's last 2xx, with its CSeq;
    success: our own last 2xx, until it is.
    source: where the leg's INVITE came from or went to. refusal, farewell: how to refuse `invite`, and what to add to
    our BYE, when the leg ends.
    """

    def __init__(self, name: Literal["a", "b"], agent: Agent, user: LegUser, state: LegState) -> None:
        self.name: Literal["a", "b"] = name
        self.state = state
        self.dialog: Dialog | None = None
        self.invite: Request | None = None
        self.last: CSeq | None = None
        self.farewell: Fields = ()
        self.refusal: tuple[int, str | None] = (487, None)
        self.source: Address | None = None
        self.tag = agent.token()
        self.call_id = ""
        self.peer_tag = ""
        self.branch: str | None = None
        self._agent = agent
        self._user = user
        self.server: Transaction | None = None
        self.client: Transaction | None = None
        self.sent: Request | None = None
        self.ack: tuple[int, bytes] | None = None
        self.success = b""
        self._withdrawn = False
        self._pause = 0.0
        self._alarms: list[Alarm] = []

    # --- the peer's INVITE ---

    def receive(self, request: Request, transaction: Transaction, source: Address) -> None:
        """Take an INVITE or UPDATE of the peer, which `answer` or `reject` must answer."""
        self.invite, self.server, self.last = request, transaction, request.cseq
        self.branch, self.source = request.via.branch, self.source or source
        self.call_id, self.peer_tag = request.call_id, request.from_.tag or ""

    @property
    def peer_host(self) -> str:
        """The address that the signalling of this leg comes from, or goes to."""
        return self.source.host if self.source else ""

    @property
    def pending(self) -> bool:
        """Whether the peer waits for our final response."""
        return self.server is not None

    @property
    def updating(self) -> bool:
        """Whether what the peer sent last was an UPDATE, which no ACK follows."""
        return self.last is not None and self.last.method == "UPDATE"

    def alert(self, status: int, reason: str | None, sdp: bytes, now: float) -> None:
        """Send a provisional response; 100 has neither tag nor Contact."""
        if not self.server or not self.invite:
            return
        headers = [self._agent.contact(self.server.local), ALLOWED] if status > 100 else []
        self._agent.respond(self.server, self.invite, status, now, reason, self.tag, headers, sdp)

    def answer(self, sdp: bytes, now: float) -> None:
        """Send the 200, and repeat it until the ACK comes (RFC 3261 §13.3.1.4). Makes the dialog of an INVITE."""
        if not self.server or not self.invite:
            return
        invite, server = self._take_pending()
        if self.dialog is None and self.source:
            self.dialog = dialog_of_request(invite, self.tag, self.source, server.local)
            self._user.joined(self)
        headers = [self._agent.contact(server.local), ALLOWED]
        self.success = self._agent.respond(server, invite, 200, now, None, self.tag, headers, sdp)
        if not self.updating:
            self.feed(LegSignal.ANSWER, now)

    def reject(self, status: int, reason: str | None, now: float, headers: Fields = ()) -> None:
        """Send the final failure to what the peer waits for, if it does."""
        if self.server and self.invite:
            invite, server = self._take_pending()
            self._agent.respond(server, invite, status, now, reason, self.tag, headers)

    def acknowledged(self, request: Request, now: float) -> None:
        """The ACK of our 2xx came; one for an older INVITE is nothing."""
        if self.last and request.cseq.number == self.last.number:
            self.feed(LegSignal.ACK, now, request)

    def repeat(self, request: Request) -> bool:
        """Whether `request` is the INVITE that made this leg, seen again; a 2xx not acknowledged is sent again."""
        if request.cseq != self.last or request.via.branch != self.branch:
            return False
        if self.state in (LegState.UNACKED, LegState.PARTING):
            self._resend()
        return True

    # --- our INVITE ---

    def call(self, request: Request, target: Address, local: Address, now: float) -> None:
        """Send the INVITE that makes this leg."""
        self.source, self.sent, self.call_id = target, request, request.call_id
        self.client = self._agent.begin(request, target, local, now, self._responded)

    def reinvite(self, sdp: bytes, now: float) -> None:
        """Send a re-INVITE; without a description it asks for an offer."""
        assert self.dialog
        self._withdrawn = False
        headers = [self._agent.contact(self.dialog.local), ALLOWED]
        self.sent, self.client = self._agent.send(self.dialog, "INVITE", now, self._responded, headers, sdp)

    def withdraw(self, now: float) -> None:
        """Cancel our re-INVITE, as soon as a 1xx has come."""
        self._withdrawn = True
        if self.client and self.client.state is State.PROCEEDING:
            self._cancel(now)

    def confirm(self, sdp: bytes, now: float) -> None:
        """Send the ACK of the peer's 2xx, with the answer it is owed or nothing."""
        self.ack = self._make_ack(sdp)
        self.feed(LegSignal.CONFIRM, now)

    def request(self, method: str, now: float, **message: Any) -> bool:
        """Send any other request in the dialog, if there is one still; arguments as those of `Agent.send`."""
        if not self.dialog or self.state not in TALKING:
            return False
        self._agent.send(self.dialog, method, now, **message)
        return True

    # --- both ---

    def end(self, refusal: tuple[int, str | None], farewell: Fields, now: float) -> None:
        """Bring the leg to its end: by refusing, cancelling or hanging up, whatever it needs."""
        self.refusal, self.farewell = refusal, farewell
        self.feed(LegSignal.END, now)

    def feed(self, signal: LegSignal, now: float, message: Request | Response | None = None) -> bool:
        """Take one step of the table; whether it has an entry."""
        step = LEG.get((self.state, signal))
        if step is None:
            return False
        self.state, actions = step
        for action in actions:
            self._act(action, signal, now, message)
        if self.state is LegState.GONE:
            self._hush()
            if self.client:
                self.client.limit(now)
            self._user.left(self, now)
        return True

    def resume(self, target: Address, local: Address, now: float) -> None:
        """Go on after a restart: our INVITE goes out again as a retransmission, our 2xx is repeated.

        target, local: of the transaction that is taken up.
        """
        if self.invite:
            self.server = self._agent.layer.serve(self.invite, target, local, now)
        if self.sent and self.state is LegState.CALLING:
            self.client = self._agent.begin(self.sent, target, local, now, self._responded)
        if self.state is LegState.UNACKED:
            self._repeat(now)

    def ring(self, name: str, now: float) -> None:
        """A timer is due: `2xx` repeats it, the others name their signal."""
        if name == "2xx":
            self._resend()
            self._repeat_later(now)
        else:
            self.feed(LegSignal(name), now)

    def _act(self, action: LegDo, signal: LegSignal, now: float, message: Request | Response | None) -> None:
        match action:
            case LegDo.TELL:
                self._user.told(self, signal, message, now)
            case LegDo.REJECT:
                self.reject(*self.refusal, now)
            case LegDo.REPEAT:
                self._repeat(now)
            case LegDo.HUSH:
                self._hush()
            case LegDo.ACK:
                self._send_ack()
            case LegDo.CANCEL:
                self._cancel(now)
            case LegDo.WATCH:
                self._start(LegSignal.NO_FINAL, now + self._agent.settings.intervals.give_up)
            case LegDo.ABANDON if self.client:
                self.client.feed(Signal.ABANDON, now)
            case LegDo.BYE:
                self._bye(now)

    def _responded(self, response: Response | None, now: float) -> None:
        """Each response to our INVITE, None: there was no final one."""
        if response is None or response.status >= 300:
            self.feed(LegSignal.REJECT, now, response)
        elif response.status >= 200:
            self._succeeded(response, now)
        else:
            self._progressed(response, now)

    def _progressed(self, response: Response, now: float) -> None:
        if self._withdrawn:
            self._withdrawn = False
            self._cancel(now)
        self.feed(LegSignal.PROVISIONAL, now, response)

    def _succeeded(self, response: Response, now: float) -> None:
        """A 2xx: the first, one repeated, which is acknowledged again, or one of another branch of a fork."""
        assert self.client
        if self.dialog is None:
            assert self.sent
            self.dialog = dialog_of_response(self.sent, response, self.client.target, self.client.local)
            self._user.joined(self)
        elif self.dialog.their_tag != (response.to.tag or ""):
            self._drop_fork(self.dialog, response, now)
            return
        else:
            self.dialog.refresh(response, self.client.target)
        if self.acknowledge_again(response):
            return
        if self.sent is None or self.sent.cseq != response.cseq:
            self._acknowledge_older(self.dialog, response)
            return
        if self.state is not LegState.ACCEPTED:
            self.ack = None
        self.feed(LegSignal.ACCEPT, now, response)

    def _acknowledge_older(self, dialog: Dialog, response: Response) -> None:
        """A 2xx of an INVITE before the last one: its ACK was lost, and what it carried is past."""
        ack = self._agent.in_dialog(dialog, "ACK", response.cseq.number)
        self._agent.effects.append(Send(ack.to_bytes(), dialog.next_hop(), dialog.local))

    def _drop_fork(self, dialog: Dialog, response: Response, now: float) -> None:
        """Only one 2xx makes the call; the others are acknowledged and hung up (RFC 3261 §13.2.2.4)."""
        fork = replace(dialog, their_tag=response.to.tag or "", our_cseq=response.cseq.number)
        fork.refresh(response, dialog.peer)
        ack = self._agent.in_dialog(fork, "ACK", response.cseq.number)
        self._agent.effects.append(Send(ack.to_bytes(), fork.next_hop(), fork.local))
        self._agent.send(fork, "BYE", now)

    def _take_pending(self) -> tuple[Request, Transaction]:
        assert self.invite
        assert self.server
        pending = self.invite, self.server
        self.invite = self.server = None
        return pending

    def _make_ack(self, sdp: bytes) -> tuple[int, bytes]:
        assert self.dialog
        assert self.sent
        cseq = self.sent.cseq.number
        self.sent = None
        return cseq, self._agent.in_dialog(self.dialog, "ACK", cseq, body=sdp).to_bytes()

    def _send_ack(self) -> None:
        assert self.dialog
        self.ack = self.ack or self._make_ack(b"")
        self._agent.effects.append(Send(self.ack[1], self.dialog.next_hop(), self.dialog.local))

    def acknowledge_again(self, response: Response) -> bool:
        """Whether `response` is a 2xx of this dialog that was acknowledged before; then it is again."""
        if not self.ack or self.ack[0] != response.cseq.number:
            return False
        self._send_ack()
        return True

    def _cancel(self, now: float) -> None:
        if self.client and self.sent:
            self._agent.cancel(self.sent, self.client.target, self.client.local, now)

    def _bye(self, now: float) -> None:
        assert self.dialog
        self._agent.send(self.dialog, "BYE", now, self._bye_answered, self.farewell)

    def _bye_answered(self, response: Response | None, now: float) -> None:
        if response is None or response.status >= 200:
            self.feed(LegSignal.LEFT, now)

    def _repeat(self, now: float) -> None:
        self._pause = self._agent.settings.intervals.t1
        self._repeat_later(now)
        self._start(LegSignal.NO_ACK, now + self._agent.settings.intervals.give_up)

    def _repeat_later(self, now: float) -> None:
        self._start("2xx", now + self._pause)
        self._pause = min(2 * self._pause, self._agent.settings.intervals.t2)

    def _resend(self) -> None:
        if self.dialog:
            target = self.source or self.dialog.peer
            self._agent.effects.append(Send(self.success, target, self.dialog.local))

    def _start(self, name: str, due: float) -> None:
        self._alarms.append(self._agent.timers.start(self, name, due))

    def _hush(self) -> None:
        for alarm in self._alarms:
            self._agent.timers.stop(alarm)
        self._alarms.clear()
        self.success = b""
