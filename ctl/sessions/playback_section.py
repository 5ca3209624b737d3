# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of `[media]` that say what is played, and how digits travel."""

from __future__ import annotations

from pathlib import Path

from ctl.section import Section


class PlaybackKeys(Section):
    """Sounds are named relative to `prompts`."""

    prompts: Path | None = None
    """Directory of WAV files that may be played: 16-bit, A-law or µ-law. None: there are but the built-in tones."""
    hold_music: str = ""
    """Sound that a party hears while the other one holds the call, such as `tone/music`; empty: none of ours."""
