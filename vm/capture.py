# SPDX-License-Identifier: GPL-3.0-or-later
"""What crossed an endpoint's wire: RTP streams counted from a capture, and whether the relay stood between.

Sent at one end and received at the other are compared by SSRC and sequence number, which a relay keeps.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import signal
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vm import namespace
from vm.lab import Lab
from vm.process import PATIENCE, POLL, LabError
from vm.topology import Endpoint

MICROSECONDS = 0xA1B2C3D4
SIP_PORT = 5060
DISCARD = 9
AGAIN = 1.0
"""Seconds after which a mark is taken to be lost."""
TAIL = 1 << 16
ANSWER = re.compile(rb"SIP/2\.0 200 .*?\r\nCSeq:\s*\d+\s+INVITE", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram. time: seconds since the epoch; source, target: (address, port)."""

    time: float
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes

    @property
    def is_sip(self) -> bool:
        """To or from the SIP port."""
        return SIP_PORT in (self.source[1], self.target[1])

    @property
    def is_rtcp(self) -> bool:
        """RTCP by its packet type, as RFC 5761 section 4 tells it from RTP."""
        return self._version_2 and 192 <= self.payload[1] <= 223

    @property
    def is_rtp(self) -> bool:
        """RTP version 2 with its whole fixed header."""
        return self._version_2 and len(self.payload) >= 12 and not self.is_rtcp

    @property
    def packet(self) -> tuple[int, int]:
        """(SSRC, sequence number) of an RTP packet."""
        sequence, _, ssrc = struct.unpack_from("!HII", self.payload, 2)
        return ssrc, sequence

    @property
    def _version_2(self) -> bool:
        return not self.is_sip and len(self.payload) >= 8 and self.payload[0] >> 6 == 2


class Capture:
    """tcpdump on an endpoint's interface, from construction to `stop`."""

    def __init__(self, lab: Lab, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.path = lab.directory / f"{endpoint.interface}.pcap"
        options = [
            "-i",
            endpoint.interface,
            "--immediate-mode",
            "-U",
            "-B",
            "16384",
            "-s",
            "2048",
            "-Z",
            "root",
            "-w",
            str(self.path),
        ]
        self._process = lab.spawn(
            endpoint.namespace, "tcpdump", *options, "udp", log=f"{endpoint.interface}.tcpdump.log"
        )
        self._process.wait_for("start", lambda text: "listening on" in text)

    def stop(self) -> list[Datagram]:
        """End the capture and return what it saw until now; LabError if the kernel dropped any of it."""
        mark = self._caught_up()
        self._process.stop(signal.SIGINT)
        said = self._process.text()
        if not re.search(r"^0 packets dropped by kernel", said, re.MULTILINE):
            raise LabError(f"the capture at {self.endpoint.interface} is not complete; the machine is overloaded")
        return [datagram for datagram in read(self.path) if datagram.payload != mark]

    def _caught_up(self) -> bytes:
        """Send what nobody wants and wait until it is written, for tcpdump ends without what still waits for it."""
        mark = b"end of capture " + secrets.token_bytes(16)
        deadline = time.monotonic() + PATIENCE
        with namespace.datagram_socket(self.endpoint.namespace, (self.endpoint.address, 0)) as sender:
            while time.monotonic() < deadline:
                sender.sendto(mark, (self.endpoint.relay, DISCARD))
                again = time.monotonic() + AGAIN
                while time.monotonic() < again:
                    if mark in self._last():
                        return mark
                    time.sleep(POLL)
        raise LabError(f"the capture at {self.endpoint.interface} is {PATIENCE:g} s behind; the machine is overloaded")

    def _last(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL))
            return file.read()


@dataclass(frozen=True, slots=True)
class Passage:
    """RTP from one endpoint to the other: packets sent, and those of them that never arrived."""

    sent: int
    lost: int


def passage(sent: Iterable[Datagram], received: Iterable[Datagram], source: Endpoint, sink: Endpoint) -> Passage:
    """Compare what left `source` with what reached `sink`, by SSRC and sequence number."""
    left = [datagram.packet for datagram in rtp(sent) if datagram.source[0] == source.address]
    arrived = {datagram.packet for datagram in rtp(received) if datagram.target[0] == sink.address}
    return Passage(len(left), sum(packet not in arrived for packet in left))


def rtp(datagrams: Iterable[Datagram]) -> Iterator[Datagram]:
    """Only the RTP packets."""
    return (datagram for datagram in datagrams if datagram.is_rtp)


def strangers(datagrams: Iterable[Datagram], endpoint: Endpoint) -> set[str]:
    """Addresses other than the relay's that the endpoint exchanged RTP or RTCP with: empty if it stood between."""
    media = [datagram for datagram in datagrams if datagram.is_rtp or datagram.is_rtcp]
    ends = {datagram.source[0] for datagram in media} | {datagram.target[0] for datagram in media}
    return ends - {endpoint.address, endpoint.relay}


def talking(datagrams: Iterable[Datagram]) -> list[tuple[float, float]]:
    """The times from each ACK of an answer to the BYE that ends the call, as seen at this endpoint."""
    spans: list[tuple[float, float]] = []
    answered = False
    began: float | None = None
    for datagram in datagrams:
        if not datagram.is_sip:
            continue
        if ANSWER.match(datagram.payload):
            answered = True
        elif datagram.payload.startswith(b"ACK ") and answered and began is None:
            began = datagram.time
        elif datagram.payload.startswith(b"BYE ") and began is not None:
            spans.append((began, datagram.time))
            began, answered = None, False
    return spans


def read(path: Path) -> Iterator[Datagram]:
    """The whole UDP datagrams over IPv4 of an Ethernet capture, oldest first."""
    data = path.read_bytes()
    if len(data) < 24 or struct.unpack_from("=I", data)[0] != MICROSECONDS:
        raise LabError(f"{path} is not a capture of this machine's tcpdump")
    offset = 24
    while offset + 16 <= len(data):
        seconds, micros, length, _ = struct.unpack_from("=IIII", data, offset)
        offset += 16
        datagram = _datagram(seconds + micros / 1e6, data[offset : offset + length])
        offset += length
        if datagram is not None:
            yield datagram


def _datagram(time: float, frame: bytes) -> Datagram | None:
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None
    if struct.unpack_from("!H", frame, 20)[0] & 0x1FFF:
        return None
    start = 14 + (frame[14] & 0x0F) * 4
    source_port, target_port, length = struct.unpack_from("!HHH", frame, start)
    source, target = (str(ipaddress.IPv4Address(frame[place : place + 4])) for place in (26, 30))
    return Datagram(time, (source, source_port), (target, target_port), frame[start + 8 : start + length])
