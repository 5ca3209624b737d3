# SPDX-License-Identifier: GPL-3.0-or-later
"""One leg of a call: runs the table of `sip.leg_table` over the INVITE transactions and the dialogs of one peer."""

from __future__ import annotations

from typing import Any, Literal, Protocol
from zlib import crc32

from sip.agent import Agent, Fields
from sip.dialog import Dialog, DialogKey
from sip.effects import Address, Diversion
from sip.invited import Invited
from sip.inviting import Inviting
from sip.leg_table import LEG, TALKING, LegDo, LegSignal, LegState
from sip.message import Message, Request, Response
from sip.offer_answer import renumbered
from sip.session_timer import EXPIRED, REFRESH, SessionTimer
from sip.timers import Alarm
from sip.transaction import Transaction
from sip.transaction_table import Signal

_MOMENT = 2.0
"""Seconds until a refresh is tried again that met another exchange."""
_LOST = (408, 481)


class LegUser(Protocol):
    """The call that a leg belongs to."""

    def told(self, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
        """Something happened to the leg that the call must know."""

    def left(self, leg: Leg, now: float) -> None:
        """The leg is gone."""

    def joined(self, leg: Leg, key: DialogKey) -> None:
        """The leg has this dialog from now on."""


class Leg:
    """One peer.

    dialog: the one that a 2xx confirmed. asked: what the peer wants of us; asking: our own INVITE. source: where the
    leg's INVITE came from or went to. user: the account that the peer has proved or was called as, "" if none.
    trunk: the trunk that it is. said: the last description that we sent to the peer; heard: the last one of its own.
    refusal, farewell: how to refuse what is pending, and what to add to our BYE or CANCEL, when the leg ends.
    """

    def __init__(self, name: Literal["a", "b"], agent: Agent, user: LegUser, state: LegState) -> None:
        self.name: Literal["a", "b"] = name
        self.state = state
        self.dialog: Dialog | None = None
        self.keys: list[DialogKey] = []
        self.farewell: Fields = ()
        self.refusal: tuple[int, str | None] = (487, None)
        self.source: Address | None = None
        self.tag = agent.token()
        self.call_id = ""
        self.peer_tag = ""
        self.user = ""
        self.trunk = ""
        self.side = ""
        """Which of the offers to a group it was called with."""
        self.diversions: tuple[Diversion, ...] = ()
        """Who had sent the call on to here."""
        self.allow: tuple[str, ...] = ()
        self.said = self.heard = self._wanted = b""
        self.agent = agent
        self.owner = user
        self.asked = Invited(self)
        self.asking = Inviting(self)
        self.session = SessionTimer(agent.timers, agent.settings, self)
        self._alarm: Alarm | None = None

    # --- the peer's INVITE ---

    def receive(self, request: Request, transaction: Transaction, source: Address) -> None:
        """Take an INVITE, UPDATE or PRACK of the peer, which `answer` or `reject` must answer."""
        self.source = self.source or source
        self.call_id, self.peer_tag = request.call_id, request.from_.tag or ""
        self.note(request)
        self.asked.receive(request, transaction)

    def note(self, message: Message) -> None:
        """Learn what the peer can do."""
        self.allow = message.allow or self.allow

    def contact(self, local: Address) -> tuple[str, str]:
        """Our Contact header toward the peer."""
        return self.agent.contact(local, self.agent.names.get(self.trunk, ""))

    @property
    def peer_host(self) -> str:
        """The address that the signalling of this leg comes from, or goes to."""
        return self.source.host if self.source else ""

    @property
    def transport(self) -> str:
        """By what this leg signals, as far as that is known."""
        return self.source.transport if self.source else ""

    @property
    def local_host(self) -> str:
        """The address of ours that the peer signals to; none before anything was sent or received."""
        held = self.dialog or self.asked.server or self.asking.client
        return held.local.host if held else ""

    @property
    def pending(self) -> bool:
        """Whether the peer waits for our final response to its INVITE."""
        return self.asked.server is not None

    @property
    def updating(self) -> bool:
        """Whether the peer waits for our answer to the offer in an UPDATE or PRACK, which no ACK follows."""
        return self.asked.update is not None

    @property
    def busy(self) -> bool:
        """Whether an INVITE of one side is under way in this dialog (RFC 3261 §14.1)."""
        return self.pending or self.asking.sent is not None

    @property
    def called(self) -> bool:
        """Whether it was we who called the peer, so that the Call-ID is ours."""
        return self.asked.first is None

    def alert(self, status: int, reason: str | None, sdp: bytes, now: float, branch: str = "") -> None:
        """Send a provisional response; 100 has neither tag nor Contact. branch: which of those behind us speaks."""
        self.asked.alert(status, reason, sdp, now, branch)

    def answer(self, sdp: bytes, now: float, branch: str = "") -> None:
        """Send the 200, and repeat it until the ACK comes (RFC 3261 §13.3.1.4). Makes the dialog of an INVITE."""
        self.asked.answer(sdp, now, branch)

    def reject(self, status: int, reason: str | None, now: float, headers: Fields = ()) -> None:
        """Send the final failure to what the peer waits for, if it does."""
        self.asked.reject(status, reason, now, headers)

    def acknowledged(self, request: Request, now: float) -> None:
        """The ACK of our 2xx came; one for an older INVITE is nothing."""
        if self.asked.last and request.cseq.number == self.asked.last.number:
            self.feed(LegSignal.ACK, now, request)

    # --- our INVITE ---

    def call(self, request: Request, target: Address, local: Address, now: float) -> None:
        """Send the INVITE that makes this leg."""
        self.source, self.call_id = target, request.call_id
        self.asking.start(request, target, local, now)

    def reinvite(self, sdp: bytes, now: float, patience: int = 0) -> None:
        """Send a re-INVITE; without a description it asks for an offer. patience: see `Inviting.again`."""
        self.asking.again(self.speak(sdp), now, patience=patience)

    def confirm(self, sdp: bytes, now: float) -> None:
        """Send the ACK of the peer's 2xx, with the answer it is owed or nothing."""
        self.asking.make_ack(self.speak(sdp))
        self.feed(LegSignal.CONFIRM, now)

    def update(self, sdp: bytes, now: float, branch: str = "") -> bool:
        """Send an UPDATE with an offer; whether there is a dialog for it. UPDATED tells its answer."""
        dialog = self.dialog_of(branch)
        if dialog is None or "UPDATE" not in self.allow:
            return False
        headers = [self.contact(dialog.local), *self.session.propose()]
        self.send("UPDATE", now, on_response=self._updated, headers=headers, body=self.speak(sdp), dialog=dialog)
        return True

    def request(self, method: str, now: float, **message: Any) -> bool:
        """Send any other request in the dialog, if there is one still; arguments as those of `Agent.send`."""
        if not self.dialog or self.state not in TALKING:
            return False
        self.send(method, now, **message)
        return True

    def send(self, method: str, now: float, dialog: Dialog | None = None, **message: Any) -> None:
        """Send a request in a dialog, by default the leg's; arguments as those of `Agent.send`."""
        target = dialog or self.dialog
        assert target
        self.agent.send(target, method, now, auth=self.asking.auth, **message)

    def speak(self, sdp: bytes) -> bytes:
        """A description as this peer is to see it: in a session of its own, its version counted by us."""
        if sdp:
            self.said = sdp = renumbered(sdp, self.said, crc32(self.tag.encode()))
        return sdp

    def restate(self, said: bytes, now: float) -> None:
        """Tell the peer a description again that it had before, as soon as nothing is under way."""
        if self.asking.sent:
            self._wanted = said
            self.asking.disown(now)
        elif said != self.said:
            self.asking.again(self.speak(said), now, refreshing=True)

    def dialog_of(self, tag: str) -> Dialog | None:
        """The dialog with this tag, ours of a caller and the peer's of a callee; that of the 2xx once it is there."""
        early = self.asking.early if self.called else self.asked.early
        if self.dialog or not early:
            return self.dialog
        return early[tag].dialog if tag in early else next(reversed(early.values())).dialog

    def dialog_with(self, request: Request) -> Dialog | None:
        """The dialog that a request of the peer is in, an early one included."""
        early = self.asking.early if self.called else self.asked.early
        found = early.get((request.from_.tag if self.called else request.to.tag) or "")
        return self.dialog or (found.dialog if found else None)

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
        if self.state is LegState.GONE and actions is not _REPEATED:
            self._go(now)
        return True

    def resume(self, target: Address, local: Address, now: float) -> None:
        """Go on after a restart: our INVITE goes out again as a retransmission, our 2xx is repeated.

        target, local: of the transaction that is taken up.
        """
        self.asked.resume(target, local, now)
        self.asking.resume(target, local, now)

    def depart(self) -> None:
        """Another process goes on with the leg, as its state says."""
        self._hush()
        self.session.stop()
        self.state = LegState.GONE

    def ring(self, name: str, now: float) -> None:
        """A timer is due: the session's, or one that names its signal."""
        if name == REFRESH:
            self._refresh(now)
        elif name == EXPIRED:
            self.feed(LegSignal.EXPIRED, now)
        else:
            self.feed(LegSignal(name), now)

    def glare_wait(self) -> float:
        """Seconds to wait after a 491, shorter for the side that does not own the Call-ID (RFC 3261 §14.1)."""
        return 2.1 + 1.9 * self.agent.chance() if self.called else 2.0 * self.agent.chance()

    def joined(self, dialog: Dialog) -> None:
        """Let requests of this dialog be found."""
        if dialog.key not in self.keys:
            self.keys.append(dialog.key)
            self.owner.joined(self, dialog.key)

    def _go(self, now: float) -> None:
        self._hush()
        self.session.stop()
        if self.asking.client:
            self.asking.client.limit(now)
        self.owner.left(self, now)

    def _act(self, action: LegDo, signal: LegSignal, now: float, message: Request | Response | None) -> None:
        match action:
            case LegDo.TELL:
                self.owner.told(self, signal, message, now)
            case LegDo.REJECT:
                while self.updating or self.pending:
                    self.reject(*self.refusal, now, self.farewell)
            case LegDo.REPEAT:
                self.asked.repeat(now)
            case LegDo.HUSH:
                self._hush()
            case LegDo.ACK:
                self.asking.send_ack()
            case LegDo.CANCEL:
                self.asking.cancel(now)
            case LegDo.WATCH:
                give_up = now + self.agent.settings.intervals.give_up
                self._alarm = self.agent.timers.start(self, LegSignal.NO_FINAL, give_up)
            case LegDo.ABANDON if self.asking.client:
                self.asking.client.feed(Signal.ABANDON, now)
            case LegDo.BYE:
                self.send("BYE", now, on_response=self._bye_answered, headers=self.farewell)

    def _bye_answered(self, response: Response | None, now: float) -> None:
        if response is None or response.status >= 200:
            self.feed(LegSignal.LEFT, now)

    def _hush(self) -> None:
        self.agent.timers.stop(self._alarm)
        self.asked.hush()

    def _updated(self, response: Response | None, now: float) -> None:
        if response is None or response.status >= 200:
            if response and response.status < 300:
                self.session.agree(response, now)
                self._refresh_target(response)
            self.feed(LegSignal.UPDATED, now, response)

    # --- the session timer (RFC 4028) ---

    def _refresh(self, now: float) -> None:
        if self.state is not LegState.CONFIRMED or self.busy or self.updating:
            self.session.retry(now, _MOMENT)
        elif "UPDATE" in self.allow:
            headers = [self.contact(self.dialog.local), *self.session.propose()] if self.dialog else []
            self.send("UPDATE", now, on_response=self.refreshed, headers=headers)
        else:
            self.asking.again(self.said, now, refreshing=True)

    def refreshed(self, response: Response | None, now: float) -> None:
        """What came of our refresh: only a peer that has lost the call, or is gone, ends it."""
        wanted, self._wanted = self._wanted, b""
        if response is None or response.status in _LOST:
            self.feed(LegSignal.EXPIRED, now)
        elif response.status // 100 == 2:
            self._refresh_target(response)
            self.session.agree(response, now)
            if wanted:
                self.restate(wanted, now)
        elif response.status >= 300:
            if wanted:
                self.speak(wanted)  # what was refused was never agreed on
            self._refresh_later(response, now)

    def _refresh_later(self, response: Response, now: float) -> None:
        if response.status == 422 and self.session.raise_floor(response):
            self._refresh(now)
        elif response.status in (405, 501) and "UPDATE" in self.allow:
            self.allow = tuple(method for method in self.allow if method != "UPDATE")
            self._refresh(now)
        else:
            wait = self.glare_wait() if response.status == 491 else self.session.interval / 2
            self.session.retry(now, wait)

    def _refresh_target(self, response: Response) -> None:
        if self.dialog:
            self.dialog.refresh(response, self.dialog.peer)


_REPEATED = LEG[LegState.GONE, LegSignal.ACCEPT][1]
"""What a leg that is gone still does; it does not go twice."""
