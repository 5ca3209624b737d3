# SPDX-License-Identifier: GPL-3.0-or-later
"""A call between two peers, each of which only ever sees us: runs the table of `sip.call_table` over its legs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from sip.agent import Fields
from sip.attending import REMIND, remind
from sip.bodies import session_description
from sip.branches import Branches, Offers
from sip.call_actions import ACTIONS
from sip.call_event import NOTHING, Event, Progress
from sip.call_host import CallHost
from sip.call_news import follow, told
from sip.call_table import CALL, SAVED, CallDo, CallSignal, CallState
from sip.causes import NORMAL, NOT_ACCEPTABLE_HERE, cause_in, cause_of
from sip.dialog import Dialog, DialogKey
from sip.effects import Address, CallAnswered, Diversion
from sip.expiry import EXPIRY, expire, limit, settle
from sip.hunt import Ending
from sip.identity import Caller
from sip.leg import Leg, LegUser
from sip.leg_table import REACHABLE, LegSignal, LegState
from sip.loan import Loan
from sip.message import Request, Response
from sip.outgoing import Destination, Group
from sip.timers import Alarm
from sip.transaction import Transaction


class Call:
    """One call. `a` is the caller's leg, `b` that of the callee who was reached, or the first of those tried."""

    def __init__(self, host: CallHost, identity: str, caller: str, dialled: str, domain: str, now: float) -> None:
        self.id = identity
        self.caller = caller
        self.identity = Caller(caller)
        self.dialled = dialled
        self.domain = domain
        self.state = CallState.ROUTING
        self.started = now
        self.ringing: float | None = None
        self.answered: float | None = None
        self.first: Request | None = None
        self.a = Leg("a", host.agent, self, LegState.INCOMING)
        self.b = Leg("b", host.agent, self, LegState.GONE)
        self.near, self.far = self.a, self.b
        self._spare: Leg | None = self.b
        self.late = False
        self.media = False
        self.turn = 0
        """Counts the offers; an answer to a question of an earlier turn is nothing."""
        self.diverted = ""
        """The user who sent the call on to here."""
        self.diversions: tuple[Diversion, ...] = ()
        """Who sent it on before its present route was found, the last one first; who transfers does not divert."""
        self.payer_trunk = ""
        """The trunk that the call, or whoever transferred it, came by."""
        self.visited: set[str] = set()
        """Whom it was for before redirections."""
        self.headers: Fields = ()
        """Further headers of our INVITEs."""
        self.loans: list[Loan] = []
        """Legs of other calls that this one takes over."""
        self.progress: Progress | None = None
        """Hears what becomes of the call where the caller's INVITE is no longer pending."""
        self.service = self.announced = ""
        """What the caller waits for, or did last; what was told of that."""
        self.house = False
        """Whether we ourselves are the caller's peer."""
        self.early_only = False
        """Whether it hears us before its INVITE is answered."""
        self.originating = False
        """Whether it is we who call leg a, which has not answered yet."""
        self.attended: float | None = None
        self.taken: float | None = None
        self.sought = self.peer = ""
        """Who is sought for one who waits, and who has taken the call, by the names they were given."""
        self.branches = Branches(host.asks.hunt(), host.agent.settings.redirections)
        self.host = host
        self.legs: list[Leg] = []
        """All that are not gone, those that merely ring included."""
        self.early = (180, "", "")
        """Status, reason and branch of the 1xx whose description media is working on."""
        self.branch = ""
        """The branch of the callee's fork that answered."""
        self.owed: Response | None = None
        """The reliable 1xx whose offer waits for its answer in our PRACK."""
        self.deferred: list[tuple[CallSignal, Event]] = []
        self.offered = False
        """Whether media knows of the exchange under way."""
        self.settled = False
        """Whether a change before the answer has overtaken what the first exchange agreed on."""
        self._alarm: Alarm | None = None
        self.expiry: Alarm | None = None
        self._signless = False

    # --- what comes in ---

    def start(self, request: Request, transaction: Transaction, source: Address, now: float) -> None:
        """Begin with the INVITE of a caller who is let in; `routed` has to follow."""
        self.first = request
        self.late = not session_description(request)
        self.legs = [self.a]
        self.a.receive(request, transaction, source)
        self.a.alert(100, None, b"", now)
        limit(self)

    def start_with(self, leg: Leg, request: Request, now: float) -> bool:
        """Begin with a leg of another call, because of its REFER; whether that call lets it go."""
        if not self.borrow(leg, now):
            return False
        self.first = request
        self.a = self.near = leg
        leg.name = "a"
        self.legs = [leg]
        return True

    def new_leg(self) -> Leg:
        """A leg towards somebody to call; the first is the one that stood for it so far."""
        leg, self._spare = self._spare, None
        if leg is None or self.originating:
            return Leg("a" if self.originating else "b", self.host.agent, self, LegState.CALLING)
        leg.state = LegState.CALLING
        return leg

    def routed(self, groups: Iterable[Group], now: float) -> None:
        """The route was found."""
        self.branches.hunt.add(groups)
        self.feed(CallSignal.ROUTED, now)

    def ready(self, signal: CallSignal, sdp: bytes, now: float) -> None:
        """Media has done what was asked of it; `sdp` is for the other leg."""
        self.feed(signal, now, Event(sdp=sdp))

    def offers_ready(self, offers: Offers, now: float) -> None:
        """Media has done what it can for those who are to ring; whom it can offer nothing is passed over."""
        self.branches.offer(offers)
        if self.branches.legs:
            self.reach(next(iter(self.branches.legs)))
            self.feed(CallSignal.MEDIA_READY, now)
            return
        status, reason = max(offers.refused.values())
        if status == NOT_ACCEPTABLE_HERE:
            self.branches.hunt.unfit(Ending(status, cause_of(status), "server", reason))
            self.feed(CallSignal.UNFIT, now)
        else:
            self.refused(status, reason, now)

    def refused(self, status: int, reason: str, now: float) -> None:
        """We ourselves, routing or media, say no: one who waits waits on."""
        event = Event(ending=Ending(status, cause_of(status), "server", reason))
        if not (self.waits and self.feed(CallSignal.UNREACHED, now, event)):
            self.feed(CallSignal.REFUSED, now, event)

    def seek(self, groups: Iterable[Group], peer: str, now: float) -> None:
        """Find somebody for the caller, who waits. peer: the name of whoever that is."""
        if self.state is CallState.WAITING:
            self.sought = peer
            rounds = 1 if self.near.pending else 2  # what was said in a 183 is not said otherwise in the 200
            self.branches = Branches(self.host.asks.hunt(rounds), self.host.agent.settings.redirections)
            self.routed(groups, now)

    def give_up(self, now: float) -> None:
        """Seek nobody any more for the caller, who waits on."""
        if self.waits and self.state is not CallState.WAITING:
            self.feed(CallSignal.UNREACHED, now)

    def originate(self, groups: Iterable[Group], service: str, now: float) -> None:
        """Call leg a ourselves; once it has answered, it waits for the service."""
        self.service, self.house, self.originating = service, True, True
        self.near, self.far = self.b, self.a
        self.legs = []
        self.routed(groups, now)

    def cancel(self, leg: Leg, request: Request, now: float) -> None:
        """CANCEL, or a BYE before the answer, of the INVITE that `leg` has pending."""
        if leg.pending:
            ending = Ending(487, cause_in(request, NORMAL), leg.name)
            self.feed(CallSignal.CANCEL, now, Event(ending=ending))

    def change(self, leg: Leg, request: Request, transaction: Transaction, source: Address, now: float) -> bool:
        """A re-INVITE, or an UPDATE or PRACK with an offer, of `leg`; whether the state allows it."""
        if (self.state, CallSignal.CHANGE) not in CALL or not self._may_change(leg, request):
            return False
        leg.receive(request, transaction, source)
        self.near, self.far = leg, self.other(leg)
        self.late = not session_description(request)
        self.offered = False
        self.turn += 1
        if not leg.updating:
            leg.alert(100, None, b"", now)
        return self.feed(CallSignal.CHANGE, now, Event(request))

    def pracked(self, sdp: bytes, now: float) -> None:
        """The caller's PRACK of a 1xx with a description came, with the answer where one was owed."""
        if self.owed and sdp:
            self.feed(CallSignal.PRACK_ANSWER, now, Event(sdp=sdp))

    def note_answer(self, now: float) -> None:
        """The call is answered once the caller has its 2xx, which can have to wait for a PRACK."""
        if self.answered is None and not self.a.pending:
            self.answered = now
            settle(self)
            self.host.agent.effects.append(CallAnswered(self.id))
            self.first = None
            loans, self.loans = self.loans, []
            for loan in loans:
                loan.keep(now)

    @property
    def owes_early(self) -> bool:
        """Whether the caller's next PRACK has to bring an answer."""
        return self.owed is not None

    def hang_up(self, cause: int, reason: str, now: float) -> None:
        """An operator or a limit ends the call."""
        self.feed(CallSignal.HANGUP, now, Event(ending=Ending(480, cause, "server", reason)))

    def fail(self, status: int, now: float) -> None:
        """The call cannot go on."""
        self.feed(CallSignal.HANGUP, now, Event(ending=Ending(status, cause_of(status), "server")))

    def other(self, leg: Leg) -> Leg:
        """The leg that is not this one."""
        return self.b if leg is self.a else self.a

    @property
    def over(self) -> bool:
        """Whether nothing of the call is left."""
        return self.state is CallState.ENDED and all(leg.state is LegState.GONE for leg in self.legs)

    @property
    def lendable(self) -> bool:
        """Whether a leg could go over to another call."""
        return (self.state, CallSignal.LEND) in CALL

    def party(self, leg: Leg) -> Caller:
        """Whom a call from this leg is from."""
        return self.identity if leg is self.a else Caller(leg.user or self.dialled)

    @property
    def waits(self) -> bool:
        """Whether the caller hears us, whomever we may be calling for it."""
        return self.house and not self.originating

    def reach(self, leg: Leg) -> None:
        """Have this leg in the place of the one who is called."""
        self.far = leg
        if self.originating:
            self.a = leg
        else:
            self.b = leg

    @property
    def update_tag(self) -> str:
        """The tag of the far leg's early dialog that a change of the near leg is meant for."""
        request = self.near.asked.request
        if request is None:
            return ""
        if self.near is self.a:
            return self.a.asked.tags.branch(request.to.tag or "").partition("/")[2]
        return self.a.asked.tags.get(f"{self.near.tag}/{request.from_.tag or ''}")

    def opposite(self, leg: Leg, request: Request) -> tuple[Leg, Dialog | None]:
        """The leg and dialog, be it early, that stand behind the one that a request of `leg` is in; None: none yet."""
        other = self.other(leg)
        if leg is self.a:
            tag, _, theirs = leg.asked.tags.branch(request.to.tag or "").partition("/")
            other = next((each for each in self.legs if each.tag == tag), other)
        else:
            theirs = self.a.asked.tags.get(f"{leg.tag}/{request.from_.tag or ''}")
        return other, other.dialog_of(theirs) if other.state in REACHABLE else None

    def touched(self) -> None:
        """Something that a restarted process must know has changed."""
        if self.state in SAVED and not self.loans:
            self.host.save(self)

    def adopt(self, a: Leg, b: Leg, near: Leg, beside: Iterable[Leg]) -> None:
        """Take these legs, when the call is restored. beside: those that ring beside b."""
        self.a, self.b, self.legs, self._spare = a, b, [a, b, *beside], None
        self.near, self.far = near, self.other(near)
        self.first = a.asked.invite
        for leg in self.legs:
            if leg.state is LegState.CALLING and leg.source:
                self.branches.legs[leg] = Destination("", "", leg.source, leg.user, leg.trunk)

    def resume(self, now: float) -> None:
        """Go on after a restart, or end where the media's answer was lost with the process."""
        limit(self)
        if self.a.asked.server:
            self.a.asked.server.on_cancel = partial(self.cancel, self.a)
        lost = self.state is CallState.ANSWERED and (self.a.pending or self.taken is not None)
        if self.state is CallState.CALLING:
            self.start_ringing(now)
        elif self.state is CallState.ANSWERING and self.waits:
            self.refused(503, "Service Unavailable", now)
        elif self.state is CallState.ANSWERING or lost:
            self.fail(503, now)

    # --- legs of other calls ---

    @property
    def lent_near(self) -> bool:
        """Whether the caller is in another call still, which it leaves when the callee has answered."""
        return any(loan.leg is self.a for loan in self.loans)

    def borrow(self, leg: Leg, now: float) -> bool:
        """Have the leg of another call for now; whether that lets it go."""
        lender = leg.owner
        loan = lender.lend(leg, self, now) if isinstance(lender, Call) else None
        if loan:
            self.loans.append(loan)
            for key in leg.keys:
                self.host.found(self, leg, key)
        return loan is not None

    def lend(self, leg: Leg, borrower: LegUser, now: float) -> Loan | None:
        """Let another call have a leg; None while something is under way here."""
        if leg.busy or self.other(leg).busy or not self.feed(CallSignal.LEND, now):
            return None
        loan = Loan(self, leg, leg.name, leg.said)
        self.legs.remove(leg)
        leg.owner = borrower
        return loan

    def take_back(self, loan: Loan, now: float) -> None:
        """See Lender."""
        leg = loan.leg
        if leg.state is LegState.GONE:
            self.hang_up(NORMAL, "Transfer Failed", now)
        elif self.state is not CallState.LENT:
            self.legs.append(leg)
            leg.owner = self
            leg.end((487, None), (), now)
        else:
            self.legs.append(leg)
            leg.owner, leg.name = self, loan.name
            for key in leg.keys:
                self.host.found(self, leg, key)
            self.feed(CallSignal.RETURNED, now)
            leg.restate(loan.said, now)

    def part_with(self, loan: Loan, now: float) -> None:
        """See Lender."""
        self.feed(CallSignal.TAKEN, now, Event(ending=Ending(200, NORMAL, "server", "Transferred")))

    # --- what the legs tell ---

    def told(self, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
        """See LegUser."""
        told(self, leg, signal, message, now)

    def joined(self, leg: Leg, key: DialogKey) -> None:
        """A leg has this dialog."""
        self.host.found(self, leg, key)

    def tell(self, status: int, reason: str, sdp: bytes, branch: str, now: float) -> None:
        """Pass a 1xx on to the caller, or to whoever else wants to know."""
        self.report(status, reason, now)
        if not self.lent_near:
            self.a.alert(status, reason, sdp, now, branch)

    def report(self, status: int, reason: str, now: float) -> None:
        """Tell the one who transferred the call what becomes of it; the final status is the last."""
        if self.progress:
            self.progress(status, reason, now)
            if status >= 200:
                self.progress = None

    def left(self, leg: Leg, now: float) -> None:
        """A leg is gone; so may be the call."""
        self.host.left(self, leg)
        if leg is not self.a and leg is not self.b and leg in self.legs:
            self.legs.remove(leg)
        if self.over:
            self.host.forget(self)

    def ring(self, name: str, now: float) -> None:
        """The callee rang too long, or a caller waits long for its answer, or longer than it wanted to."""
        if name in (REMIND, EXPIRY):
            (remind if name == REMIND else expire)(self, now)
            return
        self.branches.hunt.unanswered()
        if not follow(self, now):
            self.feed(CallSignal.UNANSWERED, now, Event(ending=self.branches.hunt.ending))

    def _may_change(self, leg: Leg, request: Request) -> bool:
        """No exchange of our own may be under way; before the answer the first one must be settled (RFC 3311 §5.1)."""
        if self.state is not CallState.CALLING:
            return not (leg.busy or self.other(leg).busy)
        if request.method == "INVITE":
            return False
        return len(self.branches.legs) == 1 and self.a.asked.any_settled and self.b.asking.any_settled

    # --- the machine ---

    def feed(self, signal: CallSignal, now: float, event: Event = NOTHING) -> bool:
        """Take one step of the table; whether it has an entry."""
        step = CALL.get((self.state, signal))
        if step is None:
            return False
        self.state, actions = step
        for action in actions:
            if action is CallDo.DEFER:
                self.deferred.append((signal, event))
            else:
                ACTIONS[action](self, event, now)
        return True

    def end_with(self, signal: CallSignal, ending: Ending, now: float) -> None:
        """Take the step of a signal that ends the call."""
        self.feed(signal, now, Event(ending=ending))

    def stop_ringing(self) -> None:
        """Nobody is waited for any more."""
        self.host.agent.timers.stop(self._alarm)
        self._alarm = None

    def start_ringing(self, now: float) -> None:
        """Wait for an answer, but not for ever, and for a sign of those called, where that is due sooner."""
        self.stop_ringing()
        self._signless = self.branches.setup_time > 0
        self._wait(self.branches.setup_time or self.branches.ring_time, now)

    def signed(self, now: float) -> None:
        """Somebody who is called gave a sign: now it may ring."""
        if self._signless:
            self._signless = False
            self.stop_ringing()
            self._wait(self.branches.ring_time, now)

    def _wait(self, seconds: float, now: float) -> None:
        agent = self.host.agent
        self._alarm = agent.timers.start(self, "unanswered", now + (seconds or agent.settings.ring_time))
