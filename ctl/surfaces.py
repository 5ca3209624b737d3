# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a process that serves is asked questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctl.config import Config
from ctl.verbs.control import ControlServer

if TYPE_CHECKING:
    from api.server import ApiServer


@dataclass(frozen=True, slots=True)
class Surfaces:
    """Where questions come in: the command line's, and those of HTTP."""

    control: ControlServer
    api: ApiServer | None = None
    rest: ApiServer | None = None

    async def start(self, config: Config) -> None:
        """Listen. Raises ApiUnavailable."""
        await self.control.start()
        if self.api is not None:
            await self.api.start(*_host_port(config.api.listen))
        if self.rest is not None:
            await self.rest.start(*_host_port(config.rest.listen))

    async def close(self) -> None:
        """Listen no more."""
        await self.control.close()
        for server in filter(None, (self.rest, self.api)):
            await server.stop()


def _host_port(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host, int(port)
