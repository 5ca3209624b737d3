# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host is fit to carry calls in the kernel, and what to do where it is not."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from ctl.exits import FAILED
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option
from ctl.terminal.table import RESET, STYLES, counted

MARKS = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}
COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@json_option
@click.pass_obj
def doctor(session: Session) -> None:
    """Look at kernel, drivers, settings and the relay; exit 1 if something keeps calls from it."""
    from ctl.config import load
    from ctl.host.doctor import examine
    from ctl.host.host_facts import gather

    findings = examine(gather(load(session.path)))
    failed = sum(finding.status == "fail" for finding in findings)
    if session.as_json:
        session.document({"failed": failed, "findings": [asdict(finding) for finding in findings]})
        sys.exit(FAILED if failed else 0)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = f"{MARKS[finding.status]:<4}"
        shown = f"{STYLES[COLORS[finding.status]]}{mark}{RESET}" if session.color else mark
        click.echo(f"{shown}  {finding.check:<{width}}  {finding.text}")
        if finding.remedy:
            click.echo(f"{'':<4}  {'':<{width}}  > {finding.remedy}")
    if failed:
        raise CommandError(f"{counted(failed, 'check')} failed; each has its remedy behind >", FAILED)
