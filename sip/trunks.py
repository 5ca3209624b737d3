# SPDX-License-Identifier: GPL-3.0-or-later
"""All trunks and what is known of each: whose call comes in, whether it answers, how many calls it carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from sip.agent import Agent
from sip.causes import cause_of
from sip.client_auth import ClientAuth
from sip.effects import Address
from sip.hunt import Ending
from sip.identity import escaped
from sip.outgoing import Destination
from sip.sharing import Channels, OwnChannels
from sip.trunk import Trunk
from sip.trunk_state import Standing, TrunkState

_NO_CIRCUIT = 34


class Trunks:
    """The trunks by name. leads: whether it is we who register with them and ask them whether they are there."""

    def __init__(self, agent: Agent, channels: Channels | None = None, leads: bool = True) -> None:
        self._agent = agent
        self._channels = channels or OwnChannels()
        self._leads = leads
        self._states: dict[str, TrunkState] = {}
        self._known: dict[str, Trunk] = {}
        self._taken: Counter[str] = Counter()
        """Channels that calls have been let in for which have no leg there yet."""

    def __iter__(self) -> Iterator[TrunkState]:
        return iter(self._states.values())

    @property
    def known(self) -> Mapping[str, Trunk]:
        """All trunks."""
        return MappingProxyType(self._known)

    def replace(self, trunks: Iterable[Trunk], now: float) -> None:
        """Have these trunks and no others. One that is as it was goes on undisturbed; its calls do in any case."""
        wanted = {trunk.name: trunk for trunk in trunks}
        for name, state in self._states.items():
            if self._leads and wanted.get(name) != state.trunk:
                state.stop(now)
        self._states = {name: self._state(trunk, now) for name, trunk in wanted.items()}
        self._known = wanted
        self._agent.names = {name: escaped(trunk.known_as) for name, trunk in wanted.items()}

    def find(self, name: str) -> TrunkState | None:
        """The trunk of this name."""
        return self._states.get(name)

    def caller(self, source: Address) -> Trunk | None:
        """The trunk that a new call from `source` is of: by its certificate where it has one, else by address."""
        for state in self._states.values():
            trunk = state.trunk
            if trunk.certificates:
                known = not set(source.certified).isdisjoint(trunk.certificates)
            else:
                known = trunk.knows(source.host)
            if known:
                return trunk
        return None

    def admit(self, destination: Destination) -> Ending | None:
        """Why a call cannot take this trunk now: out of order, or full."""
        state = self._states.get(destination.trunk)
        if destination.urgent or state is None:
            return None
        if not state.up(destination.address):
            return Ending(503, cause_of(502), "server", "Trunk Out Of Order", destination.trunk)
        if not self.take(destination.trunk):
            return Ending(503, _NO_CIRCUIT, "server", "No Channel Free", destination.trunk)
        return None

    def take(self, name: str) -> bool:
        """Take a channel for a leg that is to be there at once; whether there was one."""
        state = self._states.get(name)
        if state is None or not state.trunk.channels:
            return True
        if not self._channels.take(name, state.trunk.channels):
            return False
        self._taken[name] += 1
        return True

    def auth(self, name: str) -> ClientAuth | None:
        """What to answer the challenges of a trunk with."""
        state = self._states.get(name)
        return ClientAuth(state.trunk.login) if state and state.trunk.login else None

    def carry(self, name: str, calls: int) -> None:
        """So many calls more, or fewer, on a trunk, "" for none."""
        if not name:
            return
        if calls > 0 and self._taken[name]:
            self._taken[name] -= 1
        else:
            self._channels.add(name, calls)

    def standing(self) -> list[Standing]:
        """How each trunk stands, for those who do not lead."""
        return [state.standing for state in self._states.values()]

    def follow(self, standings: Iterable[Standing]) -> None:
        """Take over how trunks stand, from the one who leads."""
        for standing in standings:
            if state := self._states.get(standing.trunk):
                state.standing = standing

    def _state(self, trunk: Trunk, now: float) -> TrunkState:
        before = self._states.get(trunk.name)
        if before and before.trunk == trunk:
            return before
        state = TrunkState(self._agent, trunk, self._channels.calls)
        if self._leads:
            state.start(now)
        return state
