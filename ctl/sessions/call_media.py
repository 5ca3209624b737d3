# SPDX-License-Identifier: GPL-3.0-or-later
"""The media of one call as both sides have agreed on it, and the exchange that may replace it.

An offer only proposes: ports are taken for it, but what was agreed before goes on until the answer is here, and
comes back if the exchange fails. An exchange can be answered more than once, early and finally (RFC 3261 13.2.1).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, NamedTuple

from ctl.journal import encode
from ctl.sessions.codecs import Dtmf
from ctl.sessions.ice import Candidate, IceOwn, IcePair, IcePolicy, IceSaid
from ctl.sessions.relay_choice import Moves
from ctl.sessions.security import CryptoLine, Policy, Protection, Spoken
from ctl.sessions.streams import Codec, Endpoint, Stream
from ctl.sessions.terms import USUAL, Mux, Terms
from ctl.sessions.treatment import NOTHING, Treatments
from sip.effects import Leg
from sip.facts import fact

LEGS: tuple[Leg, Leg] = ("a", "b")


@fact
class Media:
    """relays: our address that each leg sends to. ports: for each leg, our RTP port of each m-line, None where no
    pair is taken. streams: for each leg that has described itself, its m-lines. latching: the legs that may send from
    anywhere. shown: what each leg is told of our address, where it is another. offered: what protection the leg that
    answers was offered, by m-line; protections: what came of it, for each leg. added: what it was offered beside the
    codecs of the other, by m-line, telephone events included. muxed: for each leg whether its RTCP comes beside RTP,
    by m-line. policies: whether ICE is spoken with each leg; ices: what we say of it, by m-line, None where it is not.
    """

    relays: Mapping[Leg, str] = field(default_factory=dict)
    ports: Mapping[Leg, tuple[int | None, ...]] = field(default_factory=dict)
    streams: Mapping[Leg, tuple[Stream, ...]] = field(default_factory=dict)
    latching: tuple[Leg, ...] = ()
    shown: Mapping[Leg, str] = field(default_factory=dict)
    offered: tuple[Spoken, ...] = ()
    protections: Mapping[Leg, tuple[Protection, ...]] = field(default_factory=dict)
    added: tuple[tuple[Codec, ...], ...] = ()
    terms: Terms = USUAL
    muxed: Mapping[Leg, tuple[bool, ...]] = field(default_factory=dict)
    policies: Mapping[Leg, IcePolicy] = field(default_factory=dict)
    ices: Mapping[Leg, tuple[IceOwn | None, ...]] = field(default_factory=dict)
    dtmf: Mapping[Leg, Dtmf] = field(default_factory=dict)
    """How digits reach each leg, where that was said."""
    moves: Mapping[Leg, Moves] = field(default_factory=dict)
    """Of whose source more is asked than latching."""
    ptimes: Mapping[Leg, int] = field(default_factory=dict)
    """Milliseconds of sound in each packet to a leg, where that was asked for."""
    srtp: Policy | None = None
    """Whether the leg that offers is protected, where that is not as with all others."""

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

    def expecting(self, leg: Leg) -> Iterator[Endpoint]:
        """Return our RTP ports toward a leg that was offered our fingerprint and has not answered."""
        for index, spoken in enumerate(self.offered if not self.agreed else ()):
            port = self.port(leg, index)
            if port is not None and spoken.fingerprint:
                yield self.relays[leg], port

    @property
    def agreed(self) -> bool:
        """Whether both legs have described themselves."""
        return len(self.streams) == len(LEGS)

    def of(self, leg: Leg) -> Media:
        """Return our addresses and ports toward one leg, and nothing else."""
        return Media({leg: self.relays[leg]}, {leg: self.ports[leg]})

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


NOT_YET = Media()
"""What is agreed before the first answer."""
_WRITTEN = (Media, Terms, Mux, Stream, Codec, Spoken, Protection, CryptoLine, IceOwn, IceSaid, Candidate)


@dataclass(slots=True)
class CallMedia:
    """agreed: what both legs have; proposed: what the exchange under way makes of it; offerer: who began that.

    treatments: what is done to their media, whatever they agree on. pairs: what ICE has found, by our address and port.
    sides: what each side of those who ring together was offered, where there are several; shapes: in how many ways the
    last offer could be made.
    """

    agreed: Media = NOT_YET
    proposed: Media | None = None
    offerer: Leg | None = None
    treatments: Treatments = NOTHING
    pairs: Mapping[Endpoint, IcePair] = field(default_factory=dict)
    sides: Mapping[str, Media] = field(default_factory=dict)
    shapes: int = 1
    _written: tuple[tuple[Any, ...], str] = ((), "")

    @property
    def current(self) -> Media:
        """The media whose flows are programmed: the proposed one once it is answered."""
        return self.proposed if self.proposed and self.proposed.agreed else self.agreed

    def propose(self, media: Media, side: str) -> None:
        """Have this offered; side: beside what others were offered, of whom those of the side "" are the first."""
        if side and self.proposed:
            self.sides = {"": self.proposed, **self.sides, side: media}
        else:
            self.proposed, self.sides = media, {}

    def amend(self, media: Media) -> None:
        """Put this in place of the exchange under way, or else of what is agreed."""
        if self.proposed:
            self.proposed = media
        else:
            self.agreed = media

    def address(self, leg: Leg) -> str:
        """Return our address toward a leg."""
        return (self.proposed or self.agreed).relays[leg]

    def taken(self) -> frozenset[Endpoint]:
        """Return all pairs that are taken for the call."""
        offered = (*self.sides.values(), *([self.proposed] if self.proposed else []))
        return self.agreed.taken().union(*(media.taken() for media in offered))

    def expecting(self) -> frozenset[Endpoint]:
        """Return our RTP ports where who answers may begin a handshake before we have the answer.

        A first message that is lost is repeated only after a second, in which nothing is heard.
        """
        if self.offerer is None:
            return frozenset()
        there: Leg = "b" if self.offerer == "a" else "a"
        offered = (*self.sides.values(), *([self.proposed] if self.proposed else []))
        return frozenset(each for media in offered for each in media.expecting(there)) - self.agreed.taken()

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes the same of, in values that JSON can carry."""
        return {
            "agreed": {} if self.agreed is NOT_YET else _state(self.agreed),
            "proposed": _state(self.proposed),
            "offerer": self.offerer,
            "treatments": self.treatments.to_json(),
            **({"pairs": _pairs(self.pairs)} if self.pairs else {}),
            **({"sides": {side: _state(media) for side, media in self.sides.items()}} if self.sides else {}),
        }

    def to_text(self) -> str:
        """Return `to_json` as JSON, which is the same as long as nothing has changed: most saves are of that kind."""
        now = (self.agreed, self.proposed, self.offerer, self.treatments, self.pairs, self.sides)
        before, text = self._written
        if len(before) == len(now) and all(map(operator.is_, before, now)):
            return text
        self._written = now, encode(self.to_json())
        return self._written[1]

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> CallMedia:
        """Return what `to_json` was called on. Raises KeyError or TypeError if it is something else."""
        proposed = state["proposed"]
        treatments = Treatments.from_json(state.get("treatments", {}))
        pairs = {
            (host, port): IcePair(known, _endpoint(remote)) for host, port, known, remote in state.get("pairs", ())
        }
        sides = {side: _media(offered) for side, offered in state.get("sides", {}).items()}
        return cls(_media(state["agreed"]), proposed and _media(proposed), state["offerer"], treatments, pairs, sides)


class _Fields(NamedTuple):
    """How a dataclass is written: its fields, all their values at once, and what they are where nothing is said."""

    names: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    usual: tuple[Any, ...]

    @classmethod
    def of(cls, kind: type[Any]) -> _Fields:
        """Read off a dataclass."""
        names = tuple(each.name for each in fields(kind))
        return cls(names, attrgetter(*names), tuple(map(_usual, fields(kind))))


def _usual(each: Field[Any]) -> Any:
    """Of a field that must be said this is MISSING, which no value equals."""
    return each.default if each.default_factory is MISSING else each.default_factory()


_FIELDS: dict[type[Any], _Fields] = {kind: _Fields.of(kind) for kind in _WRITTEN}
_PLAIN = frozenset({str, int, float, bool, type(None)})


def _state(value: Any) -> Any:
    """What is written with every change of every call, and so without what goes without saying."""
    kind = type(value)
    if kind is tuple:
        return [each if type(each) in _PLAIN else _state(each) for each in value]
    if kind is dict:
        return {key: each if type(each) in _PLAIN else _state(each) for key, each in value.items()}
    known = _FIELDS.get(kind)
    if known is None:
        return value
    return {
        name: each if type(each) in _PLAIN else _state(each)
        for name, each, usual in zip(known.names, known.values(value), known.usual)  # noqa: B905 - all of one class
        if each is not usual and each != usual
    }


def _media(state: Mapping[str, Any]) -> Media:
    return Media(
        relays=dict(state.get("relays", {})),
        ports={leg: tuple(ports) for leg, ports in state.get("ports", {}).items()},
        streams={leg: tuple(map(_stream, streams)) for leg, streams in state.get("streams", {}).items()},
        latching=tuple(state.get("latching", ())),
        shown=dict(state.get("shown", {})),
        offered=tuple(map(_spoken, state.get("offered", ()))),
        protections={leg: tuple(map(_protection, known)) for leg, known in state.get("protections", {}).items()},
        added=tuple(tuple(Codec(**codec) for codec in codecs) for codecs in state.get("added", ())),
        terms=_terms(state.get("terms", {})),
        muxed={leg: tuple(each) for leg, each in state.get("muxed", {}).items()},
        policies=dict(state.get("policies", {})),
        ices={leg: _ices(known) for leg, known in state.get("ices", {}).items()},
        dtmf=dict(state.get("dtmf", {})),
        moves=dict(state.get("moves", {})),
        ptimes=dict(state.get("ptimes", {})),
        srtp=state.get("srtp"),
    )


def _terms(state: Mapping[str, Any]) -> Terms:
    return Terms(**{**state, "mux": Mux(**state.get("mux", {}))})


def _pairs(pairs: Mapping[Endpoint, IcePair]) -> list[Any]:
    return [[*local, pair.state, pair.remote] for local, pair in pairs.items()]


def _endpoint(value: Sequence[Any] | None) -> Endpoint | None:
    return (value[0], value[1]) if value else None


def _ices(state: Sequence[Mapping[str, Any] | None]) -> tuple[IceOwn | None, ...]:
    return tuple(IceOwn(**each) if each else None for each in state)


def _said(state: Mapping[str, Any] | None) -> IceSaid | None:
    if state is None:
        return None
    return IceSaid(**{**state, "candidates": tuple(Candidate(**each) for each in state.get("candidates", ()))})


def _stream(state: Mapping[str, Any]) -> Stream:
    made = {
        "codecs": tuple(Codec(**codec) for codec in state.get("codecs", ())),
        "telephone_events": tuple(state.get("telephone_events", ())),
        "event_clocks": tuple(state.get("event_clocks", ())),
        "cryptos": _lines(state.get("cryptos", ())),
        "ice": _said(state.get("ice")),
    }
    return Stream(**{**state, **made})


def _spoken(state: Mapping[str, Any]) -> Spoken:
    return Spoken(**{**state, "cryptos": _lines(state.get("cryptos", ()))})


def _protection(state: Mapping[str, Any]) -> Protection:
    made = {name: CryptoLine(**state[name]) for name in ("sends", "receives") if state.get(name)}
    return Protection(**{**state, **made})


def _lines(state: Sequence[Mapping[str, Any]]) -> tuple[CryptoLine, ...]:
    return tuple(CryptoLine(**line) for line in state)
