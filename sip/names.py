# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of header fields: any spelling and the compact forms to one key, the key to the name we write."""

from __future__ import annotations

import re

from sip.errors import ParseError
from sip.params import TOKEN

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
_OTHERS = """
    Accept Accept-Encoding Accept-Language Alert-Info Allow Authentication-Info Authorization Call-Info
    Content-Disposition Content-Language CSeq Date Diversion Error-Info Expires Flow-Timer Geolocation History-Info
    In-Reply-To Info-Package Join Max-Breadth Max-Forwards MIME-Version Min-Expires Min-SE Organization
    P-Access-Network-Info P-Asserted-Identity P-Preferred-Identity Path Priority Privacy Proxy-Authenticate
    Proxy-Authorization Proxy-Require RAck Reason Record-Route Recv-Info Remote-Party-ID Replaces Reply-To Require
    Retry-After Route RSeq Server Service-Route SIP-ETag SIP-If-Match Subscription-State Target-Dialog Timestamp
    Unsupported User-Agent Warning WWW-Authenticate
"""
NAMES = {name.lower(): name for name in (*_COMPACT.values(), *_OTHERS.split())}
"""The names as we write them, by key."""
KEYS = {spelling: key for key, name in NAMES.items() for spelling in (key, name)}
KEYS |= {spelling: name.lower() for letter, name in _COMPACT.items() for spelling in (letter, letter.upper())}
"""The spellings that most senders use, to their keys."""
_TOKEN = re.compile(TOKEN)


def header_key(name: str) -> str:
    """The lower-case full name of a header in any spelling. Raises ParseError (400) on what is no token."""
    key = KEYS.get(name)
    if key is not None:
        return key
    lowered = name.rstrip(" \t").lower()
    if not _TOKEN.fullmatch(lowered):
        raise ParseError(400, "Malformed Header Name")
    return KEYS.get(lowered, lowered)


def header_name(name: str) -> str:
    """The name as we write it: `call-id`, `I` and `CALL-ID` are `Call-ID`; an unknown name stays as it is."""
    return NAMES.get(KEYS.get(name) or header_key(name), name)
