# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that a proxy puts into the descriptions we write, takes out of them, or changes. Pure.

It is the text alone that changes: what the relay does goes by what the participants have said, as if nothing were
changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ctl.ng.errors import NgError
from ctl.ng.request import Request, canonical, words

SESSION = frozenset({"none", "global", "session"})
"""How the part of a description above the media is named; a medium is by its type, as `audio`."""
TAGGED = frozenset({"rtpmap", "fmtp", "rtcp-fb", "crypto", "extmap"})
"""Attributes of which each says something of its own: they are not changed by their name alone."""
EVERY = "all"
_KINDS = frozenset({"add", "remove", "substitute"})
_HIDDEN = frozenset({"strip", "mask"})
"""What is masked is not for the other side, but for the relay; as this one reads none, it is for nobody."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Of one part of a description, without `a=`; what is taken out and changed in lower case."""

    added: tuple[str, ...] = ()
    removed: frozenset[str] = frozenset()
    substituted: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Amendments:
    """By the part that is meant: "" for the session, else a type of media. extmaps: header extensions that are not to
    be shown, by their URI, or `EVERY` one.
    """

    parts: Mapping[str, Changes]
    extmaps: frozenset[str] = frozenset()


def amendments(request: Request) -> Amendments | None:
    """Return what is asked for, None where nothing is. Raises NgError for what cannot be understood."""
    extmaps = _extmaps(request)
    asked = request.values.get("sdp-attr") or {}
    if not isinstance(asked, Mapping):
        raise NgError("sdp-attr: no dictionary")
    parts = {("" if part in SESSION else part): _changes(said) for part, said in _lowered(asked)}
    return Amendments(parts, extmaps) if parts or extmaps else None


def amended(body: bytes, asked: Amendments) -> bytes:
    """Return a description that we have written with all of that done. An m-line that is refused stays as it is."""
    out: list[str] = []
    for part, lines in _sections(body.decode("utf-8", "surrogateescape").split("\r\n")[:-1]):
        kept = [line for line in lines if not _hidden(line, asked.extmaps)]
        changes = None if part is None else asked.parts.get(part)
        out += _changed(kept, changes) if changes else kept
    return "".join(f"{line}\r\n" for line in out).encode("utf-8", "surrogateescape")


def _sections(lines: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Yield each section with the part that it is of; None: of none, for it is refused."""
    starts = [place for place, line in enumerate(lines) if line.startswith("m=")]
    bounds = [0, *starts, len(lines)]
    for begin, end in pairwise(bounds):
        first = lines[begin].split()
        part = "" if not begin else None if first[1] == "0" else first[0][2:].lower()
        yield part, list(lines[begin:end])


def _changed(lines: Sequence[str], changes: Changes) -> list[str]:
    out = []
    for line in lines:
        meant = _meant_by(line[2:]) if line.startswith("a=") else ()
        if not changes.removed.isdisjoint(meant):
            continue
        changeable = meant[1:] if meant and meant[0] in TAGGED else meant
        instead = next((after for before, after in changes.substituted if before in changeable), None)
        out.append(line if instead is None else f"a={instead}")
    out += [line for each in changes.added if (line := f"a={each}") not in out]
    return out


def _meant_by(attribute: str) -> tuple[str, ...]:
    """All by which an attribute is meant: its name, its name with the first word of its value, and the whole of it."""
    text = attribute.lower()
    name = text.partition(":")[0].rstrip()
    return name, text.partition(" ")[0], text


def _hidden(line: str, extmaps: frozenset[str]) -> bool:
    """An extmap is an id, perhaps with a direction, a URI, and what only that understands (RFC 8285 section 5)."""
    if not extmaps or not line.startswith("a=extmap:"):
        return False
    return EVERY in extmaps or not extmaps.isdisjoint(line.split()[1:2])


def _extmaps(request: Request) -> frozenset[str]:
    asked = request.values.get("extmap") or {}
    if not isinstance(asked, Mapping):
        raise NgError("extmap: no dictionary")
    said = dict(_lowered(asked))
    if said.keys() - _HIDDEN:
        raise NgError(f"extmap: only {' and '.join(sorted(_HIDDEN))} are known")
    stripped = frozenset(text for word in _HIDDEN for text in _texts(said.get(word)))
    return stripped | ({EVERY} if request.has("strip-extmap") else frozenset())


def _changes(said: Any) -> Changes:
    if not isinstance(said, Mapping):
        raise NgError("sdp-attr: no dictionary of what is to be done to a part of the description")
    asked = dict(_lowered(said))
    if asked.keys() - _KINDS:
        raise NgError(f"sdp-attr: only {', '.join(sorted(_KINDS))} are known")
    return Changes(
        tuple(_texts(asked.get("add"))),
        frozenset(each.lower() for each in _texts(asked.get("remove"))),
        tuple(_pairs(asked.get("substitute") or ())),
    )


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a list, which may itself be one; or those of `before>after` in place of a pair."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) and ">" not in each for each in value):
        value = [value]
    for each in value.split(",") if isinstance(value, str) else value:
        pair = each.split(">", 1) if isinstance(each, str) else each
        if not isinstance(pair, list) or len(pair) != 2:
            raise NgError("sdp-attr: substitute takes pairs of an attribute and what is to be there instead")
        before, after = _texts(pair)
        yield before.lower(), after


def _texts(value: Any) -> Iterator[str]:
    """Yield attributes. Where a proxy cannot write `=` or blanks it writes `--` and `..`."""
    found = value.split(",") if isinstance(value, str) else value or ()
    for each in found:
        text = str(each).replace("--", "=").replace("..", " ") if isinstance(each, str | int) else ""
        if not text or not text.isprintable():
            raise NgError("sdp-attr, extmap: an attribute is one line of text")
        yield text


def _lowered(asked: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    return ((canonical(str(key)), value) for key, value in asked.items())


def removed_media(request: Request) -> frozenset[str]:
    """Return which types of media the other side is not to see, in lower case; `other`: those that nobody knows."""
    return frozenset(each.lower() for each in words(request.values.get("sdp-media-remove")))
