# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sent a request: by access token or API key, both in `Authorization: Bearer`."""

from __future__ import annotations

from aiohttp import web

from api.services import Services
from api.tokens import InvalidToken, Tokens, new_key
from provisioning.access import Identity
from provisioning.errors import AccessDenied
from provisioning.keys import PREFIX


async def identify(request: web.Request, services: Services) -> Identity:
    """Return who asks. Raises AccessDenied, DatabaseUnavailable."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credentials or not credentials.isascii():
        raise AccessDenied
    now = services.clock()
    if credentials.startswith(f"{PREFIX}_"):
        _, identifier, secret = (*credentials.split("_", 2), "", "")[:3]
        return await services.access.by_key(identifier, secret, now)
    try:
        session = (await tokens(services)).session(credentials, now)
    except InvalidToken:
        raise AccessDenied from None
    return await services.access.by_session(session, now)


async def tokens(services: Services) -> Tokens:
    """Return what issues and checks access tokens."""
    if services.tokens is None:
        services.tokens = Tokens(await services.access.signing_keys(new_key))
    return services.tokens
