# SPDX-License-Identifier: GPL-3.0-or-later
"""The session description of a message, also as one part of several (RFC 5621, RFC 2046 §5.1)."""

from __future__ import annotations

import re

from sip.errors import ProtocolError
from sip.message import Message

SDP = "application/sdp"
ACCEPTED = (("Accept", SDP), ("Accept-Encoding", "identity"))
"""What a 415 tells of the bodies that can be read."""
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PART_TYPE = re.compile(rb"^content-type[ \t]*:[ \t]*application/sdp[ \t]*(?:;|\r?$)", re.IGNORECASE | re.MULTILINE)
_OPTIONAL = re.compile(r";\s*handling\s*=\s*optional\b", re.IGNORECASE)


def session_description(message: Message) -> bytes:
    """The description, b"" where the body is empty, or may be left unread (RFC 3261 §8.2.3).

    Raises ProtocolError (415) on a body that holds none, or that is encoded.
    """
    if not message.body:
        return b""
    encoding = message.get("content-encoding")
    if encoding and encoding.lower() != "identity":
        raise ProtocolError(415, "Unsupported Content Encoding")
    if message.content_type in (SDP, None):
        return message.body
    if message.content_type and message.content_type.startswith("multipart/"):
        return _part(message)
    return _none(message)


def _none(message: Message) -> bytes:
    """What a body without a description comes to: nothing where its sender can do without it."""
    if _OPTIONAL.search(message.get("content-disposition") or ""):
        return b""
    raise ProtocolError(415, "Unsupported Media Type")


def described(message: Message) -> bool:
    """Whether a message carries a session description."""
    try:
        return bool(session_description(message))
    except ProtocolError:
        return False


def _part(message: Message) -> bytes:
    match = _BOUNDARY.search(message.get("Content-Type") or "")
    if match:
        boundary = b"--" + (match[1] or match[2]).encode("utf-8", "surrogateescape")
        for part in (b"\r\n" + message.body).split(b"\r\n" + boundary)[1:]:
            head, blank, body = part.partition(b"\r\n\r\n")
            if blank and _PART_TYPE.search(head):
                return body
    return _none(message)
