# SPDX-License-Identifier: GPL-3.0-or-later
"""Call records as they are read back from lines of the journal; the product leaves that to PostgreSQL."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from provisioning.cdr import FORMAT, Cdr, CdrMedia


def decode(line: bytes) -> Cdr:
    plain: dict[str, Any] = json.loads(line)
    assert plain.pop("v") == FORMAT
    media = tuple(CdrMedia(**entry) for entry in plain.pop("media"))
    for name in ("started", "ringing", "answered", "ended"):
        plain[name] = datetime.fromisoformat(plain[name]) if plain[name] is not None else None
    return Cdr(**plain | {"id": UUID(plain["id"]), "media": media})
