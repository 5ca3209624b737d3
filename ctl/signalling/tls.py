# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS as the configuration wants it: which certificate we show by which name, and whose we believe.

Contexts are asked for at each handshake and made anew by `reload`, so that a renewed certificate needs no restart.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from ssl import SSLContext, SSLObject

from ctl.signalling.section import Certificate, TlsSection

VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class TlsError(Exception):
    """A certificate, key or list of authorities cannot be used; one line with the remedy."""


class Tls:
    """The contexts for connections to us and from us. Raises TlsError."""

    def __init__(self, section: TlsSection) -> None:
        self._section = section
        self._server, self._client = _server_context(section), _client_context(section)

    def server(self) -> SSLContext:
        """For a connection to us."""
        return self._server

    def client(self) -> SSLContext:
        """For a connection from us: the peer's certificate is verified, ours is shown if it asks."""
        return self._client

    def reload(self) -> None:
        """Read all files anew; connections that are open go on as they are. Raises TlsError and changes nothing."""
        self._server, self._client = _server_context(self._section), _client_context(self._section)


def _server_context(section: TlsSection) -> SSLContext:
    context = _server(section, section)
    by_name = {name.lower(): each for each in section.names for name in each.hosts}
    contexts = {name: _server(section, each) for name, each in by_name.items()}
    if contexts:
        context.sni_callback = _chooser(contexts)
    return context


def _server(section: TlsSection, certificate: TlsSection | Certificate) -> SSLContext:
    """Show this certificate. Whoever asks for it by name is verified against the authorities of its context."""
    context = _with_certificate(SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate)
    context.verify_mode = VERIFY[section.verify_client]
    _trust(context, section)
    return context


def _chooser(by_name: Mapping[str, SSLContext]) -> Callable[[SSLObject, str, SSLContext], None]:
    def choose(connection: SSLObject, name: str | None, _context: SSLContext) -> None:
        """The certificate of the name that the client asks for (RFC 6066 §3); the general one for any other."""
        found = by_name.get((name or "").lower())
        if found:
            connection.context = found

    return choose


def _client_context(section: TlsSection) -> SSLContext:
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, section)
    return _with_certificate(context, section)


def _with_certificate(context: SSLContext, certificate: TlsSection | Certificate) -> SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert certificate.certificate
    try:
        context.load_cert_chain(certificate.certificate, certificate.key)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(
            f"{certificate.certificate} with {certificate.key} is no certificate and its key ({_why(error)}); "
            "see sip.tls.certificate and sip.tls.key"
        ) from None
    return context


def _trust(context: SSLContext, section: TlsSection) -> None:
    """The authorities of the configuration, or else the system's."""
    try:
        if section.authorities:
            context.load_verify_locations(section.authorities)
        else:
            context.set_default_verify_paths()
    except (ssl.SSLError, OSError) as error:
        raise TlsError(
            f"{section.authorities} holds no certificates ({_why(error)}); see sip.tls.authorities"
        ) from None


def _why(error: OSError) -> str:
    return error.strerror or str(error)
