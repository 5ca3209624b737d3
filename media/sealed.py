# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings at rest: AES-256-GCM, a key for each file, wrapped by the key of its tenant.

    "VOXREC1\\n"  length of header (4 bytes)  header (JSON: id, tenant, key, wrapped, salt)
    then pieces:  kind (1)  length (4)  text and tag
    kind 0: what is known of the recording (JSON)   1: sound   2: how it ended (JSON), the last one

A piece's nonce is the header's salt and the number of the piece; header, kind and number are authenticated with it,
so that pieces can neither be changed nor left out, doubled or moved. A file cut short has all pieces but the last.
"""

from __future__ import annotations

import json
import os
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"VOXREC1\n"
KEY_BYTES = 32
ABOUT, SOUND, END = 0, 1, 2
MOST_HEADER = 4096
MOST_PIECE = 16 << 20
DEFAULT = "default"
"""The tenant whose key is used for all that have none."""

_LENGTH = struct.Struct(">I")
_PIECE = struct.Struct(">BI")
_NONCE = struct.Struct(">4sQ")


class SealedError(Exception):
    """The file cannot be read: no recording, another key, or changed since. One line that says which."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of tenants, the one in use first."""

    tenants: Mapping[str, Sequence[bytes]] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Read lines of an optional tenant and 64 hex digits. Raises SealedError."""
        tenants: dict[str, list[bytes]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            tenant, digits = words if len(words) == 2 else (DEFAULT, words[-1])
            try:
                key = bytes.fromhex(digits)
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES or len(words) > 2:
                raise SealedError(f"line {number} of the recording keys: a tenant and 64 hex digits are wanted")
            tenants.setdefault(tenant, []).append(key)
        return cls(tenants)

    def in_use(self, tenant: str) -> bytes:
        """Return the key that wraps new recordings of a tenant. Raises SealedError."""
        for name in (tenant, DEFAULT):
            if self.tenants.get(name):
                return self.tenants[name][0]
        raise SealedError(f"no key for recordings of {tenant}; add one to recording.key_file")

    def named(self, name: str) -> bytes:
        """Return the key of that name. Raises SealedError."""
        found = (key for keys in self.tenants.values() for key in keys if name_of(key) == name)
        key = next(found, None)
        if key is None:
            raise SealedError(f"the key {name} that wrapped this recording is not there; add it to recording.key_file")
        return key


@dataclass(frozen=True, slots=True)
class Header:
    """What is not encrypted. id: the recording's UUID; key: name of the tenant's key."""

    id: str
    tenant: str
    key: str
    wrapped: bytes
    salt: bytes

    def encode(self) -> bytes:
        """Return the bytes as they are in the file."""
        texts = {"wrapped": b64encode(self.wrapped).decode(), "salt": b64encode(self.salt).decode()}
        text = json.dumps({"id": self.id, "tenant": self.tenant, "key": self.key, **texts}, sort_keys=True).encode()
        return MAGIC + _LENGTH.pack(len(text)) + text


class SealedWriter:
    """Writes one recording to an unbuffered file; what was written stays readable whenever it ends."""

    def __init__(self, file: BinaryIO, recording: str, tenant: str, keys: Keys, about: Mapping[str, Any]) -> None:
        own, wrapping, nonce = AESGCM.generate_key(256), keys.in_use(tenant), os.urandom(12)
        wrapped = nonce + AESGCM(wrapping).encrypt(nonce, own, recording.encode())
        header = Header(recording, tenant, name_of(wrapping), wrapped, os.urandom(4))
        self._file = file
        self._cipher = _Cipher(own, header)
        _write_all(file, header.encode())
        self.add(ABOUT, json.dumps(about).encode())

    def add(self, kind: int, data: bytes) -> None:
        """Append a piece and hand it to the system. Raises OSError."""
        text = self._cipher.seal(kind, data)
        _write_all(self._file, _PIECE.pack(kind, len(text)) + text)

    def end(self, how: Mapping[str, Any]) -> None:
        """Append the last piece, and have everything on disk. Raises OSError."""
        self.add(END, json.dumps(how).encode())
        self.sync()

    def sync(self) -> None:
        """Have everything on disk. Raises OSError."""
        os.fsync(self._file.fileno())


class SealedReader:
    """Reads one recording. Raises SealedError for what is none, or of an unknown key.

    ending: what the last piece says, None until it has been read; it stays None where the file was cut short.
    """

    def __init__(self, file: BinaryIO, keys: Keys) -> None:
        self.header = _read_header(file)
        self._file = file
        self._cipher = _Cipher(_unwrap(self.header, keys), self.header)
        self.ending: dict[str, Any] | None = None
        kind, data = next(self._pieces(), (END, b""))
        if kind != ABOUT:
            raise SealedError("the recording ends before it says what it is")
        self.about: dict[str, Any] = json.loads(data)

    def sound(self) -> Iterator[bytes]:
        """Return the sound piece by piece. Raises SealedError where a piece was changed."""
        for kind, data in self._pieces():
            if kind == END:
                self.ending = json.loads(data)
                return
            yield data

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        while len(head := self._file.read(_PIECE.size)) == _PIECE.size:
            kind, length = _PIECE.unpack(head)
            if length > MOST_PIECE:
                raise SealedError("a piece of the recording is longer than any can be")
            text = self._file.read(length)
            if len(text) < length:
                return
            yield kind, self._cipher.open(kind, text)


class _Cipher:
    """One file's key, and the number of the piece that comes next."""

    def __init__(self, key: bytes, header: Header) -> None:
        self._aead = AESGCM(key)
        self._header = sha256(header.encode()).digest()
        self._salt = header.salt
        self._number = 0

    def seal(self, kind: int, data: bytes) -> bytes:
        nonce, bound = self._next(kind)
        return self._aead.encrypt(nonce, data, bound)

    def open(self, kind: int, text: bytes) -> bytes:
        nonce, bound = self._next(kind)
        try:
            return self._aead.decrypt(nonce, text, bound)
        except InvalidTag:
            raise SealedError(f"piece {self._number - 1} of the recording was changed") from None

    def _next(self, kind: int) -> tuple[bytes, bytes]:
        nonce = _NONCE.pack(self._salt, self._number)
        self._number += 1
        return nonce, self._header + bytes([kind]) + nonce


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Raises OSError; a piece that was begun is no piece to who reads it."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def name_of(key: bytes) -> str:
    """Return what a key is called in headers."""
    return sha256(b"voxdp recording key" + key).hexdigest()[:16]


def _read_header(file: BinaryIO) -> Header:
    start = file.read(len(MAGIC) + _LENGTH.size)
    if not start.startswith(MAGIC) or len(start) < len(MAGIC) + _LENGTH.size:
        raise SealedError("this is no recording of voxdp")
    (length,) = _LENGTH.unpack(start[len(MAGIC) :])
    text = file.read(min(length, MOST_HEADER))
    try:
        said = json.loads(text)
        wrapped, salt = b64decode(said["wrapped"], validate=True), b64decode(said["salt"], validate=True)
        header = Header(str(said["id"]), str(said["tenant"]), str(said["key"]), wrapped, salt)
    except (ValueError, KeyError, TypeError):
        raise SealedError("the header of the recording cannot be read") from None
    if len(salt) != 4 or start + text != header.encode():
        raise SealedError("the header of the recording was changed")
    return header


def _unwrap(header: Header, keys: Keys) -> bytes:
    nonce, text = header.wrapped[:12], header.wrapped[12:]
    try:
        return AESGCM(keys.named(header.key)).decrypt(nonce, text, header.id.encode())
    except (InvalidTag, ValueError):
        raise SealedError("the key of the recording was changed") from None
