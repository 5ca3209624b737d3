# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of ours that media comes to, as configured, and the interfaces that have them."""

from __future__ import annotations

from ctl.config import Config, sip_listen
from ctl.nexthop import NextHops


class DataPlaneError(Exception):
    """Nothing can carry media as configured; one line with the remedy."""


def relay_addresses(config: Config) -> tuple[str, ...]:
    """Return the addresses that peers send media to: those configured, else those of IPv4 that signalling has."""
    listening = (host for listen in config.sip.listen for host, _, _ in sip_listen(listen) if ":" not in host)
    return config.media.addresses or tuple(dict.fromkeys(listening))


def relay_interfaces(config: Config, hops: NextHops) -> dict[str, str]:
    """Return the interface of each relay address. Raises DataPlaneError if this host does not have one."""
    found: dict[str, str] = {}
    for address in relay_addresses(config):
        interface = hops.interface_of(address)
        if interface is None:
            raise DataPlaneError(f"media.addresses: {address} is on no interface; see: ip -4 address")
        found[address] = interface
    return found
