# SPDX-License-Identifier: GPL-3.0-or-later
"""The registrar: which contacts each user has, for how long, and by which address they are reached (RFC 3261 §10.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from json.encoder import encode_basestring_ascii as _quoted
from sys import intern
from typing import Any

from sip.effects import Address
from sip.errors import ProtocolError
from sip.facts import fact
from sip.headers import NameAddr
from sip.message import Request
from sip.reach import NEEDS_TLS, breaks_promise, reach
from sip.settings import Settings
from sip.sharing import BindingsChange
from sip.uri import Uri, equivalent


@fact
class Binding:
    """One contact of a user.

    uri: as the client spells it. q: preference, 0 to 1. expires: the time it ends. received: where the REGISTER
    came from; local: the address of ours that it came to. call_id, cseq: of the REGISTER that last touched it. path:
    the Route values by which it is reached, where it registered through others (RFC 3327).
    """

    uri: str
    q: float
    expires: float
    call_id: str
    cseq: int
    received: Address
    local: Address
    agent: str = ""
    path: tuple[str, ...] = ()

    @property
    def connected(self) -> bool:
        """Whether it is reached by a connection that it has opened."""
        return self.received.reliable and self.received.inbound

    @property
    def target(self) -> Address:
        """Where requests for this contact go: `received` when it, or the first on the path to it, is behind NAT."""
        first = NameAddr.parse(self.path[0]).uri if self.path else Uri.parse(self.uri)
        return reach(first, self.received)

    @property
    def state(self) -> Mapping[str, Any]:
        """The binding as JSON can carry it."""
        return {
            "uri": self.uri,
            "q": self.q,
            "expires": self.expires,
            "call_id": self.call_id,
            "cseq": self.cseq,
            "agent": self.agent,
            "path": self.path,
            "received": self.received.packed,
            "local": self.local.packed,
        }

    @property
    def text(self) -> str:
        """`state` as JSON: made several times as fast, for each refresh is written down."""
        uri, call_id, agent = _quoted(self.uri), _quoted(self.call_id), _quoted(self.agent)
        q, expires = repr(self.q), repr(self.expires)
        path = ",".join([_quoted(route) for route in self.path])
        return (
            f'{{"uri":{uri},"q":{q},"expires":{expires},"call_id":{call_id},"cseq":{self.cseq},"agent":{agent},'
            f'"path":[{path}],"received":{_address(self.received)},"local":{_address(self.local)}}}'
        )


class IntervalTooBrief(ProtocolError):
    """The expiry asked for is too short: 423 with Min-Expires (RFC 3261 §10.3 step 7)."""

    def __init__(self) -> None:
        super().__init__(423, "Interval Too Brief")


class Registrar:
    """The bindings of all users. A request that is refused changes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._users: dict[str, tuple[Binding, ...]] = {}
        self._connected: dict[Address, set[str]] = {}
        """The users with contacts that are reached by the connection of a peer."""

    def __len__(self) -> int:
        return len(self._users)

    def users(self) -> Iterator[tuple[str, tuple[Binding, ...]]]:
        """Every user with its bindings, expired ones included until `purge`."""
        return iter(self._users.items())

    def peers(self) -> set[Address]:
        """Where contacts are reached by a connection."""
        received = (binding.received for bindings in self._users.values() for binding in bindings)
        return {peer for peer in received if peer.reliable}

    def contacts(self, username: str, now: float) -> list[Binding]:
        """The live bindings of a user, the preferred and then the most recent first."""
        live = [binding for binding in self._users.get(username, ()) if binding.expires > now]
        live.reverse()
        live.sort(key=lambda binding: -binding.q)
        return live

    def bindings(self, username: str) -> tuple[Binding, ...]:
        """All bindings of a user as they are kept: the same object as long as nothing changes."""
        return self._users.get(username, ())

    def extend(self, username: str, cseq: int, expires: float) -> Binding:
        """Let the only binding of a user end later; returns it."""
        (last,) = self._users[username]
        binding = Binding(
            last.uri, last.q, expires, last.call_id, cseq, last.received, last.local, last.agent, last.path
        )
        self._users[username] = (binding,)
        return binding

    def granted(self, asked: int | None) -> int:
        """Seconds for one contact, by its own parameter or the Expires header, else our default; 0 removes it.

        Raises ProtocolError with the status to answer.
        """
        if asked is None:
            asked = self._settings.default_expires
        if 0 < asked < self._settings.min_expires:
            raise IntervalTooBrief
        return min(asked, self._settings.max_expires)

    def add(self, username: str, binding: Binding) -> None:
        """Give a user who has none a contact."""
        self._put(username, (binding,))

    def update(self, username: str, request: Request, source: Address, local: Address, now: float) -> bool:
        """Apply a REGISTER; whether any binding changed. Raises ProtocolError with the status to answer."""
        before = tuple(binding for binding in self._users.get(username, ()) if binding.expires > now)
        if request.is_star_contact:
            after = self._cleared(before, request)
        else:
            after = self._merged(before, request, source, local, now)
        self._put(username, after)
        return bool(request.contacts) or after != before

    def purge(self, username: str, now: float) -> bool:
        """Drop what has expired; whether anything had."""
        before = self._users.get(username, ())
        after = tuple(binding for binding in before if binding.expires > now)
        self._put(username, after)
        return after != before

    def part(self, peer: Address) -> list[str]:
        """Drop the contacts that were reached by the connection of a peer; returns whose they were."""
        parted = sorted(self._connected.get(peer, ()))
        for username in parted:
            before = self._users[username]
            self._put(username, tuple(each for each in before if not (each.connected and each.received == peer)))
        return parted

    def next_expiry(self, username: str) -> float | None:
        """When the next binding of a user ends."""
        return min((binding.expires for binding in self._users.get(username, ())), default=None)

    def restore(self, username: str, state: Sequence[Mapping[str, Any]], now: float, later: float = 0.0) -> bool:
        """Take back what `state` gave, but for what has expired; whether anything is different now.

        Connections do not outlive us, and neither do contacts that are reached by one. later: seconds to add to its
        times.
        """
        bindings = (_binding(item) for item in state)
        moved = tuple(replace(each, expires=each.expires + later) for each in bindings) if later else tuple(bindings)
        kept = tuple(
            each for each in moved if each.expires > now and not (each.received.inbound and each.received.reliable)
        )
        self._put(username, kept)
        return bool(later) or len(kept) < len(state)

    def merge(self, change: BindingsChange, now: float) -> bool:
        """Apply a change made elsewhere; a contact that was touched since by another REGISTER does not go.

        Returns whether a contact came, went or is reached otherwise: most changes are refreshes.
        """
        before = self._users.get(change.username, ())
        if len(before) == len(change.there) == 1 and not change.gone and _refreshes(change.there[0], before[0]):
            self.extend(change.username, change.there[0]["cseq"], change.there[0]["expires"])
            return False
        there = {item["uri"]: _binding(item) for item in change.there}
        gone = set(change.gone)
        kept = (each for each in before if each.uri not in there and (each.uri, each.call_id, each.cseq) not in gone)
        self._put(change.username, tuple(each for each in (*kept, *there.values()) if each.expires > now))
        return True

    def _put(self, username: str, bindings: tuple[Binding, ...]) -> None:
        self._note_connections(username, self._users.get(username, ()), bindings)
        if bindings:
            self._users[username] = bindings
        else:
            self._users.pop(username, None)

    def _note_connections(self, username: str, before: tuple[Binding, ...], after: tuple[Binding, ...]) -> None:
        for binding in before:
            if binding.connected and (users := self._connected.get(binding.received)):
                users.discard(username)
                if not users:
                    del self._connected[binding.received]
        for binding in after:
            if binding.connected:
                self._connected.setdefault(binding.received, set()).add(username)

    def _cleared(self, before: tuple[Binding, ...], request: Request) -> tuple[Binding, ...]:
        if request.expires != 0:
            raise ProtocolError(400, "Contact * Needs Expires 0")
        for binding in before:
            _check_order(binding, request)
        return ()

    def _merged(
        self, before: tuple[Binding, ...], request: Request, source: Address, local: Address, now: float
    ) -> tuple[Binding, ...]:
        if len(request.contacts) > self._settings.max_contacts:
            raise ProtocolError(403, "Too Many Contacts")
        after = list(before)
        for contact in request.contacts:
            if not contact.uri.is_sip:
                raise ProtocolError(400, "Contact Is No SIP URI")
            seconds = self.granted(request.expires if contact.expires is None else contact.expires)
            if seconds and breaks_promise(contact.uri, source):
                raise ProtocolError(400, NEEDS_TLS)
            _remove(after, contact.uri, request, known=before)
            if seconds:
                after.append(_bound(contact, request, source, local, now + seconds))
        return tuple(after[-self._settings.max_contacts :])


def contact_value(binding: Binding, now: float) -> str:
    """A binding as the Contact of a 200 lists it, with the time it has left."""
    left = max(0, round(binding.expires - now))
    q = "" if binding.q == 1.0 else f";q={binding.q:g}"
    return f"<{binding.uri}>{q};expires={left}"


def bindings_text(bindings: Sequence[Binding]) -> str:
    """The bindings of a user as JSON, "" where there are none."""
    return f"[{','.join([binding.text for binding in bindings])}]" if bindings else ""


def _remove(bindings: list[Binding], uri: Uri, request: Request, known: tuple[Binding, ...]) -> None:
    """known: bindings of before; one that `request` itself has just made may be named by it again."""
    for binding in tuple(bindings):
        if binding.uri == uri.text or equivalent(Uri.parse(binding.uri), uri):
            if binding in known:
                _check_order(binding, request)
            bindings.remove(binding)


def _check_order(binding: Binding, request: Request) -> None:
    """A REGISTER that was overtaken by a later one must not undo it (RFC 3261 §10.3 step 7)."""
    if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
        raise ProtocolError(400, "CSeq Out Of Order")


def _bound(contact: NameAddr, request: Request, source: Address, local: Address, expires: float) -> Binding:
    number = request.cseq.number
    agent = request.get("user-agent") or ""
    path = tuple(map(str, request.path)) if "path" in request else ()
    return Binding(str(contact.uri), contact.q, expires, request.call_id, number, source, local, intern(agent), path)


def _address(address: Address) -> str:
    inbound = "true" if address.inbound else "false"
    host, transport, name = _quoted(address.host), _quoted(address.transport), _quoted(address.name)
    return f"[{host},{address.port},{transport},{inbound},{name}]"


def _refreshes(item: Mapping[str, Any], last: Binding) -> bool:
    """Whether this state is that of a contact but for a later end and its number."""
    told = item["uri"], item["q"], item["call_id"], item["agent"], item["path"], item["received"], item["local"]
    known = last.uri, last.q, last.call_id, last.agent, last.path, last.received.packed, last.local.packed
    return bool(item["expires"] > last.expires) and told == known


def _binding(item: Mapping[str, Any]) -> Binding:
    return Binding(
        item["uri"],
        item["q"],
        item["expires"],
        item["call_id"],
        item["cseq"],
        Address(*item["received"]),
        Address(*item["local"]),
        intern(item.get("agent", "")),
        tuple(item.get("path", ())),
    )
