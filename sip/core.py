# SPDX-License-Identifier: GPL-3.0-or-later
"""The signalling core: bytes, answers and the time in, effects out. It owns no socket, clock or die.

Each public method that changes anything takes `now`, seconds of CLOCK_MONOTONIC, and returns the effects to carry
out in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from sip.agent import Agent
from sip.calls import Calls
from sip.defence import Defence
from sip.effects import Address, Effect, Send, Target
from sip.effects import Leg as LegName
from sip.errors import ParseError
from sip.front import Front
from sip.identity import Caller
from sip.info import key
from sip.message import Request, Response
from sip.parser import parse
from sip.questions import Described
from sip.refreshes import Refreshes
from sip.refusals import Refusals
from sip.registrar import Binding
from sip.registration import Registration
from sip.settings import Settings
from sip.sharing import Among, BindingsChange
from sip.stun import is_stun
from sip.trunk import Trunk
from sip.trunk_state import Standing
from sip.trunks import Trunks
from sip.views import CallView, RegistrationView, TrunkView, view_call, view_trunk


class Core:
    """One per process.

    token: random text, 64 bits or more, of characters that a SIP token allows. local_for: the address of ours that
    faces a peer, pure and cheap. among: where others serve the same addresses. While `draining` is set, calls go
    on, but a new one is answered 503; while `overloaded` is, so is whatever is no part of a call.
    """

    def __init__(
        self,
        settings: Settings,
        token: Callable[[], str],
        local_for: Callable[[Address], Address],
        among: Among | None = None,
    ) -> None:
        self._agent = Agent(settings, token, local_for, among.call_id if among else None)
        self._registration = Registration(self._agent, keeps=among is None or among.leads)
        trunks = Trunks(self._agent, among.channels, among.leads) if among else Trunks(self._agent)
        self._calls = Calls(self._agent, self._registration.registrar, trunks, shared=among is not None)
        self.defence = Defence(settings)
        self._refusals = Refusals(self._agent, self.defence)
        counters = among.counters if among else None
        self._front = Front(self._agent, self._registration, self._calls, self.defence, self._refusals, counters)
        self.refreshes = Refreshes(self._agent, self._front.authentication, self._registration, self.defence)
        self._register: Request | None = None
        self.draining = False
        self.overloaded = False

    # --- inputs ---

    def receive(self, data: bytes, source: Address, local: Address, now: float) -> list[Effect]:
        """One message, or a Binding request of STUN in a datagram, as it came from `source` to `local`."""
        if not self.defence.admits(source, now):
            return []
        if is_stun(data) and not source.reliable:
            self._refusals.echo(data, source, local, now)
            return self._drain()
        register = data.startswith(b"REGISTER ")
        if register and self.refreshes.take(data, source, local, now, anew=not self.overloaded):
            return self._drain()
        try:
            message = parse(data)
        except ParseError as error:
            self.defence.offend(source, now)
            self._refuse_unread(error, source, local, now)
            return self._drain()
        if isinstance(message, Response):
            self._take_response(message, now)
        elif not self.defence.scans(message.get("user-agent"), source, now):
            self._front.draining, self._front.overloaded = self.draining, self.overloaded
            message.stamp(source.host, source.port)
            self._register = message if register else None
            self._front.take(message, source, local, now)
        return self._drain()

    def unreadable(self, error: ParseError, source: Address, local: Address, now: float) -> list[Effect]:
        """A stream from `source` ended in what is no message: say so while it lasts."""
        self._refuse_unread(error, source, local, now)
        return self._drain()

    def parted(self, peer: Address, now: float) -> list[Effect]:
        """A peer that had connected to us is connected no more: there is no way to the contacts that it had."""
        self._registration.parted(peer, now)
        return self._drain()

    def undelivered(self, effect: Send, now: float) -> list[Effect]:
        """This effect certainly did not reach its target (RFC 3261 §8.1.3.1, §17.1.4)."""
        self._agent.undelivered(effect.data, effect.target, now)
        return self._drain()

    def set_trunks(self, trunks: Iterable[Trunk], now: float) -> list[Effect]:
        """Have these trunks and no others; calls by one that is gone go on."""
        known = tuple(trunks)
        self._calls.set_trunks(known, now)
        self.defence.trust(lambda host: any(trunk.knows(host) for trunk in known))
        return self._drain()

    def expire(self, now: float) -> list[Effect]:
        """Fire all timers that are due by `now`."""
        for owner, name in self._agent.timers.due(now):
            owner.ring(name, now)
        return self._drain()

    def next_expiry(self) -> float | None:
        """When `expire` is to be called next, None: not before another input."""
        return self._agent.timers.next_due()

    def authenticated(self, token: int, ha1s: Mapping[str, str] | None, now: float) -> list[Effect]:
        """Answer to Authenticate: HA1 in hex by algorithm, None for an unknown user."""
        self._agent.questions.answer(token, ha1s, now)
        self._learn()
        return self._drain()

    def routed(self, token: int, targets: Iterable[Target], now: float) -> list[Effect]:
        """Answer to FindRoute: where to try, in order."""
        self._agent.questions.answer(token, tuple(targets), now)
        return self._drain()

    def media_ready(self, token: int, sdp: bytes, now: float, shapes: int = 1) -> list[Effect]:
        """Answer to OfferMedia, AnswerMedia or AttendMedia: the description for the other leg.

        shapes: in how many the offer can be made, this one included, should the other leg refuse it with 488.
        """
        self._agent.questions.answer(token, Described(sdp, shapes), now)
        return self._drain()

    def refused(self, token: int, status: int, reason: str, now: float) -> list[Effect]:
        """The other answer to every question: what to tell the client."""
        self._agent.questions.refuse(token, status, reason, now)
        return self._drain()

    def block_digits(self, blocked: Callable[[str, str], bool]) -> None:
        """Ask this, with call and leg, whether keys that a leg tells by INFO are kept from the other one."""
        self._agent.digits_blocked = blocked

    def serve_domains(self, serves: Callable[[str], bool]) -> None:
        """Ask this whether those who may register are users of a domain, or whether that is a name of ours."""
        self._agent.serves = serves

    def wait_for_users(self, informed: Callable[[], bool]) -> None:
        """Answer new calls 503 as long as this says that users and trunks are not known yet."""
        self._agent.informed = informed

    def hang_up(self, call: str, now: float, cause: int = 16, reason: str = "Hung Up") -> list[Effect]:
        """End a call on both legs, with this Q.850 cause and reason phrase. An unknown call is nothing."""
        found = self._calls.find(call)
        if found:
            found.hang_up(cause, reason, now)
        return self._drain()

    def pressed(self, token: int, taken: bool, now: float) -> list[Effect]:
        """Answer to Pressed."""
        self._agent.questions.answer(token, taken, now)
        return self._drain()

    def press(self, call: str, leg: LegName, digit: str, ms: int, now: float) -> list[Effect]:
        """Tell a leg by INFO that the other one has pressed a key. An unknown call is nothing."""
        found = self._calls.find(call)
        if found:
            (found.a if leg == "a" else found.b).request("INFO", now, on_response=lambda *_: None, **key(digit, ms))
        return self._drain()

    def touch(self, call: str) -> list[Effect]:
        """Save a call: what belongs to it outside of signalling has changed. An unknown call is nothing."""
        found = self._calls.find(call)
        if found:
            found.touched()
        return self._drain()

    # --- those who wait ---

    def connect(self, call: str, targets: Iterable[Target], now: float, peer: str = "") -> list[Effect]:
        """Find somebody for a caller that waits: Joined or Unreached tells what came of it.

        peer: the name of whoever is sought. A call that does not wait is left alone.
        """
        self._calls.connect(call, targets, peer, now)
        return self._drain()

    def give_up(self, call: str, now: float) -> list[Effect]:
        """Seek nobody any more for a caller: it waits on, and nothing is told of it."""
        found = self._calls.find(call)
        if found:
            found.give_up(now)
        return self._drain()

    def originate(
        self, call: str, targets: Iterable[Target], now: float, user: str, shown: str, service: str
    ) -> list[Effect]:
        """Call somebody ourselves, under this call id; whoever answers is one who waits.

        user: who pays; shown: the number or name that the call is shown to be from. Waiting tells that it was answered,
        CallEnded that it was not.
        """
        self._calls.originate(call, Caller(shown), user, targets, service, now)
        return self._drain()

    def send_on(
        self,
        call: str,
        leg: Literal["a", "b"],
        made: str,
        targets: Iterable[Target],
        dialled: str,
        user: str,
        now: float,
    ) -> list[Effect]:
        """Transfer one leg of a call to `targets`, in a call of its own named `made`, at the cost of `user`.

        That call is not there afterwards if the first one cannot let its leg go now: it does not talk, or one of its
        legs has something under way. Where nobody answers, the first call goes on as it was.
        """
        self._calls.send_on(call, leg, made, targets, dialled, user, now)
        return self._drain()

    # --- a restarted process ---

    def restore_call(self, state: Mapping[str, Any], now: float) -> list[Effect]:
        """Take up the call that gave SaveCall this state.

        A call that was ringing rings on, one that talked talks on; one whose media was being opened when the process
        died is ended on both legs with 503.
        """
        self._calls.restore(state, now)
        return self._drain()

    def restore_binding(
        self, username: str, state: Sequence[Mapping[str, Any]], now: float, later: float = 0.0
    ) -> list[Effect]:
        """Take up the contacts that gave SaveBindings this state, but for those that expired or hung on a connection.

        later: seconds to add to the times in it, where the clock has begun anew.
        """
        self._registration.restore(username, state, now, later)
        for binding in self._registration.registrar.contacts(username, now):
            self.defence.know(binding.received, now)
        return self._drain()

    # --- others that serve the same addresses ---

    def merge_bindings(self, change: BindingsChange, now: float) -> list[Effect]:
        """Have the contacts that a user has got or lost elsewhere; they are not ours to save."""
        self._registration.merge(change, now)
        for binding in self._registration.registrar.contacts(change.username, now):
            self.defence.know(binding.received, now)
        return self._drain()

    def bindings_of(self, username: str) -> tuple[Binding, ...]:
        """The contacts of a user, the same object as long as nothing changes."""
        return self._registration.registrar.bindings(username)

    def bindings_state(self, username: str) -> Sequence[Mapping[str, Any]]:
        """The contacts of a user as SaveBindings has them."""
        return [binding.state for binding in self.bindings_of(username)]

    def lend(
        self, asker: tuple[int, int], dialog: tuple[str, str, str], party: tuple[str, str] | None, now: float
    ) -> list[Effect]:
        """Another process asks for a leg by BorrowLeg; LentLeg answers the asker."""
        self._calls.lending.lend(asker, dialog, party, now)
        return self._drain()

    def lent(self, token: int, state: Mapping[str, Any], now: float) -> list[Effect]:
        """Answer to BorrowLeg; where nobody waits for it any more, the leg goes back."""
        if not self._agent.questions.answer(token, state, now):
            self._calls.lending.decline(state)
        return self._drain()

    def end_loan(self, call: str, leg: LegName, state: Mapping[str, Any] | None, now: float) -> list[Effect]:
        """What EndLoan of the borrower said."""
        self._calls.lending.end(call, leg, state, now)
        return self._drain()

    def loan_lost(self, call: str, leg: LegName, now: float) -> list[Effect]:
        """The process that had borrowed a leg has died."""
        self._calls.lending.lost(call, leg, now)
        return self._drain()

    def standings(self) -> list[Standing]:
        """How each trunk stands, for those who do not ask it."""
        return self._calls.trunks.standing()

    def follow_trunks(self, standings: Iterable[Standing]) -> None:
        """Take over how trunks stand, from the one who asks them."""
        self._calls.trunks.follow(standings)

    # --- what there is ---

    def calls(self) -> list[CallView]:
        """All calls, the oldest first."""
        return [view_call(call) for call in self._calls]

    def call(self, identity: str) -> CallView | None:
        """The call with this id, if there is one."""
        found = self._calls.find(identity)
        return view_call(found) if found else None

    def bindings(self) -> list[RegistrationView]:
        """All users that are registered."""
        return [RegistrationView(*entry) for entry in self._registration.registrar.users()]

    def trunks(self) -> list[TrunkView]:
        """All trunks."""
        return [view_trunk(state) for state in self._calls.trunks]

    def trunk_load(self) -> dict[str, int]:
        """How many calls each trunk carries."""
        return {state.trunk.name: state.calls for state in self._calls.trunks}

    def peers(self) -> set[Address]:
        """Who is reached by a connection that a registration, a trunk or a call depends on."""
        trunks = (address for trunk in self._calls.trunks.known.values() for address in trunk.addresses)
        reached = {address for address in trunks if address.reliable}
        return reached | self._registration.registrar.peers() | self._calls.peers()

    def counts(self) -> dict[str, int]:
        """How much the core holds: every figure is 0 some time after the last message."""
        return {
            "calls": len(self._calls),
            "dialogs": self._calls.dialog_count,
            "transactions": len(self._agent.layer),
            "questions": len(self._agent.questions),
            "timers": len(self._agent.timers),
        }

    # --- helpers ---

    def _take_response(self, response: Response, now: float) -> None:
        """A response of no transaction is dropped, unless it is a 2xx that waits for an ACK sent before a restart.

        So is one with another Via below ours: it was for somebody else (RFC 3261 §8.1.3.3).
        """
        if len(response.vias) > 1:
            return
        if self._agent.layer.response(response, now) or response.status // 100 != 2:
            return
        found = self._calls.dialog((response.call_id, response.from_.tag or "", response.to.tag or ""))
        if found and response.cseq.method == "INVITE":
            found[1].asking.acknowledge_again(response)

    def _refuse_unread(self, error: ParseError, source: Address, local: Address, now: float) -> None:
        request = error.partial
        if isinstance(request, Request) and request.method != "ACK" and "via" in request:
            with suppress(ParseError):  # where the Via itself is what is wrong
                request.stamp(source.host, source.port)
            self._refusals.answer(request, source, local, error.status, now, error.reason)

    def _learn(self) -> None:
        """Remember a REGISTER that was granted at once."""
        granted, self._registration.granted = self._registration.granted, None
        if granted and granted[0] is self._register:
            self.refreshes.learn(*granted)

    def _drain(self) -> list[Effect]:
        effects = self._agent.effects[:]
        self._agent.effects.clear()
        return effects
