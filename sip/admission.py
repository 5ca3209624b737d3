# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: one table of methods and origins, and no for everything that is not in it.

What a call that was let in may reach is the routing's to say, for the user or the trunk that it is of: FindRoute names
either, and an answer without targets ends the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sip.errors import ProtocolError


class Origin(StrEnum):
    """Whom a request is from, as far as it can be told before anything is asked."""

    ANYBODY = "anybody"
    TRUNK = "a trunk"
    """Its source or certificate is a trunk's, and it offers no credentials of ours."""
    DIALOG = "its dialog"
    """It names a dialog; whether there is one, and the sender knows both tags, is found there."""


class Rule(StrEnum):
    """What becomes of it."""

    ANSWER = "answered, for it makes nothing"
    CHALLENGE = "let in with a user's password"
    TAKE = "let in"


ADMISSION: Mapping[tuple[str, Origin], Rule] = {
    ("OPTIONS", Origin.ANYBODY): Rule.ANSWER,
    ("OPTIONS", Origin.TRUNK): Rule.ANSWER,
    ("OPTIONS", Origin.DIALOG): Rule.TAKE,
    ("REGISTER", Origin.ANYBODY): Rule.CHALLENGE,
    ("REGISTER", Origin.TRUNK): Rule.CHALLENGE,
    ("INVITE", Origin.ANYBODY): Rule.CHALLENGE,
    ("INVITE", Origin.TRUNK): Rule.TAKE,
    ("INVITE", Origin.DIALOG): Rule.TAKE,
    ("BYE", Origin.DIALOG): Rule.TAKE,
    ("UPDATE", Origin.DIALOG): Rule.TAKE,
    ("PRACK", Origin.DIALOG): Rule.TAKE,
    ("INFO", Origin.DIALOG): Rule.TAKE,
    ("REFER", Origin.DIALOG): Rule.TAKE,
    ("NOTIFY", Origin.DIALOG): Rule.TAKE,
}
"""ACK and CANCEL are no requests of their own: they go to their INVITE, or nowhere."""


def rule_for(method: str, origin: Origin) -> Rule:
    """The rule. Raises ProtocolError: 481 for what only a dialog may send, 403 for what may not be sent in one."""
    rule = ADMISSION.get((method, origin))
    if rule is None and origin is Origin.DIALOG:
        raise ProtocolError(403, "Forbidden")
    if rule is None:
        raise ProtocolError(481, "Call/Transaction Does Not Exist")
    return rule
