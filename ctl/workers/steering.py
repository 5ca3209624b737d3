# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that came to the worker that they are not for, and those that go by a connection of another worker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Set
from itertools import chain
from typing import Any

from ctl.workers.affinity import Affinity
from sip.effects import Address, Send
from sip.errors import ParseError
from sip.facts import fact
from sip.handlers import Handlers

MAX_CONNECTIONS = 200_000
Packed = tuple[Any, ...]


def pack(address: Address | None) -> Packed | None:
    """An address as a link carries it, its certificate included."""
    return None if address is None else (*address.packed, address.certified)


def unpack(packed: Packed | None) -> Address | None:
    """The address that gave `packed`."""
    return None if packed is None else Address(*packed)


@fact
class SendFor(Send):
    """A message that is sent for another worker, who is told where it does not go out."""

    worker: int = -1


class Steered:
    """What a worker's transports tell of: what is its own goes to its conductor, the rest to whose it is.

    tell: to the controller, which passes it on. transmit: sends by the transports of this worker. connected: whether
    this worker has a connection to a peer.
    """

    def __init__(
        self,
        number: int,
        affinity: Affinity,
        conductor: Handlers,
        tell: Callable[..., None],
        transmit: Callable[[Send], None],
        connected: Callable[[Address], bool],
    ) -> None:
        self._number = number
        self._affinity = affinity
        self._conductor = conductor
        self._tell, self._transmit, self._has = tell, transmit, connected
        self._connections: OrderedDict[Address, int] = OrderedDict()
        """Which worker has the connection to a peer."""
        self._needed: dict[int, frozenset[Address]] = {}
        """Peers that each other worker needs our connections to."""
        self.handed = 0
        """Messages that were another worker's."""

    # --- what transports tell of ---

    def received(self, data: bytes, source: Address, local: Address) -> None:
        """See Handlers."""
        worker = self._affinity.place(data)
        if worker == self._number:
            self._conductor.received(data, source, local)
        else:
            self.handed += 1
            self._tell("hand", worker, self._number, data, pack(source), pack(local))

    def unreadable(self, error: ParseError, source: Address, local: Address) -> None:
        """See Handlers."""
        self._conductor.unreadable(error, source, local)

    def parted(self, peer: Address) -> None:
        """See Handlers."""
        self._conductor.parted(peer)

    def undelivered(self, effect: Send) -> None:
        """See Handlers."""
        if isinstance(effect, SendFor):
            self._tell("lost", effect.worker, effect.data, pack(effect.target), pack(effect.local))
        else:
            self._conductor.undelivered(effect)

    def wanted(self) -> Set[Address]:
        """See Handlers."""
        return {*self._conductor.wanted(), *chain.from_iterable(self._needed.values())}

    # --- what other workers tell of ---

    def handed_over(self, origin: int, data: bytes, source: Packed, local: Packed) -> None:
        """A message that came to another worker, `origin`, is for us, or for whom we know."""
        peer = Address(*source)
        if peer.reliable:
            self.connected(peer, origin)
        worker = self._affinity.place_again(data)
        if worker == self._number:
            self._conductor.received(data, peer, Address(*local))
        else:
            self._tell("hand", worker, origin, data, source, local)

    def connected(self, peer: Address, worker: int) -> None:
        """Another worker has the connection to this peer."""
        if worker == self._number or worker < 0:
            return
        self._connections[peer] = worker
        self._connections.move_to_end(peer)
        if len(self._connections) > MAX_CONNECTIONS:
            self._connections.popitem(last=False)

    def way(self, peer: Address) -> int:
        """The worker that has the connection to this peer, as far as this one knows; -1: none."""
        if not peer.reliable:
            return -1
        return self._number if self._has(peer) else self._connections.get(peer, -1)

    def send_for(self, worker: int, data: bytes, target: Packed, local: Packed | None) -> None:
        """Another worker sends by a connection of ours."""
        self._transmit(SendFor(data, Address(*target), unpack(local), worker))

    def lost_for_us(self, _worker: int, data: bytes, target: Packed, local: Packed | None) -> None:
        """What we sent by another worker's connection did not go out."""
        self._connections.pop(Address(*target), None)
        self._conductor.undelivered(Send(data, Address(*target), unpack(local)))

    def needed(self, worker: int, peers: Iterable[Packed]) -> None:
        """Another worker needs our connections to these peers, and to no others."""
        self._needed[worker] = frozenset(Address(*peer) for peer in peers)

    # --- what our conductor sends ---

    def send(self, effect: Send) -> None:
        """Send a message by whose connection it goes."""
        target = effect.target
        worker = self._connections.get(target) if target.reliable else None
        if worker is None or self._has(target):
            self._transmit(effect)
        else:
            self._tell("send", worker, effect.data, pack(target), pack(effect.local))

    def needs(self) -> dict[int, list[Packed]]:
        """Return the peers that we need other workers' connections to, by worker."""
        found: dict[int, list[Packed]] = {}
        for peer in self._conductor.wanted():
            worker = self._connections.get(peer)
            if worker is not None:
                found.setdefault(worker, []).append(peer.packed)
        return found
