# SPDX-License-Identifier: GPL-3.0-or-later
"""The table [ng] of the configuration."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from ctl.config_values import Network, NgListen, host_port
from ctl.section import Section


class NgSection(Section):
    """The ng protocol, by which proxies drive the relay: where it is served, to whom, and its limits."""

    listen: tuple[NgListen, ...] = ()
    """UDP."""
    listen_tcp: tuple[NgListen, ...] = ()
    listen_http: tuple[NgListen, ...] = ()
    """HTTP and WebSocket."""
    allow: tuple[Network, ...] = ()
    secret_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    delete_delay: Annotated[int, Field(ge=0)] = 30
    offer_timeout: Annotated[int, Field(ge=0)] = 3600
    """Seconds after which a call that nobody answers is taken away; 0: never."""
    max_sessions: Annotated[int, Field(ge=0)] = 0
    load_limit: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of the media ports in use from which on new calls are sent elsewhere."""
    tos: Annotated[int, Field(ge=-1, le=255)] = -1
    """Of all packets of calls for which a proxy names none; -1: as they came."""
    tenant: str = ""
    """Whose calls these are where the proxy does not say it; empty: the first tenant's."""
    dtmf_log: tuple[NgListen, ...] = ()
    """Who is told by UDP of each digit that is dialled."""

    @model_validator(mode="after")
    def _guarded(self) -> NgSection:
        """Whoever speaks ng can have calls copied or cut off, and it knows no authentication of its own."""
        if _beyond_loopback(self.listen) and not (self.allow and self.secret_file):
            raise ValueError("listen beyond loopback needs allow = [networks of the proxies] and secret_file")
        certified = self.allow and self.certificate and self.key and self.client_ca
        if _beyond_loopback((*self.listen_tcp, *self.listen_http)) and not certified:
            raise ValueError(
                "listen_tcp and listen_http beyond loopback need allow = [networks], certificate, key and client_ca"
            )
        return self


def _beyond_loopback(listen: tuple[str, ...]) -> bool:
    hosts = (host_port(text)[0].removeprefix("[").removesuffix("]") for text in listen)
    return any(not ipaddress.ip_address(host).is_loopback for host in hosts)
