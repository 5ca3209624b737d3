# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line does to a call leaves an entry in the audit of its tenant, whatever becomes of the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ctl.verbs.control import ControlError
from ctl.verbs.noted import Noted
from provisioning.errors import DatabaseUnavailable
from provisioning.store import Scope
from sip.call_table import CallState
from sip.views import CallView, LegView

LEG = LegView("confirmed", "c", None, None)
CALL = CallView("call", CallState.TALKING, "anna", "bert", 0, None, 1, LEG, LEG)
TENANT = 7


class Storage:
    """A store that keeps what is noted; away: there is no database."""

    def __init__(self) -> None:
        self.store = cast(Any, self)
        self.entries: list[tuple[Any, ...]] = []
        self.away = False

    async def ready(self) -> None:
        if self.away:
            raise DatabaseUnavailable("gone")

    @asynccontextmanager
    async def open(self, scope: Scope) -> AsyncIterator[Any]:
        async def note(action: str, resource: str, key: str, _before: None, after: Any) -> None:
            self.entries.append((scope.tenant, scope.actor, action, resource, key, after))

        yield SimpleNamespace(note=note)


class Desk:
    """Verbs of one call, which ends by any of them."""

    def __init__(self) -> None:
        self.calls = [CALL]
        self.storage = Storage()
        noted = Noted(cast(Any, SimpleNamespace(calls=lambda: self.calls)), lambda _: TENANT, self.storage)
        self.verbs = noted.table(dict.fromkeys(("call.transfer", "call.record", "call.show"), self.do) | {
            "call.media": self.do_later, "call.hold": self.refuse})  # fmt: skip

    def do(self, arguments: dict[str, Any]) -> str:
        self.calls = []
        return f"done to {arguments['id']}"

    async def do_later(self, arguments: dict[str, Any]) -> str:
        return self.do(arguments)

    def refuse(self, _arguments: dict[str, Any]) -> str:
        raise ControlError("not now")

    def ask(self, verb: str, **arguments: Any) -> Any:
        async def call() -> Any:
            result = self.verbs[verb]({"id": "call", **arguments})
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run(call())


@pytest.mark.parametrize(
    ("verb", "arguments", "action", "after"),
    [
        ("call.transfer", {"target": "carl", "leg": "b"}, "transfer", {"target": "carl", "leg": "b"}),
        ("call.record", {"action": "start", "consent": "given"}, "record_start", {"consent": "given"}),
        ("call.media", {"action": "dtmf", "digits": "1234", "leg": "a"}, "dtmf", {"leg": "a"}),
    ],
)
def test_what_was_done_is_noted_without_digits(verb: str, arguments: Any, action: str, after: Any) -> None:
    desk = Desk()
    assert desk.ask(verb, **arguments) == "done to call"
    assert desk.storage.entries == [(TENANT, "command line", action, "call", "call", after)]


def test_what_was_only_read_or_refused_is_not() -> None:
    desk = Desk()
    with pytest.raises(ControlError):
        desk.ask("call.hold")
    desk.ask("call.record", action="show")
    desk.ask("call.show")
    assert desk.storage.entries == []


def test_without_a_database_it_is_done_and_the_log_says_who_was_told_nothing() -> None:
    desk = Desk()
    desk.storage.away = True
    with capture_logs() as told:
        assert desk.ask("call.transfer", target="carl") == "done to call"
    assert [(each["action"], each["why"]) for each in told] == [("transfer", "gone")]
