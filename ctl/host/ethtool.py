# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interface's driver says of itself: the questions of ethtool(8) that need no privilege."""

from __future__ import annotations

import fcntl
import socket
import struct
from array import array
from dataclasses import dataclass

SIOCETHTOOL, SIOCGIFFLAGS, SIOCGIFMTU = 0x8946, 0x8913, 0x8921
IFF_UP = 1
GET_DRIVER, GET_TX_CHECKSUM, GET_FLAGS, GET_GRO, GET_CHANNELS = 0x03, 0x16, 0x25, 0x2B, 0x3C
FLAG_RX_VLAN, FLAG_LRO = 1 << 8, 1 << 15
DRIVER_SIZE, CHANNELS_SIZE = 196, 36


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """None: the driver does not say. queues: receive queues in use; queues_max: that the card has."""

    driver: str | None = None
    lro: bool | None = None
    gro: bool | None = None
    tx_checksum: bool | None = None
    rx_vlan: bool | None = None
    queues: int | None = None
    queues_max: int | None = None


def settings(interface: str) -> DriverSettings:
    """Ask the driver; for an interface that is not there every answer is None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        driver = _ask(asker, interface, GET_DRIVER, DRIVER_SIZE)
        flags = _value(asker, interface, GET_FLAGS)
        gro, checksum = _value(asker, interface, GET_GRO), _value(asker, interface, GET_TX_CHECKSUM)
        channels = _ask(asker, interface, GET_CHANNELS, CHANNELS_SIZE)
    queues = queues_max = None
    if channels:
        _, rx_max, _, _, combined_max, rx, _, _, combined = struct.unpack("=9I", channels)
        queues, queues_max = rx + combined, rx_max + combined_max
    return DriverSettings(
        driver=driver[4:36].split(b"\0")[0].decode() if driver else None,
        lro=None if flags is None else bool(flags & FLAG_LRO),
        gro=None if gro is None else bool(gro),
        tx_checksum=None if checksum is None else bool(checksum),
        rx_vlan=None if flags is None else bool(flags & FLAG_RX_VLAN),
        queues=queues,
        queues_max=queues_max,
    )


def mtu(interface: str) -> int:
    """Bytes that a frame may carry; 0: there is no such interface in this network namespace."""
    return _of_interface(interface, SIOCGIFMTU, "i")


def is_up(interface: str) -> bool:
    """Whether it is switched on, as by `ip link set up`."""
    return bool(_of_interface(interface, SIOCGIFFLAGS, "h") & IFF_UP)


def _of_interface(interface: str, question: int, code: str) -> int:
    """One value of a struct ifreq, netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            answer = fcntl.ioctl(asker, question, struct.pack("16s16x", interface.encode()[:15]))
        except OSError:
            return 0
    return int(struct.unpack_from(code, answer, 16)[0])


def _value(asker: socket.socket, interface: str, question: int) -> int | None:
    answer = _ask(asker, interface, question, 8)
    return struct.unpack("=4xI", answer)[0] if answer else None


def _ask(asker: socket.socket, interface: str, question: int, size: int) -> bytes | None:
    """One struct of linux/ethtool.h, which the kernel fills in; None if the driver does not know the question."""
    answer = array("B", struct.pack("=I", question) + bytes(size - 4))
    request = struct.pack("16sP", interface.encode()[:15], answer.buffer_info()[0])
    try:
        fcntl.ioctl(asker, SIOCETHTOOL, request)
    except OSError:
        return None
    return answer.tobytes()
