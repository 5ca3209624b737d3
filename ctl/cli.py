# SPDX-License-Identifier: GPL-3.0-or-later
"""`voxdp`: object and verb, as in `ip` and `bpftool`. Only the file of the object named is imported."""

from __future__ import annotations

import importlib
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from ctl.configfile import ConfigError
from ctl.exits import DENIED, FAILED, INTERRUPTED, USAGE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session

COMMANDS = {
    "account": "ctl.commands.account",
    "audit": "ctl.commands.audit",
    "agent": "ctl.commands.objects",
    "attach": "ctl.commands.xdp",
    "calendar": "ctl.commands.objects",
    "call": "ctl.commands.call",
    "capture": "ctl.commands.capture",
    "cdr": "ctl.commands.cdr",
    "config": "ctl.commands.config",
    "db": "ctl.commands.db",
    "detach": "ctl.commands.xdp",
    "device": "ctl.commands.objects",
    "dial-plan": "ctl.commands.objects",
    "doctor": "ctl.commands.doctor",
    "engine": "ctl.commands.run",
    "flow": "ctl.commands.flow",
    "group": "ctl.commands.objects",
    "ng": "ctl.commands.ng",
    "number": "ctl.commands.objects",
    "queue": "ctl.commands.objects",
    "rate-deck": "ctl.commands.objects",
    "recorder": "ctl.commands.recording",
    "recording": "ctl.commands.recording",
    "reg": "ctl.commands.reg",
    "restriction": "ctl.commands.objects",
    "route": "ctl.commands.objects",
    "run": "ctl.commands.run",
    "sip": "ctl.commands.sip",
    "skill": "ctl.commands.objects",
    "sound": "ctl.commands.call_media",
    "tenant": "ctl.commands.objects",
    "top": "ctl.commands.top",
    "trace": "ctl.commands.trace",
    "trunk": "ctl.commands.trunk",
    "user": "ctl.commands.user",
    "webhook": "ctl.commands.objects",
    "xdp": "ctl.commands.xdp",
    "xsk": "ctl.commands.run",
}
HELP = {
    "account": "Accounts of the API: list, show, add, set, password, delete",
    "audit": "Who changed what: list, verify",
    "agent": "Agents of queues: list, show, add, set, delete",
    "attach": "Load the kernel relay and attach it to the interfaces (root, once)",
    "calendar": "Opening hours and holidays: list, show, add, set, delete",
    "call": "Calls: list, show, hangup, transfer, hold, resume, record, play, stop-media, dtmf, block, unblock",
    "capture": "Frames of calls and flows into a pcapng file",
    "cdr": "Call detail records: list, show, export",
    "config": "The configuration: check, show",
    "db": "The database: migrate, status, backup, restore, purge, rotate-key",
    "detach": "Take the kernel relay off the interfaces",
    "device": "Telephones of users: list, show, add, set, delete",
    "dial-plan": "How what is dialled becomes E.164: list, show, add, set, delete",
    "doctor": "Whether this host is fit to carry calls in the kernel",
    "engine": "Run the userspace engine (the controller does this itself)",
    "flow": "Media flows: list, show, watch, explain",
    "group": "Ring groups: list, show, add, set, delete",
    "ng": "In rtpengine's place, by its options: run, config, ctl",
    "number": "Numbers of ours and where they lead: list, show, add, set, delete",
    "queue": "Queues of callers: list, show, add, set, delete",
    "rate-deck": "Prices by prefix: list, show, add, set, delete",
    "recorder": "Run the recorder (the controller does this itself)",
    "recording": "Recordings: list, export, verify",
    "reg": "Registrations: list",
    "restriction": "Prefixes that are blocked or opened: list, show, add, set, delete",
    "route": "Which trunks carry which calls: list, show, add, set, delete",
    "run": "Run the controller: signalling, flows, API",
    "sip": "Signalling: status, reload, drain",
    "skill": "Skills of agents: list, show, add, set, delete",
    "sound": "Sounds that can be played: list",
    "trace": "Drops, losses and latency of the relay, live",
    "top": "Flows, live, on the whole screen",
    "tenant": "Tenants: list, show, add, set, delete",
    "trunk": "Trunks: carriers and other exchanges: list, show, status, add, set, delete",
    "user": "Users: list, show, add, set, password, enable, disable, delete",
    "webhook": "Who is told of events: list, show, add, set, delete",
    "xdp": "The kernel relay: status",
    "xsk": "Open AF_XDP sockets for the engine (root, beside the controller)",
}


class Commands(click.Group):
    """The objects by name, imported when they are used; a unique prefix of a name will do, as with `ip`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the objects, for completion."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of the object named."""
        matches = [name for name in COMMANDS if name == cmd_name] or [n for n in COMMANDS if n.startswith(cmd_name)]
        if len(matches) != 1:
            if ctx.resilient_parsing or cmd_name.startswith("-"):
                return None
            if matches:
                ctx.fail(f"{cmd_name} may be {', '.join(sorted(matches))}")
            raise NoSuchCommand(cmd_name, possibilities=COMMANDS, ctx=ctx)
        command: click.Command = getattr(importlib.import_module(COMMANDS[matches[0]]), matches[0].replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the objects for --help from HELP, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(HELP.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(readable=False, path_type=Path),
    envvar="VOXDP_CONFIG",
    help="Configuration file",
)
@click.option("-j", "--json", "as_json", is_flag=True, help="Print one JSON document")
@click.option("-f", "--filter", "terms", default="", metavar="TERMS", help="Of a list, only what fits the terms")
@click.option("--sort", default="", metavar="KEY", help="Order a list by this key; falling: -KEY")
@click.option("--no-header", is_flag=True, help="Print tables without their first line")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds to wait")
@click.version_option(package_name="voxdp", message="voxdp %(version)s")
@click.pass_context
def voxdp(
    ctx: click.Context, path: Path | None, as_json: bool, terms: str, sort: str, no_header: bool, timeout: float
) -> None:
    """Calls decided in Python, carried by the NIC driver."""
    ctx.obj = Session(path, as_json, not no_header, timeout, terms, sort)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; every error is one line on standard error."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        voxdp.main(arguments, prog_name="voxdp", standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(USAGE)
    except click.UsageError as error:
        _fail(_in_a_line(error), USAGE)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except CommandError as error:
        _fail(str(error), error.code)
    except ConfigError as error:
        _fail(str(error), FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except PermissionError as error:
        _fail(f"{error.filename}: permission denied; run as root, by sudo, or as the controller's user", DENIED)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)


def _in_a_line(error: click.UsageError) -> str:
    """Say what click says in its sentences as all other errors are said."""
    text = re.sub(r"\. \(?Did (.*\?)\)?$", r"; did \1", " ".join(error.format_message().split())).rstrip(".")
    end = "" if text.endswith("?") else ";"
    return f"{text[:1].lower()}{text[1:]}{end} see: {error.ctx.command_path if error.ctx else 'voxdp'} --help"


def _fail(text: str, code: int) -> None:
    print(f"voxdp: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
