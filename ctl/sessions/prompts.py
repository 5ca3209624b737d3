# SPDX-License-Identifier: GPL-3.0-or-later
"""Sounds by name: WAV files below one directory, a few tones, and what a client handed in, ready for the engine.

A name comes from users, so it reaches nothing outside that directory: not by "..", not as an absolute path, not by a
link that leads out. Files are read by a process of their own (`media.clips`), once, and kept in memory where the engine
maps them; a file that has changed is another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path, PurePosixPath

import structlog

from media.spawn import environment

RATES = (8000, 16000)
"""Hz of the files that `media.clips` makes of each sound."""
TONES = ("tone/ringback", "tone/busy", "tone/music")
SUFFIX = ".wav"
BLOB = "blob/"
MOST_BLOB = 8 << 20
MOST_SOUNDS = 64
"""In one sequence."""
STALE = 3600.0
REFRESH = 5.0
_PATIENCE = 60.0
_HEADER = struct.Struct("=IIII")

log = structlog.get_logger()


class SoundError(Exception):
    """A sound cannot be had, in one line. status: as in SIP and HTTP, 404, 425 (not yet), 400 or 503."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def wav_milliseconds(data: bytes) -> int:
    """Return how long a WAV file lasts, by its own word. Raises SoundError 400 for what is none that can be played."""
    place, rate, width = 12, 0, 0
    if len(data) < place or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise SoundError(400, "this is no WAV file")
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"fmt " and place + 24 <= len(data):
            rate, _, width = struct.unpack_from("<IIH", data, place + 12)
        if name == b"data" and rate and width:
            return min(length, len(data) - place - 8) * 1000 // (rate * width)
        place += 8 + length + length % 2
    raise SoundError(400, "this WAV file has no sound in it")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sound that is ready. stem: its files' path without the rate; milliseconds: how long it lasts."""

    stem: str
    milliseconds: int


class Prompts:
    """One per controller. directory: of WAV files, None: there are but tones. cache: of what was made of them."""

    def __init__(self, directory: Path | None, cache: Path, python: str = sys.executable) -> None:
        self._directory = directory
        self._cache = cache
        self._python = python
        self._refused: dict[Path, str] = {}
        self.named: list[Callable[[], Iterable[str]]] = []
        """Sounds that are not to be forgotten, though nobody has asked for them for long."""

    def find(self, sounds: str | Sequence[str]) -> Prompt:
        """Return what to play for a name, or for several one after the other. Raises SoundError."""
        names = (sounds,) if isinstance(sounds, str) else tuple(sounds)
        if not 1 <= len(names) <= MOST_SOUNDS:
            raise SoundError(400, f"{len(names)} sounds; play 1 to {MOST_SOUNDS} at once")
        stems = [self._ready(name) for name in names]
        stem = stems[0] if len(stems) == 1 else self._joined(stems)
        size = self._file(stem, RATES[0]).stat().st_size
        return Prompt(str(stem), (size - _HEADER.size) // 2 * 1000 // RATES[0])

    def names(self) -> list[str]:
        """Return the names of all sounds there are."""
        found = set(TONES)
        if self._directory:
            for path in self._directory.rglob(f"*{SUFFIX}"):
                with suppress(SoundError):
                    name = path.relative_to(self._directory).with_suffix("").as_posix()
                    self._source(name)
                    found.add(name)
        return sorted(found)

    def name_of(self, path: str) -> str:
        """Return the name of the file at an absolute path below the directory; anything else stays as it is."""
        if self._directory is None or not path.startswith("/"):
            return path
        try:
            return Path(path).relative_to(self._directory).as_posix()
        except ValueError:
            return path

    async def prepare(self, source: str | bytes) -> str:
        """Make a sound ready; return its name. source: a name, or a whole WAV file. Raises SoundError."""
        name = source if isinstance(source, str) else self.keep(source)
        stem, path = self._stem(name)
        if not self._has(stem):
            await self._make([(path, stem)])
        self._ready(name)
        return name

    async def keep_fresh(self) -> None:
        """Follow what happens to the directory."""
        while True:
            try:
                await self.refresh()
            except (SoundError, OSError) as error:
                log.error("sounds not prepared", why=str(error))
            await asyncio.sleep(REFRESH)

    async def refresh(self) -> None:
        """Make ready whatever is not yet, and forget what is not there any more."""
        self._cache.mkdir(mode=0o700, exist_ok=True)
        wanted: list[tuple[str, Path]] = []
        kept: set[str] = set()
        for name in await asyncio.to_thread(self.names):
            with suppress(SoundError):
                stem, path = self._stem(name)
                kept.add(stem.name)
                if not self._has(stem) and stem not in self._refused:
                    wanted.append((path, stem))
        if wanted:
            await self._make(wanted)
            log.info("sounds made ready", sounds=sum(self._has(stem) for _, stem in wanted))
        for stem, why in self._refused.items():
            if any(stem == asked for _, asked in wanted):
                log.error("sound not usable", file=next(path for path, asked in wanted if asked == stem), why=why)
        for name in chain.from_iterable(each() for each in self.named):
            with suppress(SoundError):
                kept.add(self._stem(name)[0].name)
        self._forget(kept)

    def _ready(self, name: str) -> Path:
        stem, _ = self._stem(name)
        if self._has(stem):
            return stem
        if stem in self._refused:
            raise SoundError(400, f"sound {name!r} cannot be played: {self._refused[stem]}")
        raise SoundError(425, f"sound {name!r} is being prepared; ask again in a moment")

    def _stem(self, name: str) -> tuple[Path, str]:
        """Where a sound's clips are or will be, and what they are made of."""
        if name in TONES and not (self._directory and self._exists(name)):
            return self._cache / name.replace("/", "-"), name
        if name.startswith(BLOB):
            digest = name.removeprefix(BLOB)
            path = self._cache / f"blob-{digest}{SUFFIX}"
            if not digest.isalnum() or not path.is_file():
                raise SoundError(404, f"there is no sound {name!r:.80}")
            return self._cache / f"blob-{digest}", str(path)
        path = self._source(name)
        about = path.stat()
        told = f"{path}:{about.st_mtime_ns}:{about.st_size}"
        return self._cache / sha256(told.encode()).hexdigest()[:32], str(path)

    def _exists(self, name: str) -> bool:
        try:
            self._source(name)
        except SoundError:
            return False
        return True

    def _source(self, name: str) -> Path:
        """Return the file of a name; raise SoundError 404 for all that is not below the directory."""
        if self._directory is None:
            raise SoundError(404, f"there is no sound {name!r:.80}; set media.prompts to a directory of WAV files")
        parts = PurePosixPath(name).parts
        unknown = SoundError(404, f"there is no sound {name!r:.80} below {self._directory}")
        if not parts or "\0" in name or name.startswith("/") or ".." in parts:
            raise unknown
        try:
            home = self._directory.resolve(strict=True)
            for candidate in (name, name + SUFFIX):
                path = home.joinpath(candidate).resolve()
                if path.is_relative_to(home) and path.suffix.lower() == SUFFIX and path.is_file():
                    return path
        except OSError:
            raise unknown from None
        raise unknown

    def keep(self, data: bytes) -> str:
        """Take in a WAV file; return its name. Raises SoundError."""
        if len(data) > MOST_BLOB:
            raise SoundError(400, f"{len(data)} bytes of sound; hand in at most {MOST_BLOB}, or name a file")
        digest = sha256(data).hexdigest()[:32]
        self._cache.mkdir(mode=0o700, exist_ok=True)
        path = self._cache / f"blob-{digest}{SUFFIX}"
        if not path.exists():
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            fresh.write_bytes(data)
            fresh.rename(path)
        return f"{BLOB}{digest}"

    def _joined(self, stems: Sequence[Path]) -> Path:
        """One sound of several, made of what is ready of each."""
        digest = sha256("\n".join(stem.name for stem in stems).encode()).hexdigest()[:32]
        joined = self._cache / f"sequence-{digest}"
        if not self._has(joined):
            for rate in RATES:
                parts = [self._file(stem, rate).read_bytes() for stem in stems]
                magic = _HEADER.unpack_from(parts[0])[0]
                sound = b"".join(part[_HEADER.size :] for part in parts)
                fresh = self._file(joined, rate).with_name(f".{joined.name}.{rate}.{os.getpid()}")
                fresh.write_bytes(_HEADER.pack(magic, rate, len(sound) // 2, 0) + sound)
                fresh.rename(self._file(joined, rate))
        return joined

    def _has(self, stem: Path) -> bool:
        return all(self._file(stem, rate).is_file() for rate in RATES)

    @staticmethod
    def _file(stem: Path, rate: int) -> Path:
        return stem.with_name(f"{stem.name}.{rate}")

    async def _make(self, wanted: Iterable[tuple[str, Path]]) -> None:
        """Have a process of its own make them; what it refuses is remembered. Raises SoundError."""
        self._cache.mkdir(mode=0o700, exist_ok=True)
        lines = [json.dumps({"source": source, "stem": str(stem)}) for source, stem in wanted]
        process = await asyncio.create_subprocess_exec(
            *(self._python, "-P", "-m", "media.clips"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(),
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate("\n".join(lines).encode()), _PATIENCE * len(lines))
        except TimeoutError:
            process.kill()
            raise SoundError(503, f"sounds not prepared within {_PATIENCE * len(lines):g} s; shorten them") from None
        for line in said.splitlines():
            told = json.loads(line)
            if "error" in told:
                self._refused[Path(told["stem"])] = told["error"]

    def _forget(self, kept: set[str]) -> None:
        for path in self._cache.iterdir():
            known = path.name.rpartition(".")[0] in kept
            if not known and path.stat().st_mtime < time.time() - STALE:
                path.unlink(missing_ok=True)
