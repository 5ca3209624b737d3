# SPDX-License-Identifier: GPL-3.0-or-later
"""REGISTER: what the registrar decides, as responses, timers and effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from sip.agent import Agent
from sip.effects import Address, SaveBindings
from sip.errors import ProtocolError
from sip.keepalive import Keepalive
from sip.message import Request
from sip.registrar import Binding, IntervalTooBrief, Registrar, contact_value
from sip.sharing import BindingsChange
from sip.timers import Alarm
from sip.transaction import Transaction


class Registration:
    """Keeps the registrar, and one timer for all users whose contacts end within the same second."""

    def __init__(self, agent: Agent, keeps: bool = True) -> None:
        """keeps: whether it is this one that keeps the ways to phones behind NAT open."""
        self.registrar = Registrar(agent.settings)
        self._agent = agent
        self._keepalive = Keepalive(agent, self.registrar) if keeps else None
        self._looks: dict[str, int] = {}
        """In which second to look at a user's contacts: when the first of them has ended, or earlier."""
        self._ending: dict[int, tuple[set[str], Alarm]] = {}
        """Who is to be looked at in a second, and its timer."""
        self.granted: tuple[Request, str, float] | None = None
        """The last REGISTER that left its user with one contact, the user, and for how many seconds."""

    def register(self, username: str, request: Request, transaction: Transaction, source: Address, now: float) -> None:
        """Answer the REGISTER of an authenticated user, when what it changes is written down."""
        try:
            changed = self._update(username, request, source, transaction.local, now)
        except IntervalTooBrief as error:
            brief = [("Min-Expires", str(self._agent.settings.min_expires))]
            self._agent.respond(transaction, request, error.status, now, error.reason, headers=brief)
        except ProtocolError as refused:
            self._agent.respond(transaction, request, refused.status, now, refused.reason)
        else:
            if changed:
                self.changed(username)
                self._keep(username, now)
            live = self.registrar.contacts(username, now)
            headers = [("Contact", contact_value(binding, now)) for binding in live]
            headers += [("Path", value) for value in request.values("path")]
            self._agent.respond(transaction, request, 200, now, headers=headers)
            if len(live) == len(request.contacts) == 1 and not live[0].path:
                self.granted = request, username, live[0].expires - now

    def add(self, username: str, binding: Binding, now: float, hidden: bool) -> None:
        """A user who had none has this contact. hidden: whether that is behind NAT."""
        self.registrar.add(username, binding)
        self.changed(username)
        if hidden:
            self._keep(username, now)

    def extend(self, username: str, cseq: int, expires: float) -> Binding:
        """The one contact of a user is there for longer, by a REGISTER of this number."""
        return self.registrar.extend(username, cseq, expires)

    def restore(self, username: str, state: Sequence[Mapping[str, Any]], now: float, later: float) -> None:
        """Take up saved contacts, their times so many seconds later."""
        if self.registrar.restore(username, state, now, later):
            self.changed(username)
        else:
            self._watch(username)
        self._keep(username, now)

    def merge(self, change: BindingsChange, now: float) -> None:
        """Have what has changed of a user's contacts elsewhere."""
        moved = self.registrar.merge(change, now)
        self._watch(change.username)
        if moved:
            self._keep(change.username, now)

    def parted(self, peer: Address, now: float) -> None:
        """Forget the contacts that were reached by a peer's connection (RFC 5626 §7)."""
        for username in self.registrar.part(peer):
            self.changed(username)
            self._keep(username, now)

    def ring(self, name: str, now: float) -> None:
        """Contacts end within the second `name`, or were to when its timer was started."""
        for username in sorted(self._ending.pop(int(name))[0]):
            self._look(username, now)

    def _look(self, username: str, now: float) -> None:
        del self._looks[username]
        if self.registrar.purge(username, now):
            self.changed(username)
            self._keep(username, now)
        else:
            self._watch(username)

    def _update(self, username: str, request: Request, source: Address, local: Address, now: float) -> bool:
        """Whether the bindings changed; a user registers nobody but itself, and here alone (RFC 3261 §10.3)."""
        if request.to.uri.decoded_user() != username:
            raise ProtocolError(403, "Forbidden")
        if not self._agent.serves(request.request_uri.host) or not self._agent.serves(request.to.uri.host):
            raise ProtocolError(404, "No Domain Of Ours")
        return self.registrar.update(username, request, source, local, now)

    def changed(self, username: str) -> None:
        """Have the contacts of a user written down, and watch when the next ends."""
        self._agent.effects.append(SaveBindings(username, self.registrar.bindings(username)))
        self._watch(username)

    def _watch(self, username: str) -> None:
        """A look that is due too early is left alone: refreshes are many, and it is made again then."""
        expiry, looks = self.registrar.next_expiry(username), self._looks.get(username)
        second = None if expiry is None else ceil(expiry)
        if looks is not None and (second is None or second < looks):
            self._leave(username, self._looks.pop(username))
            looks = None
        if second is not None and looks is None:
            self._looks[username] = second
            if second not in self._ending:
                self._ending[second] = set(), self._agent.timers.start(self, str(second), float(second))
            self._ending[second][0].add(username)

    def _leave(self, username: str, second: int) -> None:
        """Nobody looks at a user then; a timer for nobody is stopped."""
        users, alarm = self._ending[second]
        users.discard(username)
        if not users:
            self._agent.timers.stop(alarm)
            del self._ending[second]

    def _keep(self, username: str, now: float) -> None:
        """What refreshes leave as it is, and so do not ask for: who is behind NAT."""
        if self._keepalive:
            self._keepalive.watch(username, now)
