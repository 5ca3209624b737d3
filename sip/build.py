# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses from typed values (RFC 3261 §8.2.6, §12.1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from sip.headers import has_tag
from sip.message import Request, Response, checked

Headers = Iterable[tuple[str, str]]

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    428: "Use Identity Header",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
"""Reason phrases of the IANA registry of response codes."""

_ECHOED = (("From", "from"), ("To", "to"), ("Call-ID", "call-id"), ("CSeq", "cseq"))
_DIALOG_METHODS = ("INVITE", "SUBSCRIBE", "NOTIFY", "REFER")


def response_to(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Headers = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> Response:
    """Answer to a request, or to the `partial` of a ParseError (RFC 3261 §8.2.6.2).

    Copies every Via in order, From, To with `to_tag` where it has no tag yet, Call-ID and CSeq; Record-Route where
    the answer can make a dialog (§12.1.1), Timestamp in a 100 (§8.2.6.1).
    """
    fields = [*headers, *_typed(content_type)]
    return Response(
        status, reason or REASONS.get(status, "Unknown"), fields, body, copied=_copied(request, status, to_tag)
    )


def response_bytes(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Headers = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> bytes:
    """What `response_to` makes, as it goes on the wire, without the message between."""
    fields = [*headers, *_typed(content_type)]
    reason = reason or REASONS.get(status, "Unknown")
    checked("".join([reason, *chain.from_iterable(fields)]))
    lines = [f"{name}: {value}" for name, value in (*_copied(request, status, to_tag), *fields)]
    head = "\r\n".join([f"SIP/2.0 {status} {reason}", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode("utf-8", "surrogateescape") + body


def _copied(request: Request, status: int, to_tag: str | None) -> list[tuple[str, str]]:
    values = request.values
    copied = [("Via", value) for value in values("via")]
    for name, key in _ECHOED:
        if found := values(key):
            value = found[0]
            if name == "To" and to_tag is not None and status != 100 and not has_tag(value):
                value = f"{value};tag={checked(to_tag)}"
            copied.append((name, value))
    if 100 < status < 300 and request.method in _DIALOG_METHODS:
        copied += [("Record-Route", value) for value in values("record-route")]
    if status == 100:
        copied += [("Timestamp", value) for value in values("timestamp")[:1]]
    return copied


def _typed(content_type: str | None) -> list[tuple[str, str]]:
    return [] if content_type is None else [("Content-Type", content_type)]
