# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions of the command line where several processes have the calls: put to all, and answered as by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctl.exits import NOT_FOUND, UNREACHABLE, USAGE
from ctl.terminal.client import SOCKET_NAME
from ctl.verbs.control import ControlError, Encoded, Held, Verb, not_found

SECONDS = 20.0
FAMILIES = ("call", "flow", "sip", "capture")
"""What verbs are of, whose answers the workers have. All other verbs are the controller's own."""


class Gathered:
    """Asks the workers whose sockets are in `directories`, and the controller by its own `verbs`.

    owner: whose a relay address and port is, as the number of a worker; another number is the controller's own.
    """

    def __init__(
        self, directories: Sequence[Path], verbs: Mapping[str, Verb], owner: Callable[[str, int], int]
    ) -> None:
        self._paths = [directory / SOCKET_NAME for directory in directories]
        self._verbs = verbs
        self._owner = owner

    def table(self) -> dict[str, Verb]:
        """Return every verb."""
        table = dict(self._verbs)
        for name in self._verbs:
            if name.partition(".")[0] in FAMILIES:
                table[name] = self._one_of(name)
        special: dict[str, Verb] = {
            "call.list": self._list("call.list"),
            "flow.list": self._list("flow.list"),
            "capture": self._capture,
            "sip.status": self._status,
            "sip.drain": self._drain,
            "sip.reload": self._reload,
            "trunk.status": self._trunks,
        }
        return {**table, **{name: verb for name, verb in special.items() if name in table}}

    async def concatenated(self, verb: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Return the rows of all workers; of one that does not answer there are none."""
        return [row for rows in await self.all(verb, arguments) if rows is not None for row in rows]

    async def all(self, verb: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Return what each worker answers, None where it does not. Raises ControlError where all of them refuse."""
        asked = (_ask(path, verb, arguments) for path in self._paths)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        if refused and len(refused) == len(answers):
            raise refused[0]
        return [None if isinstance(answer, BaseException) else json.loads(answer) for answer in answers]

    async def whoever_has(self, verb: str, arguments: Mapping[str, Any]) -> Encoded:
        """Return the answer of the one who knows what is asked for. Raises ControlError."""
        missing: ControlError | None = None
        for path in self._paths:
            try:
                return await _ask(path, verb, arguments)
            except ControlError as error:
                if error.code not in (NOT_FOUND, UNREACHABLE):
                    raise
                missing = missing if missing and missing.code == NOT_FOUND else error
        raise missing or ControlError("there is no worker", UNREACHABLE)

    def _list(self, verb: str) -> Verb:
        async def answer(arguments: dict[str, Any]) -> Encoded:
            own = _encoded(await _done(self._verbs[verb](arguments)))
            rows = [own, *(_encoded(each) for each in await self.all(verb, arguments) if each is not None)]
            return Encoded(b"[" + b",".join(each[1:-1] for each in rows if each != b"[]") + b"]")

        async def of_one_call(arguments: dict[str, Any]) -> Any:
            if not arguments.get("call"):
                return await answer(arguments)
            return await self._one(verb, arguments)

        return of_one_call

    def _one_of(self, verb: str) -> Verb:
        async def answer(arguments: dict[str, Any]) -> Any:
            return await self._one(verb, arguments)

        return answer

    async def _one(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Answer about one call or flow, by whoever has it: by the controller where it is a proxy's."""
        wanted = str(arguments.get("id") or arguments.get("call") or "")
        worker = await self._find(wanted)
        if worker is None:
            return await _done(self._verbs[verb](arguments))
        return await _ask(self._paths[worker], verb, arguments)

    async def _find(self, wanted: str) -> int | None:
        """Return who has the call or flow of this name, None for the controller. Raises ControlError."""
        host, _, port = wanted.rpartition(":")
        if host and port.isdecimal():
            worker = self._owner(host.strip("[]"), int(port))
            return worker if worker < len(self._paths) else None
        if not wanted:
            raise not_found("call", wanted)
        asked = (_ask(path, "call.named", {"beginning": wanted}) for path in self._paths)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found = [
            (worker, call)
            for worker, answer in enumerate(answers)
            if not isinstance(answer, BaseException)
            for call in json.loads(answer)
        ]
        if len(found) > 1:
            raise ControlError(f"{len(found)} calls begin with {wanted!r}; give more of the id", USAGE)
        return found[0][0] if found else None

    async def _capture(self, arguments: dict[str, Any]) -> Any:
        """Have one of them capture; calls of several would need as many readers."""
        names = [*arguments.get("calls", ()), *arguments.get("flows", ())]
        workers = {await self._find(str(name)) for name in names}
        if len(workers) > 1:
            raise ControlError("these are of several workers; capture those of one at a time", USAGE)
        worker = workers.pop() if workers else None
        if worker is None:
            return await _done(self._verbs["capture"](arguments))
        return await _hold(self._paths[worker], "capture", arguments)

    async def _status(self, arguments: dict[str, Any]) -> dict[str, Any]:
        answers = await self.all("sip.status", arguments)
        there = [each for each in answers if each is not None]
        summed: dict[str, Any] = {}
        for each in there:
            summed = _summed(summed, each)
        own = await _done(self._verbs["sip.status"](arguments))
        summed["listen"] = there[0]["listen"]
        summed["registered_users"] = own["registered_users"]
        for name in ("draining", "overloaded"):
            summed[name] = any(each[name] for each in there)
        calls = [None if each is None else each["calls"] for each in answers]
        return {**summed, "workers": [{"worker": number + 1, "calls": each} for number, each in enumerate(calls)]}

    async def _drain(self, arguments: dict[str, Any]) -> str:
        await _done(self._verbs["sip.drain"](arguments))
        await self.all("sip.drain", arguments)
        status = await self._status({})
        return f"no new calls; {status['calls']} go on" if status["draining"] else "new calls are taken"

    async def _reload(self, arguments: dict[str, Any]) -> Any:
        """Have all read anew; one that cannot says so for all."""
        answers = [await _ask(path, "sip.reload", arguments) for path in self._paths]
        return answers[0]

    async def _trunks(self, arguments: dict[str, Any]) -> Any:
        """The first worker asks them, and counts the channels of all."""
        return await _ask(self._paths[0], "trunk.status", arguments)


async def _done(answer: Awaitable[Any] | Any) -> Any:
    return await answer if isinstance(answer, Awaitable) else answer


def _encoded(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else json.dumps(answer, separators=(",", ":")).encode()


def _summed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(one)
    for name, value in other.items():
        if isinstance(value, dict):
            found[name] = _summed(found.get(name, {}), value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = found.get(name, 0) + value
        else:
            found[name] = value
    return found


async def _ask(path: Path, verb: str, arguments: Mapping[str, Any]) -> Encoded:
    """Return what another process answers, as JSON. Raises ControlError."""
    reader, writer = await _request(path, verb, arguments)
    try:
        async with asyncio.timeout(SECONDS):
            answered = await reader.read()
    except TimeoutError:
        raise ControlError(f"{path.parent.name} does not answer; see its log", UNREACHABLE) from None
    finally:
        writer.close()
    head, _, body = answered.partition(b"\n")
    _check(path, head)
    return Encoded(body)


async def _hold(path: Path, verb: str, arguments: Mapping[str, Any]) -> Held:
    """The same for a result that stands while its connection is open."""
    reader, writer = await _request(path, verb, arguments)
    try:
        head = await reader.readline()
        _check(path, head)
        result = json.loads(await reader.readline())
    except BaseException:
        writer.close()
        raise
    over = asyncio.Event()
    watching = asyncio.ensure_future(reader.read())
    watching.add_done_callback(lambda _: over.set())

    def release() -> None:
        watching.cancel()
        writer.close()

    return Held(result, release, over)


async def _request(
    path: Path, verb: str, arguments: Mapping[str, Any]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    except OSError:
        raise ControlError(f"{path.parent.name} is not there at this moment; try again", UNREACHABLE) from None
    writer.write(json.dumps({"verb": verb, "arguments": dict(arguments)}).encode() + b"\n")
    return reader, writer


def _check(path: Path, head: bytes) -> None:
    if not head:
        raise ControlError(f"{path.parent.name} is not there at this moment; try again", UNREACHABLE)
    answer = json.loads(head)
    if answer["code"]:
        raise ControlError(answer["error"], answer["code"])
