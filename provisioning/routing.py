# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a call goes. Pure: in comes who calls whom, when, and what is known; out, targets in order or a refusal.

The tenant is the caller's, whoever authenticated, never what the request's URI says. A call that came by a trunk
reaches numbers of that trunk's tenant and nothing else, so that no trunk leads to another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from provisioning.numbering import DialPlan, is_emergency, normalise
from provisioning.plan import Group, Number, Queue, Route, TenantPlan, Trunk, TrunkKey
from provisioning.premium import closed_by
from provisioning.selection import Circumstances, offers
from provisioning.snapshot import Account, Snapshot

HOPS = 5
"""Forwardings and overflows of one call, one behind the other."""

After = Literal["any", "busy", "no_answer"]
Explain = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Diverted:
    """Who sent a call on: a number, or else a user name. reason: as of RFC 5806. hidden: does not want to be shown."""

    name: str
    reason: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class ToUser:
    """To the contacts that a local user has registered, for so many seconds.

    after: tried only if what came before ended so. together: rung at the same time as the target before. diverted: who
    sent the call on to here, the last one first.
    """

    realm: str
    username: str
    ring_seconds: int = 30
    after: After = "any"
    together: bool = False
    diverted: tuple[Diverted, ...] = ()


@dataclass(frozen=True, slots=True)
class ToTrunk:
    """To a number by a trunk. number: as this trunk wants it. caller_number: E.164 to show, None: withheld. diverted:
    as of ToUser.

    On a cause in trunk.retry_causes, and without any sign within trunk.setup_seconds, the next target is tried.
    """

    trunk: Trunk
    number: str
    caller_number: str | None
    price_micros: int | None = None
    after: After = "any"
    diverted: tuple[Diverted, ...] = ()


@dataclass(frozen=True, slots=True)
class ToQueue:
    """To the callers who wait for an agent. answer: the caller is answered at once."""

    tenant: int
    name: str
    after: After = "any"
    answer: bool = True


RouteTo = ToUser | ToTrunk | ToQueue
"""Any kind of target; calls try them in order."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no route: the SIP status to answer (RFC 3261 §21) and its reason phrase."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Who calls whom. caller: authenticated user name, or the caller's number where the call came by `trunk`.

    realm: that the caller authenticated in, where known. dialled, domain: user and host part of the request URI.
    """

    caller: str
    dialled: str
    domain: str
    realm: str | None = None
    trunk: TrunkKey | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Targets in order, never none of them, or the refusal. emergency: admit it whatever the limits say."""

    outcome: tuple[RouteTo, ...] | Refusal
    tenant: int = 0
    emergency: bool = False


NOT_FOUND = Refusal(404, "Not Found")
FOREIGN_DOMAIN = Refusal(404, "Domain Not Served Here")
CALLER_DISABLED = Refusal(403, "Forbidden")
CALLEE_DISABLED = Refusal(480, "Temporarily Unavailable")
DO_NOT_DISTURB = Refusal(486, "Busy Here")
PREFIX_CLOSED = Refusal(403, "Destination Not Allowed")
NO_ROUTE = Refusal(404, "No Route To Destination")
NO_TRUNK = Refusal(503, "No Trunk Available")
CLOSED = Refusal(480, "Closed")
TOO_MANY_HOPS = Refusal(482, "Loop Detected")

Found = tuple[RouteTo, ...] | Refusal


def choose(
    caller: str, dialled: str, domain: str, now: datetime, snapshot: Snapshot, *, trunk: TrunkKey | None = None
) -> Found:
    """Return the targets to try in order, or the refusal; for turns, chance and load use `decide`."""
    return decide(Inquiry(caller, dialled, domain, trunk=trunk), Circumstances(now), snapshot).outcome


def decide(
    inquiry: Inquiry, circumstances: Circumstances, snapshot: Snapshot, explain: Explain | None = None
) -> Decision:
    """Decide one call. explain: told each step in words, for people; it costs time."""
    say = explain or _silent
    if inquiry.trunk is not None:
        search = _Search(snapshot.plan(inquiry.trunk[0]), snapshot, circumstances, say)
        say(f"from trunk {inquiry.trunk[1]} of tenant {search.plan.name}")
        return Decision(search.inbound(inquiry), search.plan.tenant)
    realm = snapshot.realm_of(inquiry.domain)
    if realm is None:
        say(f"domain {inquiry.domain} is none of ours")
        return Decision(FOREIGN_DOMAIN)
    caller = _caller(inquiry, realm, snapshot)
    search = _Search(snapshot.plan(caller.tenant if caller else 1), snapshot, circumstances, say, caller)
    if is_emergency(inquiry.dialled, search.dial_plan):
        say(f"{inquiry.dialled} calls for help: no limit, restriction or calendar holds")
        return Decision(search.emergency(inquiry.dialled), search.plan.tenant, emergency=True)
    if not search.plan.enabled or (caller is not None and not caller.enabled):
        say("the caller is disabled, or its tenant is")
        return Decision(CALLER_DISABLED, search.plan.tenant)
    return Decision(search.outbound(inquiry.dialled, realm), search.plan.tenant)


def send_on(
    tenant: int, dialled: str, circumstances: Circumstances, snapshot: Snapshot, payer: Account | None = None
) -> Decision:
    """Decide where a call goes on that the tenant itself sends on, such as from a queue that overflows.

    payer: the caller, where that is a user; else what leaves by a trunk is at the tenant's cost.
    """
    search = _Search(snapshot.plan(tenant), snapshot, circumstances, _silent, payer, trusted=True)
    return Decision(search.onward(dialled), tenant)


@dataclass(slots=True)
class _Search:
    """One decision under way, for the plan of one tenant. payer: whose call it is where it leaves by a trunk."""

    plan: TenantPlan
    snapshot: Snapshot
    circumstances: Circumstances
    say: Explain
    payer: Account | None = None
    hops: int = field(default=0)
    trusted: bool = False
    """It came by a trunk: what its number is set up for may lead outside, at the tenant's cost."""
    diverted: tuple[Diverted, ...] = ()
    """Who has sent the call on so far, the last one first."""

    @property
    def dial_plan(self) -> DialPlan:
        """The payer's own, or the tenant's."""
        name = (self.payer.dial_plan if self.payer else None) or self.plan.dial_plan
        return self.plan.dial_plans.get(name, _PLAIN) if name else _PLAIN

    def inbound(self, inquiry: Inquiry) -> Found:
        """A call from a trunk: to a number of this tenant only."""
        number = normalise(inquiry.dialled, self.dial_plan) or normalise(f"+{inquiry.dialled}", _PLAIN)
        target = self.plan.numbers.get(number or "")
        if target is None:
            self.say(f"{inquiry.dialled} is no number of this tenant")
            return NOT_FOUND
        self.trusted = True
        return self._number(target)

    def outbound(self, dialled: str, realm: str) -> Found:
        """What a user or a forwarding dials: something local, a number of ours, or one outside."""
        if (account := self.snapshot.account(realm, dialled)) and account.tenant == self.plan.tenant:
            return self._user(account)
        if (extension := self.plan.extensions.get(dialled)) is not None:
            return self._group(extension) if isinstance(extension, Group) else self._queue(extension)
        number = normalise(dialled, self.dial_plan)
        if number is None:
            self.say(f"{dialled} is neither a user, an extension nor a number")
            return NOT_FOUND
        if (ours := self.plan.numbers.get(number)) is not None:
            return self._number(ours)
        return self._outside(number)

    def onward(self, dialled: str) -> Found:
        """What the tenant itself has set up leads here."""
        return self.outbound(dialled, self._realm())

    def emergency(self, dialled: str) -> Found:
        """By every trunk there is, those of emergency routes first, with the caller's number shown."""
        shown = self._own_number()
        return tuple(ToTrunk(trunk, dialled, shown) for trunk in self.plan.emergency_trunks()) or NO_TRUNK

    def _user(self, account: Account, number: str | None = None) -> Found:
        """number: of ours, by which the user was reached."""
        self.say(f"user {account.username}@{account.realm}")
        if not account.enabled:
            self.say("is disabled")
            return CALLEE_DISABLED
        if account.forward_always:
            self.say(f"forwards always to {account.forward_always}")
            return self._forward(account, account.forward_always, "unconditional", number)
        if account.do_not_disturb:
            self.say("does not want to be disturbed")
            if not account.forward_busy:
                return DO_NOT_DISTURB
            return self._forward(account, account.forward_busy, "do-not-disturb", number)
        targets: list[RouteTo] = [ToUser(account.realm, account.username, account.ring_seconds, diverted=self.diverted)]
        conditions: tuple[tuple[After, str, str | None], ...] = (
            ("busy", "user-busy", account.forward_busy),
            ("no_answer", "no-answer", account.forward_no_answer),
        )
        for after, reason, where in conditions:
            if where:
                self.say(f"forwards on {after} to {where}")
                targets += _behind(self._forward(account, where, reason, number), after)
        return tuple(targets)

    def _forward(self, account: Account, where: str, reason: str, number: str | None) -> Found:
        """Go on as if the forwarding user had dialled, for that user pays."""
        name = number or account.caller_number or account.username
        return self._onward(where, account.realm, account, Diverted(name, reason, account.hide_number))

    def _onward(self, where: str, realm: str, payer: Account | None, by: Diverted) -> Found:
        if self.hops >= HOPS:
            self.say(f"more than {HOPS} forwardings")
            return TOO_MANY_HOPS
        further = replace(self, hops=self.hops + 1, payer=payer, diverted=(by, *self.diverted))
        return further.outbound(where, realm)

    def _realm(self) -> str:
        return self.plan.realm or self.snapshot.realm

    def _group(self, group: Group, number: str | None = None) -> Found:
        """number: of ours, by which the group was reached."""
        self.say(f"group {group.name}, {'together' if group.together else 'in turn'}")
        targets: list[RouteTo] = []
        for name in group.members:
            account = self.snapshot.account(self._realm(), name)
            if account is None or not account.enabled or account.do_not_disturb:
                self.say(f"passes over {name}")
                continue
            together = group.together and bool(targets)
            ringing = ToUser(account.realm, name, group.ring_seconds, together=together, diverted=self.diverted)
            targets.append(ringing)
        if group.overflow:
            self.say(f"then {group.overflow}")
            by = Diverted(number or group.name, "no-answer")
            targets += _behind(self._onward(group.overflow, self._realm(), self.payer, by), "any")
        return tuple(targets) or CALLEE_DISABLED

    def _queue(self, queue: Queue, number: str | None = None) -> Found:
        """number: of ours, by which the queue was reached."""
        self.say(f"queue {queue.name}")
        if self._open(queue.calendar):
            return (ToQueue(self.plan.tenant, queue.name, answer=queue.answer),)
        return self._while_closed(queue.overflow, number or queue.name)

    def _while_closed(self, where: str | None, name: str) -> Found:
        return self._onward(where, self._realm(), self.payer, Diverted(name, "time-of-day")) if where else CLOSED

    def _number(self, number: Number) -> Found:
        self.say(f"number {number.number} of ours")
        if not self._open(number.calendar):
            return self._while_closed(number.closed, number.number)
        if number.user is not None:
            account = self.snapshot.account(self._realm(), number.user)
            return self._user(account, number.number) if account else NOT_FOUND
        if number.group is not None and number.group in self.plan.groups:
            return self._group(self.plan.groups[number.group], number.number)
        if number.queue is not None and number.queue in self.plan.queues:
            return self._queue(self.plan.queues[number.queue], number.number)
        self.say("leads nowhere")
        return NOT_FOUND

    def _open(self, calendar: str | None) -> bool:
        if calendar is None or calendar not in self.plan.calendars:
            return True
        is_open = self.plan.calendars[calendar].is_open(self.circumstances.now)
        self.say(f"calendar {calendar} is {'open' if is_open else 'closed'}")
        return is_open

    def _outside(self, number: str) -> Found:
        if self.payer is None and not self.trusted:
            self.say("nobody we know calls, so nobody pays")
            return CALLER_DISABLED
        digits = number[1:]
        prefix = closed_by(digits, self.plan.restrictions)
        if prefix is not None:
            self.say(f"+{prefix} is closed")
            return PREFIX_CLOSED
        targets: list[RouteTo] = []
        tried = 0
        for route in self._routes(digits):
            tried += 1
            targets += self._by(route, digits)
            if not route.overflow:
                break
        if not tried:
            self.say(f"no route to {number}")
            return NO_ROUTE
        return tuple(targets) or NO_TRUNK

    def _routes(self, digits: str) -> list[Route]:
        """Return the routes that hold now for this caller: of the longest prefix first, then by priority."""
        found = []
        table, caller = self.plan.routes, self.payer.username if self.payer else ""
        for length in range(len(digits), -1, -1):
            for route in table.get(digits[:length], ()):
                if route.callers and caller not in route.callers:
                    self.say(f"route {route.name} is for other callers")
                elif self._open(route.calendar):
                    found.append(route)
        return found

    def _by(self, route: Route, digits: str) -> list[ToTrunk]:
        caller = (self._own_number() or "")[1:]
        able, refused = offers(route, self.plan, digits, caller, self.circumstances)
        self.say(f"route {route.name} (+{route.prefix}, {route.strategy}): {[each.trunk.name for each in able]}")
        for reason in refused:
            self.say(reason)
        return [
            ToTrunk(
                offer.trunk,
                _as_wanted(offer.trunk, digits),
                self._shown(offer.trunk),
                offer.price,
                diverted=self.diverted,
            )
            for offer in able
        ]

    def _own_number(self) -> str | None:
        """The payer's number, which is one of the tenant's, or the tenant's main one."""
        return (self.payer.caller_number if self.payer else None) or self.plan.default_number

    def _shown(self, trunk: Trunk) -> str | None:
        """The caller's number as this trunk may see it; None: withheld."""
        if trunk.caller_id == "anonymous" or (self.payer is not None and self.payer.hide_number):
            return None
        if trunk.caller_id == "number":
            return trunk.caller_number or self.plan.default_number
        return self._own_number() or trunk.caller_number


_PLAIN = DialPlan()


def _caller(inquiry: Inquiry, realm: str, snapshot: Snapshot) -> Account | None:
    """Return the caller's account, sought where it authenticated; else in the dialled realm, then in our own."""
    if inquiry.realm is not None:
        return snapshot.account(inquiry.realm, inquiry.caller)
    return snapshot.account(realm, inquiry.caller) or snapshot.account(snapshot.realm, inquiry.caller)


def _behind(found: Found, after: After) -> list[RouteTo]:
    """Return targets to be tried once what is before them ended so; none for a refusal."""
    if isinstance(found, Refusal):
        return []
    return [replace(found[0], after=after), *found[1:]]


def _as_wanted(trunk: Trunk, digits: str) -> str:
    """Return the number as the trunk wants it: E.164 with its plus, unless it strips or prepends digits."""
    if not trunk.strip and not trunk.prepend:
        return f"+{digits}"
    return trunk.prepend + digits[trunk.strip :]


def _silent(_step: str) -> None:
    return
