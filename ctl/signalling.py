# SPDX-License-Identifier: GPL-3.0-or-later
"""The signalling core as this host runs it: its settings, its secret, and which of our addresses faces whom."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from ctl.config import Config
from ctl.nexthop import NextHops
from sip.core import Core
from sip.effects import Address
from sip.settings import Settings

SECRET_BYTES = 32
TOKEN_BYTES = 12


def listen_addresses(config: Config) -> tuple[Address, ...]:
    """Return the transport addresses that signalling listens on."""
    parts = (listen.rpartition(":") for listen in config.sip.listen)
    return tuple(Address(host, int(port)) for host, _, port in parts)


def make_core(config: Config, secret: bytes, facing: Callable[[Address], Address]) -> Core:
    """Return an empty core."""
    settings = Settings(
        realm=config.sip.domain,
        secret=secret,
        domain=config.sip.domain,
        algorithms=config.sip.algorithms,
        min_expires=config.sip.min_expires,
        default_expires=config.sip.default_expires,
        max_expires=config.sip.max_expires,
    )
    return Core(settings, lambda: secrets.token_hex(TOKEN_BYTES), facing, time.monotonic())


def facing(hops: NextHops, ours: tuple[Address, ...]) -> Callable[[Address], Address]:
    """Return the function that names the address of ours that a peer sees: the one its route leaves from."""
    by_host = {address.host: address for address in ours}

    def local_for(peer: Address) -> Address:
        route = hops.route(peer.host)
        return by_host.get(route.source_address, ours[0]) if route else ours[0]

    return local_for


def read_secret(path: Path) -> bytes:
    """Return the key of nonces, kept over restarts so that clients are not challenged anew. Raises OSError."""
    if path.exists() and len(secret := path.read_bytes()) == SECRET_BYTES:
        return secret
    secret = secrets.token_bytes(SECRET_BYTES)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    fresh.replace(path)
    return secret
