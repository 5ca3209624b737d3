# SPDX-License-Identifier: GPL-3.0-or-later
"""History-Info (RFC 7044): the addresses that a call has been for, the first one first, each with what led to the next.

It tells what Diversion tells (RFC 7544), to those who read nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sip.agent import Fields
from sip.effects import Diversion
from sip.errors import ParseError
from sip.headers import NameAddr, split_list
from sip.identity import ANONYMOUS, Caller, escaped, is_told
from sip.message import Request
from sip.settings import DiversionPolicy
from sip.trunk import Trunk

_CAUSES = {
    "unconditional": 302,
    "no-answer": 408,
    "deflection": 480,
    "user-busy": 486,
    "unavailable": 503,
}
"""Of the reasons of Diversion, as a parameter of the next address (RFC 7544 §4, RFC 4458); 404 for all others."""

_INDEX = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,63}")


def history_of(request: Request) -> tuple[str, ...]:
    """The entries of an INVITE from a peer that is trusted; none where one cannot be read, or none is to be told."""
    wishes = {word.strip().lower() for value in request.values("Privacy") for word in value.split(";")}
    if "history" in wishes:
        return ()
    try:
        found = tuple(entry for value in request.values("History-Info") for entry in split_list(value))
        known = all(_INDEX.fullmatch(NameAddr.parse(entry).params.get("index") or "") for entry in found)
    except ParseError:
        return ()
    return found if known else ()


def retargeted(
    diversions: Sequence[Diversion],
    caller: Caller,
    target: str,
    host: str,
    trunk: Trunk | None,
    policy: DiversionPolicy,
) -> Fields:
    """The History-Info headers of a call for `target` that goes to a trunk, None: to a user, as far as these are told.

    diversions: who sent it on, the last one first; the last entry of a caller's trunk is who was called here first.
    host: of the addresses of those who are ours. A call that nobody sent on has none.
    """
    received = caller.history if trunk else ()
    if not is_told(trunk, policy) or not (diversions or received):
        return []
    ours = diversions[::-1]
    addresses = [*(_Address(each, host, trunk) for each in ours), _Address(None, target, trunk)]
    if received:
        entries, index = list(received), str(NameAddr.parse(received[-1]).params.get("index"))
    else:
        entries, index = [f"{addresses[0].written('')};index=1"], "1"
    for each, onward in zip(ours, addresses[1:], strict=True):
        cause = _CAUSES.get(each.reason, 404)
        entries.append(f"{onward.written(f';cause={cause}')};index={index}.1;mp={index}")
        index += ".1"
    if not ours:
        entries.append(f"{addresses[-1].written('')};index={index}.1;rc={index}")
    return [("History-Info", entry) for entry in entries]


class _Address:
    """One that the call was for: of who sent it on, or the last, `where` it goes now."""

    def __init__(self, of: Diversion | None, where: str, trunk: Trunk | None) -> None:
        hidden = of is not None and of.hidden
        self._uri = f"sip:{escaped(of.name)}@{where}" if of else where
        self._privacy = "?Privacy=history" if hidden else ""
        if hidden and not trunk:
            self._uri, self._privacy = f"sip:{ANONYMOUS}", ""

    def written(self, cause: str) -> str:
        return f"<{self._uri}{cause}{self._privacy}>"
