# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of a call: taken, given back and taken up again for all its m-lines at once, all or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ctl.sessions.call_media import Media
from ctl.sessions.ports import Ports, PortsExhausted
from ctl.sessions.streams import Endpoint, Stream
from sip.effects import Leg


class CallPorts:
    """Deals with a host's ports by calls. Endpoints are relay addresses and RTP ports; RTCP's is the one above."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def take(
        self, agreed: Media, relays: Mapping[Leg, str], streams: Sequence[Stream], now: float
    ) -> dict[Leg, tuple[int | None, ...]]:
        """Return our ports of the legs of `relays`: those agreed on, and new ones where a live m-line has none.

        Raises PortsExhausted.
        """
        fresh: list[Endpoint] = []

        def port(leg: Leg, index: int, stream: Stream) -> int | None:
            have = agreed.port(leg, index) if agreed.relays.get(leg) == relays[leg] else None
            if have is None and stream.rtp_port:
                have = self._ports.take(relays[leg], now)
                fresh.append((relays[leg], have))
            return have

        try:
            return {leg: tuple(port(leg, i, stream) for i, stream in enumerate(streams)) for leg in relays}
        except PortsExhausted:
            for endpoint in fresh:
                self._ports.give_back(*endpoint)
            raise

    def release(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Give ports up, to quarantine."""
        for address, port in endpoints:
            self._ports.release(address, port, now)

    def restore(self, endpoints: Iterable[Endpoint]) -> None:
        """Take ports that an earlier process had. Raises ValueError where one is not free, or not ours any more."""
        restored: list[Endpoint] = []
        try:
            for endpoint in endpoints:
                self._ports.restore(*endpoint)
                restored.append(endpoint)
        except ValueError:
            for endpoint in restored:
                self._ports.give_back(*endpoint)
            raise
