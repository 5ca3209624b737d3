# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be recorded, as controller and recorder say it to each other. Knows nothing of C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from media.stages import NUMBERS

SUFFIX = ".vxr"
"""Of a recording's file."""

Layout = Literal["mixed", "stereo", "a", "b"]
Format = Literal["wav", "opus", "pcm"]
LAYOUTS: tuple[Layout, ...] = ("mixed", "stereo", "a", "b")
FORMATS: tuple[Format, ...] = ("wav", "opus", "pcm")
"""In the order of enum recording_format. pcm: samples alone, for who listens now."""
FILES = FORMATS[:2]


class RecorderError(Exception):
    """The recorder refused; one line that names the remedy. code: "bad-request", "unknown", "full" or "system"."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class LegCodecs:
    """What a leg may send: payload type to codec name; types of telephone events and comfort noise."""

    codecs: Mapping[int, str] = field(default_factory=dict)
    events: int | None = None
    noise: int | None = None


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """One recording. about: what is kept, encrypted, with the sound.

    feed: what it is made from, by which copies come; None: its own. destination: where its sound goes at once instead
    of into a file, as `tcp://192.0.2.1:9000`; empty: into a file.
    """

    id: UUID
    legs: tuple[LegCodecs, LegCodecs]
    tenant: str = "default"
    layout: Layout = "stereo"
    format: Format = "wav"
    rate: int = 8000
    about: Mapping[str, Any] = field(default_factory=dict)
    feed: UUID | None = None
    destination: str = ""

    @property
    def copies(self) -> UUID:
        """The name of the copies that it is made from."""
        return self.feed or self.id


def parse_destination(text: str) -> tuple[str, str, int]:
    """Return scheme, address and port of `tcp://192.0.2.1:9000` or `tls://[2001:db8::1]:9000`. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port or parts.path.strip("/"):
        raise ValueError(f"{text!r:.100} is none of tcp://ADDRESS:PORT and tls://ADDRESS:PORT")
    return parts.scheme, str(ip_address(parts.hostname)), parts.port


def settings_to_json(settings: RecordingSettings) -> dict[str, Any]:
    """The settings as a JSON object."""
    return {**asdict(settings), "id": str(settings.id), "feed": str(settings.feed) if settings.feed else None}


def settings_from_json(value: Any) -> RecordingSettings:
    """The settings in a JSON object. Raises RecorderError "bad-request"."""
    try:
        legs = tuple(_leg(leg) for leg in value["legs"])
        made = {**value, "id": UUID(value["id"]), "legs": legs, "feed": UUID(value["feed"]) if value["feed"] else None}
        settings = RecordingSettings(**made)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecorderError("bad-request", f"no settings of a recording: {error}") from None
    if len(legs) != 2 or settings.layout not in LAYOUTS or settings.format not in FORMATS:
        raise RecorderError("bad-request", "two legs, a layout and a format that are known are wanted")
    return settings


def _leg(value: Mapping[str, Any]) -> LegCodecs:
    codecs = {int(number): str(name) for number, name in value["codecs"].items()}
    if any(name not in NUMBERS for name in codecs.values()) or not all(0 <= number < 128 for number in codecs):
        raise ValueError(f"codecs {codecs}")
    return LegCodecs(codecs, value["events"], value["noise"])
