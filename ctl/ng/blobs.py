# SPDX-License-Identifier: GPL-3.0-or-later
"""Sounds that come within a request."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from ctl.ng.errors import NgError


def blob(values: Mapping[str, Any]) -> bytes | None:
    """Return the sound in `blob`, or in `blob64` by base64; None where there is none. Raises NgError."""
    plain, encoded = values.get("blob"), values.get("blob64")
    if isinstance(plain, str) and plain:
        return plain.encode("utf-8", "surrogateescape")
    try:
        return b64decode(encoded, validate=True) if isinstance(encoded, str) and encoded else None
    except ValueError:
        raise NgError("blob64: not base64") from None
