# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file as TOML tables, and the one key that every command needs: where the sockets are.

Apart from `ctl.config`, so that a command that only talks to the running controller need not load the models.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

DEFAULT_PATH = Path("/etc/voxdp/voxdp.toml")
DEFAULT_DIRECTORY = "/run/voxdp"


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file or variable, the key and what is wrong."""


def read_tables(path: Path | None) -> dict[str, Any]:
    """Return the tables of `path`; with no path those of the default file, if any. Raises ConfigError."""
    if path is None and not DEFAULT_PATH.exists():
        return {}
    chosen = path or DEFAULT_PATH
    try:
        with chosen.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{chosen}: {error.strerror}; name a readable file with -c FILE") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{chosen}: not TOML: {error}") from None


def run_directory(path: Path | None) -> Path:
    """Return where the controller's sockets are. Raises ConfigError."""
    named = os.environ.get("VOXDP_RUN__DIRECTORY")
    if named:
        return Path(named)
    run = read_tables(path).get("run", {})
    return Path(str(run.get("directory", DEFAULT_DIRECTORY)) if isinstance(run, dict) else DEFAULT_DIRECTORY)
