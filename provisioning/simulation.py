# SPDX-License-Identifier: GPL-3.0-or-later
"""What would this caller, dialling this number, get now or at another time, and why? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from provisioning.errors import NotFound
from provisioning.routing import Decision, Inquiry, decide
from provisioning.selection import Circumstances
from provisioning.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Simulation:
    """A decision, and every step that led to it in words."""

    decision: Decision
    steps: list[str]


def simulate(
    snapshot: Snapshot, tenant: int, realm: str, caller: str, dialled: str, now: datetime, trunk: str | None = None
) -> Simulation:
    """Decide as for a call of this tenant; trunk: it comes by it. Raises NotFound for a caller or trunk of none."""
    account = snapshot.account(realm, caller)
    if trunk is not None and trunk not in snapshot.plan(tenant).trunks:
        raise NotFound(f"no trunk {trunk}: voxdp trunk list shows what there is")
    if trunk is None and (account is None or account.tenant != tenant):
        raise NotFound(f"no user {caller}: voxdp user list shows who is there")
    steps: list[str] = []
    inquiry = Inquiry(caller, dialled, realm, realm, (tenant, trunk) if trunk is not None else None)
    return Simulation(decide(inquiry, Circumstances(now), snapshot, steps.append), steps)
