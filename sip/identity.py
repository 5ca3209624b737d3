# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a call is from: what a caller may say of itself, and what each callee is told of it (RFC 3323, 3325, 5806)."""

from __future__ import annotations

from collections.abc import Iterable

from sip.agent import Fields
from sip.effects import Diversion
from sip.errors import ParseError
from sip.facts import fact
from sip.headers import NameAddr
from sip.message import Request
from sip.settings import DiversionPolicy
from sip.trunk import Trunk
from sip.uri import Uri

_HIDING = frozenset({"id", "user", "header", "full"})
ANONYMOUS = "anonymous@anonymous.invalid"


@fact
class Caller:
    """A caller as far as we vouch for it. name: its number or user name; hidden: it wants not to be shown.

    asserted: the name is proved, by our own digest or by a trunk that we trust. diversions, history: Diversion values
    and entries of History-Info of a trusted trunk, as they came.
    """

    name: str
    display: str = ""
    hidden: bool = False
    asserted: bool = True
    diversions: tuple[str, ...] = ()
    history: tuple[str, ...] = ()


def is_anonymous(said: NameAddr) -> bool:
    """Whether a caller does without its name in From (RFC 3323 §4.1.1.3)."""
    return f"{said.uri.user}@{said.uri.host}".lower() == ANONYMOUS


def caller_of(request: Request, username: str, trunk: Trunk | None) -> Caller:
    """The caller of an INVITE; what only a trusted peer may say is overheard from all others."""
    said = request.from_
    nameless = is_anonymous(said)
    wishes = {word.strip().lower() for value in request.values("Privacy") for word in value.split(";")}
    hidden = nameless or not _HIDING.isdisjoint(wishes)
    if trunk is None:
        return Caller(username, "" if nameless else said.display, hidden)
    number = said.uri.dialled
    if not trunk.trusted:
        return Caller(number, said.display, hidden, asserted=False)
    diversions = tuple(request.values("Diversion"))
    asserted = _asserted(request)
    if asserted:
        name = asserted.uri.dialled or number
        return Caller(name, asserted.display or said.display, hidden, diversions=diversions)
    return Caller(number, said.display, hidden, diversions=diversions)


def identified(caller: Caller, user: str, host: str, ours: str, trunk: Trunk | None) -> tuple[NameAddr, Fields]:
    """From without its tag, and the headers that go with it.

    user, host: what From shows of the caller; ours: the host of the address that we assert. trunk: where the INVITE
    goes, None for a user of ours.
    """
    shown = Uri("sip", user=escaped(user) or None, host=host)
    if caller.hidden:
        shown = Uri.parse(f"sip:{ANONYMOUS}")
    from_ = NameAddr(shown, display="Anonymous" if caller.hidden else caller.display)
    fields: list[tuple[str, str]] = []
    if caller.hidden:
        fields.append(("Privacy", "id"))
    if trunk and trunk.trusted and caller.asserted:
        asserted = NameAddr(Uri("sip", user=escaped(user) or None, host=ours), display=caller.display)
        fields.append(("P-Asserted-Identity", str(asserted)))
    return from_, fields


def diverted(
    diversions: Iterable[Diversion], caller: Caller, host: str, trunk: Trunk | None, policy: DiversionPolicy
) -> Fields:
    """The Diversion headers of a call that goes to a trunk, None: to a user, as far as these are told (RFC 5806).

    diversions: ours, the last one first; what the caller's trunk has told of goes before these in time, and so after
    them here. host: of the addresses of those who are ours.
    """
    if not is_told(trunk, policy):
        return []
    ours = [_diversion(each, host) for each in diversions if trunk or not each.hidden]
    return [("Diversion", value) for value in (*ours, *(caller.diversions if trunk else ()))]


def is_told(trunk: Trunk | None, policy: DiversionPolicy) -> bool:
    """Whether a trunk, None: a user, may know who sent a call on."""
    return policy != "none" and (trunk.trusted if trunk else policy == "all")


def _diversion(of: Diversion, host: str) -> str:
    hidden = ";privacy=full" if of.hidden else ""
    return f"<sip:{escaped(of.name)}@{host}>;reason={of.reason};counter=1{hidden}"


def escaped(user: str) -> str:
    """A name as the user part of a URI may spell it (RFC 3261 §25.1)."""
    plain = "-_.!~*'()&=+$,;?/"
    return "".join(c if c.isascii() and (c.isalnum() or c in plain) else _hex(c) for c in user)


def _hex(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _asserted(request: Request) -> NameAddr | None:
    try:
        known = [value for value in request.asserted_identities if value.uri.scheme in ("sip", "sips", "tel")]
    except ParseError:
        return None
    return known[0] if known else None
