# SPDX-License-Identifier: GPL-3.0-or-later
"""ICE as session descriptions negotiate it with each leg by itself (RFC 8839): what a leg says, and what we say to it.

Our one candidate is the relay address and port, so that a description has one line for each component. Lite answers
checks, full makes them too; toward a peer that is lite we are full and lead, whatever was asked for, or nobody would
check. Between two that are both lite nothing is checked, and the addresses of the descriptions count (RFC 8445 §8.2).

Pure: randomness is an argument.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Literal, TypeVar

from media.ice import MOST_CANDIDATES, MOST_TEXT, EngineIce, IceCandidate, IceState
from sip.sdp import Media, Section, SessionDescription
from sip.sdp_parts import Candidate as Line

IcePolicy = Literal["remove", "lite", "full"]
"""remove: no ICE with this leg. lite, full: ICE where the leg speaks it."""
Draw = Callable[[int], bytes]
Endpoint = tuple[str, int]

Known = TypeVar("Known")

RTP, RTCP = 1, 2
"""Components."""
ATTRIBUTES = (
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "ice-pacing",
)
"""All that ICE says in descriptions."""
_HOST, _RELAYED, _REFLEXIVE = 126, 0, 110
"""Preferences of types of candidates (RFC 8445 §5.1.2.2)."""
_DISCARD = 9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate over UDP whose address is an IP literal."""

    component: int
    address: str
    port: int
    priority: int


@dataclass(frozen=True, slots=True)
class IceSaid:
    """What a description says of one m-line's ICE. complete: no further candidates will come. trickle: they may.

    mismatch: its default address is none of its candidates, so that somebody between has changed one of the two.
    """

    name: str
    password: str = field(repr=False)
    lite: bool = False
    candidates: tuple[Candidate, ...] = ()
    complete: bool = True
    mismatch: bool = False
    trickle: bool = False

    def restarts(self, before: IceSaid | None) -> bool:
        """Whether checks are to begin anew."""
        return before is not None and (before.name, before.password) != (self.name, self.password)


@dataclass(frozen=True, slots=True)
class IceOwn:
    """What we say to a leg of one m-line's ICE. controlling: as full, we nominate. relayed: our candidate's type."""

    name: str
    password: str = field(repr=False)
    lite: bool
    controlling: bool
    tiebreaker: int = 0
    relayed: bool = False
    trickle: bool = False


@dataclass(frozen=True, slots=True)
class IcePair:
    """How far the checks of one component are, and the selected pair's remote end."""

    state: IceState = "checking"
    remote: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class IceSide:
    """ICE with one leg of one m-line; pairs: by our address and port."""

    own: IceOwn
    said: IceSaid
    pairs: Mapping[Endpoint, IcePair] = field(default_factory=dict)

    def pair(self, local: Endpoint) -> IcePair:
        """The pair of a component."""
        return self.pairs.get(local, IcePair())

    def engine(self, local: Endpoint, component: int) -> EngineIce:
        """What the engine is told of a component."""
        family = ip_address(local[0]).version
        usable = [
            IceCandidate(each.address, each.port, each.priority)
            for each in self.said.candidates
            if each.component == component and ip_address(each.address).version == family
        ]
        usable.sort(key=lambda each: -each.priority)
        role = "controlling" if self.own.controlling else "controlled"
        return EngineIce(
            "lite" if self.own.lite else role,  # type: ignore[arg-type]  # one of two words
            self.own.name,
            self.own.password,
            self.said.name,
            self.said.password,
            tuple(usable[:MOST_CANDIDATES]),
            _priority(_REFLEXIVE, component),
            self.own.tiebreaker,
            self.said.complete,
            self.pair(local).remote,
        )


def read(sdp: SessionDescription, medium: Media) -> IceSaid | None:
    """Return what a description says of one m-line's ICE; None where it has none, or none that could be checked."""
    if "ice-ufrag" not in medium.named and "ice-ufrag" not in sdp.session.named:
        return None
    name = _either(medium, sdp.session, "ice-ufrag")
    password = _either(medium, sdp.session, "ice-pwd")
    if medium.attribute("ice-mismatch") is not None or not _is_text(name) or not _is_text(password):
        return None
    trickle = "trickle" in (_either(medium, sdp.session, "ice-options") or "").split()
    ended = any(section.attribute("end-of-candidates") is not None for section in (medium, sdp.session))
    lite = any(section.attribute("ice-lite") is not None for section in (medium, sdp.session))
    return IceSaid(
        name or "", password or "", lite, tuple(candidates(medium)), ended or not trickle,
        _is_mismatch(sdp, medium), trickle,
    )  # fmt: skip


def offer(policy: IcePolicy, before: IceOwn | None, draw: Draw, *, relayed: bool, trickle: bool) -> IceOwn | None:
    """Return what a leg is offered; what it had before stays. relayed: our candidate is called one of that type."""
    if policy == "remove":
        return None
    own = before or _fresh(draw, lite=policy == "lite", controlling=True)
    return replace(own, relayed=relayed, trickle=trickle)


def answer(
    policy: IcePolicy, said: IceSaid | None, before: IceOwn | None, said_before: IceSaid | None, draw: Draw
) -> IceOwn | None:
    """Return what a leg that has offered is answered; None: no ICE. Where it restarts, so do we (RFC 8839 §4.4.1.1)."""
    if policy == "remove" or said is None or said.mismatch:
        return None
    if before and not said.restarts(said_before):
        return before
    own = _fresh(draw, lite=policy == "lite" and not said.lite, controlling=said.lite)
    return replace(own, trickle=said.trickle)


def accept(own: IceOwn | None, said: IceSaid | None) -> IceOwn | None:
    """Return what holds of our offer once it is answered; None where the answer has no ICE."""
    if own is None or said is None or said.mismatch:
        return None
    return replace(own, controlling=True) if said.lite else own


def offer_all(
    policies: Sequence[IcePolicy], before: Sequence[IceOwn | None], draw: Draw, *, relayed: bool, trickle: bool
) -> tuple[IceOwn | None, ...]:
    """`offer` for each m-line."""
    known = zip(policies, _padded(before, len(policies)), strict=True)
    return tuple(offer(*each, draw, relayed=relayed, trickle=trickle) for each in known)


def answer_all(
    policy: IcePolicy,
    said: Sequence[IceSaid | None],
    before: Sequence[IceOwn | None],
    said_before: Sequence[IceSaid | None],
    draw: Draw,
) -> tuple[IceOwn | None, ...]:
    """`answer` for each m-line."""
    known = zip(said, _padded(before, len(said)), _padded(said_before, len(said)), strict=True)
    return tuple(answer(policy, *each, draw) for each in known)


def accept_all(own: Sequence[IceOwn | None], said: Sequence[IceSaid | None]) -> tuple[IceOwn | None, ...]:
    """`accept` for each m-line."""
    return tuple(accept(*each) for each in zip(_padded(own, len(said)), said, strict=True))


def side(own: IceOwn | None, said: IceSaid | None, pairs: Mapping[Endpoint, IcePair]) -> IceSide | None:
    """Return the ICE that the engine speaks with a leg; None where there is none, or both sides are lite."""
    if own is None or said is None or (own.lite and said.lite):
        return None
    return IceSide(own, said, pairs)


def lines(own: IceOwn, address: str, port: int, rtcp: int | None) -> Iterator[tuple[str, str]]:
    """Yield the attributes of an m-line, name and value. rtcp: RTCP's port, None where it comes beside RTP."""
    yield "ice-ufrag", own.name
    yield "ice-pwd", own.password
    if own.trickle:
        yield "ice-options", "trickle"
    for component, at in ((RTP, port), (RTCP, rtcp)):
        if at is None:
            continue
        priority = _priority(_RELAYED if own.relayed else _HOST, component)
        kind = f"relay raddr {address} rport {at}" if own.relayed else "host"
        yield "candidate", f"{_foundation(own, address)} {component} UDP {priority} {address} {at} typ {kind}"
    if own.trickle:
        yield "end-of-candidates", ""


def usable(said: IceSaid, refused: Callable[[str], bool]) -> IceSaid:
    """Return the same without the candidates at addresses to which nothing may be sent."""
    kept = tuple(each for each in said.candidates if not refused(each.address))
    return said if len(kept) == len(said.candidates) else replace(said, candidates=kept)


@dataclass(frozen=True, slots=True)
class Fragment:
    """Candidates that come one by one (RFC 8840 §9). name: of the credentials they are of, None: not said; parts: of
    each m-line that is named, its candidates and whether they were the last.
    """

    name: str | None
    parts: tuple[tuple[tuple[Candidate, ...], bool], ...]


def fragment(body: bytes) -> Fragment:
    """Read a body of application/trickle-ice-sdpfrag. What cannot be read is left out."""
    names: list[str] = []
    parts: list[tuple[list[Candidate], list[bool]]] = []
    ended = False
    for line in body.decode("utf-8", "replace").splitlines():
        if line.startswith("m="):
            parts.append(([], []))
        elif line.startswith("a=ice-ufrag:"):
            names.append(line.partition(":")[2].strip())
        elif line.startswith("a=candidate:"):
            found = Line.parse(line.partition(":")[2])
            parts = parts or [([], [])]
            parts[-1][0].extend(_sendable([found] if found else []))
        elif line.startswith("a=end-of-candidates"):
            if parts:
                parts[-1][1].append(True)
            ended = ended or not parts
    listed = tuple((tuple(found), ended or bool(last)) for found, last in parts)
    return Fragment(names[0] if names else None, listed or (((), ended),))


def trickled(said: IceSaid, name: str | None, fresh: Sequence[Candidate], *, ended: bool) -> IceSaid:
    """Return the same with more candidates, at most as many as the engine takes; of other credentials none."""
    if name is not None and name != said.name:
        return said
    listed = tuple(dict.fromkeys((*said.candidates, *fresh)))
    return replace(said, candidates=listed[: 4 * MOST_CANDIDATES], complete=said.complete or ended)


def _padded(known: Sequence[Known | None], count: int) -> list[Known | None]:
    return [*known[:count], *[None] * (count - len(known))]


def _fresh(draw: Draw, *, lite: bool, controlling: bool) -> IceOwn:
    """Lengths as the field has them; 36 and 120 random bits at least (RFC 8445 §5.3 wants 24 and 128 of them)."""
    name, password = _text(draw(6)), _text(draw(18)) + _text(draw(3))[:2]
    return IceOwn(name, password, lite, controlling, int.from_bytes(draw(8), "big"))


def _text(drawn: bytes) -> str:
    """ice-char is the alphabet of base64."""
    return b64encode(drawn).decode().rstrip("=")


def _either(medium: Section, session: Section, name: str) -> str | None:
    value = medium.attribute(name)
    return session.attribute(name) if value is None else value


def _is_text(value: str | None) -> bool:
    """ice-char (RFC 8839 §5.4): letters, digits, plus and slash."""
    if not value or len(value) > MOST_TEXT:
        return False
    return all(character.isascii() and (character.isalnum() or character in "+/-_=#") for character in value)


def candidates(section: Section) -> Iterator[Candidate]:
    """Yield the candidates of a section that we could send to: over UDP, at an IP literal."""
    return _sendable(section.candidates)


def _sendable(listed: Sequence[Line]) -> Iterator[Candidate]:
    for found in listed:
        if found.transport != "udp" or not 1 <= found.port <= 65535 or not 1 <= found.component <= 2:
            continue
        try:
            address = ip_address(found.address)
        except ValueError:
            continue  # a name, of mDNS mostly: nobody here can resolve it
        yield Candidate(found.component, str(address), found.port, found.priority & 0xFFFFFFFF)


def _is_mismatch(sdp: SessionDescription, medium: Media) -> bool:
    """RFC 8839 §4.2.5. What has yet to trickle in is told from it by an address or port that cannot be meant."""
    found, said = list(medium.candidates), sdp.connection_of(medium)
    if not found or said is None or medium.port in (0, _DISCARD):
        return False
    try:
        default = ip_address(said.address)
    except ValueError:
        return False
    if default.is_unspecified:
        return False
    return not any(each.port == medium.port and _same(each.address, str(default)) for each in found)


def _same(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


def _priority(preference: int, component: int) -> int:
    return preference << 24 | 65535 << 8 | 256 - component


def _foundation(own: IceOwn, address: str) -> str:
    """The same for candidates of one type and address, and not more than ours to tell."""
    return ip_address(address).packed.hex()[-8:] + ("r" if own.relayed else "h")
