# SPDX-License-Identifier: GPL-3.0-or-later
"""The signalling core as this host runs it: its settings, its secret, and which of our addresses faces whom."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from ctl.config import Config
from ctl.config_values import sip_listen
from ctl.network.nexthop import NextHops
from ctl.randomness import texts
from sip.acceptor import StreamLimits
from sip.core import Core
from sip.effects import Address
from sip.reach import default_port
from sip.settings import Settings
from sip.sharing import Among

SECRET_BYTES = 32
TOKEN_BYTES = 12


def listen_addresses(config: Config) -> tuple[Address, ...]:
    """Return the transport addresses that signalling listens on, each once."""
    found = (Address(*part) for listen in config.sip.listen for part in sip_listen(listen))
    return tuple(dict.fromkeys(found))


def stream_limits(config: Config) -> StreamLimits:
    """Return what connections are held to."""
    limits = config.sip.limits
    return StreamLimits(
        connections=limits.connections,
        per_source=limits.connections_per_source,
        handshake=limits.handshake,
        message=limits.message,
        idle=limits.idle,
        keepalive=config.sip.nat_keepalive,
    )


def make_core(
    config: Config,
    secret: bytes,
    facing: Callable[[Address], Address],
    among: Among | None = None,
    cores: int = 1,
    nonce_key: bytes = b"",
) -> Core:
    """Return an empty core. among, cores: where others serve the same addresses, and how many there are in all.

    nonce_key: of all of them; drawn where empty.
    Who guesses at passwords or sends rubbish spreads it over all cores, so that each forgives its part of it.
    """
    usual = Settings("", b"")
    settings = Settings(
        guesses_per_hour=max(1, usual.guesses_per_hour // cores),
        offences=usual.offences / cores,
        realm=config.sip.domain,
        secret=secret,
        nonce_key=nonce_key or secrets.token_bytes(SECRET_BYTES),
        domain=config.sip.domain,
        algorithms=config.sip.algorithms,
        min_expires=config.sip.min_expires,
        default_expires=config.sip.default_expires,
        max_expires=config.sip.max_expires,
        requests_per_source=config.sip.limits.requests_per_source,
        calls_per_user=config.sip.limits.calls_per_user,
        amplification=config.sip.limits.amplification,
        ban=config.sip.limits.ban,
        session_expires=config.sip.session_expires,
        min_session_expires=config.sip.min_session_expires,
        redirections=config.sip.redirections,
        diversion=config.sip.diversion,
        history_info=config.sip.history_info,
        nat_keepalive=config.sip.nat_keepalive,
        info=config.sip.info,
        pass_headers=config.sip.pass_headers,
        connects=any(address.transport == "tcp" for address in listen_addresses(config)),
    )
    return Core(settings, texts(TOKEN_BYTES).__next__, facing, among)


def facing(hops: NextHops, ours: tuple[Address, ...]) -> Callable[[Address], Address]:
    """Return the function that names the address of ours that a peer sees: the one its route leaves from.

    It has the peer's transport, also where nothing of ours listens on that.
    """
    by_host = {(address.host, address.transport): address for address in reversed(ours)}
    by_transport = {address.transport: address for address in reversed(ours)}

    def local_for(peer: Address) -> Address:
        route = hops.route(peer.host)
        source = route.source_address if route else ""
        found = by_host.get((source, peer.transport)) or by_transport.get(peer.transport)
        return found or Address(source or ours[0].host, default_port(peer.transport), peer.transport)

    return local_for


def read_secret(path: Path) -> bytes:
    """Return the key of tags and cookies, the same over restarts. Raises OSError."""
    if path.exists() and len(secret := path.read_bytes()) == SECRET_BYTES:
        return secret
    secret = secrets.token_bytes(SECRET_BYTES)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    fresh.replace(path)
    return secret
