# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes with a signal to a call's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sip.facts import fact
from sip.hunt import Ending
from sip.message import Message

if TYPE_CHECKING:
    from sip.leg import Leg

Progress = Callable[[int, str, float], None]
"""Takes status and reason of what happens to a call that nobody's INVITE waits for."""


@fact
class Event:
    """The message of a leg, a description of ours, how the call ends, or what we do for the caller ourselves."""

    message: Message | None = None
    sdp: bytes = b""
    ending: Ending | None = None
    leg: Leg | None = None
    service: str = ""
    early: bool = False


NOTHING = Event()
