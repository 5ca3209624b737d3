# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the command line: JSON requests over a Unix socket whose file mode says who may.

One request a connection: a line `{"verb": "flow.list", "arguments": {...}}`, answered by a line
`{"code": 0}` and the result as one JSON document, or by `{"code": N, "error": "..."}` alone, where N is the
exit code of the command.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ctl.exits import DENIED, FAILED, NOT_FOUND, USAGE

REQUEST_LIMIT = 64 << 10
REQUEST_SECONDS = 5.0
ANSWERED = b'{"code":0}\n'

Verb = Callable[[dict[str, Any]], Awaitable[Any] | Any]

log = structlog.get_logger()


class Encoded(bytes):
    """A result that is JSON already; for long ones, which are made piece by piece so that calls do not wait."""


@dataclass(frozen=True, slots=True)
class Held:
    """A result that stands while its connection is open: `release` is called when either side closes it.

    over: set by whoever gave the result when there is nothing to hold any more.
    """

    result: Any
    release: Callable[[], None]
    over: asyncio.Event


class ControlError(Exception):
    """A command that cannot be done; `code` becomes the exit code, the text one line on standard error."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def not_found(what: str, name: str) -> ControlError:
    """Make the error for an object that is not there."""
    return ControlError(f"no {what} {name!r}; see: voxdp {what} list", NOT_FOUND)


class ControlServer:
    """Serves `verbs` on a Unix socket until closed."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; the socket can be used by our own user and root only. Raises OSError."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_LIMIT)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_SECONDS)
            answer = await self._answer(line)
            if isinstance(answer, Held):
                await self._hold(answer, reader, writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            log.debug("control connection dropped: no request of proper size in time")
        finally:
            writer.close()

    async def _hold(self, held: Held, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer, with a line feed behind it, and wait for the end of what is held or of who asked for it."""
        waits = [asyncio.ensure_future(held.over.wait()), asyncio.ensure_future(reader.read(1))]
        try:
            writer.write(ANSWERED + json.dumps(held.result).encode() + b"\n")
            await writer.drain()
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            held.release()
            for each in waits:
                each.cancel()

    async def _answer(self, line: bytes) -> bytes | Held:
        try:
            result = await self._call(line)
        except ControlError as error:
            return json.dumps({"code": error.code, "error": str(error)}).encode() + b"\n"
        except PermissionError as error:
            return json.dumps({"code": DENIED, "error": str(error)}).encode() + b"\n"
        except Exception as error:
            log.exception("command failed")
            text = f"the controller failed: {type(error).__name__}: {error}; see its log"
            return json.dumps({"code": FAILED, "error": text}).encode() + b"\n"
        if isinstance(result, Held):
            return result
        encoded = result if isinstance(result, Encoded) else json.dumps(result, separators=(",", ":")).encode()
        return ANSWERED + encoded

    async def _call(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
            verb, arguments = self._verbs[request["verb"]], dict(request.get("arguments", {}))
        except (ValueError, KeyError, TypeError):
            raise ControlError("the controller does not know this request; is it of another version?", USAGE) from None
        result = verb(arguments)
        return await result if isinstance(result, Awaitable) else result
