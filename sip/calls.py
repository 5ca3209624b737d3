# SPDX-License-Identifier: GPL-3.0-or-later
"""All calls: how they begin, and which leg a message belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sip.agent import Agent
from sip.attending import plain_request
from sip.call import Call
from sip.call_questions import CallQuestions
from sip.call_table import PASSING, CallState
from sip.dialog import DialogKey
from sip.effects import (
    Address,
    CallStarted,
    SaveCall,
    Target,
)
from sip.errors import ProtocolError
from sip.history import history_of
from sip.identity import Caller, caller_of, escaped
from sip.leg import Leg
from sip.lending import Lending
from sip.message import Request
from sip.outgoing import Destination
from sip.registrar import Registrar
from sip.search import Search
from sip.session_timer import too_small
from sip.snapshot import restore_call, snapshot
from sip.transaction import Transaction
from sip.transfer import Referral, Replaced, Report, replaced_dialog
from sip.trunk import Trunk
from sip.trunks import Trunks

CallerKey = tuple[str, str]
"""Call-ID and From tag of the INVITE that made a call."""
Party = tuple[str, str]
"""User and trunk of a leg, of which at least one is ""."""


class Calls:
    """The host of every call. shared: whether other processes have calls on the same addresses."""

    def __init__(self, agent: Agent, registrar: Registrar, trunks: Trunks, shared: bool = False) -> None:
        self.agent = agent
        self.lending = Lending(agent, self)
        self._shared = shared
        self.trunks = trunks
        self.asks = CallQuestions(agent, registrar, trunks)
        self._calls: dict[str, Call] = {}
        self._dialogs: dict[DialogKey, tuple[Call, Leg]] = {}
        self._callers: dict[CallerKey, list[tuple[Call, Leg]]] = {}
        """Mostly one each; several where a proxy before us has forked."""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    @property
    def dialog_count(self) -> int:
        """How many dialogs and callers are known."""
        return len(self._dialogs) + sum(map(len, self._callers.values()))

    def peers(self) -> set[Address]:
        """Where the peers of all legs are reached by a connection."""
        legs = (leg for call in self._calls.values() for leg in call.legs)
        found = (leg.dialog.peer if leg.dialog else leg.source for leg in legs)
        return {peer for peer in found if peer and peer.reliable}

    # --- finding ---

    def find(self, identity: str) -> Call | None:
        """The call with this id."""
        return self._calls.get(identity)

    def dialog(self, key: DialogKey) -> tuple[Call, Leg] | None:
        """The call and leg of this dialog, be it early or not."""
        return self._dialogs.get(key)

    def callers(self, request: Request) -> Sequence[tuple[Call, Leg]]:
        """The calls and legs that INVITEs of this Call-ID and From tag have made."""
        return self._callers.get((request.call_id, request.from_.tag or ""), ())

    def _enter(self, leg: Leg, call: Call) -> None:
        """Have a caller found from now on."""
        self._callers.setdefault((leg.call_id, leg.peer_tag), []).append((call, leg))

    def _leave(self, leg: Leg) -> None:
        key = leg.call_id, leg.peer_tag
        left = [each for each in self._callers.pop(key, ()) if each[1] is not leg]
        if left:
            self._callers[key] = left

    # --- beginning ---

    def start(
        self,
        username: str,
        request: Request,
        transaction: Transaction,
        source: Address,
        now: float,
        trunk: Trunk | None = None,
    ) -> None:
        """A new call of an authenticated user, or of a trunk. Raises ProtocolError where it cannot begin."""
        if too_small(request, self.agent.settings):
            raise ProtocolError(422, "Session Interval Too Small")
        wanted = _replaced(request)
        replaced = self._peer_here(wanted) if wanted else None
        uri = request.request_uri
        identity = caller_of(request, username, trunk)
        if trunk and trunk.trusted and "history-info" in request:
            identity = replace(identity, history=history_of(request))
        full = trunk is not None and not self.trunks.take(trunk.name)
        host = self.agent.settings.host
        call = Call(self, self.agent.token(), username or identity.name, uri.dialled, uri.host or host, now)
        call.identity = identity
        call.a.user, call.a.trunk = username, trunk.name if trunk else ""
        call.payer_trunk = call.a.trunk
        self.trunks.carry(call.a.trunk, 1)
        self._begin(call)
        transaction.on_cancel = partial(call.cancel, call.a)
        call.start(request, transaction, source, now)
        self._enter(call.a, call)
        if full:
            call.refused(503, "No Channel Free", now)
        elif replaced:
            call.routed([(self.lent(replaced),)], now)
        elif wanted:
            Search(self, call, wanted.key, None).ring("look", now)
        else:
            self.asks.route(call, now)

    def transfer(
        self,
        call: Call,
        referrer: Leg,
        referral: Referral,
        request: Request,
        report: Report,
        accept: Callable[[], object],
        now: float,
    ) -> None:
        """Send the other party of `referrer` on, after `accept`. Raises ProtocolError where nothing was begun."""
        target, moved = referral.target, call.other(referrer)
        wanted, party = referral.replaces, (referrer.user, referrer.trunk)
        if wanted and wanted.key in referrer.keys:
            raise ProtocolError(481, "Nothing To Replace")
        callee = self._peer_here(wanted, party) if wanted else None
        payer = referrer.user or call.caller
        new = Call(self, self.agent.token(), payer, target.dialled, target.host or self.agent.settings.host, now)
        if not new.start_with(moved, request, now):
            raise ProtocolError(491, "Request Pending")
        new.identity = call.party(moved)
        new.diverted, new.payer_trunk, new.progress = referrer.user, referrer.trunk, report
        self._begin(new)
        at = f"{escaped(payer)}@" if payer else ""
        new.headers = [("Referred-By", f"<sip:{at}{self.agent.settings.host}>")]
        accept()
        report(100, "Trying", now)
        if callee:
            new.routed([(self.lent(callee),)], now)
        elif wanted:
            Search(self, new, wanted.key, party).ring("look", now)
        else:
            self.asks.route(new, now)

    def connect(self, identity: str, targets: Iterable[Target], peer: str, now: float) -> None:
        """Find somebody for the caller of a call, who waits; a call that does not is left alone."""
        call = self._calls.get(identity)
        if call:
            call.seek(self.asks.groups(targets, now), peer, now)

    def originate(
        self, identity: str, caller: Caller, user: str, targets: Iterable[Target], service: str, now: float
    ) -> None:
        """Call `targets` for a service of ours; `user` pays. caller: what they are shown."""
        call = Call(self, identity, user, caller.name, self.agent.settings.host, now)
        call.identity = caller
        self._begin(call)
        call.originate(self.asks.groups(targets, now), service, now)

    def send_on(
        self, identity: str, name: str, made: str, targets: Iterable[Target], dialled: str, user: str, now: float
    ) -> None:
        """Send one leg of a call on, as `made`; the call goes on as it was where that comes to nothing."""
        call = self._calls.get(identity)
        if call is None:
            return
        leg = call.a if name == "a" else call.b
        new = Call(self, made, user, dialled, self.agent.settings.host, now)
        if new.start_with(leg, plain_request(call), now):
            new.identity = call.party(leg)
            self._begin(new)
            new.routed(self.asks.groups(targets, now), now)

    def _begin(self, call: Call) -> None:
        self._calls[call.id] = call
        self.agent.effects.append(CallStarted(call.id, call.caller, call.dialled, call.payer_trunk))

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Take up a saved call."""
        call = restore_call(self, state, now)
        self._calls[call.id] = call
        for leg in call.legs:
            self.take_in(leg)
        call.resume(now)

    def take_in(self, leg: Leg) -> None:
        """Have a leg that came from elsewhere: from the journal, or from another process."""
        self.trunks.carry(leg.trunk, 1)
        if leg.dialog:
            leg.joined(leg.dialog)
        if not leg.called:
            self._enter(leg, self.of(leg))

    def part(self, leg: Leg) -> None:
        """Know no more of a leg that goes elsewhere."""
        self.drop(leg)
        leg.depart()

    @staticmethod
    def of(leg: Leg) -> Call:
        """The call of a leg that is in one."""
        assert isinstance(leg.owner, Call)
        return leg.owner

    def peer_of(self, key: DialogKey, party: Party | None) -> Leg:
        """The peer of who has this dialog (RFC 3891 §3), and must be `party`. Raises ProtocolError (403, 481)."""
        found = self._dialogs.get(key)
        if found is None or not found[0].lendable or _is_passing(found[0]):
            raise ProtocolError(481, "Nothing To Replace")
        call, leg = found
        if party is not None and (leg.user, leg.trunk) != party:
            raise ProtocolError(403, "Not Your Call")
        return call.other(leg)

    def elsewhere(self, key: DialogKey) -> bool:
        """Whether another process may have this dialog."""
        return self._shared and key not in self._dialogs

    def _peer_here(self, wanted: Replaced, party: Party | None = None) -> Leg | None:
        """See `peer_of`; None where another process may have that dialog, or its call is to talk in a moment.

        A call that nobody has answered is not replaced: who wants no other is told so (RFC 3891 §3).
        """
        key = wanted.key
        found = self._dialogs.get(key)
        if wanted.early_only and found and found[0].answered is not None:
            raise ProtocolError(486, "Busy Here")
        if wanted.early_only:
            raise ProtocolError(481, "Nothing To Replace")
        return None if self.elsewhere(key) or (found and _is_passing(found[0])) else self.peer_of(key, party)

    @staticmethod
    def lent(leg: Leg) -> Destination:
        """Where a call goes that a leg of another call comes over to."""
        assert leg.source
        return Destination("", "", leg.source, leg.user, leg.trunk, leg=leg)

    def set_trunks(self, trunks: Iterable[Trunk], now: float) -> None:
        """Have these trunks and no others; a call that was restored before it knew its trunk can prove itself now."""
        self.trunks.replace(trunks, now)
        for call in self._calls.values():
            for leg in call.legs:
                if leg.trunk and leg.called and leg.asking.auth is None:
                    leg.asking.auth = self.trunks.auth(leg.trunk)

    # --- CallHost ---

    def found(self, call: Call, leg: Leg, key: DialogKey) -> None:
        """See CallHost."""
        self._dialogs[key] = (call, leg)

    def left(self, call: Call, leg: Leg) -> None:
        """See CallHost."""
        self.drop(leg)

    def drop(self, leg: Leg) -> None:
        """Find no messages of a leg any more."""
        for key in leg.keys:
            self._dialogs.pop(key, None)
        self.trunks.carry(leg.trunk, -1)
        self._leave(leg)

    def save(self, call: Call) -> None:
        """See CallHost."""
        self.agent.effects.append(SaveCall(call.id, snapshot(call)))

    def forget(self, call: Call) -> None:
        """See CallHost."""
        self._calls.pop(call.id, None)


def _is_passing(call: Call) -> bool:
    """Whether what a call is about will be over without anybody's decision, and it talks then if it is still there."""
    return call.state in PASSING or (call.state is CallState.TALKING and any(leg.busy for leg in call.legs))


def _replaced(request: Request) -> Replaced | None:
    """The dialog that an INVITE with Replaces wants to be in the place of. Raises ProtocolError (400)."""
    values = request.values("Replaces")
    if len(values) > 1:
        raise ProtocolError(400, "One Replaces Expected")
    return replaced_dialog(values[0]) if values else None
