# SPDX-License-Identifier: GPL-3.0-or-later
"""The ng protocol on UDP and TCP. Who may ask is decided by `access` before a byte is parsed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog

from ctl.ng.access import SEAL_BYTES, Access
from ctl.ng.cookies import Cookies
from ctl.ng.errors import Dropped, Malformed
from ctl.ng.framing import MAX_DATAGRAM, Message, Splitter, split
from ctl.ng.relay import Relay
from ctl.ng.replies import shortened

MAX_CONNECTIONS = 64
IDLE_SECONDS = 3600.0
READ_BYTES = 65536
WAITING_BYTES = 1 << 20
"""Of requests that have come and are not read yet, as far as the kernel grants it."""
AT_ONCE = 8

Address = tuple[str, int]

log = structlog.get_logger()


class Answers:
    """One relay's answers to messages, however they came: each request is done once, a repetition gets the reply."""

    def __init__(self, relay: Relay, clock: Callable[[], float] = time.time) -> None:
        self._relay = relay
        self._clock = clock
        self._cookies = Cookies(clock())

    def answer(self, message: Message, proxy: str, limit: int | None = None) -> bytes:
        """Return the reply, cookie included, of at most `limit` bytes."""
        now = self._clock()
        known = self._cookies.find(message.cookie, now)
        if known is not None:
            return known
        dictionary = self._reply(message, proxy, now)
        reply = message.reply(dictionary)
        if limit is not None and len(reply) > limit:
            reply = shortened(message, dictionary, limit)
        self._cookies.keep(message.cookie, reply, now)
        return reply

    def plain(self, document: bytes, proxy: str) -> bytes:
        """Return the reply to a document without a cookie; done anew each time."""
        message = Message(b"", document)
        return message.reply(self._reply(message, proxy, self._clock()))[1:]

    def _reply(self, message: Message, proxy: str, now: float) -> dict[str, Any]:
        try:
            dictionary = message.read()
        except Malformed as error:
            return self._relay.malformed(error, proxy)
        return self._relay.handle(dictionary, proxy, now)


class Datagrams:
    """The UDP side: one socket, read whenever something has come, some requests at a time."""

    def __init__(self, answers: Answers, access: Access, where: Address) -> None:
        """Bind and listen, on the running event loop. Raises OSError."""
        self._answers = answers
        self._access = access
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING_BYTES)
            self._socket.bind(where)
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Stop listening."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        """Answer what has come; what is left then waits until others of the event loop have had their turn."""
        try:
            for _ in range(AT_ONCE):
                self._answer(*self._socket.recvfrom(READ_BYTES))
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("ng reply not delivered: the proxy is gone", error=str(error))

    def _answer(self, data: bytes, source: tuple[Any, ...]) -> None:
        """Answer one request, from the address that it was sent to."""
        host = str(source[0])
        opened = self._access.open(data, host)
        if opened is None:
            return
        try:
            message = split(opened)
        except Dropped:
            return
        reply = self._answers.answer(message, host, MAX_DATAGRAM - SEAL_BYTES)
        self._socket.sendto(self._access.seal(reply, host), source)


class Streams:
    """The TCP side: requests one after another on each connection."""

    def __init__(self, answers: Answers, access: Access) -> None:
        self._answers = answers
        self._access = access
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends or sends what is no request."""
        task = asyncio.current_task()
        assert task is not None
        host = str((writer.get_extra_info("peername") or ("",))[0])
        if len(self._tasks) >= MAX_CONNECTIONS or not self._access.streams(host):
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer, host)
        except (Malformed, TimeoutError, ConnectionError) as error:
            log.debug("ng connection ended", proxy=host, why=str(error))
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        splitter = Splitter()
        while data := await _read(reader):
            for message in splitter.feed(data):
                writer.write(self._answers.answer(message, host))
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return what came, nothing at the end. asyncio.wait_for would lose a cancellation that meets a packet."""
    async with asyncio.timeout(IDLE_SECONDS):
        return await reader.read(READ_BYTES)
