# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts in tables that people open in a spreadsheet, which computes what looks like a formula."""

from __future__ import annotations

FORMULA = ("=", "@", "\t", "\r")


def safe_cell(value: object) -> object:
    """Put a quote before a text that a spreadsheet would compute; a number in E.164 with its plus stays what it is."""
    if not isinstance(value, str):
        return value
    signed = value[:1] in ("+", "-") and not value[1:].isdigit()
    return f"'{value}" if value.startswith(FORMULA) or signed else value
