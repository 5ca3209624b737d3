# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording as people play it: decrypted, checked, and with the length that it turned out to have."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from media.sealed import Keys, SealedReader

WAV_HEADER = 44
FORMATS = {"wav": ".wav", "opus": ".ogg"}


@dataclass(frozen=True, slots=True)
class Exported:
    """about: what was kept with the sound. complete: False where the file was cut short; what is there is all right."""

    id: str
    tenant: str
    about: dict[str, Any]
    ending: dict[str, Any] | None
    sound: bytes

    @property
    def complete(self) -> bool:
        """Whether the file says how it ended."""
        return self.ending is not None

    @property
    def suffix(self) -> str:
        """Of a file with the sound."""
        return FORMATS[self.about["format"]]

    @property
    def seconds(self) -> float | None:
        """Length, of WAV."""
        if self.about["format"] != "wav":
            return None
        channels = 2 if self.about["layout"] == "stereo" else 1
        rate: int = self.about["rate"]
        return max(0, len(self.sound) - WAV_HEADER) / (2 * channels * rate)


def export(sealed: bytes, keys: Keys) -> Exported:
    """Open a recording. Raises SealedError: no recording, another key, or changed since."""
    reader = SealedReader(io.BytesIO(sealed), keys)
    sound = b"".join(reader.sound())
    if reader.about["format"] == "wav":
        sound = with_lengths(sound)
    return Exported(reader.header.id, reader.header.tenant, reader.about, reader.ending, sound)


def with_lengths(wav: bytes) -> bytes:
    """A WAV file that says how long it is, where it was written before anybody knew."""
    if len(wav) < WAV_HEADER:
        return wav
    data = len(wav) - WAV_HEADER
    return wav[:4] + struct.pack("<I", data + WAV_HEADER - 8) + wav[8:40] + struct.pack("<I", data) + wav[WAV_HEADER:]
