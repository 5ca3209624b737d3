# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that seal secrets in the database: where they come from, and how another takes over."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ctl.config import Config
from provisioning.errors import VaultError
from provisioning.sealing import seal_all
from provisioning.vault import KEY_BYTES, Vault, parse_keys, read_keys, write_keys


class KeyRing:
    """Keys of the environment, or of a file that is made if it is missing. Raises VaultError."""

    def __init__(self, config: Config) -> None:
        given = config.database.key
        self._path = None if given else config.database.key_file or config.run.state / "database.key"
        if given:
            self._keys = parse_keys(given.get_secret_value(), "database.key")
        else:
            assert self._path
            self._keys = read_keys(self._path)
        self.vault = Vault(self._keys)

    def reread(self) -> None:
        """Use the keys that are in the file now. Raises VaultError."""
        if self._path is not None:
            self._keys = read_keys(self._path)
            self.vault.use(self._keys)

    def rotate(self, conninfo: str, written: Callable[[], None] = lambda: None) -> int:
        """Seal every secret with a new key, then forget the old ones; return how many secrets. Raises VaultError.

        written: called when the file has changed, for others to read it anew.

        The file has the new key before anything is sealed with it, and the old ones until nothing needs them.
        """
        if self._path is None:
            raise VaultError("the key comes from database.key: put a new line before it there, and restart")
        fresh = secrets.token_bytes(KEY_BYTES)
        both = [fresh, *self._keys]
        write_keys(self._path, both)
        self._keys = both
        self.vault.use(both)
        written()
        sealed = seal_all(conninfo, self.vault)
        write_keys(self._path, [fresh])
        self._keys = [fresh]
        self.vault.use([fresh])
        written()
        return sealed
