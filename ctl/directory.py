# SPDX-License-Identifier: GPL-3.0-or-later
"""What signalling asks of provisioning, in signalling's terms: whose password is it, and where does a call go?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from provisioning.refresh import SnapshotKeeper
from provisioning.routing import NO_TRUNK, Refusal, ToUser, choose
from sip.effects import Target, UserTarget


class Directory:
    """Answers from memory; the keeper holds that fresh."""

    def __init__(self, keeper: SnapshotKeeper) -> None:
        self._keeper = keeper

    @property
    def ready(self) -> bool:
        """Whether the users have been read at all since we started."""
        return self._keeper.ready

    def credentials(self, realm: str, username: str) -> Mapping[str, str] | None:
        """Return {algorithm: HA1} of a user who may authenticate, None for anybody else."""
        return self._keeper.current.credentials(realm, username)

    def route(self, caller: str, dialled: str, domain: str) -> tuple[Target, ...] | Refusal:
        """Return where to try in order, or why nowhere."""
        found = choose(caller, dialled, domain, datetime.now().astimezone(), self._keeper.current)
        if isinstance(found, Refusal):
            return found
        return tuple(UserTarget(route.username) for route in found if isinstance(route, ToUser)) or NO_TRUNK
