# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dictionary asks for, however it is spelled.

Proxies write the same key with blanks, hyphens or underscores and in any case, numbers as digits in strings, lists as
one string, and words of the lists `replace`, `rtcp-mux`, `SDES`, ... with that prefix among the flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ctl.ng.errors import NgError

TRANSPORTS = frozenset(
    {
        "RTP/AVP",
        "RTP/AVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "UDP/TLS/RTP/SAVPF",
        "UDPTL",
    }
)
CODEC_LISTS = ("strip", "offer", "mask", "transcode", "except", "accept", "consume", "ignore", "set")
PREFIXES = {
    "replace": "replace",
    "rtcp-mux": "rtcp-mux",
    "sdes": "sdes",
    "osrtp": "osrtp",
    "t38": "t.38",
    "t.38": "t.38",
    "from-tags": "from-tags",
    "endpoint-learning": "endpoint-learning",
    "bundle": "bundle",
}
"""Beginnings of flags that are words of another list, and the key of that list."""
LISTS = frozenset({*PREFIXES.values(), "ice", "dtls"})
"""Keys whose value is a list of words."""

WEBRTC = (
    *("UDP/TLS/RTP/SAVPF", "ICE=force", "trickle-ICE", "rtcp-mux-offer", "rtcp-mux-require"),
    *("no-rtcp-attribute", "SDES-off", "generate-mid"),
)
"""What the flag `WebRTC` stands for."""

_SEPARATORS = re.compile(r"[-_ ]+")
_DIGITS = re.compile(r"-?[0-9]{1,19}")
_CODEC_FLAG = re.compile(rf"(?:codec-({'|'.join(CODEC_LISTS)})|(transcode))-(.+)", re.IGNORECASE)
_PREFIXED = re.compile(rf"({'|'.join(map(re.escape, PREFIXES))})-(.+)")
_ATTRIBUTE_FLAG = re.compile(r"sdp[-_ ]attr[-_ ](add|remove|substitute)[-_ ]([^-_ ]+)[-_ ](.+)", re.IGNORECASE)
_DEEPEST = 8
"""Brackets within brackets; deeper ones are no words of anything."""


@lru_cache(maxsize=1024)
def canonical(key: str) -> str:
    """Return the one spelling by which a key, a flag or a command is known: lower case, hyphens."""
    return _SEPARATORS.sub("-", key.strip().lower())


OF_A_CALL = frozenset(
    {
        *("call-id", "from-tag", "to-tag", "via-branch", "received-from", "sdp", "label", "set-label", "metadata"),
        *("media", "instance", "moh"),
        *(
            "tenant",
            "to-label",
            "to-call-id",
            "from-tags",
            "address",
            "file",
            "blob",
            "blob64",
            "code",
            "digit",
            "sip-code",
        ),
    }
)
"""Keys whose values differ from call to call. All others say how a proxy wants its calls, and are read once."""
MANNERS = 256
"""So many ways in which proxies ask are kept as they were read."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """The values of a request by canonical key; `flags` and `codecs` taken apart.

    manner: the part of it that is not OF_A_CALL, the same object for all requests that are alike in it; of a manner
    itself None.
    """

    values: Mapping[str, Any]
    flags: frozenset[str]
    codecs: Mapping[str, tuple[str, ...]]
    """By the name of the list (CODEC_LISTS): codecs as spelled, such as PCMA or opus/48000/2."""
    lists: Mapping[str, tuple[str, ...]]
    """Words of the lists that flags may carry by prefix, in canonical spelling."""
    manner: Request | None = None

    @classmethod
    def of(cls, dictionary: Mapping[str, Any]) -> Request:
        """Read a dictionary. Never raises: a value of no use is refused when it is asked for."""
        own: dict[str, Any] = {}
        general: list[tuple[str, Any]] = []
        for key, value in dictionary.items():
            name = canonical(key)
            if name in OF_A_CALL:
                own[name] = value
            else:
                general.append((name, _frozen(value)))
        manner = _manner(tuple(general))
        return cls({**manner.values, **own}, manner.flags, manner.codecs, manner.lists, manner)

    @property
    def command(self) -> str:
        """In canonical spelling; empty if there is none."""
        return canonical(self.text("command") or "")

    def text(self, key: str) -> str | None:
        """Return a string, or a number as one; None if it is missing or empty."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return str(value) or None

    def required(self, key: str, error: str) -> str:
        """Return a string that must be there. Raises NgError with the text `error`."""
        value = self.text(key)
        if value is None:
            raise NgError(error)
        return value

    def call_id(self) -> str:
        """Return which call is meant. Raises NgError."""
        return self.required("call-id", "No call-id in message")

    def sdp(self) -> bytes:
        """Return the session description, or the fragment of one. Raises NgError."""
        return self.required("sdp", "No SDP body in message").encode("utf-8", "surrogateescape")

    def number(self, key: str) -> int | None:
        """Return an integer, or digits as one; None if it is missing. Raises NgError for anything else."""
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, int):
            return int(value)
        if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
            return int(value)
        raise NgError(f"{key}: not a number")

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of strings as spelled; a string counts as its words."""
        return tuple(words(self.values.get(key)))

    def list(self, key: str) -> tuple[str, ...]:
        """Return the words of a list in canonical spelling, those among the flags included."""
        return self.lists.get(key, ())

    def has(self, *flags: str) -> bool:
        """Whether one of these flags is set."""
        return not self.flags.isdisjoint(flags)


@lru_cache(maxsize=MANNERS)
def _manner(general: tuple[tuple[str, Any], ...]) -> Request:
    """Read what is not of one call, frozen as `_frozen` does it."""
    values = {name: _thawed(value) for name, value in general}
    for key, value in _flag_string(values.pop("rtpp-flags", "")):
        _merge(values, key, value)
    flags: set[str] = set()
    codecs = _codec_lists(values.get("codec"))
    lists = {key: [canonical(word) for word in words(values[key])] for key in LISTS if key in values}
    for word in words(values.get("flags")):
        _sort_flag(word, values, flags, codecs, lists)
    return Request(
        values,
        frozenset(flags),
        {name: tuple(found) for name, found in codecs.items()},
        {name: tuple(found) for name, found in lists.items()},
    )


def _frozen(value: Any) -> Any:
    """A value that a cache can know: lists as tuples, dictionaries as sets of pairs, truth as the number it counts."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return frozenset((key, _frozen(each)) for key, each in value.items())
    return int(value) if isinstance(value, bool) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(map(_thawed, value))
    if isinstance(value, frozenset):
        return {key: _thawed(each) for key, each in value}
    return value


def words(value: Any) -> Iterator[str]:
    """Yield the strings of a list, or the words of a string; nothing of anything else."""
    if isinstance(value, str):
        yield from value.split()
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str) and item:
                yield item
            elif isinstance(item, int):
                yield str(int(item))


def _sort_flag(
    word: str, values: dict[str, Any], flags: set[str], codecs: dict[str, list[str]], lists: dict[str, list[str]]
) -> None:
    """A flag is a flag, a word of another list, a codec of one of the codec lists, a transport, or key=value."""
    if match := _CODEC_FLAG.fullmatch(word):
        codecs.setdefault((match[1] or match[2]).lower(), []).append(match[3])
        return
    if word.upper() in TRANSPORTS:
        values.setdefault("transport-protocol", word.upper())
        return
    if match := _ATTRIBUTE_FLAG.fullmatch(word):
        _add_attribute(values, match[1].lower(), match[2].lower(), match[3])
        return
    name, equals, value = word.partition("=")
    if equals:
        _merge(values, canonical(name), value)
        if canonical(name) in LISTS:
            lists.setdefault(canonical(name), []).append(canonical(value))
        return
    flag = canonical(word)
    if flag == "webrtc":
        for each in WEBRTC:
            _sort_flag(each, values, flags, codecs, lists)
        return
    prefixed = _PREFIXED.fullmatch(flag)
    if prefixed:
        lists.setdefault(PREFIXES[prefixed[1]], []).append(prefixed[2])
    else:
        flags.add(flag)


def _add_attribute(values: dict[str, Any], kind: str, part: str, attribute: str) -> None:
    asked = values.setdefault("sdp-attr", {})
    if isinstance(asked, dict) and isinstance(changes := asked.setdefault(part, {}), dict):
        _merge(changes, kind, [attribute])


def _flag_string(text: Any) -> Iterator[tuple[str, Any]]:
    """Take the single string apart that a proxy may send in place of parsed keys: words, key=value, key=[a b]."""
    if not isinstance(text, str):
        return
    for word in _parts(text):
        name, equals, value = word.partition("=")
        if equals and name:
            yield canonical(name), _bracketed(value)
        elif word.strip("[]="):
            yield "flags", [word]


def _bracketed(text: str, depth: int = 1) -> Any:
    """A word, or in brackets a list of them, or where a word of it has `=` a dictionary."""
    if not text.startswith("["):
        return text
    inner = [word for word in _parts(text[1:].removesuffix("]")) if word]
    if depth >= _DEEPEST:
        return []
    if not any("=" in word.partition("[")[0] for word in inner):
        return [_bracketed(word, depth + 1) for word in inner]
    found: dict[str, Any] = {}
    for word in inner:
        name, _, value = word.partition("=")
        _merge(found, name, _bracketed(value, depth + 1))
    return found


def _parts(text: str) -> Iterator[str]:
    """Yield what blanks part, but for those in brackets."""
    begin = depth = 0
    for place, character in enumerate(text):
        depth = max(depth + (character == "[") - (character == "]"), 0)
        if character.isspace() and not depth:
            if place > begin:
                yield text[begin:place]
            begin = place + 1
    if text[begin:]:
        yield text[begin:]


def _merge(values: dict[str, Any], key: str, value: Any) -> None:
    """Lists grow; what is there otherwise stays: keys of their own come before words of a string."""
    if isinstance(value, list) and key in values:
        known = values[key]
        values[key] = [*(known if isinstance(known, list) else words(known)), *value]
    else:
        values.setdefault(key, value)


def _codec_lists(codec: Any) -> dict[str, list[str]]:
    if not isinstance(codec, dict):
        return {}
    named = ((canonical(key), list(words(value))) for key, value in codec.items())
    return {name: found for name, found in named if name in CODEC_LISTS and found}
