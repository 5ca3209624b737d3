# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets on addresses of ours, and one clear line where there can be none."""

from __future__ import annotations

import errno
import socket
from typing import Protocol

from sip.effects import Address
from sip.uri import host_port

_REMEDIES = {
    errno.EADDRINUSE: "port {port} is in use on {host}; stop the program that has it, or choose another port",
    errno.EADDRNOTAVAIL: "{host} is no address of this host; choose one of those that `ip address` shows",
    errno.EACCES: "port {port} on {host} may not be opened by this user; choose a port above 1023",
}


class TransportError(OSError):
    """A socket cannot be opened; the text is one line that names the remedy."""


class Bind(Protocol):
    """What `bind` does, or whoever lends sockets in its place."""

    def __call__(self, address: Address, kind: socket.SocketKind, *options: tuple[int, int, int]) -> socket.socket:
        """See `bind`."""


def bind(address: Address, kind: socket.SocketKind, *options: tuple[int, int, int]) -> socket.socket:
    """A socket bound to `address`, non-blocking; options: (level, name, value) set before. Raises TransportError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, kind)
    try:
        bound.setblocking(False)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in options:
            bound.setsockopt(*option)
        bound.bind((address.host, address.port))
    except OSError as error:
        bound.close()
        raise refusal(address, error) from None
    return bound


def refusal(address: Address, error: OSError) -> TransportError:
    """The error in words that name the remedy."""
    text = _REMEDIES.get(error.errno or 0, "cannot listen on {where}: {why}; check the address and the port")
    where = host_port(address.host, address.port)
    return TransportError(
        error.errno, text.format(host=address.host, port=address.port, where=where, why=error.strerror)
    )
