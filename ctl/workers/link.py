# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller and a worker say to each other: named messages over a pair of sockets, in the order they were said.

Both ends are of one build, so that messages are written as Python itself writes constants.
"""

from __future__ import annotations

import asyncio
import marshal
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import structlog

LENGTH = struct.Struct("=I")
MAX_UNREAD = 64 << 20
"""Bytes that the other end may leave unread before it is taken for dead."""

TELL, ASK, ANSWER = range(3)
Handler = Callable[..., Any]

log = structlog.get_logger()


class LinkLost(Exception):
    """The other end is gone, and with it the answer."""


class Link(asyncio.Protocol):
    """One end. handlers: by the name of a message, called with its arguments; lost: called once when it is over.

    What a handler of a question returns, or what that awaits to, is the answer.
    """

    def __init__(self, handlers: Mapping[str, Handler], lost: Callable[[], None]) -> None:
        self._handlers = handlers
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._asked: dict[int, Callable[[Any], None]] = {}
        self._waiting: set[asyncio.Future[Any]] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._number = 0

    async def open(self, end: socket.socket) -> None:
        """Begin to read from this end of the pair, which is ours from now on."""
        await asyncio.get_running_loop().create_connection(lambda: self, sock=end)

    def tell(self, name: str, *arguments: Any) -> None:
        """Say something; nothing where nobody is there to hear it."""
        self._write((TELL, 0, name, arguments))

    def ask_then(self, name: str, arguments: tuple[Any, ...], then: Callable[[Any], None]) -> None:
        """Ask, and have `then` called with the answer; not where the link is lost before it comes."""
        self._number += 1
        self._asked[self._number] = then
        self._write((ASK, self._number, name, arguments))

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Return the answer to a question. Raises LinkLost."""
        if self._transport is None:
            raise LinkLost
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            self.ask_then(name, arguments, lambda answer: None if future.done() else future.set_result(answer))
            return await future
        finally:
            self._waiting.discard(future)

    def close(self) -> None:
        """Hang up, when all is written."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody will answer any more."""
        self._transport = None
        self._asked.clear()
        for future in self._waiting:
            if not future.done():
                future.set_exception(LinkLost())
        for task in self._answering:
            task.cancel()
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete."""
        self._received += data
        begin = 0
        while len(self._received) - begin >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._received, begin)
            end = begin + LENGTH.size + length
            if len(self._received) < end:
                break
            message = marshal.loads(bytes(self._received[begin + LENGTH.size : end]))  # noqa: S302 - our own process
            begin = end
            self._take(*message)
        del self._received[:begin]

    def _take(self, kind: int, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if kind == ANSWER:
            name = "answer"
        try:
            if kind == ANSWER:
                self._asked.pop(number, _nobody)(*arguments)
                return
            answer = self._handlers[name](*arguments)
        except Exception:
            # Our own fault, brought out by this message: the others are not to suffer from it.
            log.exception("message of another process not handled", message=name)
            answer = None
        if kind == ASK:
            if isinstance(answer, Awaitable):
                task = asyncio.ensure_future(self._answer_later(number, answer))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            else:
                self._write((ANSWER, number, "", (answer,)))

    async def _answer_later(self, number: int, answer: Awaitable[Any]) -> None:
        self._write((ANSWER, number, "", (await answer,)))

    def _write(self, message: tuple[int, int, str, tuple[Any, ...]]) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            log.error("another process reads no more", megabytes=MAX_UNREAD >> 20)
            self._transport.abort()
            return
        self._transport.write(packed(message))


def _nobody(_answer: Any) -> None:
    """Whoever asked has hung up since."""


def packed(message: Any) -> bytes:
    """A message as it is written."""
    body = marshal.dumps(message)
    return LENGTH.pack(len(body)) + body


def read_one(end: socket.socket) -> Any:
    """Wait for one message that `packed` wrote, before there is a loop. Raises EOFError."""
    (length,) = LENGTH.unpack(_exactly(end, LENGTH.size))
    return marshal.loads(_exactly(end, length))  # noqa: S302 - our own process


def _exactly(end: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        some = end.recv(size - len(found))
        if not some:
            raise EOFError
        found += some
    return found
