# SPDX-License-Identifier: GPL-3.0-or-later
"""One call record: found by what an operator has of the call, and shown with why it ended and how it sounded."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from ctl.cli import voxdp
from ctl.exits import NOT_FOUND, USAGE
from ctl.terminal import session
from ctl.verbs import calls
from ctl.verbs.control import ControlError
from provisioning.cdr import Cdr, CdrMedia, cdr_id

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def record(call):
    return Cdr(
        id=cdr_id(call), call=call, caller="anna", dialled="bert", a_call_id=f"{call}@a", b_call_id=None,
        started=NOON, ringing=None, answered=NOON, ended=NOON + timedelta(seconds=9), status=503, cause=34,
        ended_by="server", reason="No Trunk", media=(CdrMedia("a", "PCMU", "kernel", 450, 77400, mos_avg=4.125),),
    )  # fmt: skip


def shown(monkeypatch, found, wanted="c1"):
    """What `cdr.show` answers where the database has these calls."""

    async def answer(_pool, question):
        assert (question.parameters["beginning"], question.parameters["limit"]) == (wanted, 2)
        return [record(call) for call in found]

    async def ready():
        """It is."""

    monkeypatch.setattr(calls, "ask_async", answer)
    verbs = calls.Verbs(None, None, None, SimpleNamespace(ready=ready, pool=None))
    return asyncio.run(verbs.table()["cdr.show"]({"id": wanted}))


def test_a_record_tells_why_and_how_each_direction_was(monkeypatch):
    answer = shown(monkeypatch, ["c1"])
    monkeypatch.setattr(session, "ask_raw", lambda *_: json.dumps(answer).encode())
    lines = CliRunner().invoke(voxdp, ["cdr", "show", "c1"]).output.splitlines()
    assert [line.split() for line in lines if line.startswith(("sip_status", "reason"))] == [
        ["sip_status", "503"],
        ["reason", "No", "Trunk"],
    ]
    assert lines[-1].split() == ["a", "PCMU", "kernel", "450", "0", "-", "-", "-", "0.0", "4.12", "-"]
    assert json.loads(CliRunner().invoke(voxdp, ["cdr", "show", "c1", "-j"]).output) == answer


@pytest.mark.parametrize(
    ("found", "code", "text"),
    [([], NOT_FOUND, "no record of call 'c1'; see: voxdp cdr list"), (["c11", "c12"], USAGE, "give more of the id")],
)
def test_none_and_several_are_refused(monkeypatch, found, code, text):
    with pytest.raises(ControlError, match=text) as refusal:
        shown(monkeypatch, found)
    assert refusal.value.code == code
