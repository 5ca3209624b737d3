# SPDX-License-Identifier: GPL-3.0-or-later
"""What signalling asks of provisioning, in signalling's terms: whose password is it, and where does a call go?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from itertools import count
from typing import cast

from ctl.config_values import is_among
from ctl.queues.services import Duty, duty_service, queue_of, queue_service
from ctl.randomness import fractions
from ctl.sessions.codecs import Dtmf
from ctl.sessions.ice import IcePolicy
from ctl.sessions.relay_choice import ANY, Facing
from ctl.signalling.section import TrunkSection
from ctl.signalling.trunk_keeper import key_of, key_text
from provisioning.charging import find_account
from provisioning.refresh import SnapshotKeeper
from provisioning.routing import (
    CALLER_DISABLED,
    NO_TRUNK,
    NOT_FOUND,
    Decision,
    Diverted,
    Inquiry,
    Refusal,
    RouteTo,
    ToQueue,
    ToTrunk,
    ToUser,
    decide,
    send_on,
)
from provisioning.selection import Circumstances
from sip.effects import Diversion, FindRoute, ServiceTarget, Target, TrunkTarget, UriTarget, UserTarget
from sip.identity import escaped
from sip.outgoing import WEB

Answer = tuple[Target, ...] | Refusal
QUEUE_FULL = Refusal(486, "Queue Full")
NO_CODES: Mapping[str, Duty] = {}


class Directory:
    """Answers from memory; the keeper holds that fresh.

    trunks: those of the configuration; load: calls on each. admit: takes channels and money of a call, or says why not.
    codes: what agents dial to come, to pause or to go. ice: whether it is spoken, usually and with users who signal by
    WebSocket. foreign: domains of others that users may call.
    """

    def __init__(
        self,
        keeper: SnapshotKeeper,
        trunks: Sequence[TrunkSection] = (),
        load: Callable[[], Mapping[str, int]] = dict,
        admit: Callable[[str, str, Decision], Refusal | None] = lambda _call, _caller, _decision: None,
        codes: Mapping[str, Duty] = NO_CODES,
        ice: tuple[IcePolicy, IcePolicy] = ("remove", "remove"),
        foreign: Sequence[str] = (),
    ) -> None:
        self._keeper = keeper
        self._trunks = trunks
        self._load = load
        self._admit = admit
        self._codes = codes
        self._foreign = foreign
        self.full: Set[tuple[int, str]] = frozenset()
        """Queues, by tenant and name, that nobody enters any more for now."""
        self._ice, self._ice_web = ice
        self._turns = count()
        self._draw = fractions()

    @property
    def ready(self) -> bool:
        """Whether the users have been read at all since we started."""
        return self._keeper.ready

    def credentials(self, realm: str, username: str) -> Mapping[str, str] | None:
        """Return {algorithm: HA1} of a user who may authenticate, None for anybody else."""
        return self._keeper.current.credentials(realm, username)

    def serves(self, domain: str) -> bool:
        """Return whether those who may register are users of this domain, or it is a name or an address of ours."""
        known = self._keeper.current
        return known.realm_of(domain) == known.realm

    def route(self, question: FindRoute) -> Answer:
        """Return where to try in order, or why nowhere. A call that was sent on is its sender's."""
        caller = question.diverted or question.caller
        if question.trunk:
            key = key_of(question.trunk)
            if key is None:
                return self._deliver(question)
            found = self._decide(Inquiry(caller, question.dialled, question.domain, trunk=key))
            return self._admit(question.call, caller, found) or self._unless_full(
                question, caller, self._targets(found)
            )
        if (duty := self._codes.get(question.dialled)) and (account := find_account(self._keeper.current, caller)):
            return (ServiceTarget(duty_service(account.tenant, duty)),)
        if is_among(question.domain, self._foreign):
            return self._abroad(question, caller)
        found = self._decide(Inquiry(caller, question.dialled, question.domain))
        if (denied := self._admit(question.call, caller, found)) is not None:
            return denied
        if isinstance(found.outcome, Refusal) and found.outcome.status == NOT_FOUND.status and self._may_dial(caller):
            return tuple(self._carried(question.dialled)) or found.outcome
        return self._unless_full(question, caller, self._targets(found))

    def _abroad(self, question: FindRoute, caller: str) -> Answer:
        """A user calls somebody of another domain: it takes a channel, and costs nothing."""
        known = self._keeper.current
        account = find_account(known, caller)
        if account is None or not account.enabled or not known.plan(account.tenant).enabled:
            return CALLER_DISABLED
        if not question.dialled:
            return NOT_FOUND
        found = UriTarget(f"sip:{escaped(question.dialled)}@{question.domain}")
        return self._admit(question.call, caller, Decision((), account.tenant)) or (found,)

    def _unless_full(self, question: FindRoute, caller: str, found: Answer) -> Answer:
        """Send a call on, or refuse it, that would be answered just to hear that its queue is full."""
        if isinstance(found, Refusal) or not isinstance(found[0], ServiceTarget):
            return found
        queue = queue_of(found[0].service)
        if queue is None or queue not in self.full:
            return found
        known = self._keeper.current.plan(queue[0]).queues.get(queue[1])
        return self.onward(question.call, queue[0], caller, known.overflow) if known and known.overflow else QUEUE_FULL

    def agent(self, username: str, seconds: float) -> Target:
        """Return a user as a target that rings so long."""
        return UserTarget(username, ring=seconds, manner=self._manner(username))

    def onward(self, call: str, tenant: int, caller: str, dialled: str) -> Answer:
        """Return where a call goes on that its tenant sends on; at the cost of `caller`, if that is a user of its."""
        snapshot = self._keeper.current
        account = find_account(snapshot, caller)
        payer = account if account and account.tenant == tenant else None
        found = send_on(tenant, dialled, self._circumstances(), snapshot, payer)
        return self._admit(call, caller, found) or self._targets(found)

    def _manner(self, username: str) -> str:
        """Return all that is asked of our side toward a user, as one word; "" for nothing."""
        asked, ice = self.facing("", username), self._keeper.current.ice_of(username)
        return "" if asked == ANY and not ice else f"{asked.interface} {asked.dtmf} {asked.srtp} {ice}"

    def facing(self, trunk: str, user: str) -> Facing:
        """Return what is asked of our side toward a party: a trunk, or else a user, "" for neither."""
        if not trunk:
            known = self._keeper.current
            if not user:
                return ANY
            dtmf, account = cast("Dtmf", known.dtmf_of(user)), find_account(known, user)
            return Facing(known.media_of(user), dtmf=dtmf, srtp=known.plan(account.tenant).srtp if account else None)
        key = key_of(trunk)
        if key is None:
            section = self._section(trunk)
            return Facing(section.media, latch=section.latch, dtmf=section.dtmf, srtp=section.srtp) if section else ANY
        tenant, name = key
        plan = self._keeper.current.plan(tenant)
        found = plan.trunks.get(name)
        if found is None:
            return Facing(srtp=plan.srtp)
        dtmf = cast("Dtmf", found.dtmf)
        return Facing(found.media or "", latch=found.latch, dtmf=dtmf, srtp=found.srtp or plan.srtp)

    def ice(self, trunk: str, transport: str, user: str = "") -> IcePolicy:
        """Return whether ICE is spoken with a party: a trunk, or a user, who signals by `transport`."""
        asked = self._asked(trunk) if trunk else self._keeper.current.ice_of(user) if user else None
        return asked or (self._ice_web if transport in WEB and not trunk else self._ice)

    def _asked(self, trunk: str) -> IcePolicy | None:
        key = key_of(trunk)
        if key is None:
            section = self._section(trunk)
            return section.ice if section else None
        found = self._keeper.current.plan(key[0]).trunks.get(key[1])
        return found.ice if found else None

    def _section(self, trunk: str) -> TrunkSection | None:
        return next((each for each in self._trunks if each.name == trunk), None)

    def _targets(self, decision: Decision, users_only: bool = False) -> Answer:
        if isinstance(decision.outcome, Refusal):
            return decision.outcome
        found = (_target(each, decision.emergency, self._manner) for each in decision.outcome)
        return tuple(each for each in found if not (users_only and isinstance(each, TrunkTarget))) or NO_TRUNK

    def _decide(self, inquiry: Inquiry) -> Decision:
        return decide(inquiry, self._circumstances(), self._keeper.current)

    def _circumstances(self) -> Circumstances:
        load = {key: calls for name, calls in self._load().items() if (key := key_of(name))}
        return Circumstances(datetime.now().astimezone(), next(self._turns), self._draw(), load)

    def _deliver(self, question: FindRoute) -> Answer:
        """A call by a trunk of the configuration reaches users of ours, and nothing else."""
        section = self._section(question.trunk)
        realm = self._keeper.current.realm
        wanted = [question.dialled, *([section.deliver] if section and section.deliver else [])]
        for dialled in wanted:
            if self._keeper.current.account(realm, dialled):
                found = self._decide(Inquiry("", dialled, realm))
                return self._targets(found, users_only=True)
        return NOT_FOUND

    def _may_dial(self, caller: str) -> bool:
        account = self._keeper.current.account(self._keeper.current.realm, caller)
        return account is not None and account.enabled

    def _carried(self, dialled: str) -> Iterable[Target]:
        for section in self._trunks:
            if section.dial and dialled.startswith(section.dial):
                yield TrunkTarget(section.name, section.prepend + dialled[section.strip :])


def _target(route: RouteTo, emergency: bool, manner_of: Callable[[str], str]) -> Target:
    match route:
        case ToUser():
            return UserTarget(
                route.username,
                ring=float(route.ring_seconds),
                beside=route.together,
                after=route.after,
                manner=manner_of(route.username),
                diversions=_diversions(route.diverted),
            )
        case ToTrunk(trunk=trunk):
            return TrunkTarget(
                key_text(trunk.tenant, trunk.name),
                route.number,
                caller_id=route.caller_number or "",
                hidden=route.caller_number is None,
                next_on=trunk.retry_causes,
                setup=float(trunk.setup_seconds),
                urgent=emergency,
                after=route.after,
                diversions=_diversions(route.diverted),
            )
        case ToQueue():
            service = queue_service(route.tenant, route.name)
            return ServiceTarget(service, early=not route.answer, after=route.after)


def _diversions(diverted: Iterable[Diverted]) -> tuple[Diversion, ...]:
    return tuple(Diversion(each.name, each.reason, each.hidden) for each in diverted)
