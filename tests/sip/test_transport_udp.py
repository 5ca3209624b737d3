# SPDX-License-Identifier: GPL-3.0-or-later
"""The UDP shell on loopback: datagrams through, keepalives answered, clear words where a port cannot be had."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import uvloop

from sip.core import Core
from sip.effects import Address, Send
from sip.settings import Settings
from sip.sockets import TransportError
from sip.transport_udp import UdpTransport
from tests.patience import PATIENCE

ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def client():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    with made:
        yield made


async def receive(client: socket.socket) -> tuple[bytes, int]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                data, peer = client.recvfrom(65536)
            except BlockingIOError:
                await asyncio.sleep(0.01)
            else:
                return data, peer[1]


def test_a_datagram_comes_with_its_addresses_and_the_answer_leaves_from_the_same(run, client):
    async def scenario():
        heard: asyncio.Queue[tuple[bytes, Address, Address]] = asyncio.Queue()
        transport = UdpTransport()
        await transport.open([ANY_PORT, ANY_PORT], lambda *args: heard.put_nowait(args))
        for local in transport.addresses:
            client.sendto(b"OPTIONS", (local.host, local.port))
            data, source, to = await asyncio.wait_for(heard.get(), PATIENCE)
            assert (data, source, to) == (b"OPTIONS", Address("127.0.0.1", client.getsockname()[1]), local)
            transport.send(Send(b"SIP/2.0 200 OK", source, to))
            assert await receive(client) == (b"SIP/2.0 200 OK", local.port)
        transport.close()

    run(scenario())


def test_what_waits_in_the_first_socket_is_answered_by_the_last(run, client):
    """As after a restart with sockets that others have bound; what comes of it leaves by any of them."""
    bound = []

    def lend(address, kind, *options):
        made = socket.socket(socket.AF_INET, kind)
        made.bind((address.host, address.port))
        made.setblocking(False)
        client.sendto(b"BYE", made.getsockname())
        bound.append(made.getsockname()[1])
        return made

    async def scenario():
        undelivered: list[Send] = []
        transport = UdpTransport(undelivered.append, lend)

        def relay(data: bytes, source: Address, local: Address) -> None:
            transport.send(Send(b"%d" % local.port, source, Address(local.host, bound[-1])))

        await transport.open([ANY_PORT] * 40, relay)
        try:
            heard = [await receive(client) for _ in bound]
            assert sorted(heard) == sorted((b"%d" % port, bound[-1]) for port in bound)
            assert (undelivered, transport.dropped) == ([], 0)
        finally:
            transport.close()

    run(scenario())


def test_what_is_sent_before_there_are_sockets_leaves_when_there_are(run, client):
    """As when a call is taken up that has to be ended at once."""

    async def scenario():
        undelivered: list[Send] = []
        transport = UdpTransport(undelivered.append)
        peer = Address("127.0.0.1", client.getsockname()[1])
        transport.send(Send(b"CANCEL", peer, None))
        transport.send(Send(b"BYE", peer, Address("127.0.0.9", 5060)))
        assert undelivered == []
        await transport.open([ANY_PORT], lambda *args: None)
        try:
            assert await receive(client) == (b"CANCEL", transport.addresses[0].port)
            assert [effect.data for effect in undelivered] == [b"BYE"], "there is no such socket"
        finally:
            transport.close()

    run(scenario())


@pytest.mark.parametrize("keepalive", [b"\r\n\r\n", b"\r\n", b"\x00", b""])
def test_keepalives_go_no_further(run, client, keepalive):
    async def scenario():
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        transport = UdpTransport()
        await transport.open([ANY_PORT], lambda data, source, local: heard.put_nowait(data))
        client.sendto(keepalive, ("127.0.0.1", transport.addresses[0].port))
        client.sendto(b"BYE", ("127.0.0.1", transport.addresses[0].port))
        assert await asyncio.wait_for(heard.get(), PATIENCE) == b"BYE"
        transport.close()

    run(scenario())


def test_a_binding_request_learns_the_port_that_it_comes_from(run, client):
    """STUN through the socket, the transport and the core, and back."""

    async def scenario():
        transport = UdpTransport()
        core = Core(Settings(realm="example.org", secret=b"k" * 32), lambda: "token", lambda peer: ANY_PORT)

        def heard(data: bytes, source: Address, local: Address) -> None:
            for effect in core.receive(data, source, local, 1000.0):
                transport.send(effect)

        await transport.open([ANY_PORT], heard)
        (local,) = transport.addresses
        header = bytes.fromhex("0001 0000 2112a442")
        client.sendto(header + b"an id of 12.", (local.host, local.port))
        answer, port = await receive(client)
        assert port == local.port
        assert answer[:4] + answer[8:20] == bytes.fromhex("0101 000c") + b"an id of 12."
        kind, _, family, mapped, host = struct.unpack("!HHHH4s", answer[20:])
        assert (kind, family, mapped ^ 0x2112) == (0x0020, 1, client.getsockname()[1])
        assert bytes(a ^ b for a, b in zip(host, header[4:], strict=True)) == bytes([127, 0, 0, 1])
        transport.close()

    run(scenario())


def test_a_port_in_use_is_named_and_nothing_stays_open(run, client):
    async def scenario():
        taken = Address("127.0.0.1", client.getsockname()[1])
        transport = UdpTransport()
        with pytest.raises(TransportError, match=f"port {taken.port} is in use on 127.0.0.1; stop the program"):
            await transport.open([ANY_PORT, taken], lambda *args: None)
        assert not transport.addresses

    run(scenario())


def test_an_address_of_nobody_is_named(run):
    async def scenario():
        with pytest.raises(TransportError, match=r"192\.0\.2\.200 is no address of this host"):
            await UdpTransport().open([Address("192.0.2.200", 0)], lambda *args: None)

    run(scenario())


def test_what_cannot_be_sent_is_counted(run):
    async def scenario():
        transport = UdpTransport()
        await transport.open([ANY_PORT], lambda *args: None)
        transport.send(Send(b"x", Address("127.0.0.1", 9), Address("127.0.0.9", 5060)))
        transport.send(Send(b"x" * 70000, Address("127.0.0.1", 9), transport.addresses[0]))
        assert transport.dropped == 2
        transport.close()

    run(scenario())
