# SPDX-License-Identifier: GPL-3.0-or-later
"""Routing netlink without a thread or a loop of its own: pyroute2 spells the messages, plain sockets carry them.

The kernel answers a request at once (4 microseconds here), so asking inside an event loop blocks nothing, and events
are read when the loop sees the descriptor readable. pyroute2's own client cannot be called from a running loop.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ctl.network.rtnetlink import ifaddrmsg, ifinfmsg, ndmsg, rtmsg, rtnl

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x001, 0x004, 0x300
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3

_CLASSES = {
    rtnl.RTM_NEWLINK: ifinfmsg,
    rtnl.RTM_DELLINK: ifinfmsg,
    rtnl.RTM_NEWADDR: ifaddrmsg,
    rtnl.RTM_NEWROUTE: rtmsg,
    rtnl.RTM_DELROUTE: rtmsg,
    rtnl.RTM_NEWNEIGH: ndmsg,
    rtnl.RTM_DELNEIGH: ndmsg,
}
_REQUESTS = {
    rtnl.RTM_GETLINK: ifinfmsg,
    rtnl.RTM_GETADDR: ifaddrmsg,
    rtnl.RTM_GETROUTE: rtmsg,
    rtnl.RTM_GETNEIGH: ndmsg,
    rtnl.RTM_NEWNEIGH: ndmsg,
}
_EVENTS = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_NEIGH
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV4_RULE
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV6_ROUTE
    | rtnl.RTMGRP_IPV6_RULE
)
_HEADER = struct.Struct("=IHHII")
_BUFFER = 1 << 16
_EVENT_BUFFER = 1 << 20
_PATIENCE = 2.0

Message = tuple[int, Any]
"""Type (RTM_...) and the decoded message, None for types that nobody here reads."""


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of an IP address in text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Netlink:
    """A socket for requests, in the network namespace that the process is in when it is made."""

    def __init__(self) -> None:
        self._socket = _open(0)
        self._socket.settimeout(_PATIENCE)
        self._sequence = 0

    def ask(self, kind: int, fields: Mapping[str, Any], attributes: Mapping[str, Any], flags: int = 0) -> list[Any]:
        """Send one request and return what the kernel answers; none if it has nothing of the kind.

        Raises OSError: EPERM for what needs CAP_NET_ADMIN, and whatever else the kernel refuses with.
        """
        self._sequence += 1
        self._socket.send(_request(kind, fields, attributes, flags, self._sequence))
        answers: list[Any] = []
        many = flags & NLM_F_DUMP == NLM_F_DUMP
        while True:
            for each, sequence, body in _messages(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue
                if each == NLMSG_ERROR:
                    _raise(body)
                if each in (NLMSG_ERROR, NLMSG_DONE):
                    return answers
                answers.append(_decode(each, body))
            if answers and not many:
                return answers

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class NetlinkEvents:
    """What changes about links, addresses, routes, rules and neighbours, from the moment this is made."""

    def __init__(self) -> None:
        self._socket = _open(_EVENTS)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        return self._socket.fileno()

    def read(self, limit: int = 1000) -> tuple[list[Message], bool]:
        """Return the events that are waiting, at most `limit` datagrams, and whether some were lost before."""
        events: list[Message] = []
        lost = False
        for _ in range(limit):
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            events += [(kind, _decode(kind, body)) for kind, _, body in _messages(data)]
        return events, lost

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _open(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.bind((0, groups))
    return opened


def _request(kind: int, fields: Mapping[str, Any], attributes: Mapping[str, Any], flags: int, sequence: int) -> bytes:
    message = _REQUESTS[kind]()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message["header"] = {
        "type": kind,
        "flags": NLM_F_REQUEST | flags,
        "sequence_number": sequence,
        "pid": 0,
    }
    message.encode()
    return bytes(message.data)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and whole message, header included."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[offset : offset + length]
        offset += (length + 3) & ~3


def _decode(kind: int, body: bytes) -> Any:
    if kind not in _CLASSES:
        return None
    message = _CLASSES[kind](body)
    message.decode()
    return message


def _raise(body: bytes) -> None:
    """Raise what an NLMSG_ERROR says, unless it says success or that there is no such thing."""
    code = -struct.unpack_from("=i", body, _HEADER.size)[0]
    if code not in (0, errno.ENOENT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV, errno.ESRCH):
        raise OSError(code, f"netlink: {os.strerror(code)}")
