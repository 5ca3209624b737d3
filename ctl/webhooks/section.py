# SPDX-License-Identifier: GPL-3.0-or-later
"""How webhooks are sent; the webhooks themselves are objects of tenants."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ctl.section import Section


class WebhooksSection(Section):
    """Where webhooks may be sent to, how long one may take, and when it is given up."""

    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that may be sent to though they are private, loopback or reserved."""
    authorities: Path | None = None
    """Certificates that receivers may be vouched for by, beside those of the system."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds for one attempt, from the look-up of the name to the last byte of the answer."""
    give_up: Annotated[float, Field(ge=60, le=604_800)] = 86_400.0
    """Seconds for which an event is tried again."""
    disable_after: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Failures in a row, of whichever events, after which a webhook is disabled."""
