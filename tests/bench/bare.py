# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.bench.bare USERS ALGORITHM`: the yardstick of registrations, a loop that checks digests and no more.

It has the lines of a REGISTER that an answer needs, and the credentials; computes the response that the user's password
leads to, compares, and answers 200, or 401 where there are none. It keeps no contact, no count of nonces and no
journal, and checks nothing else: the least that Python on uvloop can do for a registration. It prints its port.
"""

import asyncio
import hashlib
import hmac
import re
import sys
from typing import cast

import uvloop

from sip.digest import ha1
from tests.bench.registrar import PASSWORD, REALM, names

PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^,\s]+))')
ECHOED = ("Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:")
NONCE = "00" * 24


def main(users: str, algorithm: str) -> None:
    uvloop.run(serve(int(users), algorithm))


async def serve(users: int, algorithm: str) -> None:
    secrets = {name: ha1(algorithm, name, REALM, PASSWORD) for name in names(users)}
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Loop(secrets, algorithm), local_addr=("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await loop.create_future()


class Loop(asyncio.DatagramProtocol):
    """Receives, checks, answers."""

    def __init__(self, secrets: dict[str, str], algorithm: str) -> None:
        self._secrets = secrets
        self._hash = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
        self._challenge = (
            f'WWW-Authenticate: Digest realm="{REALM}", nonce="{NONCE}", algorithm={algorithm}, qop="auth"'
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """One REGISTER."""
        echoed, credentials = [], ""
        for line in data.decode().split("\r\n"):
            if line.startswith(ECHOED):
                echoed.append(line)
            elif line.startswith("Authorization:"):
                credentials = line
        status, more = ("200 OK", "Expires: 600") if self._proves(credentials) else ("401 No", self._challenge)
        answer = "\r\n".join([f"SIP/2.0 {status}", *echoed, more, "Content-Length: 0", "", ""])
        self._transport.sendto(answer.encode(), peer)

    def _proves(self, credentials: str) -> bool:
        known = {name: quoted or plain for name, quoted, plain in PARAMETER.findall(credentials)}
        secret = self._secrets.get(known.get("username", ""))
        if secret is None:
            return False
        asked = self._digest(f"REGISTER:{known['uri']}")
        counted = f"{known['nonce']}:{known['nc']}:{known['cnonce']}:{known['qop']}"
        return hmac.compare_digest(self._digest(f"{secret}:{counted}:{asked}"), known["response"])

    def _digest(self, text: str) -> str:
        return self._hash(text.encode()).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
