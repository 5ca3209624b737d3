# SPDX-License-Identifier: GPL-3.0-or-later
"""What an offer or an answer asks of codecs: the words `codec-WORD-X`, and what X says of a codec beside its name."""

from __future__ import annotations

from collections.abc import Iterator

from ctl.ng.errors import NgError
from ctl.ng.filters import EVERYTHING, Codecs
from ctl.ng.request import Request
from ctl.sessions.codecs import BITRATES, CLOCKS, NAMES

_FIXED = {"pcmu": 64_000, "pcma": 64_000, "g722": 64_000, "g729": 8_000}
"""bit/s of codecs that have no choice of them."""
_PARTS = ("clock rate", "channels", "bit rate")


def codecs(request: Request) -> Codecs:
    """`consume` masks, and `accept` shows, what is transcoded if only the offerer speaks it. Raises NgError."""
    named = {key: tuple(name.lower() for name in found) for key, found in request.codecs.items()}
    transcoded = dict(_specified(request, "transcode"))
    bitrates = {**transcoded, **{name: rate for name, rate in _specified(request, "set") if rate}}
    hidden = frozenset((*named.get("mask", ()), *named.get("consume", ())))
    stripped = frozenset(named.get("strip", ()))
    kept = frozenset((*named.get("except", ()), *named.get("offer", ()), *transcoded))
    if transcoded and stripped & EVERYTHING:
        stripped, hidden = stripped - EVERYTHING, hidden | EVERYTHING  # or there would be nothing to transcode from
    return Codecs(
        ignored=frozenset(named.get("ignore", ())),
        strip=stripped,
        mask=hidden,
        kept=kept,
        first=(*named.get("offer", ()), *transcoded),
        transcoded=tuple(NAMES[name] for name in transcoded),
        single=request.has("single-codec"),
        bridged=bool(transcoded or hidden or named.get("accept") or request.has("always-transcode")),
        bitrate=bitrates.get("opus", 0),
    )


def _specified(request: Request, word: str) -> Iterator[tuple[str, int]]:
    """Yield the name in lower case, and bit/s or 0, of each X in `codec-WORD-X`: NAME/CLOCK RATE/CHANNELS/BIT RATE."""
    for text in request.codecs.get(word, ()):
        name, *parts = (part.strip() for part in text.lower().split("/"))
        if name not in NAMES:
            raise NgError(f"codec-{word}: {text!r} is not one of {', '.join(NAMES.values())}")
        if any(parts[len(_PARTS) :]):
            raise NgError(f"codec-{word}: {text!r} says more than a bit rate; for packets see ptime")
        clock, channels, bitrate = (_number(text, word, part) for part in (*parts, "", "", "")[: len(_PARTS)])
        if clock not in (0, CLOCKS[name]) or channels not in (0, 1, 2 if name == "opus" else 1):
            raise NgError(f"codec-{word}: {text!r} is not {NAMES[name]} as it is transcoded")
        if bitrate and bitrate not in (BITRATES if name == "opus" else (_FIXED[name],)):
            raise NgError(f"codec-{word}: {NAMES[name]} is not made of {bitrate} bit/s")
        yield name, bitrate if name == "opus" else 0


def _number(text: str, word: str, part: str) -> int:
    if part and not (part.isascii() and part.isdigit() and len(part) < 8):
        raise NgError(f"codec-{word}: {text!r} is not {'/'.join(('name', *_PARTS))}")
    return int(part or 0)
