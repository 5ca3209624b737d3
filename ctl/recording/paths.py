# SPDX-License-Identifier: GPL-3.0-or-later
"""Where recordings lie, and the keys that open them, by the configuration."""

from __future__ import annotations

from pathlib import Path

from ctl.config import Config

SOCKET_NAME = "recorder.sock"
KEY_VARIABLE = "VOXDP_RECORDING__KEY"


def spool(config: Config) -> Path:
    """The directory of recordings under way."""
    return (config.recording.directory or config.run.state / "recordings") / "spool"


def store_url(config: Config) -> str:
    """Where they are kept."""
    return config.recording.url or f"file://{spool(config).parent / 'store'}"


def has_key(config: Config) -> bool:
    """Whether recordings can be sealed at all."""
    return bool(config.recording.key_file or config.recording.key)
