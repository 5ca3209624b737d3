# SPDX-License-Identifier: GPL-3.0-or-later
"""Which objects there are, where their tables differ from their models, and by which names people ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_origin

from pydantic import BaseModel

from provisioning import models
from provisioning.sealing import TRUNK_PASSWORD, WEBHOOK_SECRET, SealedColumn


@dataclass(frozen=True, slots=True)
class Child:
    """A list of an object that is a table of its own, for its entries refer to other objects."""

    field: str
    table: str
    model: type[BaseModel]
    realm: bool = False
    """The table has the realm of its users."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold an entry."""
        return tuple(self.model.model_fields)


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """A kind of object: `name` in the singular as commands and permissions say it, `plural` as paths do."""

    name: str
    plural: str
    table: str
    model: type[BaseModel]
    key: str = "name"
    children: tuple[Child, ...] = ()
    secrets: Mapping[str, SealedColumn | None] = field(default_factory=lambda: MappingProxyType({}))
    """Fields that are never shown, and where they are sealed; None: made from it is something else."""
    realm: bool = False
    scoped: bool = True
    """Rows belong to a tenant; False for the tenants themselves."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that are columns of the table and may be shown."""
        apart = {child.field for child in self.children} | set(self.secrets)
        return tuple(name for name in self.model.model_fields if name not in apart)

    def is_document(self, column: str) -> bool:
        """Whether a column holds JSON."""
        return get_origin(self.model.model_fields[column].annotation) is list


TENANT = Resource("tenant", "tenants", "tenants", models.Tenant, scoped=False)
CALENDAR = Resource("calendar", "calendars", "calendars", models.Calendar)
DIAL_PLAN = Resource("dial_plan", "dial-plans", "dial_plans", models.DialPlan)
USER = Resource("user", "users", "users", models.User, key="username", realm=True, secrets={"password": None})
GROUP = Resource(
    "group", "groups", "groups", models.Group, children=(Child("members", "group_members", models.GroupMember, True),)
)
DEVICE = Resource("device", "devices", "devices", models.Device, realm=True)
NUMBER = Resource("number", "numbers", "numbers", models.PhoneNumber, key="number", realm=True)
RATE_DECK = Resource("rate_deck", "rate-decks", "rate_decks", models.RateDeck)
TRUNK = Resource("trunk", "trunks", "trunks", models.Trunk, secrets={"password": TRUNK_PASSWORD})
ROUTE = Resource(
    "route", "routes", "routes", models.Route, children=(Child("trunks", "route_trunks", models.RouteTrunk),)
)
RESTRICTION = Resource("restriction", "restrictions", "restrictions", models.Restriction)
SKILL = Resource("skill", "skills", "skills", models.Skill)
AGENT = Resource(
    "agent",
    "agents",
    "agents",
    models.Agent,
    realm=True,
    children=(Child("skills", "agent_skills", models.SkillLevel),),
)
QUEUE = Resource(
    "queue",
    "queues",
    "queues",
    models.Queue,
    children=(
        Child("skills", "queue_skills", models.SkillLevel),
        Child("agents", "queue_agents", models.QueueAgent),
    ),
)
WEBHOOK = Resource("webhook", "webhooks", "webhooks", models.Webhook, secrets={"secret": WEBHOOK_SECRET})

ACCOUNT = Resource("account", "accounts", "accounts", models.Account, key="username", secrets={"password": None})

# In an order in which each can be made after those it refers to, but for a user's number, given later.
OBJECTS = (
    CALENDAR, DIAL_PLAN, USER, GROUP, DEVICE, RATE_DECK, SKILL, AGENT, QUEUE, NUMBER, TRUNK, ROUTE, RESTRICTION, WEBHOOK
)  # fmt: skip
RESOURCES: Mapping[str, Resource] = MappingProxyType(
    {resource.name: resource for resource in (TENANT, ACCOUNT, *OBJECTS)}
)
