# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking into the kernel relay while it works."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ctl.exits import FAILED
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option
from ctl.terminal.table import si

if TYPE_CHECKING:
    from ctl.kernel.trace import Counts

BAR = 40
KEPT = ("forwarded", "pass_")


@click.command()
@click.option("-w", "--watch", "interval", type=click.FloatRange(min=0.1), default=1.0, help="Seconds between reports")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many reports")
@json_option
@click.pass_obj
def trace(session: Session, interval: float, count: int | None) -> None:
    """Show what the relay drops and why, what is lost behind it, and how long frames take (root, with BCC).

    The time is that of receiving, in the driver and the relay, for each frame; Ctrl-C ends.
    """
    from ctl.config import load
    from ctl.kernel.pins import Pins
    from ctl.kernel.trace import Tracer, TraceUnavailable

    try:
        tracer = Tracer(Pins(load(session.path).xdp.bpffs))
    except TraceUnavailable as error:
        raise CommandError(str(error), FAILED) from None
    try:
        first = before = tracer.read()
        shown = 0
        while count is None or shown < count:
            time.sleep(interval)
            now = tracer.read()
            _show(session, now.since(before), interval)
            before, shown = now, shown + 1
    except KeyboardInterrupt:
        before = tracer.read()
    finally:
        tracer.close()
    if not session.as_json:
        total: Counts = before.since(first)
        click.echo(f"\n{histogram(total.latency, 'ns for each frame', 'frames')}", nl=False)
        click.echo(f"\n{histogram(total.batches, 'frames at once', 'rounds')}", nl=False)


def histogram(slots: dict[int, int] | Any, title: str, what: str) -> str:
    """Return powers of two as lines with bars."""
    if not slots:
        return f"{title}: none\n"
    most = max(slots.values())
    lines = [f"{title:>23}  {what:>9}"]
    for slot in range(min(slots), max(slots) + 1):
        number = slots.get(slot, 0)
        low, high = bounds(slot)
        lines.append(f"{low:>10} - {high:<10}  {number:>9}  {'#' * round(BAR * number / most)}".rstrip())
    return "".join(f"{line}\n" for line in lines)


def bounds(slot: int) -> tuple[int, int]:
    """Return the least and the greatest value of a slot."""
    return (0, 0) if slot == 0 else (1 << slot - 1, (1 << slot) - 1)


def line(counts: Counts, seconds: float) -> str:
    """Return a report as one line: what was forwarded, dropped and lost in a second."""
    dropped = {name: number for name, number in counts.reasons.items() if not name.startswith(KEPT)}
    parts = [f"{si(round(counts.reasons.get('forwarded', 0) / seconds))} forwarded/s"]
    parts.append(f"{si(round(sum(dropped.values()) / seconds))} dropped/s")
    parts += [f"{name} {number}" for name, number in sorted(dropped.items(), key=lambda each: -each[1])]
    parts += [f"lost in {how}: {error} {number}" for (how, error), number in counts.losses.items()]
    return "  ".join(parts)


def document(counts: Counts, seconds: float) -> dict[str, Any]:
    """Return a report for JSON."""

    def slots(name: str) -> list[dict[str, int]]:
        by_slot = sorted(getattr(counts, name).items())
        return [dict(zip(("from", "to"), bounds(slot), strict=True)) | {"count": number} for slot, number in by_slot]

    return {
        "seconds": seconds,
        "packets_by_reason": dict(counts.reasons),
        "lost": [{"in": how, "error": error, "frames": number} for (how, error), number in counts.losses.items()],
        "latency_ns": slots("latency"),
        "batch_frames": slots("batches"),
    }


def _show(session: Session, counts: Counts, seconds: float) -> None:
    if session.as_json:
        session.document(document(counts, seconds))
        return
    click.echo(f"{time.strftime('%H:%M:%S')}  {line(counts, seconds)}")
    sys.stdout.flush()
