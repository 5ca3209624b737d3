# SPDX-License-Identifier: GPL-3.0-or-later
"""Which UDP ports of the relay addresses are free: pairs of an even RTP port and the odd RTCP port above it.

A port that can be guessed, or that comes back while its last peer may still send, is where strangers' audio
leaks. So pairs are drawn at random over the whole range and rest in quarantine before they are drawn again.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import partial

from sip.facts import fact

Random = Callable[[int], int]
"""Random(n): a whole number in [0, n), each equally likely and none foreseeable, as secrets.randbelow."""

QUARANTINE = 60.0
_TAKEN = 0xFFFF
_RESTING = 0xFFFE
_OTHERS = 0xFFFD


class PortsExhausted(Exception):
    """Every pair of the address is in use or in quarantine; the call is answered with 503."""


@fact
class PortShare:
    """Which pairs one of several processes may draw: every `of`-th, but for those that another one holds already.

    held: pairs, by address and even port, that the process of the number has a call on, whoever's they would be.
    """

    number: int = 0
    of: int = 1
    held: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def owner(self, address: str, port: int) -> int:
        """Return whose a port is, even or odd."""
        return self.held.get((address, port & ~1), (port >> 1) % self.of)

    def mine(self, address: str, port: int) -> bool:
        """Return whether it is ours."""
        return self.owner(address, port) == self.number

    def drawn(self, address: str, port: int) -> bool:
        """Return whether we may ever draw it."""
        return (port >> 1) % self.of == self.number and self.mine(address, port)


WHOLE = PortShare()


class Ports:
    """The port pairs of all relay addresses, between `first` and `last` inclusive, each on its own."""

    def __init__(
        self,
        addresses: Iterable[str],
        first: int,
        last: int,
        random: Random,
        quarantine: float = QUARANTINE,
        share: PortShare = WHOLE,
    ) -> None:
        self.span = first, last
        self._pools = {
            address: _Pool(first, last, random, quarantine, partial(share.drawn, address)) for address in addresses
        }

    def take(self, address: str, now: float) -> int:
        """Return the even port of a free pair; raise PortsExhausted. `now`: seconds of any steady clock."""
        port = self._pool(address).take(now)
        if port is None:
            raise PortsExhausted(
                f"no free media port on {address}; widen media.port_min to media.port_max or add an address"
            )
        return port

    def release(self, address: str, port: int, now: float) -> None:
        """Put a pair into quarantine; raise ValueError if it was not taken."""
        self._pool(address).release(port, now)

    def give_back(self, address: str, port: int) -> None:
        """Undo `take` of a pair that no peer was told of: it is free at once; raise ValueError if not taken."""
        self._pool(address).give_back(port)

    def restore(self, address: str, port: int) -> None:
        """Take the pair at `port`, known from before a restart; raise ValueError if it is not free."""
        self._pool(address).restore(port)

    def free(self, address: str, now: float) -> int:
        """Return how many pairs could be taken now."""
        return self._pool(address).free(now)

    def taken(self, address: str) -> int:
        """Return how many pairs are in use."""
        return self._pool(address).taken

    def used(self) -> float:
        """Return the part of all pairs that is in use, 0 to 1; of the address where it is the largest."""
        return max((pool.taken / pool.size for pool in self._pools.values()), default=0.0)

    def _pool(self, address: str) -> _Pool:
        try:
            return self._pools[address]
        except KeyError:
            raise ValueError(f"{address} is no relay address; see media.addresses") from None


class _Pool:
    """Pairs by number: `free` lists the free ones in no order, `place` says where in it each one stands.

    Taking one puts the last into its place, so every operation costs the same however full the pool is.
    """

    def __init__(self, first: int, last: int, random: Random, quarantine: float, ours: Callable[[int], bool]) -> None:
        self._base = first + (first & 1)
        pairs = max(0, (last + 1 - self._base) // 2)
        self._random = random
        self._quarantine = quarantine
        self._ours = ours
        self._free = array("H", (pair for pair in range(pairs) if ours(self._base + 2 * pair)))
        self._place = array("H", [_OTHERS]) * pairs
        for place, pair in enumerate(self._free):
            self._place[pair] = place
        self._size = len(self._free)
        self._beyond = 0
        """Pairs taken by `restore` that we do not draw."""
        self._resting: deque[tuple[float, int]] = deque()

    @property
    def size(self) -> int:
        return max(self._size, 1)

    @property
    def taken(self) -> int:
        return self._size + self._beyond - len(self._free) - len(self._resting)

    def free(self, now: float) -> int:
        self._wake(now)
        return len(self._free)

    def take(self, now: float) -> int | None:
        self._wake(now)
        if not self._free:
            return None
        return self._remove(self._free[self._random(len(self._free))])

    def release(self, port: int, now: float) -> None:
        pair = self._taken(port)
        if not self._ours(port):
            self._place[pair] = _OTHERS
            self._beyond -= 1
            return
        self._place[pair] = _RESTING
        self._resting.append((now + self._quarantine, pair))

    def give_back(self, port: int) -> None:
        self._add(self._taken(port))

    def restore(self, port: int) -> None:
        pair = self._number(port)
        if self._place[pair] == _OTHERS:
            self._place[pair] = _TAKEN
            self._beyond += 1
            return
        if self._place[pair] >= _RESTING:
            raise ValueError(f"media port {port} is not free")
        self._remove(pair)

    def _number(self, port: int) -> int:
        pair, odd = divmod(port - self._base, 2)
        if odd or not 0 <= pair < len(self._place):
            raise ValueError(f"{port} is not an even port of the media range")
        return pair

    def _taken(self, port: int) -> int:
        pair = self._number(port)
        if self._place[pair] != _TAKEN:
            raise ValueError(f"media port {port} was not taken")
        return pair

    def _remove(self, pair: int) -> int:
        last = self._free.pop()
        if last != pair:
            self._free[self._place[pair]] = last
            self._place[last] = self._place[pair]
        self._place[pair] = _TAKEN
        return self._base + 2 * pair

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._add(self._resting.popleft()[1])

    def _add(self, pair: int) -> None:
        self._place[pair] = len(self._free)
        self._free.append(pair)
