# SPDX-License-Identifier: GPL-3.0-or-later
import hmac
from hashlib import sha256
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from ctl.ng.access import Access
from ctl.ng.section import NgSection

SECRET = b"0123456789abcdef"
PROXY = "203.0.113.5"


def sealed(message: bytes, at: int = 1000, secret: bytes = SECRET) -> bytes:
    body = b"%d %b" % (at, message)
    return hmac.new(secret, body, sha256).hexdigest().encode() + b" " + body


@pytest.fixture
def access() -> Access:
    return Access((ip_network("203.0.113.0/24"),), SECRET, clock=lambda: 1000.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_no_seal(access, host):
    assert access.open(b"c ping", host) == b"c ping"
    assert access.seal(b"c pong", host) == b"c pong"


def test_a_sealed_message_of_a_listed_proxy_is_opened_and_its_reply_sealed(access):
    assert access.open(sealed(b"c ping"), PROXY) == b"c ping"
    assert access.seal(b"c pong", PROXY) == sealed(b"c pong")


@pytest.mark.parametrize(
    "datagram",
    [
        b"c ping",
        sealed(b"c ping", secret=b"another secret!!"),
        sealed(b"c ping", at=960),
        sealed(b"c ping", at=1040),
        sealed(b"c ping")[:-1],
        sealed(b"c ping").replace(b"ping", b"pong"),
        b"0" * 64 + b" 1000 c ping",
        b"",
    ],
)
def test_what_is_not_sealed_with_the_secret_just_now_is_not_looked_at(access, datagram):
    assert access.open(datagram, PROXY) is None


def test_others_are_not_looked_at_even_with_the_secret(access):
    assert access.open(sealed(b"c ping"), "198.51.100.1") is None
    assert Access((), b"").open(b"c ping", PROXY) is None


def test_streams_are_for_loopback_unless_guarded_by_certificates(access):
    assert access.streams("127.0.0.1")
    assert not access.streams(PROXY)
    guarded = Access((ip_network("203.0.113.0/24"),), b"", streams_open=True)
    assert guarded.streams(PROXY)
    assert not guarded.streams("198.51.100.1")


@pytest.mark.parametrize(
    ("section", "missing"),
    [
        ({"listen": ["0.0.0.0:2223"]}, "allow"),
        ({"listen": ["192.0.2.1:2223"], "allow": ["203.0.113.0/24"]}, "secret_file"),
        ({"listen": ["[2001:db8::1]:2223"], "secret_file": "/etc/voxdp/ng"}, "allow"),
        ({"listen_tcp": ["192.0.2.1:2223"], "allow": ["203.0.113.0/24"], "secret_file": "/x"}, "client_ca"),
        ({"listen_http": ["192.0.2.1:2225"]}, "client_ca"),
    ],
)
def test_beyond_loopback_it_refuses_to_start_without_a_guard(section, missing):
    with pytest.raises(ValidationError, match=missing):
        NgSection(**section)


def test_loopback_and_guarded_addresses_are_fine():
    assert NgSection(listen=["127.0.0.1:2223", "[::1]:2223"], listen_http=["127.0.0.1:2225"]).listen
    assert NgSection(listen=["192.0.2.1:2223"], allow=["203.0.113.0/24"], secret_file="/etc/voxdp/ng").allow
