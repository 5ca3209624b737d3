# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of session description lines: codecs, keys, fingerprints, candidates (RFC 8866, 3551, 4568, 8122, 8839)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import field
from functools import lru_cache
from typing import Self

from sip.errors import SdpError
from sip.facts import fact

_RTPMAP = re.compile(r"([0-9]{1,3})\s+([^\s/]+)/([0-9]{1,9})(?:/([0-9]{1,3}))?\s*", re.ASCII)
_CRYPTO = re.compile(r"([0-9]{1,9})\s+([A-Za-z0-9_]+)\s+inline:([^\s;|]+)((?:\|[^\s;|]*)*)(;\S+)?(?:\s+(.*))?")
_FINGERPRINT = re.compile(r"([A-Za-z0-9\-]+)\s+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*)\s*", re.ASCII)
_CONNECTION = re.compile(r"IN\s+IP([46])\s+([^\s/]+)(?:/[0-9/]+)?\s*", re.ASCII)
_RTCP = re.compile(r"([0-9]{1,5})(?:\s+IN\s+IP[46]\s+(\S+))?\s*", re.ASCII)

_AUDIO = {
    (0, 8000): "PCMU",
    (3, 8000): "GSM",
    (4, 8000): "G723",
    (5, 8000): "DVI4",
    (6, 16000): "DVI4",
    (7, 8000): "LPC",
    (8, 8000): "PCMA",
    (9, 8000): "G722",
    (10, 44100): "L16",
    (11, 44100): "L16",
    (12, 8000): "QCELP",
    (13, 8000): "CN",
    (14, 90000): "MPA",
    (15, 8000): "G728",
    (16, 11025): "DVI4",
    (17, 22050): "DVI4",
    (18, 8000): "G729",
}
_STEREO = 10
_VIDEO = {25: "CelB", 26: "JPEG", 28: "nv", 31: "H261", 32: "MPV", 33: "MP2T", 34: "H263"}
_KEY_BYTES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "F8_128_HMAC_SHA1_80": 30,
    "AES_192_CM_HMAC_SHA1_80": 38,
    "AES_192_CM_HMAC_SHA1_32": 38,
    "AES_256_CM_HMAC_SHA1_80": 46,
    "AES_256_CM_HMAC_SHA1_32": 46,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}


@fact
class Codec:
    """What a payload type stands for. name: as spelled; clock: Hz; fmtp: its parameters, "" where there are none."""

    name: str
    clock: int
    channels: int = 1
    fmtp: str = ""

    def same_as(self, other: Codec) -> bool:
        """Whether both name the same encoding; names have no case (RFC 8866 §6.6), parameters are not compared."""
        mine = (self.name.lower(), self.clock, self.channels)
        return mine == (other.name.lower(), other.clock, other.channels)


STATIC_TYPES: dict[int, Codec] = {
    **{number: Codec(name, clock, 2 if number == _STEREO else 1) for (number, clock), name in _AUDIO.items()},
    **{number: Codec(name, 90000) for number, name in _VIDEO.items()},
}
"""Payload types that need no rtpmap (RFC 3551 §6)."""


@fact
class Connection:
    """A c= line. family: 4 or 6; address: as spelled, a literal or a host name."""

    family: int
    address: str

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, value: str) -> Self:
        """Raises SdpError (400)."""
        match = _CONNECTION.fullmatch(value)
        if not match:
            raise SdpError(400, "Malformed Connection")
        return cls(int(match[1]), match[2])

    @classmethod
    def to(cls, address: str) -> Self:
        """For a literal address."""
        return cls(6 if ":" in address else 4, address)

    def __str__(self) -> str:
        return f"IN IP{self.family} {self.address}"


@fact
class Crypto:
    """An SDES key (RFC 4568). key: master key and salt, never shown; lifetime, mki: as spelled; params: the rest."""

    tag: int
    suite: str
    key: bytes = field(repr=False)
    lifetime: str = ""
    mki: str = ""
    params: str = ""

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """None where the line is not to be used: unreadable, several keys, or a key of the wrong length."""
        match = _CRYPTO.fullmatch(value)
        if not match or match[5]:
            return None
        key = _base64(match[3])
        if not key or len(key) != _KEY_BYTES.get(match[2], len(key)):
            return None
        extras = match[4].split("|")[1:]
        mki = next((extra for extra in extras if ":" in extra), "")
        lifetime = next((extra for extra in extras if ":" not in extra), "")
        return cls(int(match[1]), match[2], key, lifetime, mki, match[6] or "")


@fact
class Fingerprint:
    """A certificate's hash (RFC 8122). algorithm: lower case, such as sha-256."""

    algorithm: str
    value: bytes

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """None where the line cannot be read."""
        match = _FINGERPRINT.fullmatch(value)
        return cls(match[1].lower(), bytes.fromhex(match[2].replace(":", ""))) if match else None


@fact
class Candidate:
    """An ICE candidate (RFC 8839 §5.1). transport, kind: lower case; extensions: all words behind the type."""

    foundation: str
    component: int
    transport: str
    priority: int
    address: str
    port: int
    kind: str
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """None where the line cannot be read."""
        words = value.split()
        if len(words) < 8 or words[6].lower() != "typ":
            return None
        if not all(word.isascii() and word.isdigit() and len(word) <= 10 for word in (words[1], words[3], words[5])):
            return None
        kind = words[7].lower()
        numbers = int(words[1]), int(words[3]), int(words[5])
        transport = words[2].lower()
        return cls(words[0], numbers[0], transport, numbers[1], words[4], numbers[2], kind, tuple(words[8:]))


def rtpmap(value: str) -> tuple[int, Codec] | None:
    """Payload type and codec of an rtpmap value; None where it cannot be read."""
    match = _RTPMAP.fullmatch(value)
    if not match or int(match[1]) > 127 or int(match[3]) == 0:
        return None
    return int(match[1]), Codec(match[2], int(match[3]), int(match[4] or 1))


def rtcp(value: str) -> tuple[int, str | None] | None:
    """Port and address (None where unsaid) of an a=rtcp value (RFC 3605); None where it cannot be read."""
    match = _RTCP.fullmatch(value)
    if not match or int(match[1]) > 65535:
        return None
    return int(match[1]), match[2]


def _base64(text: str) -> bytes:
    """Some leave the padding out."""
    try:
        return b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
