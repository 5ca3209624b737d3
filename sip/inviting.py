# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own INVITE to the peer of a leg, and everything that its responses lead to (RFC 3261 §13.2, §14.1, §9.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sip.agent import ALLOWED, EXTENSIONS, Fields
from sip.bodies import described
from sip.client_auth import ClientAuth
from sip.dialog import Dialog, dialog_of_response
from sip.early import Early
from sip.effects import Address, Send
from sip.leg_table import LegSignal, LegState
from sip.message import Request, Response
from sip.reliable import TAG as RELIABLE
from sip.reliable import reliable_number
from sip.transaction import Transaction
from sip.transaction_table import State

if TYPE_CHECKING:
    from sip.leg import Leg

_SUPPORTED = ("Supported", ", ".join(word for word in EXTENSIONS if word != RELIABLE))
"""Of a re-INVITE, whose 1xx nobody waits for."""
PATIENCE = 5
"""How often a re-INVITE is tried again that nobody else would repeat."""
MAX_EARLY = 64
"""Early dialogs of one INVITE of ours: what further branches of a fork ring is not told."""
_WAITING = (LegState.CALLING, LegState.RINGING, LegState.CONFIRMED)


class Inviting:
    """The client's side of one leg.

    sent, client: our INVITE, until it is acknowledged. early: early dialogs by the peer's tag. ack: the ACK of the
    peer's last 2xx, with its CSeq. auth: what to answer a challenge with, None: nothing.
    """

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self.sent: Request | None = None
        self.client: Transaction | None = None
        self.early: dict[str, Early] = {}
        self.ack: tuple[int, bytes] | None = None
        self.auth: ClientAuth | None = None
        self.withdrawn = False
        self._refreshing = False
        self._patience = 0
        self._glare: Response | None = None

    def start(self, request: Request, target: Address, local: Address, now: float) -> None:
        """Send the INVITE that makes the leg."""
        agent = self._leg.agent
        self.sent = self.auth.sign(request, agent.token()) if self.auth else request
        self.client = agent.begin(self.sent, target, local, now, self._responded)

    def again(self, sdp: bytes, now: float, refreshing: bool = False, patience: int = 0) -> None:
        """Send a re-INVITE. refreshing: it changes nothing, so the call need not hear of it.

        patience: how often it is sent again after it has met one of the peer (RFC 3261 §14.1).
        """
        leg = self._leg
        assert leg.dialog
        self.withdrawn, self._refreshing, self._patience = False, refreshing, patience
        headers = [leg.contact(leg.dialog.local), ALLOWED, _SUPPORTED, *leg.session.propose()]
        self.sent, self.client = leg.agent.send(
            leg.dialog, "INVITE", now, self._responded, headers, sdp, auth=self.auth
        )

    def disown(self, now: float) -> None:
        """Nobody wants the outcome of our re-INVITE any more: cancel it, and acknowledge what comes all the same."""
        self._refreshing = True
        self.withdraw(now)

    def withdraw(self, now: float) -> None:
        """Cancel our re-INVITE, as soon as a 1xx has come."""
        self.withdrawn = True
        if self.client and self.client.state is State.PROCEEDING:
            self.cancel(now)

    def cancel(self, now: float) -> None:
        """Send CANCEL, with the reason if there is one (RFC 3326)."""
        if self.client and self.sent:
            leg = self._leg
            leg.agent.cancel(self.sent, self.client.target, self.client.local, now, leg.farewell)

    # --- responses ---

    def _responded(self, response: Response | None, now: float) -> None:
        """Each response to our INVITE, None: there was no final one."""
        if response:
            self._leg.note(response)
        if response is None or response.status >= 300:
            self._failed(response, now)
        elif response.status >= 200:
            self._succeeded(response, now)
        else:
            self._progressed(response, now)

    def _failed(self, response: Response | None, now: float) -> None:
        if response and self._leg.state in _WAITING and self._once_more(response, now):
            return
        if response and response.status == 491 and self._patience and self._leg.state is LegState.CONFIRMED:
            self._glare = response
            self._leg.agent.timers.start(self, "glare", now + self._leg.glare_wait())
            return
        self.early = {}
        if self._refreshing:
            self.sent, self._refreshing = None, False
            self._leg.refreshed(response, now)
            return
        if self._leg.state is LegState.CONFIRMED:
            self.sent = None
        self._leg.feed(LegSignal.REJECT, now, response)

    def ring(self, name: str, now: float) -> None:
        """The time after a glare is over: once more, if it is still wanted."""
        glare, self._glare = self._glare, None
        if glare is None or self.sent is None or self._leg.state is not LegState.CONFIRMED:
            return
        if self._refreshing:
            self._patience = 0
            self._failed(glare, now)
        else:
            self.again(self.sent.body, now, patience=self._patience - 1)

    def _once_more(self, response: Response, now: float) -> bool:
        """Answer a challenge (RFC 3261 §22.2), or ask for a longer interval (RFC 4028 §7.3)."""
        leg, sent, client = self._leg, self.sent, self.client
        if not sent or not client:
            return False
        if response.status == 422 and leg.session.raise_floor(response):
            for name, value in leg.session.propose(first=leg.dialog is None):
                sent = sent.replaced(name, [value])
        elif not (self.auth and self.auth.answers(response)):
            return False
        cseq = leg.dialog.next_cseq() if leg.dialog else sent.cseq.number + 1
        self.sent = leg.agent.repeated(sent, cseq, client.local, self.auth)
        self.client = leg.agent.begin(self.sent, client.target, client.local, now, self._responded)
        leg.feed(LegSignal.AGAIN, now)
        return True

    def _progressed(self, response: Response, now: float) -> None:
        if self.withdrawn:
            self.withdrawn = False
            self.cancel(now)
        if len(self.early) >= MAX_EARLY and self._is_new(response.to.tag):
            return
        rseq = reliable_number(response)
        early = self._early(response)
        if rseq is not None and early:
            if not early.follows(rseq):
                return
            if not described(response) or self.sent is None or self.sent.body:
                self.acknowledge(response, b"", now)
        self._leg.feed(LegSignal.PROVISIONAL, now, response)

    def _is_new(self, tag: str | None) -> bool:
        """Whether a 1xx with this tag is of a branch that was not heard of yet."""
        return bool(tag) and self._leg.dialog is None and tag not in self.early

    def acknowledge(self, response: Response, sdp: bytes, now: float) -> None:
        """Send the PRACK of a reliable 1xx, with the answer to its offer if it made one (RFC 3262 §4, §5)."""
        early = self.early.get(response.to.tag or "")
        if not early or response.rseq is None:
            return
        if described(response) or sdp:
            early.settled = True
        headers = [("RAck", f"{response.rseq} {response.cseq}")]
        self._leg.send("PRACK", now, dialog=early.dialog, headers=headers, body=self._leg.speak(sdp))

    def settled(self, tag: str) -> bool:
        """Whether offer and answer with this branch were complete before its 2xx."""
        early = self.early.get(tag)
        return early is not None and early.settled

    @property
    def any_settled(self) -> bool:
        """Whether that is so with any branch."""
        return any(early.settled for early in self.early.values())

    def _early(self, response: Response) -> Early | None:
        """The early dialog of a 1xx, made by the first; None where it has no tag, or there is a dialog already."""
        tag, leg = response.to.tag, self._leg
        if not tag or leg.dialog or not self.sent or not self.client:
            return None
        if tag not in self.early:
            client = self.client
            dialog = dialog_of_response(self.sent, response, client.target, client.local, bool(leg.trunk))
            self.early[tag] = Early(dialog)
            leg.joined(dialog)
        return self.early[tag]

    def _succeeded(self, response: Response, now: float) -> None:
        """A 2xx: the first, one repeated, which is acknowledged again, or one of another branch of a fork."""
        leg = self._leg
        assert self.client
        if leg.dialog is None:
            self._confirm(response, self.client, now)
        elif leg.dialog.their_tag != (response.to.tag or ""):
            self._drop_fork(leg.dialog, response, now)
            return
        else:
            leg.dialog.refresh(response, self.client.target)
        if self.acknowledge_again(response):
            return
        if self.sent is None or self.sent.cseq != response.cseq:
            self._acknowledge_older(leg.dialog or self._dialog(), response)
            return
        if leg.state is not LegState.ACCEPTED:
            self.ack = None
        if self._refreshing and leg.state is LegState.CONFIRMED:
            self._refreshing = False
            self.send_ack()
            leg.refreshed(response, now)
            return
        leg.session.agree(response, now)
        leg.feed(LegSignal.ACCEPT, now, response)

    def _confirm(self, response: Response, client: Transaction, now: float) -> None:
        """The dialog of the first 2xx: its route set and target are final, its numbers go on (RFC 3261 §13.2.2.4)."""
        assert self.sent
        dialog = dialog_of_response(self.sent, response, client.target, client.local, bool(self._leg.trunk))
        early = self.early.get(dialog.their_tag)
        if early:
            dialog.our_cseq, dialog.their_cseq = early.dialog.our_cseq, early.dialog.their_cseq
        self._leg.dialog = dialog
        self._leg.joined(dialog)

    def _dialog(self) -> Dialog:
        assert self._leg.dialog
        return self._leg.dialog

    def _acknowledge_older(self, dialog: Dialog, response: Response) -> None:
        """A 2xx of an INVITE before the last one: its ACK was lost, and what it carried is past."""
        ack = self._leg.agent.in_dialog(dialog, "ACK", response.cseq.number)
        self._leg.agent.effects.append(Send(ack.to_bytes(), dialog.next_hop(), dialog.local))

    def _drop_fork(self, dialog: Dialog, response: Response, now: float) -> None:
        """Only one 2xx makes the call; the others are acknowledged and hung up (RFC 3261 §13.2.2.4)."""
        agent = self._leg.agent
        fork = replace(dialog, their_tag=response.to.tag or "", our_cseq=response.cseq.number)
        early = self.early.get(fork.their_tag)
        if early:
            fork.our_cseq = early.dialog.our_cseq
        fork.refresh(response, dialog.peer)
        ack = agent.in_dialog(fork, "ACK", response.cseq.number, self._credentials(response))
        agent.effects.append(Send(ack.to_bytes(), fork.next_hop(), fork.local))
        agent.send(fork, "BYE", now, auth=self.auth)

    # --- ACK ---

    def make_ack(self, sdp: bytes) -> None:
        """Write the ACK of the last 2xx; `send_ack` sends it, and again for each repetition."""
        assert self.sent
        cseq, fields = self.sent.cseq.number, self._credentials(self.sent)
        self.sent = None
        if len(self.early) < 2:
            self.early = {}  # of a fork they are kept: its other branches may answer yet
        self.ack = cseq, self._leg.agent.in_dialog(self._dialog(), "ACK", cseq, fields, sdp).to_bytes()

    def send_ack(self) -> None:
        """Send the ACK."""
        if self.ack is None:
            self.make_ack(b"")
        assert self.ack
        dialog = self._dialog()
        self._leg.agent.effects.append(Send(self.ack[1], dialog.next_hop(), dialog.local))

    def acknowledge_again(self, response: Response) -> bool:
        """Whether `response` is a 2xx of this dialog that was acknowledged before; then it is again."""
        if not self.ack or self.ack[0] != response.cseq.number:
            return False
        self.send_ack()
        return True

    def _credentials(self, message: Request | Response) -> Fields:
        """The credentials of the INVITE, which its ACK repeats (RFC 3261 §22.1)."""
        if not isinstance(message, Request):
            message = self.sent or message
        names = ("Authorization", "Proxy-Authorization")
        return [(name, value) for name in names for value in message.values(name)]

    def resume(self, target: Address, local: Address, now: float) -> None:
        """Go on after a restart: the INVITE goes out again as a retransmission."""
        if self.sent and self._leg.state is LegState.CALLING:
            self.client = self._leg.agent.begin(self.sent, target, local, now, self._responded)
