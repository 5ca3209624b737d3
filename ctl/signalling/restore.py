# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restarted controller takes up again: its registrations, its calls, and the flows it finds in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from ctl.journal import Journal, Recovered
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import WHOLE, PortShare
from ctl.sessions.programmer import Programmer
from ctl.signalling.conductor import BINDINGS, CALL, Conductor
from ctl.signalling.records import Records
from sip.core import Core
from sip.effects import CallEnded

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Restored:
    """How much came back. lost: calls of before the last boot, which got their record and nothing else."""

    users: int
    calls: int
    lost: int
    pairs_written: int
    flows_removed: int


@dataclass(slots=True)
class Restorer:
    """Hands everything that was recovered to those who go on with it.

    make_core: one more, empty core. share: the ports whose flows are ours to end where they are of no call.
    """

    core: Core
    make_core: Callable[[], Core]
    conductor: Conductor
    sessions: MediaSessions
    programmer: Programmer
    journal: Journal
    records: Records
    share: PortShare = WHOLE

    def restore(self, recovered: Recovered, others: Set[str] = frozenset()) -> Restored:
        """Take up what is there. A call that cannot be taken up is logged and does not hinder the others.

        others: calls with media that are not signalling's and have been taken up already.
        """
        calls = recovered.of(CALL)
        users = self._bindings(recovered.of(BINDINGS), recovered)
        if recovered.same_boot:
            written = sum(self._call(call, state) for call, state in calls.items())
            lost = 0
        else:
            written = 0
            lost = sum(self._lost(call, state, recovered.saved) for call, state in calls.items())
        known = {view.id for view in self.core.calls()}
        for call in self.sessions.calls() - known - others:
            self.sessions.delete(call, time.monotonic())
        removed = self.programmer.reconcile(known | others, self.share.mine)
        return Restored(users, len(known), lost, written, removed)

    def _bindings(self, bindings: Mapping[str, Any], recovered: Recovered) -> int:
        """Registrations outlive a boot: phones do not know of it, and are where they were."""
        later = 0.0 if recovered.same_boot else recovered.saved - self.journal.offset
        for username, state in bindings.items():
            self.conductor.perform(self.core.restore_binding(username, state, time.monotonic(), later))
        return len(self.core.bindings())

    def _call(self, call: str, state: Mapping[str, Any]) -> int:
        """Return how many pairs of flows were not in place."""
        try:
            written = self.sessions.restore(call, state["media"])
            self.conductor.perform(self.core.restore_call(state["call"], time.monotonic()))
        except Exception:
            log.exception("call not taken up again", call=call)
            self.sessions.delete(call, time.monotonic())
            return 0
        return written

    def _lost(self, call: str, state: Mapping[str, Any], saved: float) -> int:
        """Write the record of a call that no boot survives; it ended, for all we know, when it last changed.

        saved: wall clock less monotonic clock of that boot.
        """
        core, last = self.make_core(), state["at"]
        effects = [*core.restore_call(state["call"], last), *core.hang_up(call, last, 41)]
        for effect in effects:
            if isinstance(effect, CallEnded):
                self.records.write(effect, (), last, datetime.fromtimestamp(last + saved, UTC))
        self.records.when_written(call, lambda: self.journal.remove(CALL, call))
        return 1
