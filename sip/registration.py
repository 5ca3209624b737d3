# SPDX-License-Identifier: GPL-3.0-or-later
"""REGISTER: what the registrar decides, as responses, timers and effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Keeps the registrar, and one timer for each user that has contacts."""

    def __init__(self, agent: Agent, keeps: bool = True) -> None:
        """keeps: whether it is this one that keeps the ways to phones behind NAT open."""
        self.registrar = Registrar(agent.settings)
        self._agent = agent
        self._keepalive = Keepalive(agent, self.registrar) if keeps else None
        self._alarms: dict[str, tuple[float, Alarm]] = {}
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
        self.registrar.merge(change, now)
        self._watch(change.username)
        self._keep(change.username, now)

    def parted(self, peer: Address, now: float) -> None:
        """Forget the contacts that were reached by a peer's connection (RFC 5626 §7)."""
        for username in self.registrar.part(peer):
            self.changed(username)
            self._keep(username, now)

    def ring(self, name: str, now: float) -> None:
        """Contacts of the user `name` have expired, or were to when the timer was started."""
        del self._alarms[name]
        if self.registrar.purge(name, now):
            self.changed(name)
            self._keep(name, now)
        else:
            self._watch(name)

    def _update(self, username: str, request: Request, source: Address, local: Address, now: float) -> bool:
        """Whether the bindings changed; a user registers nobody but itself (RFC 3261 §10.3 step 4)."""
        if request.to.uri.decoded_user() != username:
            raise ProtocolError(403, "Forbidden")
        return self.registrar.update(username, request, source, local, now)

    def changed(self, username: str) -> None:
        """Have the contacts of a user written down, and watch when the next ends."""
        self._agent.effects.append(SaveBindings(username, self.registrar.state(username)))
        self._watch(username)

    def _watch(self, username: str) -> None:
        """A timer that is due too early is left alone: refreshes are many, and it looks again when it rings."""
        expiry, running = self.registrar.next_expiry(username), self._alarms.get(username)
        if running and (expiry is None or expiry < running[0]):
            self._agent.timers.stop(self._alarms.pop(username)[1])
            running = None
        if expiry is not None and running is None:
            self._alarms[username] = expiry, self._agent.timers.start(self, username, expiry)

    def _keep(self, username: str, now: float) -> None:
        """What refreshes leave as it is, and so do not ask for: who is behind NAT."""
        if self._keepalive:
            self._keepalive.watch(username, now)
