# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request can fail with; its text is what the proxy reads as `error-reason`."""

from __future__ import annotations


class NgError(Exception):
    """The request cannot be done; the proxy is told why."""


class Malformed(NgError):
    """The bytes are no request; the proxy is told so if it can be told at all."""


class Dropped(NgError):
    """Not even an answer is possible: there is no cookie to answer with."""
