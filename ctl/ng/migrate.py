# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what rtpengine is configured by, its file and its command line, into tables of our own configuration. Pure.

What has no meaning here is named, so that nobody believes it is in force.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHORT = {
    "i": "interface",
    "n": "listen-ng",
    "m": "port-min",
    "M": "port-max",
    "o": "timeout",
    "s": "silent-timeout",
    "T": "tos",
    "t": "table",
    "p": "pidfile",
    "f": "foreground",
    "c": "listen-cli",
    "L": "log-level",
    "E": "log-stderr",
}
FLAGS = frozenset({"foreground", "log-stderr", "no-fallback", "active-switchover", "reject-invalid-sdp"})
"""Options without a value."""
LEVELS = ("error", "error", "error", "error", "warning", "info", "info", "debug")
"""By the numbers of syslog."""


class Unreadable(Exception):
    """The file or the command line is none; one line that says where."""


@dataclass(slots=True)
class Translation:
    """tables: of our configuration. ignored: options that have no effect here, and why where it is worth saying."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def put(self, section: str, key: str, value: Any) -> None:
        """Set a key of ours."""
        self.tables.setdefault(section, {})[key] = value


def read_arguments(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each option of a command line, in order. Raises Unreadable."""
    found: dict[str, list[str]] = {}
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if not name.startswith("-"):
            raise Unreadable(f"{word!r} is no option")
        name = name[2:] if name.startswith("--") else SHORT.get(name[1:], name[1:])
        if name not in FLAGS and not equals:
            value = next(words, "")
            if not value:
                raise Unreadable(f"--{name} needs a value")
        found.setdefault(name, []).append(value)
    return found


def read_file(text: str) -> dict[str, list[str]]:
    """Return the values of each key in the section [rtpengine]. Raises Unreadable."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, inline_comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    try:
        parser.read_string(text)
        pairs = parser.items("rtpengine")
    except configparser.Error as error:
        raise Unreadable(str(error).replace("\n", " ")) from None
    return {key: [part.strip() for part in (value or "").split(";") if part.strip()] or [""] for key, value in pairs}


def translate(options: Mapping[str, Sequence[str]]) -> Translation:
    """Return what the options say in our words. Raises Unreadable for a value that cannot be."""
    translation = Translation()
    for name, values in options.items():
        known = _KNOWN.get(name)
        if known is None:
            translation.ignored[name] = _WHY.get(name, "")
            continue
        try:
            known(translation, values)
        except ValueError:
            raise Unreadable(f"{name}: {'; '.join(values)!r} is no value for it") from None
    if "sip" not in translation.tables:
        translation.put("sip", "listen", [])
    return translation


def _interfaces(translation: Translation, values: Sequence[str]) -> None:
    """`NAME/ADDRESS!ADVERTISED`, several in one value by semicolons."""
    found = [_interface(part) for value in values for part in value.split(";") if part.strip()]
    translation.put("media", "interfaces", found)
    translation.put("media", "default", found[0]["name"])


def _interface(text: str) -> dict[str, str]:
    name, slash, address = text.strip().partition("/")
    if not slash:
        name, address = "default", name
    address, _, advertised = address.partition("!")
    made = {"name": name, "address": address.strip("[]")}
    return {**made, "advertised": advertised.strip("[]")} if advertised else made


def _listen(key: str) -> Callable[[Translation, Sequence[str]], None]:
    def put(translation: Translation, values: Sequence[str]) -> None:
        translation.put("ng", key, [_address(part) for value in values for part in value.split(";") if part.strip()])

    return put


def _address(text: str) -> str:
    """A port alone, or a name, is the loopback address: the protocol has no authentication."""
    host, colon, port = text.strip().rpartition(":")
    int(port)
    return f"{host if colon and host not in ('localhost', '') else '127.0.0.1'}:{port}"


def _number(section: str, key: str) -> Callable[[Translation, Sequence[str]], None]:
    return lambda translation, values: translation.put(section, key, int(values[-1]))


def _level(translation: Translation, values: Sequence[str]) -> None:
    translation.put("log", "level", LEVELS[min(max(int(values[-1]), 0), 7)])


def _directory(translation: Translation, values: Sequence[str]) -> None:
    translation.put("recording", "directory", values[-1])


_KNOWN: dict[str, Callable[[Translation, Sequence[str]], None]] = {
    "interface": _interfaces,
    "listen-ng": _listen("listen"),
    "listen-tcp-ng": _listen("listen_tcp"),
    "listen-http": _listen("listen_http"),
    "port-min": _number("media", "port_min"),
    "port-max": _number("media", "port_max"),
    "timeout": _number("media", "timeout"),
    "silent-timeout": _number("media", "hold_timeout"),
    "delete-delay": _number("ng", "delete_delay"),
    "max-sessions": _number("ng", "max_sessions"),
    "tos": _number("ng", "tos"),
    "offer-timeout": _number("ng", "offer_timeout"),
    "dtmf-log-dest": _listen("dtmf_log"),
    "recording-dir": _directory,
    "log-level": _level,
}
_WHY = {
    "table": "the kernel relay needs no module: voxdp attach",
    "no-fallback": "where XDP cannot, the engine carries media",
    "num-threads": "the engine has a worker for each CPU",
    "pidfile": "voxdp run stays in the foreground",
    "foreground": "voxdp run stays in the foreground",
    "log-stderr": "what is logged goes to standard error",
    "listen-cli": "voxdp ng ctl speaks to the controller's own socket",
    "redis": "calls are kept in a journal on this host",
    "recording-method": "recordings are sealed files: docs/media.md",
}


def as_toml(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a configuration file."""
    for section, keys in tables.items():
        lists = {
            key: value
            for key, value in keys.items()
            if value and isinstance(value, list) and isinstance(value[0], dict)
        }
        yield f"[{section}]"
        yield from (f"{key} = {_toml(value)}" for key, value in keys.items() if key not in lists)
        for key, items in lists.items():
            for item in items:
                yield f"[[{section}.{key}]]"
                yield from (f"{name} = {_toml(value)}" for name, value in item.items())


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
