# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS and WebSocket on loopback: certificates by name and renewed, peers verified, SIP in frames."""

import asyncio
import socket
import ssl
import warnings
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from ctl.signalling.section import TlsSection
from ctl.signalling.tls import Tls, TlsError
from ctl.signalling.transports import Transports
from sip.acceptor import StreamLimits
from sip.effects import Address, Send
from sip.uri import host_port
from tests.ctl.certificates import Authority
from tests.patience import PATIENCE, unhindered
from tests.sip.streams import REQUEST, Heard, ended, until

ANSWER = b"SIP/2.0 200 OK\r\n\r\n"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
async def unhurried(monkeypatch):
    """Limits of time are for peers that have a processor: both ends are in this thread, which may have none."""
    monkeypatch.setattr(asyncio.get_running_loop(), "time", unhindered)


def section(authority, **changes):
    certificate, key = authority.issue("server", "localhost", "127.0.0.1")
    keys = {"certificate": certificate, "key": key, "authorities": authority.certificate}
    return TlsSection(**{**keys, **changes})


@asynccontextmanager
async def listening(*kinds, host="127.0.0.1", tls=None, origins=(), **limits):
    heard = Heard()
    transports = Transports(heard, StreamLimits(**limits), tls, origins)
    await transports.open([Address(host, 0, kind) for kind in kinds])
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


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_every_form_of_transport_takes_a_message_and_answers_it(authority, host, family):
    tls = Tls(section(authority))
    async with listening("udp", "tcp", "tls", "ws", "wss", host=host, tls=tls) as (transports, heard):
        assert [each.transport for each in transports.addresses] == ["udp", "tcp", "tls", "ws", "wss"]
        local = {each.transport: each for each in transports.addresses}
        for kind, context in (("tcp", None), ("tls", trusting(authority))):
            name = {"server_hostname": "localhost"} if context else {}
            reader, writer = await asyncio.open_connection(host, local[kind].port, ssl=context, **name)
            writer.write(REQUEST)
            data, source, to = await heard.next()
            assert (data, to, source.host, source.transport) == (REQUEST, local[kind], host, kind)
            transports.send(Send(ANSWER, source, to))
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            writer.close()
        await until(lambda: not transports.connections()["open"])
        heard.gone.clear()
        with socket.socket(family, socket.SOCK_DGRAM) as phone:
            phone.sendto(REQUEST, (host, local["udp"].port))
            _, source, to = await heard.next()
            transports.send(Send(ANSWER, source, to))
            assert (await asyncio.get_running_loop().run_in_executor(None, phone.recv, 100), to) == (
                ANSWER,
                local["udp"],
            )
        async with aiohttp.ClientSession() as session:
            for kind, context in (("ws", None), ("wss", trusting(authority))):
                url = f"{kind}://{host_port(host, local[kind].port)}/"
                asked = {"ssl": context or True, "server_hostname": "localhost" if context else None}
                async with session.ws_connect(url, protocols=("sip",), **asked) as client:
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


async def test_a_client_without_a_certificate_is_turned_away(authority):
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


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
async def test_an_old_tls_is_turned_away_by_us_and_not_by_the_client(authority, version):
    tls = Tls(section(authority))
    client, lax = trusting(authority), tls.server()
    lax.set_ciphers("DEFAULT:@SECLEVEL=0")  # which would be a reason of its own
    async with listening("tls", tls=tls) as (transports, _):
        speak_old(client, version)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect(transports, client)
        speak_old(lax, version)
        _, writer = await connect(transports, client)
        assert writer.get_extra_info("ssl_object").version().replace(".", "_") == version
        writer.close()


def speak_old(context, version):
    """This version and no other, which the library only tries where everything is allowed."""
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion[version], ssl.TLSVersion[version]


@pytest.mark.parametrize("verify", ["required", "optional"])
@pytest.mark.parametrize("name", ["localhost", "sip.example.org"])
async def test_who_shows_a_certificate_is_known_by_whichever_name_it_asks_for(authority, verify, name):
    certificate, key = authority.issue("other", "sip.example.org")
    names = [{"hosts": ["sip.example.org"], "certificate": certificate, "key": key}]
    tls = Tls(section(authority, verify_client=verify, names=names))
    certified = trusting(authority, *authority.issue("trunk", "trunk.example"))
    async with listening("tls", tls=tls) as (transports, heard):
        _, writer = await connect(transports, certified, name)
        writer.write(REQUEST)
        _, source, _ = await heard.next()
        assert transports.certificate_names(source) == ("trunk.example",)
        writer.close()
        reader, writer = await connect(transports, trusting(authority), name)
        with suppress(OSError):
            writer.write(REQUEST)
        if verify == "optional":
            _, source, _ = await heard.next()
            assert transports.certificate_names(source) == ()
        else:
            with suppress(ssl.SSLError):
                assert await ended(reader) == b""
            assert heard.messages.empty()
        writer.close()


async def test_half_open_handshakes_end_and_good_ones_go_on(authority, unhurried):
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


async def test_so_many_handshakes_are_under_way_and_no_more(authority, unhurried):
    """Each costs a key exchange: whoever begins them and says nothing does not keep others out for longer than one."""
    async with listening("tls", tls=Tls(section(authority)), handshake=1.0, half_open=3) as (transports, heard):
        port = transports.addresses[0].port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await until(lambda: transports._streams.acceptor.connections == 3)
        with pytest.raises((OSError, ssl.SSLError)):
            await connect(transports, trusting(authority))
        assert transports.connections()["refused"] == 1
        assert all([await ended(reader) == b"" for reader, _ in silent])
        _, good = await connect(transports, trusting(authority))
        good.write(REQUEST)
        assert (await heard.next())[0] == REQUEST
        for _, writer in (*silent, (None, good)):
            writer.close()


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


async def talking(session, transports):
    """A WebSocket that was opened."""
    url = f"ws://127.0.0.1:{transports.addresses[0].port}/"
    return await session.ws_connect(url, protocols=("sip",))


async def closed(client):
    """Whether the server ends the connection."""
    return (await asyncio.wait_for(client.receive(), PATIENCE)).type in (
        WSMsgType.CLOSE,
        WSMsgType.CLOSED,
        WSMsgType.ERROR,
    )


async def test_a_page_that_only_answers_pings_is_closed_unless_it_is_wanted(monkeypatch, unhurried):
    monkeypatch.setattr("ctl.signalling.websocket.SWEEP_SECONDS", 0.05)
    monkeypatch.setattr("ctl.signalling.websocket.time", SimpleNamespace(monotonic=unhindered))
    async with listening("ws", idle=0.8) as (transports, heard), aiohttp.ClientSession() as session:
        idle, wanted = await talking(session, transports), await talking(session, transports)
        await wanted.send_str(REQUEST.decode())
        heard.peers.add((await heard.next())[1])
        keep = asyncio.create_task(wanted.receive())  # it answers pings, as the other one does
        assert await closed(idle)
        await asyncio.sleep(0.8)
        await wanted.send_str(REQUEST.decode())
        assert (await heard.next())[0] == REQUEST
        keep.cancel()
        assert (transports.connections()["open"], len(heard.gone)) == (1, 1)


async def test_where_all_are_taken_the_oldest_page_that_nobody_needs_makes_room():
    async with listening("ws", connections=2) as (transports, heard), aiohttp.ClientSession() as session:
        needed, spare = await talking(session, transports), await talking(session, transports)
        await needed.send_str(REQUEST.decode())
        heard.peers.add((await heard.next())[1])
        another = await talking(session, transports)
        assert await closed(spare)
        for client in (needed, another):
            await client.send_str(REQUEST.decode())
            assert (await heard.next())[0] == REQUEST
