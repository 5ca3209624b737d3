# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tenant has, as it is written: by the API, on the command line, in files of import. All of it is checked here.

Numbers are E.164 with their plus; prefixes are digits of E.164 without it. A `Dialled` is what a caller could dial:
an extension, a user's name, or a number. Money is in millionths of the currency's unit.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9+_][A-Za-z0-9._+~-]{0,63}$")]
Number = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{3,14}$")]
Prefix = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,14})?$")]
Digits = Annotated[str, Field(pattern=r"^[0-9]{0,15}$")]
Dialled = Annotated[str, Field(pattern=r"^[A-Za-z0-9+*#_][A-Za-z0-9._+*#~-]{0,63}$")]
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
Prompt = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART}){{0,7}}$")]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,255}$")]
Password = Annotated[SecretStr, Field(min_length=1, max_length=128)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?$")]
Realm = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?$")]
Network = Annotated[str, Field(pattern=r"^[0-9a-fA-F][0-9a-fA-F.:]{1,44}(/[0-9]{1,3})?$")]
Interface = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
"""A media interface, as the configuration of the host that carries the call names it."""
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Micros = Annotated[int, Field(ge=0, le=2_000_000_000)]
Budget = Annotated[int, Field(ge=0, le=10**15)]
Channels = Annotated[int, Field(ge=0, le=1_000_000)]
Level = Annotated[int, Field(ge=1, le=10)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Days = Annotated[int, Field(ge=1, le=3650)]


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is no time zone of the IANA database, such as Europe/Paris")
    return name


class Body(BaseModel):
    """Closed: what is not known is refused, so that nothing is set that nobody meant to be set."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Hours(Body):
    """Open on these days from one time to another of the same day; 24:00 is its end."""

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7, strict=False)]
    opens: Clock
    closes: Clock


class SpecialDay(Body):
    """A day that is not like its weekday: closed, or open at other times."""

    day: Annotated[date, Field(strict=False)]
    description: Text = ""
    opens: Clock | None = None
    closes: Clock | None = None


class Calendar(Body):
    """When something is open, in the time of a place."""

    name: Name
    timezone: Annotated[str, Field(max_length=64), AfterValidator(_timezone)] = "UTC"
    hours: Annotated[list[Hours], Field(max_length=64)] = []
    exceptions: Annotated[list[SpecialDay], Field(max_length=1000)] = []


class Rewrite(Body):
    """What is dialled with this beginning: take `strip` characters off, put `prepend` before."""

    prefix: Dialled
    strip: Annotated[int, Field(ge=0, le=32)] = 0
    prepend: Annotated[str, Field(pattern=r"^\+?[0-9]{0,15}$")] = ""


class DialPlan(Body):
    """How what people dial becomes E.164: rules in order, then the customs of a country."""

    name: Name
    country: Country
    international_prefix: Digits = "00"
    national_prefix: Digits = "0"
    area_code: Digits = ""
    emergency: Annotated[list[Annotated[str, Field(pattern=r"^[0-9]{2,6}$")]], Field(max_length=32)] = []
    rules: Annotated[list[Rewrite], Field(max_length=256)] = []


Dtmf = Literal["auto", "rfc4733", "info", "inband"]
"""How digits reach a telephone or carrier: as telephone events where it has them, else by INFO; as events or tones; by
INFO; as tones, which are listened for as well.
"""
Srtp = Literal["off", "preferred", "required"]
"""RTP alone; SRTP with each party that wants it; SRTP with both parties of a call, or no call."""


class User(Body):
    """Who registers and calls. The password is written and never read."""

    username: Username
    password: Password | None = None
    display_name: Text = ""
    enabled: bool = True
    dial_plan: Name | None = None
    caller_number: Number | None = None
    hide_number: bool = False
    forward_always: Dialled | None = None
    forward_busy: Dialled | None = None
    forward_no_answer: Dialled | None = None
    ring_seconds: Annotated[int, Field(ge=5, le=180)] = 30
    do_not_disturb: bool = False
    channel_limit: Channels | None = None
    spend_limit_micros: Budget | None = None
    """A day, UTC."""
    media: Interface | None = None
    """Of its telephones; none: as the tenant's."""
    dtmf: Dtmf = "auto"
    ice: Literal["remove", "lite", "full"] | None = None
    """Whether it is spoken with its telephones; none: as configured for all, or for web pages."""


class GroupMember(Body):
    """One of a ring group."""

    user: Username


class Group(Body):
    """Users that are rung together, or one after the other, under one extension."""

    name: Name
    extension: Dialled | None = None
    strategy: Literal["together", "in_turn"] = "together"
    ring_seconds: Annotated[int, Field(ge=5, le=180)] = 30
    overflow: Dialled | None = None
    members: Annotated[list[GroupMember], Field(max_length=100)] = []


class Device(Body):
    """A telephone of a user."""

    name: Name
    user: Username
    mac: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")] | None = None
    vendor: Text = ""
    model: Text = ""
    enabled: bool = True


class PhoneNumber(Body):
    """A number of ours and where it leads: to one user, group or queue; while the calendar is closed, elsewhere."""

    number: Number
    description: Text = ""
    user: Username | None = None
    group: Name | None = None
    queue: Name | None = None
    calendar: Name | None = None
    closed: Dialled | None = None

    @model_validator(mode="after")
    def _one(self) -> PhoneNumber:
        if sum(target is not None for target in (self.user, self.group, self.queue)) > 1:
            raise ValueError("leads to one of user, group and queue, not to several")
        return self


class RateDeck(Body):
    """Prices by prefix; the prices themselves come by import."""

    name: Name
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"


class Trunk(Body):
    """A carrier or another exchange. The password is written and never read.

    digest_realm: the only one whose challenges are answered; empty: the first that asks. probe_seconds: between
    OPTIONS, 0: it is never asked. certificates: names, one of which it must show, in place of any source. trusted: its
    word about callers is believed, and it is told ours. refer: it may transfer calls. from_user: who our calls are
    from, in place of the caller. media, latch: which interface carries its media, and whether that may come from
    anywhere. ice: whether it is spoken with the trunk; none: as configured for all. srtp: as of Tenant, whose it is
    where none is said. dtmf: how digits reach it.
    """

    name: Name
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    transport: Literal["udp", "tcp", "tls"] = "udp"
    domain: Host | None = None
    username: Username | None = None
    password: Password | None = None
    digest_realm: Text = ""
    registration: bool = False
    expires_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    probe_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    sources: Annotated[list[Network], Field(max_length=64)] = []
    certificates: Annotated[list[Host], Field(max_length=64)] = []
    trusted: bool = False
    refer: bool = False
    from_user: Username | None = None
    media: Interface | None = None
    latch: bool = False
    ice: Literal["remove", "lite", "full"] | None = None
    srtp: Srtp | None = None
    dtmf: Dtmf = "auto"
    strip: Annotated[int, Field(ge=0, le=15)] = 0
    prepend: Annotated[str, Field(pattern=r"^[0-9+*#]{0,16}$")] = ""
    caller_id: Literal["caller", "number", "anonymous"] = "caller"
    caller_number: Number | None = None
    channel_limit: Channels | None = None
    setup_seconds: Annotated[int, Field(ge=1, le=60)] = 8
    retry_causes: Annotated[list[Annotated[int, Field(ge=1, le=127)]], Field(max_length=64)] = [
        3, 27, 34, 38, 41, 42, 44, 47, 102
    ]  # fmt: skip # no route, out of order, no circuit, network, temporary, congestion, channel, resource, timer
    rate_deck: Name | None = None
    enabled: bool = True


class RouteTrunk(Body):
    """A trunk of a route. region: for the strategy `geographic`, the beginning of callers' numbers it is near to."""

    trunk: Name
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    region: Prefix = ""


class Route(Body):
    """Which trunks carry calls to numbers that begin with the prefix; of several, the longest prefix wins."""

    name: Name
    prefix: Prefix = ""
    callers: Annotated[list[Username], Field(max_length=1000)] = []
    calendar: Name | None = None
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    strategy: Literal["priority", "round_robin", "weighted", "least_cost", "geographic", "least_load"] = "priority"
    overflow: bool = True
    emergency: bool = False
    max_price_micros: Micros | None = None
    enabled: bool = True
    trunks: Annotated[list[RouteTrunk], Field(max_length=64)] = []


class Restriction(Body):
    """Prefixes that may not be dialled, or that may although they are closed by default; the longest decides."""

    name: Name
    prefix: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,14}$")]
    action: Literal["block", "open"] = "block"


class Skill(Body):
    """Something that agents can do and queues ask for."""

    name: Name
    description: Text = ""


class SkillLevel(Body):
    """How well, from 1 to 10; of a queue: at least how well."""

    skill: Name
    level: Level = 1


class Agent(Body):
    """A user who takes the calls of queues."""

    name: Name
    user: Username
    wrap_up_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    enabled: bool = True
    skills: Annotated[list[SkillLevel], Field(max_length=64)] = []


class QueueAgent(Body):
    """An agent of a queue; lower tiers are asked first."""

    agent: Name
    tier: Annotated[int, Field(ge=1, le=100)] = 1


class Queue(Body):
    """Callers who wait for an agent.

    answer: callers are answered at once; if not, they hear music in a 183, and pay nothing before an agent answers.
    music, welcome: prompts, by their names; position_prompts: a folder of them, in which `3` tells those who are third.
    callback_digit: what a caller presses to be called back, where `callback` allows it.
    """

    name: Name
    extension: Dialled | None = None
    strategy: Literal["longest_idle", "round_robin", "top_down"] = "longest_idle"
    discipline: Literal["fifo", "priority"] = "fifo"
    calendar: Name | None = None
    ring_seconds: Annotated[int, Field(ge=5, le=120)] = 20
    wrap_up_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    max_wait_seconds: Seconds | None = None
    max_length: Annotated[int, Field(ge=0, le=10_000)] | None = None
    overflow: Dialled | None = None
    announce_seconds: Seconds | None = None
    callback: bool = False
    callback_digit: Annotated[str, Field(pattern=r"^[0-9*#]$")] = "1"
    answer: bool = True
    music: Prompt = "tone/music"
    welcome: Prompt | None = None
    position_prompts: Prompt | None = None
    skills: Annotated[list[SkillLevel], Field(max_length=64)] = []
    agents: Annotated[list[QueueAgent], Field(max_length=1000)] = []


def _web(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be https://HOST/…")
    return url


EventType = Literal[
    "call.started", "call.answered", "call.ended", "queue.entered", "queue.answered", "queue.abandoned",
    "recording.finished", "registration.added", "registration.removed", "trunk.up", "trunk.down",
]  # fmt: skip


class Webhook(Body):
    """Who is told of events. The secret, with which each message is signed, is written and never read."""

    name: Name
    url: Annotated[
        str, Field(pattern=r"^https://[A-Za-z0-9][A-Za-z0-9.:-]{0,253}(/[!-~]{0,1000})?$"), AfterValidator(_web)
    ]
    events: Annotated[list[EventType], Field(min_length=1, max_length=20)]
    secret: Password | None = None
    enabled: bool = True


class Account(Body):
    """Who uses the API and the dashboard. The password is written and never read.

    role: `viewer` reads, `operator` also controls calls, `admin` changes all of its tenant, `platform` of every one.
    oidc_subject: `ISSUER SUBJECT` of an outside provider that may log this account in.
    """

    username: Username
    password: Annotated[SecretStr, Field(min_length=10, max_length=128)] | None = None
    display_name: Text = ""
    role: Literal["viewer", "operator", "admin", "platform"] = "viewer"
    oidc_subject: Annotated[str, Field(pattern=r"^https?://[!-~]{1,200} [!-~]{1,200}$")] | None = None
    enabled: bool = True


class Tenant(Body):
    """A customer whose users, numbers and records are apart from all others'. Limits hold for all its calls.

    srtp: whether their media is protected; recording: which of them are recorded; recording_consent: whether whoever
    starts that must say how the parties agreed. None: as configured for all.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    display_name: Text = ""
    realm: Realm | None = None
    enabled: bool = True
    dial_plan: Name | None = None
    default_number: Number | None = None
    channel_limit: Channels | None = None
    spend_limit_micros: Budget | None = None
    media: Interface | None = None
    srtp: Srtp | None = None
    recording: Literal["off", "on-demand", "all"] | None = None
    recording_consent: Literal["required", "not-needed"] | None = None
    cdr_days: Days = 400
    personal_days: Days = 180
    audit_days: Annotated[int, Field(ge=365, le=3650)] = 400
