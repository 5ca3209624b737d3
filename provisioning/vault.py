# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets at rest: AES-256-GCM under a key that the database never sees.

A sealed text is `v1:KEY:BASE64`, KEY being the first eight hex digits of SHA-256 of the key, and the rest nonce (12
bytes), ciphertext and tag (16). What the secret belongs to is authenticated with it, so that a row which is copied
over another one opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import VaultError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
SEALED = re.compile(r"v1:[0-9a-f]{8}:[A-Za-z0-9+/=]+")


class Vault:
    """Seals with the first of its keys and opens with any of them. keys: 32 bytes each. Raises VaultError."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self.use(keys)

    def use(self, keys: Iterable[bytes]) -> None:
        """Seal and open with these keys from now on. Raises VaultError."""
        self._keys = {_name(key): _whole(key) for key in keys}
        self._ciphers: dict[str, AESGCM] = {}
        if not self._keys:
            raise VaultError("there is no database key: name a file with database.key_file")
        self._current = next(iter(self._keys))

    def seal(self, plain: str, owner: str) -> str:
        """Return the sealed text of a secret that belongs to `owner`, such as "trunks.password:paris"."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher(self._current).encrypt(nonce, plain.encode(), owner.encode())
        return f"v1:{self._current}:{base64.b64encode(sealed).decode()}"

    def open(self, text: str, owner: str) -> str:
        """Return the secret of a sealed text. Raises VaultError for another key, owner or a changed text."""
        if not SEALED.fullmatch(text):
            raise VaultError(f"{owner} is not sealed: start voxdp run once, it seals what it finds")
        _, name, body = text.split(":")
        if name not in self._keys:
            raise VaultError(f"{owner} is sealed with key {name}, which is not in the key file: restore that file")
        from cryptography.exceptions import InvalidTag

        try:
            raw = base64.b64decode(body, validate=True)
            return self._cipher(name).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], owner.encode()).decode()
        except (InvalidTag, ValueError, binascii.Error):
            raise VaultError(f"{owner} was changed in the database: set it anew") from None

    def is_current(self, text: str) -> bool:
        """Whether the text is sealed with the key that seals now."""
        return text.startswith(f"v1:{self._current}:")

    def _cipher(self, name: str) -> AESGCM:
        """By the key of this name; what ciphers is loaded where there is a secret, as it takes 6 MB."""
        if name not in self._ciphers:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._ciphers[name] = AESGCM(self._keys[name])
        return self._ciphers[name]


def read_keys(path: Path) -> list[bytes]:
    """Return the keys of a file, one in 64 hex digits a line, the one in use first; makes the file if it is missing.

    Raises VaultError.
    """
    try:
        if not path.exists():
            write_keys(path, [secrets.token_bytes(KEY_BYTES)])
        if path.stat().st_mode & 0o077:
            raise VaultError(f"{path} can be read by others: run: chmod 600 {path}")
        return parse_keys(path.read_text(encoding="ascii"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise VaultError(f"the database key {path} cannot be read ({error}): correct database.key_file") from None


def parse_keys(text: str, where: str) -> list[bytes]:
    """Return the keys of a text, one in 64 hex digits a line. Raises VaultError."""
    try:
        return [_whole(bytes.fromhex(line)) for line in text.split()]
    except ValueError:
        raise VaultError(
            f"{where} holds no keys of 64 hex digits a line: make one with: openssl rand -hex 32"
        ) from None


def write_keys(path: Path, keys: Iterable[bytes]) -> None:
    """Replace the file of keys, whole or not at all; only its owner can read it. Raises OSError."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{key.hex()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


def _whole(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise VaultError(f"a database key has {KEY_BYTES} bytes, not {len(key)}: make one with: openssl rand -hex 32")
    return key
