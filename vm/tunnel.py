# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS for programs that speak none: what connects here goes on there, with TLS on one of the two sides.

python -m vm.tunnel HOST PORT THERE_HOST THERE_PORT accept CERTIFICATE KEY
python -m vm.tunnel HOST PORT THERE_HOST THERE_PORT connect AUTHORITY
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from functools import partial
from pathlib import Path

from vm.lab import Lab
from vm.process import Process
from vm.topology import Endpoint

_READY = "ready"


class Tunnel:
    """One that runs in the lab. tls: the last words of the command line."""

    def __init__(self, lab: Lab, endpoint: Endpoint, here: tuple[str, int], there: tuple[str, int], *tls: str | Path):
        words = (*here, *there, *tls)
        command = (sys.executable, "-m", "vm.tunnel", *map(str, words))
        self.process: Process = lab.spawn(endpoint.namespace, *command, log=f"tunnel-{here[1]}.log")
        self.process.wait_for("tunnel", lambda text: _READY in text)


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()


async def _accepted(
    there: tuple[str, int],
    context: ssl.SSLContext | None,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    far_reader, far_writer = await asyncio.open_connection(*there, ssl=context)
    ways = [asyncio.create_task(_pass_on(*way)) for way in ((reader, far_writer), (far_reader, writer))]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for each in (writer, far_writer):
        each.close()


async def _serve(words: list[str]) -> None:
    host, port, there_host, there_port, side, *files = words
    accepting = connecting = None
    if side == "accept":
        accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        accepting.load_cert_chain(*files)
    else:
        connecting = ssl.create_default_context(cafile=files[0])
    handler = partial(_accepted, (there_host, int(there_port)), connecting)
    server = await asyncio.start_server(handler, host, int(port), ssl=accepting)
    print(_READY, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
