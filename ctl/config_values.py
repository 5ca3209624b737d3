# SPDX-License-Identifier: GPL-3.0-or-later
"""What single values of the configuration may be: addresses, networks, places to listen at."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

LABEL_LIMIT = 15  # IFNAMSIZ less the terminating zero
_SIP_LISTEN = re.compile(r"(?:(udp|tcp|tls|ws|wss):)?(\[[^\]]+\]:[0-9]+|[^:\[\]]+:[0-9]+)")


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 address") from None


def _ip(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None
    if address.version == 6 and (address.scope_id or address.ipv4_mapped):
        raise ValueError(f"{text!r} is no IPv6 address that peers can send to")
    return str(address)


def host_port(text: str) -> tuple[str, int]:
    """Take ADDRESS:PORT apart. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not ADDRESS:PORT")
    return host, int(port)


def _listen(text: str) -> str:
    _ipv4(host_port(text)[0])
    return text


def sip_listen(text: str) -> tuple[tuple[str, int, str], ...]:
    """(host without brackets, port, transport) of a form such as `tls:[2001:db8::1]:5061`; without one UDP and TCP.

    Raises ValueError.
    """
    match = _SIP_LISTEN.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not [TRANSPORT:]ADDRESS:PORT; transports are udp, tcp, tls, ws and wss")
    host, port = host_port(match[2])
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address") from None
    if (address.version == 6) != host.startswith("["):
        raise ValueError(f"{text!r}: an IPv6 address, and no other, stands in brackets")
    return tuple((str(address), port, transport) for transport in ([match[1]] if match[1] else ["udp", "tcp"]))


def is_among(domain: str, patterns: Iterable[str]) -> bool:
    """Whether a domain, however it is spelled, is one of these, or below one that begins with a star."""
    name = domain.lower().rstrip(".")
    return any(name.endswith(each[1:]) if each.startswith("*.") else name == each for each in patterns)


def _sip_listen(text: str) -> str:
    sip_listen(text)
    return text


def _ng_listen(text: str) -> str:
    host, _ = host_port(text)
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address") from None
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network: {error}") from None


Ip = Annotated[str, AfterValidator(_ip)]
NgListen = Annotated[str, AfterValidator(_ng_listen)]
Network = Annotated[str, AfterValidator(_network)]
Listen = Annotated[str, AfterValidator(_listen)]
SipListen = Annotated[str, AfterValidator(_sip_listen)]
Seconds = Annotated[int, Field(ge=1)]
Interface = Annotated[str, Field(min_length=1, max_length=LABEL_LIMIT)]
