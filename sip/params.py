# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters behind a semicolon: names without case, order and spelling kept (RFC 3261 §7.3.1, §25.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sip.errors import ParseError

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 (the grammar's word)
QUOTED = r'"(?:[^"\\]|\\.)*+"'
_VALUE = rf"(?:[A-Za-z0-9\-.!%*_+`'~\[\]:/@&$\x80-\U0010ffff]++|{QUOTED})"
PARAMS = rf"(?:\s*+;\s*+{TOKEN}(?:\s*+=\s*+{_VALUE}?)?+)*+"
"""Pattern of any number of header parameters, each with its semicolon in front."""
_ONE = re.compile(rf"\s*+;\s*+({TOKEN})(?:\s*+(=)\s*+({_VALUE})?)?+", re.DOTALL | re.ASCII)
_ALL = re.compile(PARAMS + r"\s*", re.DOTALL | re.ASCII)

Pair = tuple[str, str | None]


class Params:
    """An immutable, ordered set of parameters; a value of None is a flag such as `lr` or `rport`."""

    __slots__ = ("_index", "pairs")

    pairs: tuple[Pair, ...]

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.pairs = tuple(pairs)
        self._index: dict[str, str | None] = {}
        for name, value in self.pairs:
            self._index.setdefault(name.lower(), value)

    @classmethod
    def parse(cls, text: str) -> Params:
        """From the text `;name=value;flag` of a header value. Raises ParseError (400) on anything else."""
        if not text:
            return EMPTY
        if not _ALL.fullmatch(text):
            raise ParseError(400, "Malformed Parameters")
        return cls.split(text)

    @classmethod
    def split(cls, text: str) -> Params:
        """As `parse`, for text that a larger pattern has matched already."""
        if not text:
            return EMPTY
        if '"' in text:
            return cls((m[1], m[3] or "" if m[2] else None) for m in _ONE.finditer(text))
        pairs: list[Pair] = []
        for piece in text.split(";")[1:]:
            name, equals, value = piece.partition("=")
            pairs.append((name.strip(" \t"), value.strip(" \t") if equals else None))
        return cls(pairs)

    def get(self, name: str) -> str | None:
        """The value of the parameter `name` (lower case), unquoted; "" for a flag, None where it is absent."""
        if name not in self._index:
            return None
        return unquote(self._index[name] or "")

    def set(self, name: str, value: str | None = None) -> Params:
        """A copy in which `name` (lower case) has this value, in its old place or at the end."""
        if name not in self._index:
            return Params((*self.pairs, (name, value)))
        return Params((n, value if n.lower() == name else v) for n, v in self.pairs)

    def without(self, *names: str) -> Params:
        """A copy without the parameters `names` (lower case)."""
        return Params(pair for pair in self.pairs if pair[0].lower() not in names)

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.pairs)

    def __repr__(self) -> str:
        return f"Params({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._folded() == other._folded()

    def __hash__(self) -> int:
        return hash(frozenset(self._folded().items()))

    def _folded(self) -> dict[str, str]:
        """Values as they compare: tokens without case, quoted strings with it (RFC 3261 §7.3.1)."""
        values = {name: value or "" for name, value in self._index.items()}
        return {name: text if text[:1] == '"' else text.lower() for name, text in values.items()}


EMPTY = Params()


def quote(text: str) -> str:
    """`text` as a quoted-string (RFC 3261 §25.1)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unquote(text: str) -> str:
    """The content of a quoted-string; any other text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner
