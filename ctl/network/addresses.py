# SPDX-License-Identifier: GPL-3.0-or-later
"""Where media may go at all: what a session description may not make us send to, however it is spelled."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

Family = Literal[4, 6]
Network = IPv4Network | IPv6Network

_BEHIND_NAT = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# RFC 6890 and successors, less the private ranges above and those for documentation, which route like any other.
_DENIED: dict[Network, str] = {
    IPv6Network("::1/128"): "a loopback address",
    IPv4Network("0.0.0.0/8"): "an address of no host",
    IPv4Network("127.0.0.0/8"): "a loopback address",
    IPv4Network("169.254.0.0/16"): "a link-local address",
    IPv4Network("192.0.0.0/24"): "an address of IETF protocols",
    IPv4Network("192.88.99.0/24"): "a 6to4 relay address",
    IPv4Network("224.0.0.0/4"): "a multicast address",
    IPv4Network("255.255.255.255/32"): "the broadcast address",
    IPv4Network("240.0.0.0/4"): "a reserved address",
    IPv6Network("fe80::/10"): "a link-local address",
    IPv6Network("ff00::/8"): "a multicast address",
    IPv6Network("2001::/32"): "a Teredo address",
    IPv6Network("2001:10::/28"): "an address of no host",
    IPv6Network("2001:20::/28"): "an address of no host",
}

# IPv6 prefixes that carry an IPv4 address, and how many bits stand behind it.
_CARRIERS = {
    IPv6Network("::ffff:0:0/96"): 0,
    IPv6Network("::ffff:0:0:0/96"): 0,
    IPv6Network("::/96"): 0,
    IPv6Network("64:ff9b::/96"): 0,
    IPv6Network("64:ff9b:1::/48"): 0,
    IPv6Network("2002::/16"): 80,
}


def refusal(text: str, own: Collection[str], allowed: Collection[Network] = ()) -> str | None:
    """Say in one line why media may not go to the address `text`; None if it may.

    own: addresses of the relay itself, to which media would loop; never allowed. allowed: networks exempt from the
    other rules.
    """
    try:
        address, inner, kind, spellings = _known(text)
    except ValueError:
        return f"{text!r} is not an IP address; media needs one, not a host name"
    spelled = address if inner is None else inner
    if any(spelling in own for spelling in spellings):
        return f"{text} is the relay's own address; media would loop"
    if isinstance(address, IPv6Address) and address.scope_id:
        return f"{text} names a zone, which means nothing here; media is not sent there"
    if kind and not any(each in exempt for exempt in allowed for each in (address, spelled)):
        return f"{text} is {kind}; media is not sent there"
    if inner is not None and inner != address:
        return f"{text} is an IPv4 address in IPv6 spelling; offer it as IP4"
    return None


@lru_cache(maxsize=4096)
def behind_nat(address: str, signalling: str) -> bool:
    """Whether `address` is one that its owner can only use behind the address its signalling came from."""
    try:
        inside, outside = ip_address(address), ip_address(signalling)
    except ValueError:
        return False
    if inside == outside or inside.version != outside.version:
        return False
    private = (_UNIQUE_LOCAL,) if inside.version == 6 else _BEHIND_NAT
    return any(inside in network for network in private)


@lru_cache(maxsize=4096)
def unspecified(text: str) -> bool:
    """Whether the address is the one that stands for none, which once meant hold (RFC 3264 section 8.4)."""
    try:
        return ip_address(text).is_unspecified
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """Return the one spelling of an address that is compared; of a host name itself."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def family_of(address: str) -> Family:
    """Return the family of an IP address in text."""
    return 6 if ":" in address else 4


@lru_cache(maxsize=4096)
def _known(text: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | None, str, tuple[str, str]]:
    """An address, the one in it if it carries another, what is special about either, and how both are spelled."""
    address = ip_address(text)
    inner = _inner(address)
    spelled = address if inner is None else inner
    return address, inner, _special(address) or _special(spelled), (str(spelled), str(address))


def _special(address: IPv4Address | IPv6Address) -> str:
    for network, kind in _DENIED.items():
        if address.version == network.version and address in network:
            return kind
    if address.version == 6 and address not in _GLOBAL_UNICAST and address not in _UNIQUE_LOCAL:
        return "" if _inner(address) is not None else "a reserved address"
    return ""


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that is spelled here, if one is."""
    if isinstance(address, IPv4Address):
        return address
    for network, shift in _CARRIERS.items():
        if address in network:
            return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None
