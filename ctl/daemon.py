# SPDX-License-Identifier: GPL-3.0-or-later
"""From the configuration to a running service: event loop, and one line for whatever prevents it."""

from __future__ import annotations

import os
from pathlib import Path

import uvloop

from api.server import ApiUnavailable
from ctl.config import Config, load
from ctl.configfile import ConfigError
from ctl.logs import configure_logging
from ctl.network.media_interfaces import DataPlaneError
from ctl.ng.front import NgUnavailable
from ctl.seat import ServiceError
from ctl.service import Service
from ctl.signalling.tls import TlsError
from ctl.workers.deal import take_back
from media.flows import EngineError
from provisioning.errors import ProvisioningError
from sip.sockets import TransportError

REFUSALS = (
    ApiUnavailable,
    ConfigError,
    DataPlaneError,
    EngineError,
    NgUnavailable,
    OSError,
    ProvisioningError,
    ServiceError,
    TlsError,
    TransportError,
)


class StartError(Exception):
    """The controller cannot run; one line with the remedy."""


def serve(path: Path | None) -> None:
    """Run the controller until it is told to stop. Raises StartError."""
    try:
        config = load(path)
        configure_logging(config)
        uvloop.run(_serve(config))
    except REFUSALS as error:
        raise StartError(_line(error)) from None
    except BaseExceptionGroup as group:
        refusal = _first(group)
        if refusal is None:
            raise
        raise StartError(_line(refusal)) from None


def _line(error: BaseException) -> str:
    """Return the error's own words; where a text was written for it, without the number."""
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename} is closed to user id {os.geteuid()}; run: chown {os.geteuid()} {error.filename}"
    return str(error.strerror if isinstance(error, TransportError) else error)


async def _serve(config: Config) -> None:
    if config.sip.workers > 1 and config.sip.listen:
        from ctl.workers.controller import Controller

        await Controller(config).run()
    else:
        take_back(config)
        await Service(config).run()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the refusal in a group, if there is nothing else in it."""
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        return found if isinstance(found, REFUSALS) else None
    return None
