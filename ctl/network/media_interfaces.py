# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of ours that media comes to, as configured, and the interfaces that have them."""

from __future__ import annotations

from ctl.config import Config
from ctl.config_values import sip_listen
from ctl.network.addresses import canonical
from ctl.network.nexthop import NextHops
from ctl.sessions.relay_choice import RelayAddress


class DataPlaneError(Exception):
    """Nothing can carry media as configured; one line with the remedy."""


def relays(config: Config) -> tuple[RelayAddress, ...]:
    """Return the addresses that peers send media to: those configured, else those that signalling listens on."""
    media = config.media
    named = (
        RelayAddress(each.address, each.name, each.advertised or "", frozenset(each.signalling))
        for each in media.interfaces
    )
    listening = (canonical(host) for listen in config.sip.listen for host, _, _ in sip_listen(listen))
    configured = (*named, *map(RelayAddress, media.addresses))
    return configured or tuple(map(RelayAddress, dict.fromkeys(listening)))


def relay_interfaces(config: Config, hops: NextHops) -> dict[str, str]:
    """Return the network interface of each relay address. Raises DataPlaneError if this host does not have one."""
    found: dict[str, str] = {}
    for relay in relays(config):
        interface = hops.interface_of(relay.address)
        if interface is None:
            raise DataPlaneError(f"relay address {relay.address} is on no interface; see [media] and: ip address")
        found[relay.address] = interface
    return found
