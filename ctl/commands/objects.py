# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tenant has, by the same five verbs for every kind: list, show, add, set, delete.

Fields are named as the API names them: `voxdp trunk add paris host=sip.example.com channel_limit=30`. A value is
text, or JSON; a list may be written with commas. The controller checks everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from ctl.exits import USAGE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column, plain

Command = TypeVar("Command", bound=Callable[..., Any])
Values = Callable[[Callable[..., Any]], Callable[..., Any]]


def _yes(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "yes" if row[name] else "no"


def _named(field: str, name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return the cell of a list of objects: the names in it."""
    return lambda row: plain([each[name] for each in row[field]])


def _target(row: Mapping[str, Any]) -> str | None:
    return next((f"{kind} {row[kind]}" for kind in ("user", "group", "queue") if row[kind]), None)


# Kind: what one is called, and the columns of its list.
KINDS: Mapping[str, tuple[str, tuple[Column, ...]]] = {
    "agent": ("agent", (
        Column("AGENT", "name"), Column("USER", "user"), Column("ENABLED", _yes("enabled")),
        Column("SKILLS", _named("skills", "skill")),
    )),
    "calendar": ("calendar", (
        Column("CALENDAR", "name"), Column("TIME ZONE", "timezone"),
        Column("EXCEPTIONS", lambda row: len(row["exceptions"]), right=True),
    )),
    "device": ("device", (
        Column("DEVICE", "name"), Column("USER", "user"), Column("MAC", "mac"), Column("VENDOR", "vendor"),
        Column("MODEL", "model"), Column("ENABLED", _yes("enabled")),
    )),
    "dial_plan": ("dial plan", (
        Column("DIAL PLAN", "name"), Column("COUNTRY", "country"), Column("INTERNATIONAL", "international_prefix"),
        Column("NATIONAL", "national_prefix"), Column("AREA", "area_code"),
    )),
    "group": ("group", (
        Column("GROUP", "name"), Column("EXTENSION", "extension"), Column("STRATEGY", "strategy"),
        Column("MEMBERS", _named("members", "user")),
    )),
    "number": ("number", (
        Column("NUMBER", "number"),
        Column("LEADS TO", _target),
        Column("CALENDAR", "calendar"), Column("DESCRIPTION", "description"),
    )),
    "queue": ("queue", (
        Column("QUEUE", "name"), Column("EXTENSION", "extension"), Column("STRATEGY", "strategy"),
        Column("DISCIPLINE", "discipline"), Column("AGENTS", _named("agents", "agent")),
    )),
    "rate_deck": ("rate deck", (Column("RATE DECK", "name"), Column("CURRENCY", "currency"))),
    "restriction": ("restriction", (
        Column("RESTRICTION", "name"), Column("PREFIX", "prefix"), Column("ACTION", "action"),
    )),
    "route": ("route", (
        Column("ROUTE", "name"), Column("PREFIX", "prefix"), Column("PRIORITY", "priority", right=True),
        Column("STRATEGY", "strategy"), Column("CALENDAR", "calendar"), Column("ENABLED", _yes("enabled")),
        Column("TRUNKS", _named("trunks", "trunk")),
    )),
    "skill": ("skill", (Column("SKILL", "name"), Column("DESCRIPTION", "description"))),
    "tenant": ("tenant", (
        Column("TENANT", "name"), Column("REALM", "realm"), Column("NAME", "display_name"),
        Column("CHANNELS", "channel_limit", right=True), Column("ENABLED", _yes("enabled")),
    )),
    "trunk": ("trunk", (
        Column("TRUNK", "name"), Column("HOST", "host"), Column("PORT", "port", right=True),
        Column("TRANSPORT", "transport"), Column("CHANNELS", "channel_limit", right=True),
        Column("ENABLED", _yes("enabled")),
    )),
    "user": ("user", (
        Column("USER", "username"), Column("REALM", "realm"), Column("NAME", "display_name"),
        Column("ENABLED", _yes("enabled")),
    )),
    "webhook": ("webhook", (
        Column("WEBHOOK", "name"), Column("URL", "url"), Column("EVENTS", "events"), Column("ENABLED", _yes("enabled")),
    )),
}  # fmt: skip


def tenant_option(command: Command) -> Command:
    """Let the tenant be named; the default one is meant otherwise."""
    return click.option("--tenant", default="", metavar="NAME", help="Of this tenant, not the default one")(command)


def fields(values: Iterable[str]) -> dict[str, str]:
    """Return {field: text} of words `field=text`. Raises CommandError."""
    found = {}
    for word in values:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise CommandError(f"{word!r} is not FIELD=VALUE", USAGE)
        found[name.replace("-", "_")] = text
    return found


def make_group(kind: str, known: tuple[str, tuple[Column, ...]], without: tuple[str, ...] = ()) -> click.Group:
    """Return the commands of one kind of object, but for those in `without`."""
    noun, columns = known
    commands = (_list(kind, noun, columns), _show(kind, noun), _add(kind, noun), _set(kind, noun), _delete(kind, noun))
    group = click.Group(kind.replace("_", "-"), help=f"{noun.capitalize()}s: list, show, add, set, delete.")
    for command in commands:
        if command.name not in without:
            group.add_command(command)
    return group


def _list(kind: str, noun: str, columns: tuple[Column, ...]) -> click.Command:
    @click.command("list", help=f"List the {noun}s.")
    @tenant_option
    @list_options
    @click.pass_obj
    def list_(session: Session, tenant: str) -> None:
        session.show(f"{kind}.list", columns, noun, tenant=tenant)

    return list_


def _show(kind: str, noun: str) -> click.Command:
    @click.command("show", help=f"Show one {noun}.")
    @click.argument("name")
    @tenant_option
    @json_option
    @click.pass_obj
    def show(session: Session, name: str, tenant: str) -> None:
        session.document(session.ask(f"{kind}.show", key=name, tenant=tenant))

    return show


def _add(kind: str, noun: str) -> click.Command:
    values = click.argument("values", metavar="[FIELD=VALUE]...", nargs=-1)
    return _writing(kind, "add", "added", values, f"Add a {noun}.")


def _set(kind: str, noun: str) -> click.Command:
    values = click.argument("values", metavar="FIELD=VALUE...", nargs=-1, required=True)
    return _writing(kind, "set", "changed", values, f"Change fields of a {noun}; an empty value takes one away.")


def _writing(kind: str, verb: str, told: str, values: Values, text: str) -> click.Command:
    @click.command(verb, help=text)
    @click.argument("name")
    @values
    @tenant_option
    @click.pass_obj
    def write(session: Session, name: str, values: tuple[str, ...], tenant: str) -> None:
        session.ask(f"{kind}.{verb}", key=name, tenant=tenant, values=fields(values))
        click.echo(f"{told} {name}")

    return write


def _delete(kind: str, noun: str) -> click.Command:
    @click.command("delete", help=f"Delete a {noun}; what it is part of must be changed first.")
    @click.argument("name")
    @click.confirmation_option("--yes", prompt=f"Delete this {noun}?")
    @tenant_option
    @click.pass_obj
    def delete(session: Session, name: str, tenant: str) -> None:
        session.ask(f"{kind}.delete", key=name, tenant=tenant)
        click.echo(f"deleted {name}")

    return delete


(
    agent,
    calendar,
    device,
    dial_plan,
    group,
    number,
    queue,
    rate_deck,
    restriction,
    route,
    skill,
    tenant,
    trunk,
    webhook,
) = (make_group(kind, KINDS[kind]) for kind in sorted(KINDS) if kind != "user")


BOARD = (
    Column("ID", "id"),
    Column("QUEUE", "queue"),
    Column("CALLER", "caller"),
    Column("SECONDS", "seconds", right=True),
    Column("POSITION", "position", right=True),
    Column("PRIORITY", "priority", right=True),
    Column("AGENT", "agent"),
    Column("CALL BACK", "number"),
)


AGENTS = (
    Column("AGENT", "agent"),
    Column("USER", "user"),
    Column("STATE", "state"),
    Column("SECONDS", "seconds", right=True),
    Column("QUEUE", "queue"),
    Column("CALLER", "caller"),
)

DELIVERIES = (
    Column("CREATED", "created_at"),
    Column("TYPE", "type"),
    Column("STATE", "state"),
    Column("ATTEMPTS", "attempts", right=True),
    Column("STATUS", "status", right=True),
    Column("ERROR", "error"),
    Column("EVENT", "event"),
)


@agent.command("state")
@click.argument("name")
@click.argument("state", type=click.Choice(["off", "available", "paused"]))
@tenant_option
@click.pass_obj
def agent_state(session: Session, name: str, state: str, tenant: str) -> None:
    """Let an agent come, pause or go; in a call, once that is over."""
    session.ask("agent.state", key=name, state=state, tenant=tenant)
    click.echo(f"{name} is {state}, or will be after the call")


@webhook.command("deliveries")
@click.argument("name")
@click.option("--count", default=50, show_default=True, help="At most so many, the newest")
@tenant_option
@list_options
@click.pass_obj
def webhook_deliveries(session: Session, name: str, count: int, tenant: str) -> None:
    """List what became of messages to a webhook."""
    session.show("webhook.deliveries", DELIVERIES, "delivery", key=name, count=count, tenant=tenant)


@webhook.command("test")
@click.argument("name")
@tenant_option
@click.pass_obj
def webhook_test(session: Session, name: str, tenant: str) -> None:
    """Send a webhook a message now, whatever events it wants."""
    click.echo(f"event {session.ask('webhook.test', key=name, tenant=tenant)}; see: voxdp webhook deliveries {name}")


@queue.command("board")
@tenant_option
@list_options
@click.pass_obj
def queue_board(session: Session, tenant: str) -> None:
    """List who waits, rings or talks in queues now."""
    session.show("queue.board", BOARD, "caller", tenant=tenant)


@queue.command("agents")
@tenant_option
@list_options
@click.pass_obj
def queue_agents(session: Session, tenant: str) -> None:
    """List what agents do now, and with whom."""
    session.show("queue.agents", AGENTS, "agent", tenant=tenant)


@queue.command("callback")
@click.argument("name")
@click.argument("number")
@tenant_option
@click.pass_obj
def queue_callback(session: Session, name: str, number: str, tenant: str) -> None:
    """Let NUMBER be called back by an agent of a queue, as if it had waited from now on."""
    click.echo(f"booked {session.ask('queue.callback', key=name, number=number, tenant=tenant)}")


@route.command("simulate")
@click.argument("caller")
@click.argument("dialled")
@click.option("--at", default="", metavar="TIME", help="At this time, such as 2026-12-25T10:00:00+01:00, not now")
@click.option("--trunk", default="", help="The call comes by this trunk, and CALLER is a number")
@tenant_option
@json_option
@click.pass_obj
def simulate(session: Session, caller: str, dialled: str, at: str, trunk: str, tenant: str) -> None:
    """Say where a call would go, and why."""
    found = session.ask("route.simulate", caller=caller, dialled=dialled, at=at, trunk=trunk, tenant=tenant)
    if session.as_json:
        session.document(found)
        return
    for step in found["steps"]:
        click.echo(f"  {step}")
    for number, target in enumerate(found["targets"], 1):
        click.echo(f"{number}. {target}")
    if found["refused"]:
        click.echo(f"refused: {found['refused']}")


@rate_deck.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, resolve_path=True))
@tenant_option
@click.pass_obj
def import_rates(session: Session, name: str, file: str, tenant: str) -> None:
    """Give a rate deck the prices of a CSV file and no others: lines of PREFIX,PRICE."""
    click.echo(f"{session.ask('rate_deck.import', key=name, path=file, tenant=tenant)} prices in {name}")


@tenant.command("export")
@click.argument("name", default="")
@click.pass_obj
def export(session: Session, name: str) -> None:
    """Write every object of a tenant as JSON, but for secrets."""
    session.as_json = True
    session.document(session.ask("tenant.export", tenant=name))


@tenant.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, resolve_path=True))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing")
@click.option("--remove", is_flag=True, help="Delete what is of a kind in the file and not in it")
@tenant_option
@json_option
@click.pass_obj
def import_objects(session: Session, file: str, dry_run: bool, remove: bool, tenant: str) -> None:
    """Bring the objects of a tenant into the state of a file; all of it, or nothing."""
    found = session.ask("tenant.import", path=file, dry_run=dry_run, remove=remove, tenant=tenant)
    if session.as_json:
        session.document(found)
        return
    for each in found:
        changes = ", ".join(f"{name}: {plain(old)} → {plain(new)}" for name, (old, new) in each["changes"].items())
        if each["action"] != "same":
            click.echo(f"{each['action']} {each['kind']} {each['key']}" + (f" ({changes})" if changes else ""))
