# SPDX-License-Identifier: GPL-3.0-or-later
"""The ng protocol over HTTP and WebSocket, with the paths and sub-protocols that proxies know."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler, Middleware

from ctl.ng.access import Access
from ctl.ng.errors import Dropped
from ctl.ng.framing import MAX_COOKIE, MAX_MESSAGE, split
from ctl.ng.server import Answers

NG = "application/x-rtpengine-ng"
JSON = "application/json"
PROTOCOL, PLAIN_PROTOCOL = "ng.rtpengine.com", "ng-plain.rtpengine.com"
HEARTBEAT_SECONDS = 30.0


def create_app(answers: Answers, access: Access) -> web.Application:
    """Return the application: POST /ng with a cookie, POST /ng-plain without, GET /ping, and / as a WebSocket."""
    app = web.Application(client_max_size=MAX_MESSAGE + MAX_COOKIE + 1, middlewares=[_guard(access)])
    front = _Front(answers)
    app.router.add_post("/ng", front.ng)
    app.router.add_post("/ng-plain", front.plain)
    app.router.add_get("/ping", front.ping)
    app.router.add_get("/", front.websocket)
    app.router.add_get("/ng", front.websocket)
    app.router.add_get("/ng-plain", front.websocket)
    app.on_shutdown.append(front.close)
    return app


def _guard(access: Access) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not access.streams(request.remote or ""):
            raise web.HTTPForbidden(text="this address is not among ng.allow\n")
        return await handler(request)

    return guard


class _Front:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._sockets: set[web.WebSocketResponse] = set()

    async def ng(self, request: web.Request) -> web.Response:
        _accept(request, NG)
        try:
            message = split(await request.read())
        except Dropped:
            raise web.HTTPBadRequest(text="the body is: a cookie, a blank, a dictionary\n") from None
        return web.Response(body=self._answers.answer(message, request.remote or ""), content_type=NG)

    async def plain(self, request: web.Request) -> web.Response:
        _accept(request, NG, JSON)
        body = await request.read()
        kind = JSON if body[:1] == b"{" else NG
        return web.Response(body=self._answers.plain(body, request.remote or ""), content_type=kind)

    async def ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="pong\n")

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One message a frame; the sub-protocol, else the path, says whether there are cookies."""
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL, PLAIN_PROTOCOL), heartbeat=HEARTBEAT_SECONDS, max_msg_size=MAX_MESSAGE + MAX_COOKIE + 1
        )
        await socket.prepare(request)
        plain = socket.ws_protocol == PLAIN_PROTOCOL or (not socket.ws_protocol and request.path == "/ng-plain")
        self._sockets.add(socket)
        try:
            async for frame in socket:
                if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._frame(socket, frame.data, plain, request.remote or "")
        finally:
            self._sockets.discard(socket)
        return socket

    async def close(self, _app: web.Application) -> None:
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await socket.close()

    async def _frame(self, socket: web.WebSocketResponse, data: str | bytes, plain: bool, host: str) -> None:
        """Answer as a text frame what came as one."""
        body = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        if plain:
            reply = self._answers.plain(body, host)
        else:
            try:
                reply = self._answers.answer(split(body), host)
            except Dropped:
                return
        if isinstance(data, str):
            await socket.send_str(reply.decode("utf-8", "replace"))
        else:
            await socket.send_bytes(reply)


def _accept(request: web.Request, *kinds: str) -> None:
    if request.content_type not in kinds:
        raise web.HTTPUnsupportedMediaType(text=f"send {' or '.join(kinds)}\n")
