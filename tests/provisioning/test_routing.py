# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioning.routing import (
    CALLEE_DISABLED,
    CALLER_DISABLED,
    FOREIGN_DOMAIN,
    NOT_FOUND,
    Refusal,
    RouteTo,
    ToUser,
    choose,
)
from provisioning.snapshot import Account, Snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME, OTHER = "example.net", "other.example"


def account(username: str, realm: str = HOME, *, enabled: bool = True) -> Account:
    return Account(realm, username, enabled, "0" * 32, "0" * 64)


SNAPSHOT = Snapshot.of(
    HOME,
    [account("anna"), account("bert"), account("gone", enabled=False), account("bert", OTHER), account("Bert")],
    hosts=["192.0.2.1", "SIP.example.net"],
)


@pytest.mark.parametrize(
    ("caller", "dialled", "domain", "expected"),
    [
        ("anna", "bert", HOME, (ToUser(HOME, "bert"),)),
        ("anna", "bert", "EXAMPLE.NET.", (ToUser(HOME, "bert"),)),
        ("anna", "bert", "192.0.2.1", (ToUser(HOME, "bert"),)),
        ("anna", "bert", "sip.Example.net", (ToUser(HOME, "bert"),)),
        ("anna", "bert", OTHER, (ToUser(OTHER, "bert"),)),
        ("anna", "Bert", HOME, (ToUser(HOME, "Bert"),)),
        ("anna", "anna", HOME, (ToUser(HOME, "anna"),)),
        ("anna", "anna", OTHER, NOT_FOUND),
        ("anna", "nobody", HOME, NOT_FOUND),
        ("anna", "", HOME, NOT_FOUND),
        ("anna", "gone", HOME, CALLEE_DISABLED),
        ("anna", "bert", "elsewhere.example", FOREIGN_DOMAIN),
        ("anna", "bert", "192.0.2.2", FOREIGN_DOMAIN),
        ("gone", "bert", HOME, CALLER_DISABLED),
        ("gone", "bert", OTHER, CALLER_DISABLED),
        ("gone", "nobody", HOME, CALLER_DISABLED),
    ],
)
def test_chooses(caller: str, dialled: str, domain: str, expected: tuple[RouteTo, ...] | Refusal) -> None:
    assert choose(caller, dialled, domain, NOW, SNAPSHOT) == expected


def test_without_names_of_ours_any_domain_means_us() -> None:
    snapshot = Snapshot.of(HOME, [account("bert")])
    assert choose("anna", "bert", "198.51.100.7", NOW, snapshot) == (ToUser(HOME, "bert"),)


def test_only_the_enabled_have_credentials() -> None:
    assert SNAPSHOT.credentials("Example.net", "anna") == {"SHA-256": "0" * 64, "MD5": "0" * 32}
    assert SNAPSHOT.credentials(HOME, "gone") is None
    assert SNAPSHOT.credentials(HOME, "nobody") is None


def test_a_snapshot_is_constant_and_shows_no_credentials() -> None:
    later = SNAPSHOT.replaced([(HOME, "anna"), (HOME, "bert")], [account("bert", enabled=False)])
    assert later.account(HOME, "anna") is None
    assert later.credentials(HOME, "bert") is None
    assert SNAPSHOT.credentials(HOME, "bert")
    with pytest.raises(TypeError):
        SNAPSHOT.accounts["x", "y"] = account("y")  # type: ignore[index] # that is the point
    assert "000" not in repr(account("anna"))
