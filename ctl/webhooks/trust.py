# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificates webhooks are sent to."""

from __future__ import annotations

import ssl

from ctl.configfile import ConfigError
from ctl.webhooks.section import WebhooksSection


def trusted(section: WebhooksSection) -> ssl.SSLContext:
    """Return what verifies them. Raises ConfigError."""
    context = ssl.create_default_context()
    if section.authorities:
        try:
            context.load_verify_locations(section.authorities)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"webhooks.authorities: {section.authorities} cannot be used ({error})") from None
    return context
