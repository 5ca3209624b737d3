# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST API as this host serves it."""

from __future__ import annotations

import ssl

from api.live import Live
from api.oidc import Provider
from api.rest import create_rest_app
from api.server import ApiServer
from api.services import Services
from ctl.config import Config, RestSection
from ctl.configfile import ConfigError
from ctl.storage import Storage
from provisioning.access import Access


def make_rest(config: Config, storage: Storage, live: Live) -> ApiServer | None:
    """Return the server, None if none is wanted. Raises ConfigError."""
    rest = config.rest
    if not rest.listen:
        return None
    access = Access(storage.pool, storage.vault)
    services = Services(storage.store, access, live, lambda: storage.keeper.current, _provider(rest))
    return ApiServer(create_rest_app(services), "rest.listen", _tls(rest))


def _provider(rest: RestSection) -> Provider | None:
    if not rest.oidc_issuer or rest.oidc_client_secret_file is None:
        return None
    try:
        secret = rest.oidc_client_secret_file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"rest.oidc_client_secret_file: {error.strerror}; name a readable file") from None
    return Provider(rest.oidc_issuer, rest.oidc_client_id, secret, rest.oidc_redirect)


def _tls(rest: RestSection) -> ssl.SSLContext | None:
    if rest.certificate is None or rest.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(rest.certificate, rest.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"rest.certificate and rest.key cannot be used ({error}); name a PEM file each") from None
    return context
