# SPDX-License-Identifier: GPL-3.0-or-later
"""How what we ourselves do for a caller is named between routing, signalling and those who do it."""

from __future__ import annotations

from typing import Literal, get_args

Duty = Literal["available", "paused", "off"]
DUTIES: tuple[Duty, ...] = get_args(Duty)
_QUEUE, _DUTY = "queue", "duty"


def queue_service(tenant: int, name: str) -> str:
    """The service of one who waits in a queue."""
    return f"{_QUEUE}:{tenant}/{name}"


def queue_of(service: str) -> tuple[int, str] | None:
    """Tenant and name of the queue of a service, None where it is another service."""
    return _read(_QUEUE, service)


def duty_service(tenant: int, state: Duty) -> str:
    """The service of an agent who dials a code to come, to pause or to go."""
    return f"{_DUTY}:{tenant}/{state}"


def duty_of(service: str) -> tuple[int, Duty] | None:
    """The tenant of the agent of a service and what it wants to do, None where it is another service."""
    found = _read(_DUTY, service)
    return next(((found[0], each) for each in DUTIES if found and each == found[1]), None)


def _read(kind: str, service: str) -> tuple[int, str] | None:
    named, _, rest = service.partition(":")
    tenant, _, name = rest.partition("/")
    return (int(tenant), name) if named == kind else None
