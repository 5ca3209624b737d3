# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS and WebSocket on loopback: certificates by name and renewed, peers verified, SIP in frames."""

import asyncio
import socket
import ssl
import warnings
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from ctl.config import TlsSection
from ctl.signalling.tls import Tls, TlsError
from ctl.signalling.transports import Transports
from sip.acceptor import StreamLimits
from sip.effects import Address, Send
from tests.ctl.certificates import Authority
from tests.sip.streams import REQUEST, Heard, ended, until

ANSWER = b"SIP/2.0 200 OK\r\n\r\n"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def section(authority, **changes):
    certificate, key = authority.issue("server", "localhost", "127.0.0.1")
    keys = {"certificate": certificate, "key": key, "authorities": authority.certificate}
    return TlsSection(**{**keys, **changes})


@asynccontextmanager
async def listening(*kinds, tls=None, origins=(), **limits):
    heard = Heard()
    transports = Transports(heard, StreamLimits(**limits), tls, origins)
    await transports.open([Address("127.0.0.1", 0, kind) for kind in kinds])
    try:
        yield transports, heard
    finally:
        await transports.close()


def trusting(authority, *certificate):
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if certificate:
        context.load_cert_chain(*certificate)
    return context


async def connect(transports, context, name="localhost"):
    port = transports.addresses[0].port
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)


def names_of(writer):
    return [value for _, value in writer.get_extra_info("peercert")["subjectAltName"]]


async def test_every_form_of_transport_takes_a_message_and_answers_it(authority):
    async with listening("udp", "tcp", "tls", "ws", "wss", tls=Tls(section(authority))) as (transports, heard):
        assert [each.transport for each in transports.addresses] == ["udp", "tcp", "tls", "ws", "wss"]
        local = {each.transport: each for each in transports.addresses}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.sendto(REQUEST, ("127.0.0.1", local["udp"].port))
            _, source, to = await heard.next()
            transports.send(Send(ANSWER, source, to))
            assert (await asyncio.get_running_loop().run_in_executor(None, phone.recv, 100), to) == (
                ANSWER,
                local["udp"],
            )
        async with aiohttp.ClientSession() as session:
            for kind, context in (("ws", None), ("wss", trusting(authority))):
                url = f"{kind}://localhost:{local[kind].port}/"
                async with session.ws_connect(url, protocols=("sip",), ssl=context or True) as client:
                    assert client.protocol == "sip"
                    await client.send_str(REQUEST.decode())
                    data, source, to = await heard.next()
                    assert (data, to, source.transport, source.inbound) == (REQUEST, local[kind], kind, True)
                    transports.send(Send(ANSWER, source, to))
                    assert (await client.receive()).data == ANSWER.decode()
                    await client.send_bytes(b"\r\n\r\n")
                    assert (await client.receive()).data == "\r\n"
                await until(lambda: not transports.connections()["open"])
                assert heard.gone.pop() == source
                transports.send(Send(ANSWER, source, to))
                assert heard.lost.pop().target == source


async def test_tls_reaches_a_named_peer_and_only_it(authority):
    tls = Tls(section(authority, verify_client="required"))
    async with listening("tls", tls=tls) as (near, heard), listening("tls", tls=tls) as (far, far_heard):
        there = far.addresses[0]
        named = Address(there.host, there.port, "tls", name="localhost")
        near.send(Send(REQUEST, named, near.addresses[0]))
        _, source, _ = await far_heard.next()
        assert far.certificate_names(source) == ("localhost", "127.0.0.1")
        near.send(Send(REQUEST, Address(there.host, there.port, "tls", name="example.org"), near.addresses[0]))
        await until(lambda: heard.lost)
        assert heard.lost[0].target.name == "example.org"


async def test_the_certificate_is_that_of_the_name_asked_for_and_a_renewed_one_needs_no_restart(authority):
    certificate, key = authority.issue("other", "sip.example.org")
    tls = Tls(section(authority, names=[{"hosts": ["sip.example.org"], "certificate": certificate, "key": key}]))
    async with listening("tls", tls=tls) as (transports, heard):
        _, general = await connect(transports, trusting(authority))
        _, named = await connect(transports, trusting(authority), "sip.example.org")
        assert names_of(general) == ["localhost", "127.0.0.1"]
        assert names_of(named) == ["sip.example.org"]
        authority.issue("server", "localhost", "renewed.example.org")
        tls.reload()
        _, later = await connect(transports, trusting(authority))
        assert names_of(later) == ["localhost", "renewed.example.org"]
        general.write(REQUEST)
        assert (await heard.next())[0] == REQUEST
        (authority.directory / "server.key").write_text("no key")
        with pytest.raises(TlsError, match=r"server\.key is no certificate and its key"):
            tls.reload()
        _, still = await connect(transports, trusting(authority))
        for writer in (general, named, later, still):
            writer.close()


async def test_a_client_without_a_certificate_or_with_an_old_tls_is_turned_away(authority):
    tls = Tls(section(authority, verify_client="required"))
    async with listening("tls", tls=tls) as (transports, heard):
        reader, writer = await connect(transports, trusting(authority))
        with suppress(OSError):
            writer.write(REQUEST)
        with suppress(ssl.SSLError):
            assert await ended(reader) == b""
        writer.close()
        certified = trusting(authority, *authority.issue("trunk", "sip:carrier.example", "trunk.example"))
        _, writer = await connect(transports, certified)
        writer.write(REQUEST)
        _, source, _ = await heard.next()
        assert transports.certificate_names(source) == ("carrier.example", "trunk.example")
        writer.close()
        with warnings.catch_warnings(action="ignore"):
            certified.minimum_version = ssl.TLSVersion.TLSv1
            certified.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(transports, certified)


async def test_half_open_handshakes_end_and_good_ones_go_on(authority):
    tls = Tls(section(authority))
    async with listening("tls", tls=tls, handshake=0.5, per_source=40) as (transports, heard):
        port = transports.addresses[0].port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        _, good = await connect(transports, trusting(authority))
        good.write(REQUEST)
        assert (await heard.next())[0] == REQUEST
        assert all([await ended(reader) == b"" for reader, _ in silent])
        for _, writer in silent:
            writer.close()
        good.close()


async def test_a_foreign_page_another_protocol_and_a_giant_frame_are_refused():
    async with listening("ws", origins=["https://phone.example"]) as (transports, heard):
        url = f"ws://127.0.0.1:{transports.addresses[0].port}/"
        async with aiohttp.ClientSession() as session:
            for protocols, origin, status in ((("sip",), "https://evil.example", 403), (("chat",), None, 400)):
                with pytest.raises(WSServerHandshakeError) as refusal:
                    await session.ws_connect(url, protocols=protocols, origin=origin)
                assert refusal.value.status == status
            async with session.ws_connect(url, protocols=("sip",), origin="https://phone.example") as client:
                await client.send_str(REQUEST.decode())
                await heard.next()
                await client.send_bytes(bytes(70000))
                assert (await client.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)


async def test_who_never_finishes_his_upgrade_is_closed():
    async with listening("ws", message=0.3) as (transports, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", transports.addresses[0].port)
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await ended(reader) == b""
        writer.close()
