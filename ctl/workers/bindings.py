# SPDX-License-Identifier: GPL-3.0-or-later
"""Registrations that all workers have: each tells the controller what changes, and hears what has changed elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from ctl.journal import Journal
from ctl.signalling.conductor import BINDINGS
from sip.core import Core
from sip.effects import Address, SaveBindings
from sip.registrar import Binding, bindings_text
from sip.sharing import BindingsChange, change_of

Item = Mapping[str, Any]
Tell = Callable[..., None]
Change = tuple[str, list[Item], list[tuple[str, str, int]]]
"""User, contacts that are there or are others now, and those that are gone: URI, Call-ID and CSeq."""

log = structlog.get_logger()


def connection_of(item: Item) -> Address | None:
    """The peer's end of the connection by which a contact is reached, None where it is reached without."""
    received = item["received"]
    if not received[3]:
        return None
    peer = Address(*received)
    return peer if peer.reliable else None


class WorkerBindings:
    """What a worker knows of contacts: its own changes go to the controller, which keeps them.

    connected: told of each contact that another worker has a connection to.
    """

    def __init__(self, core: Core, connected: Callable[[Address, int], None]) -> None:
        self._core = core
        self._connected = connected
        self._known: dict[str, tuple[Binding, ...]] = {}

    def save(self, effect: SaveBindings) -> Change | None:
        """Return what has changed here, as `Registrations.changed` takes it."""
        change = change_of(effect.username, self._known.get(effect.username, ()), effect.bindings)
        self._note(effect.username, effect.bindings)
        if not change.there and not change.gone:
            return None
        return effect.username, list(change.there), list(change.gone)

    def merge(self, worker: int, username: str, there: Sequence[Item], gone: Sequence[tuple[str, str, int]]) -> None:
        """Have what changed elsewhere."""
        self._core.merge_bindings(BindingsChange(username, there, gone), time.monotonic())
        self._note(username, self._core.bindings_of(username))
        for item in there:
            if peer := connection_of(item):
                self._connected(peer, worker)

    def _note(self, username: str, bindings: tuple[Binding, ...]) -> None:
        if bindings:
            self._known[username] = bindings
        else:
            self._known.pop(username, None)


class Registrations:
    """The controller's: it keeps them for all, in its journal, and tells each worker what the others have changed.

    broadcast: tells all workers but one. refresh: to be called after changes, for timers.
    """

    def __init__(
        self, core: Core, journal: Journal, broadcast: Callable[..., None], refresh: Callable[[], None]
    ) -> None:
        self._core = core
        self._journal = journal
        self._broadcast = broadcast
        self._refresh = refresh
        self._connected: dict[tuple[str, str], int] = {}
        """The worker that has the connection to a contact, by user and URI."""

    def changed(self, worker: int, username: str, there: Sequence[Item], gone: Sequence[tuple[str, str, int]]) -> None:
        """A worker has changed the contacts of a user; they are written down when this returns."""
        self._core.merge_bindings(BindingsChange(username, there, gone), time.monotonic())
        self._keep(username)
        for uri, *_ in gone:
            self._connected.pop((username, uri), None)
        for item in there:
            if connection_of(item):
                self._connected[username, item["uri"]] = worker
        self._broadcast(worker, "merge", worker, username, there, gone)
        self._refresh()

    def _keep(self, username: str) -> None:
        """A full disk costs the ability to restore these contacts, not the contacts."""
        text = bindings_text(self._core.bindings_of(username))
        try:
            if text:
                self._journal.put_text(BINDINGS, username, text)
            else:
                self._journal.remove(BINDINGS, username)
        except OSError as error:
            log.error("live state not saved; free space on its disk", kind=BINDINGS, key=username, error=error.strerror)

    def tell_all(self, tell: Tell) -> None:
        """Tell a worker that begins of every contact there is."""
        for user in self._core.bindings():
            for item in self._core.bindings_state(user.username):
                worker = self._connected.get((user.username, item["uri"]), -1)
                tell("merge", worker, user.username, [dict(item)], [])

    def lost(self, worker: int) -> None:
        """A worker has died, and its connections with it."""
        mine = {key for key, its in self._connected.items() if its == worker}
        for username in {username for username, _ in mine}:
            state = self._core.bindings_state(username)
            gone = [(item["uri"], item["call_id"], item["cseq"]) for item in state if (username, item["uri"]) in mine]
            self.changed(worker, username, [], gone)
        for key in mine:
            self._connected.pop(key, None)
