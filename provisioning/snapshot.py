# SPDX-License-Identifier: GPL-3.0-or-later
"""What signalling needs to know, in memory and constant: a call never waits for the database.

Light on purpose: routing and its tests need these types and nothing of PostgreSQL. `refresh` keeps the current
one fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from provisioning.plan import EMPTY, TenantPlan

UserKey = tuple[str, str]
"""(realm, user name)"""


@dataclass(frozen=True, slots=True)
class Account:
    """A user as signalling sees it. HA1 values are lower-case hex (RFC 7616 §3.4.2)."""

    realm: str
    username: str
    enabled: bool
    ha1_md5: str = field(repr=False)
    ha1_sha256: str = field(repr=False)
    display_name: str = ""
    tenant: int = 1
    dial_plan: str | None = None
    caller_number: str | None = None
    hide_number: bool = False
    forward_always: str | None = None
    forward_busy: str | None = None
    forward_no_answer: str | None = None
    ring_seconds: int = 30
    do_not_disturb: bool = False
    channel_limit: int | None = None
    spend_limit_micros: int | None = None
    media: str | None = None
    dtmf: str = "auto"
    ice: Literal["remove", "lite", "full"] | None = None

    @property
    def key(self) -> UserKey:
        """What the account is found by."""
        return self.realm, self.username

    @property
    def credentials(self) -> Mapping[str, str]:
        """HA1 by the name of its algorithm, as RFC 7616 spells it."""
        return {"SHA-256": self.ha1_sha256, "MD5": self.ha1_md5}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All accounts at one moment. `realm` is the domain that we serve where a request names only our address.

    hosts: the names and addresses, in lower case, by which requests may name us; empty: any.
    """

    realm: str
    hosts: frozenset[str]
    accounts: Mapping[UserKey, Account]
    realms: frozenset[str]
    plans: Mapping[int, TenantPlan] = field(default_factory=dict)
    """By tenant."""
    owners: Mapping[str, int] = field(default_factory=dict)
    """Tenant by number, E.164 with its plus."""

    @classmethod
    def of(cls, realm: str, accounts: Iterable[Account], hosts: Iterable[str] = ()) -> Snapshot:
        """Return the snapshot of these accounts."""
        by_key = {account.key: account for account in accounts}
        return cls(
            realm.lower(),
            frozenset(host.lower() for host in hosts),
            MappingProxyType(by_key),
            frozenset(found for found, _ in by_key),
        )

    def replaced(self, keys: Iterable[UserKey], accounts: Iterable[Account]) -> Snapshot:
        """Return a snapshot in which the accounts of these keys are the given ones, or gone.

        A realm whose last account went stays one of ours until everything is read anew.
        """
        by_key = dict(self.accounts)
        for key in keys:
            by_key.pop(key, None)
        added = {account.key: account for account in accounts}
        by_key |= added
        realms = self.realms | {realm for realm, _ in added}
        return replace(self, accounts=MappingProxyType(by_key), realms=realms)

    def planned(self, plans: Mapping[int, TenantPlan]) -> Snapshot:
        """Return a snapshot with these plans of all tenants."""
        owners = {number: tenant for tenant, plan in plans.items() for number in plan.numbers}
        return replace(self, plans=MappingProxyType(dict(plans)), owners=MappingProxyType(owners))

    def plan(self, tenant: int) -> TenantPlan:
        """Return the plan of a tenant, an empty one if there is none."""
        return self.plans.get(tenant) or _empty(tenant)

    def account(self, realm: str, username: str) -> Account | None:
        """Return the account of that name, None if there is none."""
        return self.accounts.get((realm.lower(), username))

    def credentials(self, realm: str, username: str) -> Mapping[str, str] | None:
        """Return {algorithm: HA1} of a user that may authenticate, None for everybody else."""
        account = self.account(realm, username)
        return account.credentials if account and account.enabled else None

    def media_of(self, username: str) -> str:
        """Return the media interface of a user's telephones, "" where neither it nor its tenant names one."""
        account = self.account(self.realm, username)
        return (account.media or self.plan(account.tenant).media or "") if account else ""

    def dtmf_of(self, username: str) -> str:
        """Return how digits reach a user's telephones."""
        account = self.account(self.realm, username)
        return account.dtmf if account else "auto"

    def ice_of(self, username: str) -> Literal["remove", "lite", "full"] | None:
        """Return whether ICE is spoken with a user's telephones, None where nothing is said of it."""
        account = self.account(self.realm, username)
        return account.ice if account else None

    def realm_of(self, domain: str) -> str | None:
        """Return the realm that a request's domain stands for, None if it is none of ours."""
        domain = domain.lower().rstrip(".")
        if domain == self.realm or domain in self.realms:
            return domain
        if not self.hosts or domain in self.hosts:
            return self.realm
        return domain if any(plan.realm == domain for plan in self.plans.values()) else None


@lru_cache(maxsize=1024)
def _empty(tenant: int) -> TenantPlan:
    return replace(EMPTY, tenant=tenant)
