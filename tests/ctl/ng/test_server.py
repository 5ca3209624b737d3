# SPDX-License-Identifier: GPL-3.0-or-later
"""The listeners on real sockets of the loopback interface."""

import asyncio
import json
import socket
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest

from ctl.journal import Journal
from ctl.ng.bencode import decode, encode
from ctl.ng.framing import MAX_DATAGRAM, split
from ctl.ng.front import NgFront, NgUnavailable
from ctl.ng.replies import shortened
from ctl.ng.section import NgSection
from tests.ctl.certificates import Authority
from tests.ctl.world import ALICE, BOB, sdp
from tests.patience import PATIENCE

PING = b"d7:command4:pinge"
OFFER = {"command": "offer", "call-id": "c1", "from-tag": "a", "sdp": sdp(ALICE).decode()}
ANSWER = {"command": "answer", "call-id": "c1", "from-tag": "a", "to-tag": "b", "sdp": sdp(BOB).decode()}


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def front(world, tmp_path, **section):
    journal, recovered = Journal.open(tmp_path / "live", 0.0)
    served = NgFront(NgSection(**section), world.sessions, world.ports, journal, b"secret")
    served.restore(recovered)
    await served.open()
    try:
        yield served
    finally:
        await served.close()
        journal.close()


class Client(asyncio.DatagramProtocol):
    def __init__(self):
        self.replies = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.replies.put_nowait(data)


@asynccontextmanager
async def udp(port):
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        Client, remote_addr=("127.0.0.1", port)
    )
    client.send = transport.sendto
    yield client
    transport.close()


async def asked(client, data):
    client.send(data)
    return await asyncio.wait_for(client.replies.get(), PATIENCE)


async def test_udp_answers_in_both_encodings_and_drops_what_has_no_cookie(world, tmp_path):
    port = free_port()
    async with front(world, tmp_path, listen=[f"127.0.0.1:{port}"]), udp(port) as client:
        client.send(b"nothing")
        assert await asked(client, b"1_a " + PING) == b"1_a d6:result4:ponge"
        assert json.loads((await asked(client, b'2 {"command":"ping"}'))[2:]) == {"result": "pong"}
        assert decode((await asked(client, b"3 hello"))[2:])["error-reason"] == "Invalid NG data format"
        assert client.replies.empty()


async def test_a_repeated_request_is_done_once(world, tmp_path):
    port = free_port()
    async with front(world, tmp_path, listen=[f"127.0.0.1:{port}"]) as served, udp(port) as client:
        first = await asked(client, b"same " + encode(OFFER))
        assert await asked(client, b"same " + encode(OFFER)) == first
        assert served.relay.statistics.managed == 1
        assert len(world.ports._pools) == 2
        assert sum(world.taken()) == 2


async def test_repetitions_that_come_before_the_reply_wait_for_it(world, tmp_path):
    port = free_port()
    async with front(world, tmp_path, listen=[f"127.0.0.1:{port}"]) as served, udp(port) as client:
        for _ in range(3):
            client.send(b"same " + encode(OFFER))
        replies = {await asyncio.wait_for(client.replies.get(), PATIENCE) for _ in range(3)}
        assert len(replies) == 1
        assert served.relay.statistics.requests.reply()["totaloffercount"] == 1
        assert sum(world.taken()) == 2


@pytest.mark.parametrize("size", [1, 5, 10000])
async def test_tcp_frames_both_encodings(world, tmp_path, size):
    port = free_port()
    async with front(world, tmp_path, listen_tcp=[f"127.0.0.1:{port}"]):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stream = b"1 " + PING + b'\n2 {"command":"ping"}3 ' + encode({"command": "list"})
        for place in range(0, len(stream), size):
            writer.write(stream[place : place + size])
            await writer.drain()
        expected = b'1 d6:result4:ponge2 {"result":"pong"}3 d6:result2:ok5:callslee'
        assert await asyncio.wait_for(reader.readexactly(len(expected)), PATIENCE) == expected
        writer.write(b"no message at all ")
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()


async def test_http_with_and_without_a_cookie(world, tmp_path):
    port = free_port()
    async with (
        front(world, tmp_path, listen_http=[f"127.0.0.1:{port}"]),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        assert await (await client.get("/ping")).text() == "pong\n"
        headers = {"Content-Type": "application/x-rtpengine-ng"}
        reply = await client.post("/ng", data=b"7 " + PING, headers=headers)
        assert (reply.content_type, await reply.read()) == ("application/x-rtpengine-ng", b"7 d6:result4:ponge")
        reply = await client.post("/ng-plain", json={"command": "ping"})
        assert await reply.json() == {"result": "pong"}
        assert (await client.post("/ng", data=b"7 x", headers={"Content-Type": "text/html"})).status == 415
        assert (await client.post("/ng", data=b"nothing", headers=headers)).status == 400
        assert (await client.post("/ng", data=b"7 " + bytes(100000), headers=headers)).status == 413


@pytest.mark.parametrize(
    ("protocol", "sent", "expected"),
    [
        ("ng.rtpengine.com", b"7 " + PING, b"7 d6:result4:ponge"),
        ("ng-plain.rtpengine.com", PING, b"d6:result4:ponge"),
    ],
)
async def test_websocket(world, tmp_path, protocol, sent, expected):
    port = free_port()
    async with (
        front(world, tmp_path, listen_http=[f"127.0.0.1:{port}"]),
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://127.0.0.1:{port}/", protocols=[protocol]) as connection,
    ):
        await connection.send_bytes(sent)
        assert await connection.receive_bytes(timeout=PATIENCE) == expected
        await connection.send_str(sent.decode())
        assert await connection.receive_str(timeout=PATIENCE) == expected.decode()


async def test_tcp_with_certificates_serves_those_who_have_one(world, tmp_path, monkeypatch):
    monkeypatch.setattr("ctl.ng.front._is_loopback", lambda _host: False)
    authority = Authority(tmp_path)
    certificate, key = authority.issue("relay", "relay.example")
    mine, mine_key = authority.issue("proxy", "proxy.example")
    port = free_port()
    section = {"certificate": certificate, "key": key, "client_ca": authority.certificate}
    async with front(world, tmp_path, listen_tcp=[f"127.0.0.1:{port}"], **section):
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await _ping_over(port, context)
        context.load_cert_chain(mine, mine_key)
        assert await _ping_over(port, context) == b"1 d6:result4:ponge"


async def _ping_over(port, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"1 " + PING)
        await writer.drain()
        reply = await asyncio.wait_for(reader.readexactly(18), PATIENCE)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError from error
    finally:
        writer.close()
    return reply


async def test_calls_are_taken_up_after_a_kill(world, tmp_path):
    async with front(world, tmp_path) as served:
        served.relay.handle(OFFER, "127.0.0.1", 1.0)
        served.relay.handle(ANSWER, "127.0.0.1", 2.0)
        ports = world.taken()
    world.restart()
    async with front(world, tmp_path) as served:
        assert [call.call_id for call in served.relay.calls] == ["c1"]
        assert world.taken() == ports
        assert served.relay.handle({"command": "delete", "call-id": "c1", "delete-delay": 0}, "", 3.0)["result"] == "ok"
        assert world.taken() == (0, 0)
    async with front(world, tmp_path) as served:
        assert len(served.relay.calls) == 0


async def test_an_address_that_is_taken_is_told(world, tmp_path):
    port = free_port()
    async with front(world, tmp_path, listen=[f"127.0.0.1:{port}"]):
        with pytest.raises(NgUnavailable, match="in use"):
            async with front(world, tmp_path, listen=[f"127.0.0.1:{port}"]):
                pass


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("short", "less than 16 bytes")])
async def test_a_secret_that_is_none_is_told(world, tmp_path, content, why):
    path = tmp_path / "secret"
    if content:
        path.write_text(content)
    with pytest.raises(NgUnavailable, match=why):
        async with front(world, tmp_path, secret_file=path):
            pass


def test_a_reply_too_long_for_a_datagram_goes_without_its_ssrcs():
    message = split(b"c " + PING)
    many = {str(number): {"packets": number} for number in range(5000)}
    reply = {"SSRC": many, "tags": {"a": {"medias": []}}, "totals": {"RTP": {"packets": 5}}, "result": "ok"}
    assert decode(shortened(message, {**reply}, MAX_DATAGRAM)[2:]) == {**reply, "SSRC": {}}
    hopeless = {**reply, "tags": {"a" * 70000: {"medias": []}}}
    assert decode(shortened(message, hopeless, MAX_DATAGRAM)[2:])["result"] == "error"


async def test_a_recording_is_filed_under_the_tenant_that_the_proxy_or_the_configuration_names(world, tmp_path):
    session = "ng/1/c1"
    async with front(world, tmp_path, tenant="acme") as served:
        assert served.tenant(session) == ""
        served.relay.handle(OFFER, "127.0.0.1", 0.0)
        assert served.tenant(session) == "acme"
        said = {"command": "offer", "call-id": "c1", "from-tag": "a", "sdp": OFFER["sdp"], "tenant": "other"}
        served.relay.handle(said, "127.0.0.1", 0.0)
        assert served.tenant(session) == "other"
        long = served.relay.handle({**said, "tenant": "x" * 64}, "127.0.0.1", 0.0)
        assert long["error-reason"] == "tenant is a name of at most 63 characters"
        start = {"command": "start recording", "call-id": "c1", "tenant": "third"}
        served.relay.handle(start, "127.0.0.1", 0.0)
        assert served.tenant(session) == "third"
    world.restart()
    async with front(world, tmp_path, tenant="acme") as served:
        assert served.tenant(session) == "third"
