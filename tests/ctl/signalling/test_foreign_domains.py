# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to domains of others: to which, whose, and what they take."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from ctl.config_values import is_among
from ctl.signalling.directory import Directory
from provisioning.routing import Decision, Refusal
from provisioning.snapshot import Snapshot
from sip.effects import FindRoute, UriTarget, UserTarget
from tests.ctl.signalling.test_trunk_keeper import REALM, Keeper

PATTERNS = ("partner.example", "*.friends.example")


class Guarded(Keeper):
    """Requests name us by our domain alone."""

    def __init__(self):
        super().__init__()
        known = Snapshot.of(REALM, self.current.accounts.values(), (REALM,))
        self.current = replace(known, plans=self.current.plans)

    def change(self, **changes):
        """Have Anna's account, or with `tenant` hers, be otherwise."""
        accounts = [replace(each, **changes) for each in self.current.accounts.values()]
        self.current = replace(Snapshot.of(REALM, accounts, (REALM,)), plans=self.current.plans)


def ask(dialled, domain, *, keeper=None, admit=lambda *_: None, **fields):
    directory = Directory(keeper or Guarded(), admit=admit, foreign=PATTERNS)
    return directory.route(FindRoute(1, "call", fields.pop("caller", "anna"), dialled, domain, **fields))


@pytest.mark.parametrize(
    ("domain", "there"),
    [
        ("partner.example", True),
        ("Partner.Example.", True),
        ("a.partner.example", False),
        ("notpartner.example", False),
        ("friends.example", False),
        ("a.friends.example", True),
        ("b.a.friends.example", True),
        ("evilfriends.example", False),
        ("", False),
    ],
)
def test_which_domains_may_be_called(domain, there):
    assert is_among(domain, PATTERNS) is there
    assert (ask("bob", domain) == (UriTarget(f"sip:bob@{domain}"),)) is there


@pytest.mark.parametrize(
    ("domain", "there"),
    [
        (REALM, True),
        (REALM.upper() + ".", True),
        ("192.0.2.1", True),
        ("other.example", False),
        ("partner.example", False),
    ],
)
def test_which_domains_their_users_may_register_for(domain, there):
    """Those who authenticate are of one realm: another that we serve is no more theirs than one that we do not."""
    keeper = Guarded()
    known = keeper.current
    accounts = [*known.accounts.values(), replace(next(iter(known.accounts.values())), realm="other.example")]
    keeper.current = Snapshot.of(REALM, accounts, (REALM, "192.0.2.1"))
    assert Directory(keeper).serves(domain) is there


def test_a_name_is_spelled_as_a_uri_can():
    assert ask("b ö@b", "partner.example") == (UriTarget("sip:b%20%C3%B6%40b@partner.example"),)


def test_our_own_users_are_called_as_ever():
    assert [each.username for each in ask("bert", REALM)] == ["bert"]
    assert isinstance(ask("bert", REALM)[0], UserTarget)
    assert ask("bert", "other.example").status == 404


def test_nobody_is_called_by_no_name():
    assert ask("", "partner.example").status == 404


def test_who_sends_a_call_on_there_must_be_one_who_may():
    """A redirection and a transfer are calls of whoever makes them."""
    assert ask("bob", "partner.example", diverted="bert") == (UriTarget("sip:bob@partner.example"),)
    assert ask("bob", "partner.example", diverted="stranger").status == 403


def test_a_trunk_reaches_none_of_them():
    assert ask("bob", "partner.example", trunk="1/paris").status == 404
    assert ask("bob", "partner.example", trunk="carrier").status == 404


def test_who_is_disabled_calls_nobody():
    keeper = Guarded()
    keeper.change(enabled=False)
    assert ask("bob", "partner.example", keeper=keeper).status == 403
    keeper = Guarded()
    keeper.current = replace(
        keeper.current, plans=MappingProxyType({1: replace(keeper.current.plan(1), enabled=False)})
    )
    assert ask("bob", "partner.example", keeper=keeper).status == 403


def test_such_a_call_takes_a_channel_of_its_caller():
    taken = []

    def admit(call, caller, decision):
        taken.append((call, caller, decision))
        return Refusal(486, "No Channel Free") if len(taken) > 1 else None

    assert ask("bob", "partner.example", admit=admit) == (UriTarget("sip:bob@partner.example"),)
    assert ask("bob", "partner.example", admit=admit) == Refusal(486, "No Channel Free")
    assert taken[0] == ("call", "anna", Decision((), 1))
