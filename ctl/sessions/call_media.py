# SPDX-License-Identifier: GPL-3.0-or-later
"""The media of one call as both sides have agreed on it, and the exchange that may replace it.

An offer only proposes: ports are taken for it, but what was agreed before goes on until the answer is here, and
comes back if the exchange fails. An exchange can be answered more than once, early and finally (RFC 3261 13.2.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ctl.sessions.plan import Codec, Endpoint, Stream
from ctl.sessions.security import CryptoLine, Protection, Spoken
from sip.effects import Leg

LEGS: tuple[Leg, Leg] = ("a", "b")


@dataclass(frozen=True, slots=True)
class Media:
    """relays: our address that each leg sends to. ports: for each leg, our RTP port of each m-line, None where no
    pair is taken. streams: for each leg that has described itself, its m-lines. latching: the legs that may send from
    anywhere. shown: what each leg is told of our address, where it is another. offered: what protection the leg that
    answers was offered, by m-line; protections: what came of it, for each leg. added: what it was offered beside the
    codecs of the other, by m-line, telephone events included.
    """

    relays: Mapping[Leg, str] = field(default_factory=dict)
    ports: Mapping[Leg, tuple[int | None, ...]] = field(default_factory=dict)
    streams: Mapping[Leg, tuple[Stream, ...]] = field(default_factory=dict)
    latching: tuple[Leg, ...] = ()
    shown: Mapping[Leg, str] = field(default_factory=dict)
    offered: tuple[Spoken, ...] = ()
    protections: Mapping[Leg, tuple[Protection, ...]] = field(default_factory=dict)
    added: tuple[tuple[Codec, ...], ...] = ()

    def port(self, leg: Leg, index: int) -> int | None:
        """Return our RTP port that `leg` sends m-line `index` to."""
        ports = self.ports.get(leg, ())
        return ports[index] if index < len(ports) else None

    def address(self, leg: Leg) -> str:
        """Return our address as `leg` is told it."""
        return self.shown.get(leg, self.relays[leg])

    def taken(self) -> frozenset[Endpoint]:
        """Return all pairs that are taken, by address and RTP port."""
        return frozenset(self._taken())

    @property
    def agreed(self) -> bool:
        """Whether both legs have described themselves."""
        return len(self.streams) == len(LEGS)

    def without_house(self) -> Media:
        """Return the same as if a leg that is ourselves had said nothing, for whoever comes is somebody else."""
        ours = [leg for leg, streams in self.streams.items() if any(stream.house for stream in streams)]
        if not ours:
            return self
        kept = {leg: relay for leg, relay in self.relays.items() if leg not in ours}
        return replace(self, relays=kept, streams={leg: each for leg, each in self.streams.items() if leg not in ours})

    def settled(self) -> Media:
        """Return the same without ports for m-lines that one of the legs has refused."""
        if not self.agreed:
            return self
        live = [all(stream.rtp_port for stream in both) for both in zip(*self.streams.values(), strict=True)]
        kept = {
            leg: tuple(port if alive else None for port, alive in zip(ports, live, strict=True))
            for leg, ports in self.ports.items()
        }
        return replace(self, ports=kept)

    def _taken(self) -> Iterator[Endpoint]:
        for leg, ports in self.ports.items():
            for port in ports:
                if port is not None:
                    yield self.relays[leg], port


_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(each.name for each in fields(kind)) for kind in (Media, Stream, Codec, Spoken, Protection, CryptoLine)
}


@dataclass(slots=True)
class CallMedia:
    """agreed: what both legs have; proposed: what the exchange under way makes of it; offerer: who began that.

    blocked: legs of which no media is passed on, whatever they agree on.
    """

    agreed: Media = field(default_factory=Media)
    proposed: Media | None = None
    offerer: Leg | None = None
    blocked: frozenset[Leg] = frozenset()

    @property
    def current(self) -> Media:
        """The media whose flows are programmed: the proposed one once it is answered."""
        return self.proposed if self.proposed and self.proposed.agreed else self.agreed

    def address(self, leg: Leg) -> str:
        """Return our address toward a leg."""
        return (self.proposed or self.agreed).relays[leg]

    def taken(self) -> frozenset[Endpoint]:
        """Return all pairs that are taken for the call."""
        return self.agreed.taken() | (self.proposed.taken() if self.proposed else frozenset())

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes the same of, in values that JSON can carry."""
        return {
            "agreed": _state(self.agreed),
            "proposed": _state(self.proposed),
            "offerer": self.offerer,
            "blocked": sorted(self.blocked),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> CallMedia:
        """Return what `to_json` was called on. Raises KeyError or TypeError if it is something else."""
        proposed = state["proposed"]
        blocked = frozenset(state.get("blocked", ()))
        return cls(_media(state["agreed"]), proposed and _media(proposed), state["offerer"], blocked)


def _state(value: Any) -> Any:
    """What is written with every change of every call; `dataclasses.asdict` also copies what need not be copied."""
    kind = type(value)
    if kind is tuple:
        return tuple(map(_state, value)) if value else value
    if kind is dict:
        return {key: _state(each) for key, each in value.items()}
    names = _FIELDS.get(kind)
    return {name: _state(getattr(value, name)) for name in names} if names else value


def _media(state: Mapping[str, Any]) -> Media:
    return Media(
        relays=dict(state["relays"]),
        ports={leg: tuple(ports) for leg, ports in state["ports"].items()},
        streams={leg: tuple(map(_stream, streams)) for leg, streams in state["streams"].items()},
        latching=tuple(state.get("latching", ())),  # neither is in a journal of before
        shown=dict(state.get("shown", {})),
        offered=tuple(map(_spoken, state.get("offered", ()))),
        protections={leg: tuple(map(_protection, known)) for leg, known in state.get("protections", {}).items()},
        added=tuple(tuple(Codec(**codec) for codec in codecs) for codecs in state.get("added", ())),
    )


def _stream(state: Mapping[str, Any]) -> Stream:
    made = {
        "codecs": tuple(Codec(**codec) for codec in state["codecs"]),
        "telephone_events": tuple(state["telephone_events"]),
        "event_clocks": tuple(state.get("event_clocks", ())),
        "cryptos": _lines(state["cryptos"]),
    }
    return Stream(**{**state, **made})


def _spoken(state: Mapping[str, Any]) -> Spoken:
    return Spoken(**{**state, "cryptos": _lines(state["cryptos"])})


def _protection(state: Mapping[str, Any]) -> Protection:
    made = {name: state[name] and CryptoLine(**state[name]) for name in ("sends", "receives")}
    return Protection(**{**state, **made})


def _lines(state: Sequence[Mapping[str, Any]]) -> tuple[CryptoLine, ...]:
    return tuple(CryptoLine(**line) for line in state)
