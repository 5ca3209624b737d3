# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters behind a semicolon: names without case, order and spelling kept (RFC 3261 §7.3.1, §25.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sip.errors import ParseError

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 (the grammar's word)
# Groups repeat inside an atomic group: possessive repeats of groups are broken before Python 3.11.5 (gh-106052).
QUOTED = r'"(?>(?:[^"\\]|\\.)*)"'
_VALUE = rf"(?:[A-Za-z0-9\-.!%*_+`'~\[\]:/@&$\x80-\U0010ffff]++|{QUOTED})"
PARAMS = rf"(?>(?:\s*+;\s*+{TOKEN}(?:\s*+=\s*+{_VALUE}?)?)*)"
"""Pattern of any number of header parameters, each with its semicolon in front."""
_ONE = re.compile(rf"\s*+;\s*+({TOKEN})(?:\s*+(=)\s*+({_VALUE})?)?", re.DOTALL | re.ASCII)
_SPACED = re.compile(r"[\s\"]")
_ALL = re.compile(PARAMS + r"\s*", re.DOTALL | re.ASCII)

Pair = tuple[str, str | None]


class Params:
    """An immutable, ordered set of parameters; a value of None is a flag such as `lr` or `rport`.

    Text that was matched is taken apart only when something is asked of it.
    """

    __slots__ = ("_index", "_pairs", "_text")

    def __init__(self, pairs: Iterable[Pair] | None = (), text: str = "") -> None:
        self._text = text
        self._pairs: tuple[Pair, ...] | None = None if pairs is None else tuple(pairs)
        self._index: dict[str, str | None] | None = None

    @classmethod
    def parse(cls, text: str) -> Params:
        """From the text `;name=value;flag` of a header value. Raises ParseError (400) on anything else."""
        if not _ALL.fullmatch(text):
            raise ParseError(400, "Malformed Parameters")
        return cls.matched(text)

    @classmethod
    def matched(cls, text: str) -> Params:
        """As `parse`, for text that a larger pattern has matched already."""
        if not text:
            return EMPTY
        return cls(None, text)

    @property
    def text(self) -> str:
        """The text that was matched, and not changed since; "" where there is none."""
        return self._text

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Names and values as spelled, quotes and all, in order."""
        if self._pairs is None:
            self._pairs = _split(self._text)
        return self._pairs

    @property
    def _values(self) -> dict[str, str | None]:
        if self._index is None:
            self._index = {name.lower(): value for name, value in reversed(self.pairs)}
        return self._index

    def get(self, name: str) -> str | None:
        """The value of the parameter `name` (lower case), unquoted; "" for a flag, None where it is absent."""
        values = self._values if self._index is None else self._index
        if name not in values:
            return None
        value = values[name]
        return "" if value is None else unquote(value) if value[:1] == '"' else value

    def set(self, name: str, value: str | None = None) -> Params:
        """A copy in which `name` (lower case) has this value, in its old place or at the end."""
        if name not in self._values:
            return Params((*self.pairs, (name, value)))
        return Params((n, value if n.lower() == name else v) for n, v in self.pairs)

    def without(self, *names: str) -> Params:
        """A copy without the parameters `names` (lower case)."""
        return Params(pair for pair in self.pairs if pair[0].lower() not in names)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self.pairs))

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        if self._text and not _SPACED.search(self._text):
            return self._text
        return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.pairs)

    def __repr__(self) -> str:
        return f"Params({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._folded() == other._folded()

    def __hash__(self) -> int:
        return hash(frozenset(self._folded().items()))

    def _folded(self) -> dict[str, str]:
        """Values as they compare: tokens without case, quoted strings with it (RFC 3261 §7.3.1)."""
        values = {name: value or "" for name, value in self._values.items()}
        return {name: text if text[:1] == '"' else text.lower() for name, text in values.items()}


EMPTY = Params()


def _split(text: str) -> tuple[Pair, ...]:
    if '"' in text:
        return tuple((m[1], m[3] or "" if m[2] else None) for m in _ONE.finditer(text))
    pieces = (piece.partition("=") for piece in text.split(";")[1:])
    return tuple((name.strip(" \t"), value.strip(" \t") if equals else None) for name, equals, value in pieces)


def quote(text: str) -> str:
    """`text` as a quoted-string (RFC 3261 §25.1)."""
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def unquote(text: str) -> str:
    """The content of a quoted-string; any other text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner
