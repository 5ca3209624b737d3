# SPDX-License-Identifier: GPL-3.0-or-later
"""SRTP as session descriptions negotiate it, for each leg by itself: what is offered on, agreed and answered.

SDES (RFC 4568) and DTLS-SRTP (RFC 5763), on secured profiles or, where both are content without, on plain ones
(RFC 8643). A caller's SDES keys are offered on as they are: where the callee takes one of them, both legs share
their keys and the relay has nothing to open. In every other case each leg has keys of its own.

Pure: randomness is an argument.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field, replace
from typing import Literal

from media.flows import SUITE_KEY_BYTES, EngineDtls, EngineKeys
from sip.facts import fact

Policy = Literal["off", "preferred", "required"]
"""off: RTP alone. preferred: SRTP on each leg that wants it. required: SRTP on both legs, or no call."""
Setup = Literal["", "active", "passive", "actpass", "holdconn"]
Draw = Callable[[int], bytes]

OFFERED_SUITES = ("AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_80")
"""What we offer of our own accord, the best first."""
LEAST_PACKETS, MOST_PACKETS = 1 << 20, 1 << 48
"""Of a key, by its description: nearly six hours of voice, and what SRTP has numbers for (RFC 4568 section 6.1)."""
_HARMLESS = re.compile(r"WSH=\d{1,4}|KDR=0|-(?!UN|FEC_|KDR=|WSH=)[!-~]{1,64}")
"""Session parameters: a hint, what goes without saying, and what whoever does not know it leaves alone (RFC 4568
section 6.3.8)."""
_HASH_BYTES = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}


class Insecure(Exception):
    """The policy does not allow this, or nothing that we know is offered; one line, answered with 488."""


@fact
class CryptoLine:
    """An a=crypto line. key: base64 of master key and salt. lifetime, mki: as spelled; params: session parameters."""

    tag: int
    suite: str
    key: str = field(repr=False)
    lifetime: str = ""
    mki: str = ""
    params: str = ""

    @property
    def usable(self) -> bool:
        """Whether we can and may: a suite we know, a key that lasts, and nothing that takes protection away."""
        return self.keys is not None and _lasts(self.lifetime) and all(map(_HARMLESS.fullmatch, self.params.split()))

    @property
    def keys(self) -> EngineKeys | None:
        """What the engine is told; None for a suite, a key or an identifier that it does not have."""
        try:
            key = b64decode(self.key, validate=True)
        except BadBase64:
            return None
        mki = _mki(self.mki)
        if len(key) != SUITE_KEY_BYTES.get(self.suite) or mki is None:
            return None
        return EngineKeys(self.suite, key, mki)

    def __str__(self) -> str:
        parts = "".join(f"|{part}" for part in (self.lifetime, self.mki) if part)
        return f"{self.tag} {self.suite} inline:{self.key}{parts}" + (f" {self.params}" if self.params else "")


@fact
class Spoken:
    """What one description says of one m-line's protection. fingerprint: as in a=fingerprint, "" for none."""

    protocol: str
    cryptos: tuple[CryptoLine, ...] = ()
    fingerprint: str = ""
    setup: Setup = ""

    @property
    def secured(self) -> bool:
        """Whether the profile itself is a secured one."""
        return "SAVP" in self.protocol

    @property
    def is_rtp(self) -> bool:
        """Whether it can be protected at all: UDPTL cannot."""
        return "RTP/" in self.protocol

    @property
    def touched(self) -> bool:
        """Whether there is anything to be read or written beyond plain RTP."""
        return self.secured or bool(self.cryptos or self.fingerprint)

    @property
    def kind(self) -> Literal["plain", "sdes", "dtls"]:
        """What the speaker wants; its own order where both are there."""
        if self._dtls and (self.protocol.startswith("UDP/TLS") or not self._sdes):
            return "dtls"
        return "sdes" if self._sdes else "plain"

    @property
    def _sdes(self) -> bool:
        return any(line.usable for line in self.cryptos)

    @property
    def _dtls(self) -> bool:
        return dtls_hash(self.fingerprint) is not None


@fact
class Protection:
    """How a leg's stream is protected; with neither keys nor fingerprint it is plain.

    sends: the key that the leg protects with, receives: the one that it is sent with. fingerprint: of the leg's
    certificate, where keys come by DTLS; active: we begin the handshake.
    """

    sends: CryptoLine | None = None
    receives: CryptoLine | None = None
    fingerprint: str = ""
    active: bool = False

    @property
    def dtls(self) -> EngineDtls | None:
        """Whom the engine is to shake hands with."""
        found = dtls_hash(self.fingerprint)
        return EngineDtls(self.active, found) if found else None


PLAIN = Protection()


def shared(sender: Protection, receiver: Protection) -> bool:
    """Whether what one leg sends is protected, or not, just as the other is to receive it."""
    return not sender.fingerprint and not receiver.fingerprint and _same(sender.sends, receiver.receives)


def _same(one: CryptoLine | None, other: CryptoLine | None) -> bool:
    return (one.keys if one else None) == (other.keys if other else None)


@fact
class Agreement:
    """What an answer makes of an exchange, one entry for each m-line: both legs, and what the offerer is answered."""

    offerer: tuple[Protection, ...]
    answerer: tuple[Protection, ...]
    answers: tuple[Spoken, ...]


def of_both(here: Policy, there: Policy) -> tuple[Policy, Policy]:
    """Return what holds of the legs with two parties whose policies these are: who requires SRTP requires it of both.

    Raises Insecure where one requires what the other has switched off.
    """
    if "required" not in (here, there):
        return here, there
    if "off" in (here, there):
        raise Insecure("SRTP is required by one party, and switched off with the other")
    return "required", "required"


@fact
class Bridge:
    """The profile that the other leg is to be offered, whatever the offer has; without SDES or DTLS if so said.

    suites: of SDES, those that may be offered; None: all. inside: the other leg is ourselves, so that nothing of it
    leaves the host. fresh: it gets none of the keys of the leg that offers.
    """

    protocol: str
    sdes: bool = True
    dtls: bool = True
    inside: bool = False
    fresh: bool = False
    suites: frozenset[str] | None = None


def propose_all(
    offers: Sequence[Spoken | None],
    policies: tuple[Policy, Policy],
    fingerprint: str,
    draw: Draw,
    before: Sequence[str] = (),
    attempt: int = 0,
    bridge: Bridge | None = None,
    web: bool = False,
) -> tuple[Spoken, ...]:
    """`bridged`, or else `propose`, for each m-line; None is one that is refused or ended. Raises Insecure.

    policies: of the leg that offers, and of the other one.
    """
    here, there = policies
    known = [*before[: len(offers)], *[""] * (len(offers) - len(before))]
    return tuple(
        Spoken("")
        if each is None
        else bridged(each, bridge, here, fingerprint, draw, there)
        if bridge
        else propose(each, here, fingerprint, draw, profile, attempt, there, web)
        for each, profile in zip(offers, known, strict=True)
    )


def bridged(
    offer: Spoken, bridge: Bridge, policy: Policy, fingerprint: str, draw: Draw, toward: Policy | None = None
) -> Spoken:
    """Return what is offered on where the profile is given. fingerprint, toward: as of `propose`. Raises Insecure."""
    wanted(offer, policy)
    toward = toward or policy
    if not offer.is_rtp:
        return Spoken(offer.protocol)
    if "SAVP" not in bridge.protocol:
        if toward == "required" and not bridge.inside:
            raise Insecure(f"SRTP is required, not {bridge.protocol}")
        return Spoken(bridge.protocol)
    if toward == "off":
        raise Insecure(f"{bridge.protocol} is switched off; ask for RTP/AVP")
    ours = fingerprint if bridge.dtls else ""
    setup: Setup = "actpass" if ours else ""
    if bridge.protocol.startswith("UDP/TLS"):
        if not ours:
            raise Insecure(f"{bridge.protocol} without DTLS")
        return Spoken(bridge.protocol, (), ours, setup)
    theirs = () if bridge.fresh else tuple(line for line in offer.cryptos if line.usable)
    known = (*theirs, *_own_lines(draw, theirs)) if bridge.sdes else ()
    lines = tuple(line for line in known if bridge.suites is None or line.suite in bridge.suites)
    if not lines and not ours:
        raise Insecure(f"{bridge.protocol} without SDES and without DTLS")
    return Spoken(bridge.protocol, lines, ours, setup)


def agree_all(
    offers: Sequence[Spoken | None],
    proposed: Sequence[Spoken],
    answers: Sequence[Spoken | None],
    before: Sequence[Protection],
    policy: Policy,
    fingerprint: str,
    draw: Draw,
    passive: bool = False,
) -> Agreement:
    """`agree` and `answer` for each m-line. before: the offerer's protections until now. Raises Insecure.

    passive: where the offerer leaves it to us, it begins the handshake.
    """
    known = [*before[: len(offers)], *[PLAIN] * (len(offers) - len(before))]
    offerer, answerer, answered = [], [], []
    for offered, proposal, said, had in zip(offers, proposed, answers, known, strict=True):
        if offered is None or said is None:
            legs, back = (PLAIN, PLAIN), Spoken("")
        else:
            theirs = agree(proposal, said)
            ours, back = answer(offered, policy, theirs, had, fingerprint, draw, passive)
            legs = ours, theirs
        offerer.append(legs[0])
        answerer.append(legs[1])
        answered.append(back)
    return Agreement(tuple(offerer), tuple(answerer), tuple(answered))


def propose(
    offer: Spoken,
    policy: Policy,
    fingerprint: str,
    draw: Draw,
    before: str = "",
    attempt: int = 0,
    toward: Policy | None = None,
    web: bool = False,
) -> Spoken:
    """Return what is offered on to the other leg. fingerprint: ours. web: that leg is a web page, which has DTLS alone.

    before: the profile that leg agreed to earlier in this call, which is offered again. attempt: how many offers of
    this exchange it has refused by 488; each time another profile is tried. policy: of the leg that offers; toward: of
    the other one, None: the same. Raises Insecure.
    """
    if toward is None:
        toward = policy
    if toward != "required" and wanted(offer, policy) == "plain" and not before and not attempt and not web:
        return Spoken(offer.protocol)
    ways = _ways(offer, policy, toward, fingerprint, draw, known=bool(before))
    if web:
        ways.sort(key=lambda way: not way.protocol.startswith("UDP/TLS"))
    if before:
        same = [way for way in ways if way.protocol.removesuffix("F") == before.removesuffix("F")]
        ways = same + [way for way in ways if way not in same]
    return ways[min(attempt, len(ways) - 1)]


def attempts(policy: Policy, offers: Iterable[Spoken | None] = ()) -> int:
    """Return how many ways there are to offer this to a leg with this policy: more are not worth trying."""
    suites = any(each and each.kind == "sdes" for each in offers)
    return {"off": 1, "preferred": 3, "required": 3 if suites else 2}[policy]


def agree(proposed: Spoken, answer: Spoken) -> Protection:
    """Return how the answering leg is protected. Raises Insecure for an answer that does not fit the proposal."""
    for line in answer.cryptos:
        ours = next((each for each in proposed.cryptos if each.tag == line.tag and each.suite == line.suite), None)
        if ours and line.usable:
            return Protection(sends=line, receives=ours)
    if dtls_hash(answer.fingerprint) and proposed.fingerprint:
        return Protection(fingerprint=answer.fingerprint, active=answer.setup == "passive")
    if proposed.secured or answer.secured or (proposed.cryptos and answer.cryptos):
        raise Insecure(f"{answer.protocol} without a suite or fingerprint that was offered")
    return PLAIN


def answer(
    offer: Spoken,
    policy: Policy,
    other: Protection,
    before: Protection,
    fingerprint: str,
    draw: Draw,
    passive: bool = False,
) -> tuple[Protection, Spoken]:
    """Return how the offering leg is protected, and what it is answered.

    other: what the other leg agreed to. before: what this leg had until now, so that keys and roles stay as long as
    they can. fingerprint: ours. Raises Insecure.
    """
    kind = wanted(offer, policy)
    if kind == "sdes":
        return _answer_sdes(offer, other, before, draw)
    if kind == "dtls":
        active = before.active if before.fingerprint == offer.fingerprint else offer.setup != "active" and not passive
        active = active if offer.setup == "actpass" else offer.setup == "passive"
        protection = Protection(fingerprint=offer.fingerprint, active=active)
        return protection, Spoken(offer.protocol, (), fingerprint, "active" if active else "passive")
    return PLAIN, Spoken(offer.protocol)


def wanted(offer: Spoken, policy: Policy) -> Literal["plain", "sdes", "dtls"]:
    """Return how an offer is to be met. Raises Insecure where the policy forbids it, or nothing fits."""
    if policy == "off" and offer.secured:
        raise Insecure(f"{offer.protocol} is switched off; offer RTP/AVP")
    kind = "plain" if policy == "off" else offer.kind
    if kind == "plain" and offer.secured:
        raise Insecure(f"{offer.protocol} without a suite or fingerprint that is known; offer {OFFERED_SUITES[-1]}")
    if kind == "plain" and policy == "required":
        raise Insecure("SRTP is required; offer RTP/SAVP or UDP/TLS/RTP/SAVP")
    return kind


def dtls_hash(fingerprint: str) -> bytes | None:
    """Return the hash in an a=fingerprint value, if it is one that we can check."""
    if not fingerprint:
        return None
    algorithm, _, text = fingerprint.partition(" ")
    try:
        value = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return None
    return value if len(value) == _HASH_BYTES.get(algorithm.lower()) else None


def _ways(
    offer: Spoken, policy: Policy, toward: Policy, fingerprint: str, draw: Draw, known: bool = False
) -> list[Spoken]:
    """What can be offered on, the likeliest to be accepted first. known: the other leg has agreed to something before.

    Phones that can do without SRTP refuse secured profiles, those that cannot refuse plain ones, and nothing tells
    which it is before it is tried. Nor which suites a phone has: at first it is offered those of the leg that offers
    alone, for with these both can share their keys, and keeps to what a datagram holds.
    """
    kind = wanted(offer, policy)
    if toward == "off" or not offer.is_rtp:
        return [Spoken("RTP/AVP" if offer.secured else offer.protocol)]
    feedback = "F" if offer.protocol.endswith("F") else ""
    theirs = tuple(line for line in offer.cryptos if line.usable) if kind == "sdes" else ()
    lines = (*theirs, *_own_lines(draw, theirs))
    setup: Setup = "actpass" if fingerprint else ""
    either = Spoken(f"RTP/SAVP{feedback if kind == 'sdes' else ''}", lines, fingerprint, setup)
    dtls = Spoken(f"UDP/TLS/RTP/SAVP{feedback if kind == 'dtls' else 'F'}", (), fingerprint, setup)
    secured = [dtls, either] if kind == "dtls" else [either, dtls]
    if toward == "required":
        return secured if known or not theirs else [replace(either, cryptos=theirs), *secured]
    if kind == "plain":
        return [Spoken(offer.protocol), *secured]
    return [Spoken("RTP/AVP", theirs or lines, fingerprint, setup), *secured]


def _answer_sdes(offer: Spoken, other: Protection, before: Protection, draw: Draw) -> tuple[Protection, Spoken]:
    """The callee may have taken one of the caller's own keys: then the caller gets the callee's."""
    line = other.receives if other.receives in offer.cryptos and other.sends else None
    if line and other.sends:
        theirs = other.sends
    else:
        line = next(each for each in offer.cryptos if each.usable)
        theirs = _own_key(line, before, draw)
    return Protection(sends=line, receives=theirs), Spoken(offer.protocol, (theirs,))


def _own_key(line: CryptoLine, before: Protection, draw: Draw) -> CryptoLine:
    """Our key for this suite: the one we had, if the leg's own has not changed either."""
    if before.receives and before.sends == line and before.receives.suite == line.suite:
        return before.receives
    return CryptoLine(line.tag, line.suite, b64encode(draw(SUITE_KEY_BYTES[line.suite])).decode())


def _own_lines(draw: Draw, beside: Sequence[CryptoLine] = ()) -> tuple[CryptoLine, ...]:
    """Keys of ours in the suites that those lines leave, which go before them."""
    taken, last = {line.suite for line in beside}, max((line.tag for line in beside), default=0)
    suites = [suite for suite in OFFERED_SUITES if suite not in taken]
    keys = [b64encode(draw(SUITE_KEY_BYTES[suite])).decode() for suite in suites]
    return tuple(CryptoLine(last + 1 + place, suite, keys[place]) for place, suite in enumerate(suites))


def _lasts(text: str) -> bool:
    """Whether a key is good for a call, by the most packets that it is for: a number, or a power of two."""
    match = re.fullmatch(r"2\^(\d{1,3})|(\d{1,20})", text, re.ASCII)
    packets = 2 ** int(match[1]) if match and match[1] else int(match[2]) if match else 0
    return not text or LEAST_PACKETS <= packets <= MOST_PACKETS


def _mki(text: str) -> bytes | None:
    """The identifier in `value:length`, decimal both (RFC 4568 section 6.1); b"" for none, None if it cannot be."""
    if not text:
        return b""
    match = re.fullmatch(r"(\d{1,300}):(\d{1,3})", text, re.ASCII)
    if not match or not 1 <= int(match[2]) <= 128:
        return None
    try:
        return int(match[1]).to_bytes(int(match[2]), "big")
    except OverflowError:
        return None
