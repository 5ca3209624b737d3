# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords of users, kept as HA1 = H(username:realm:password) per algorithm (RFC 7616, RFC 8760), and sealed."""

from __future__ import annotations

import hashlib

from provisioning.errors import InvalidValue
from provisioning.sealing import HA1_MD5, HA1_SHA256
from provisioning.vault import Vault


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """Return H(username:realm:password) in hex (RFC 7616 §3.4.2), of UTF-8.

    algorithm: "MD5" or "SHA-256". Raises InvalidValue for another one.
    """
    hashes = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
    if algorithm not in hashes:
        raise InvalidValue(f"no digest algorithm {algorithm}: use MD5 or SHA-256")
    return hashes[algorithm](f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def ha1_columns(username: str, realm: str, password: str, vault: Vault) -> dict[str, str]:
    """Return the columns of a user's password. Raises InvalidValue for one that no telephone could send."""
    if not password or not all(character.isprintable() for character in password):
        raise InvalidValue("a password must not be empty nor hold control characters: choose another")
    return {
        "ha1_md5": vault.seal(ha1("MD5", username, realm, password), HA1_MD5.owner(realm, username)),
        "ha1_sha256": vault.seal(ha1("SHA-256", username, realm, password), HA1_SHA256.owner(realm, username)),
    }


def open_ha1(realm: str, username: str, md5: str, sha256: str, vault: Vault) -> tuple[str, str]:
    """Return both HA1 values of the sealed columns. Raises VaultError."""
    return vault.open(md5, HA1_MD5.owner(realm, username)), vault.open(sha256, HA1_SHA256.owner(realm, username))
