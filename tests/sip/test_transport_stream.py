# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP shell on loopback: framing, reuse of connections, and what happens to those that cost too much."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import ExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
import uvloop

from sip import acceptor
from sip.acceptor import StreamLimits
from sip.effects import Address, Send
from sip.sockets import TransportError
from sip.transport_stream import Connection, StreamTransport
from tests.patience import PATIENCE, unhindered
from tests.sip.streams import REQUEST, Heard, ended, until

ANSWER = b"SIP/2.0 200 OK\r\n\r\n"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@asynccontextmanager
async def listening(host="127.0.0.1", **limits):
    heard = Heard()
    transport = StreamTransport(heard, StreamLimits(**limits))
    transport.open([Address(host, 0, "tcp")])
    try:
        yield transport, heard
    finally:
        transport.close()
        await until(lambda: not transport.acceptor.connections)


async def connect(transport):
    local = transport.addresses[0]
    return await asyncio.open_connection(local.host, local.port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_message_comes_whole_however_it_is_cut_and_its_answer_goes_by_the_same_connection(run, host):
    async def scenario():
        async with listening(host) as (transport, heard):
            reader, writer = await connect(transport)
            for place in range(len(REQUEST)):
                writer.write(REQUEST[:place])
                await asyncio.sleep(0)
                writer.write(REQUEST[place:])
                data, source, local = await heard.next()
                assert (data, local) == (REQUEST, transport.addresses[0])
            assert (source.port, source.inbound) == (writer.get_extra_info("sockname")[1], True)
            transport.send(Send(ANSWER, source, local))
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            writer.close()

    run(scenario())


def test_a_ping_is_answered_and_goes_no_further(run):
    async def scenario():
        async with listening() as (transport, heard):
            reader, writer = await connect(transport)
            writer.write(b"\r\n\r\n" + REQUEST)
            assert await reader.readexactly(2) == b"\r\n"
            assert (await heard.next())[0] == REQUEST
            writer.close()

    run(scenario())


def test_a_silent_client_is_asked_by_tcp_whether_it_is_there(run):
    """Below TLS and WebSocket too, as all of them accept alike: NAT remembers it, and one that is gone is noticed."""

    async def scenario():
        async with listening(keepalive=7) as (transport, _):
            _reader, writer = await connect(transport)
            await until(lambda: len(transport) == 1)
            (connection,) = transport._connections.values()
            accepted = connection._transport.get_extra_info("socket")
            options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert [accepted.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [7, 5, 3, 22_000]
            writer.close()

    run(scenario())


def test_a_client_is_never_connected_to_at_the_port_it_came_from(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as watch:
            watch.setblocking(False)
            async with listening() as (transport, heard):
                _reader, writer = await connect(transport)
                writer.write(REQUEST)
                _, source, local = await heard.next()
                writer.close()
                await until(lambda: not transport.acceptor.connections)
                assert heard.gone == [source]
                transport.send(Send(ANSWER, source, local))
                assert [effect.data for effect in heard.lost] == [ANSWER]
                gone = Address("127.0.0.1", watch.getsockname()[1], "tcp", inbound=True)
                transport.send(Send(ANSWER, gone, local))
                assert len(heard.lost) == 2
            with pytest.raises(BlockingIOError):
                watch.accept()

    run(scenario())


def test_a_connection_of_ours_is_opened_once_and_used_both_ways(run):
    async def scenario():
        async with listening() as (near, heard), listening() as (far, far_heard):
            target = far.addresses[0]
            for number in range(3):
                near.send(Send(REQUEST.replace(b"abc", b"%03d" % number), target, near.addresses[0]))
            came = [await far_heard.next() for _ in range(3)]
            assert [data[-3:] for data, _, _ in came] == [b"000", b"001", b"002"]
            assert far.acceptor.connections == 1
            far.send(Send(REQUEST, came[0][1], target))
            data, source, local = await heard.next()
            assert (data, source, source.inbound, local) == (REQUEST, target, False, near.addresses[0])
        assert heard.gone == far_heard.gone == [], "who closes all is told of none"

    run(scenario())


def test_what_nobody_takes_is_reported(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = Address("127.0.0.1", taken.getsockname()[1], "tcp")
        async with listening() as (transport, heard):
            transport.send(Send(REQUEST, nobody, transport.addresses[0]))
            await until(lambda: heard.lost)
            assert (heard.lost[0].target, transport.dropped) == (nobody, 1)

    run(scenario())


def test_who_does_not_read_is_given_up_and_what_it_was_to_hear_is_lost(run):
    async def scenario():
        async with listening() as (transport, heard):
            _reader, writer = await connect(transport)
            writer.write(REQUEST)
            _, source, local = await heard.next()
            for _ in range(400):
                transport.send(Send(b"x" * 60_000, source, local))
            assert len(heard.lost) > 200
            await until(lambda: not transport.acceptor.connections)
            assert heard.gone == [source]
            writer.close()

    run(scenario())


class Clogged:
    """A transport that takes what is written and brings nothing out."""

    def __init__(self):
        self.unsent, self.aborted = 0, False

    def get_extra_info(self, _name):
        return None

    def get_write_buffer_size(self):
        return self.unsent

    def is_closing(self):
        return self.aborted

    def write(self, data):
        assert not self.aborted
        self.unsent += len(data)

    def abort(self):
        self.aborted = True

    close = abort


def test_who_pings_and_never_reads_is_given_up():
    transport = StreamTransport(Heard())
    peer, local = Address("192.0.2.7", 40000, "tcp", inbound=True), Address("192.0.2.1", 5060, "tcp")
    connection = Connection(transport, Heard(), ("192.0.2.7", 40000, "tcp", ""), peer, local, lambda: None)
    clogged = Clogged()
    connection.connection_made(clogged)
    for _ in range(20):
        connection.data_received(b"\r\n\r\n" * 100_000)
    assert clogged.aborted
    assert clogged.unsent <= (1 << 20) + 2
    connection.connection_lost(None)


def test_so_much_waits_for_a_connection_and_no_more(run):
    async def scenario():
        async with listening() as (near, heard), listening() as (far, far_heard):
            for number in range(70):
                near.send(Send(REQUEST.replace(b"abc", b"%03d" % number), far.addresses[0], near.addresses[0]))
            assert [effect.data[-3:] for effect in heard.lost] == [b"%03d" % number for number in range(64, 70)]
            assert [(await far_heard.next())[0][-3:] for _ in range(64)] == [b"%03d" % number for number in range(64)]

    run(scenario())


def test_what_is_never_taken_is_reported_after_a_while(run, monkeypatch):
    """A host that answers no SYN: sixty seconds and more by TCP itself, in which no other address would be tried."""
    monkeypatch.setattr("sip.transport_stream.DIAL_SECONDS", 0.2)

    async def scenario():
        with ExitStack() as sockets:
            full = sockets.enter_context(socket.socket())
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(3):
                waiting = sockets.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            silent = Address("127.0.0.1", full.getsockname()[1], "tcp")
            async with listening() as (transport, heard):
                transport.send(Send(REQUEST, silent, transport.addresses[0]))
                transport.send(Send(ANSWER, silent, transport.addresses[0]))
                await until(lambda: len(heard.lost) == 2)
                assert [effect.data for effect in heard.lost] == [REQUEST, ANSWER]
                assert len(transport) == 0

    run(scenario())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (REQUEST.replace(b"Content-Length: 3\r\n", b""), 400),
        (REQUEST.replace(b": 3", b": 99999999"), 513),
        (b"x" * 70000, 513),
    ],
)
def test_a_stream_that_cannot_be_followed_is_reported_and_closed(run, data, status):
    async def scenario():
        async with listening() as (transport, heard):
            reader, writer = await connect(transport)
            writer.write(REQUEST + data)
            assert await ended(reader) == b""
            assert (await heard.next())[0] == REQUEST
            assert [error.status for error in heard.errors] == [status]
            writer.close()

    run(scenario())


def test_who_writes_a_message_slowly_is_closed_and_who_is_idle_too_unless_he_is_wanted(run, monkeypatch):
    monkeypatch.setattr("sip.transport_stream.SWEEP_SECONDS", 0.05)
    monkeypatch.setattr("sip.transport_stream.time", SimpleNamespace(monotonic=unhindered))

    async def scenario():
        async with listening(message=0.3, idle=0.6) as (transport, heard):
            slow, idle, wanted = [await connect(transport) for _ in range(3)]
            wanted[1].write(REQUEST)
            heard.peers.add((await heard.next())[1])
            for byte in REQUEST[:75]:  # a second and a half
                slow[1].write(bytes([byte]))
                await asyncio.sleep(0.02)
                if slow[0].at_eof():
                    break
            assert slow[0].at_eof()
            assert await ended(idle[0]) == b""
            wanted[1].write(REQUEST)
            assert (await heard.next())[0] == REQUEST
            assert transport.acceptor.connections == 1
            for _, writer in (slow, idle, wanted):
                writer.close()

    run(scenario())


def test_one_source_has_so_many_connections_and_no_more(run):
    async def scenario():
        async with listening(per_source=3) as (transport, _):
            open_ = [await connect(transport) for _ in range(3)]
            reader, writer = await connect(transport)
            assert await ended(reader) == b""
            assert transport.acceptor.refused == 1
            open_[0][1].close()
            await until(lambda: transport.acceptor.connections == 2)
            again = await connect(transport)
            await until(lambda: transport.acceptor.connections == 3)
            for _, each in (*open_, again, (reader, writer)):
                each.close()

    run(scenario())


def test_where_it_is_full_an_unneeded_connection_makes_room_but_only_now_and_then(run, monkeypatch):
    monkeypatch.setattr("sip.acceptor.ROOM_SECONDS", PATIENCE)

    async def scenario():
        async with listening(connections=2) as (transport, heard):
            needed, spare = await connect(transport), await connect(transport)
            needed[1].write(REQUEST)
            heard.peers.add((await heard.next())[1])
            another = await connect(transport)
            assert await ended(spare[0]) == b""
            another[1].write(REQUEST)
            assert (await heard.next())[1].port == another[1].get_extra_info("sockname")[1]
            refused = await connect(transport)
            assert await ended(refused[0]) == b""
            for _, writer in (needed, spare, another, refused):
                writer.close()

    run(scenario())


def test_without_descriptors_accepting_rests_and_goes_on_later(run, monkeypatch):
    monkeypatch.setattr("sip.acceptor.PAUSE", 0.05)

    class Exhausted:
        """A listening socket that has no descriptors for the first three connections."""

        def __init__(self, listener):
            self.left, self.listener = 3, listener

        def accept(self):
            self.left -= 1
            if self.left >= 0:
                raise OSError(errno.EMFILE, "Too many open files")
            return self.listener.accept()

        def __getattr__(self, name):
            return getattr(self.listener, name)

    real = acceptor.bind
    monkeypatch.setattr(acceptor, "bind", lambda *args: Exhausted(real(*args)))

    async def scenario():
        async with listening() as (transport, heard):
            _, writer = await connect(transport)
            writer.write(REQUEST)
            assert (await heard.next())[0] == REQUEST
            assert transport.acceptor.refused == 3
            writer.close()

    run(scenario())


def test_connections_cut_at_any_byte_leave_nothing(run):
    async def scenario():
        async with listening(per_source=1000) as (transport, heard):
            before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
            for number in range(300):
                _reader, writer = await connect(transport)
                writer.write(REQUEST[: number % len(REQUEST)])
                if number % 2:
                    writer.transport.abort()
                else:
                    writer.close()
            await until(lambda: not transport.acceptor.connections and len(os.listdir("/proc/self/fd")) < before[0] + 5)
            assert len(asyncio.all_tasks()) == before[1]
            assert (len(transport), heard.messages.qsize()) == (0, 0)

    run(scenario())


def test_a_port_in_use_is_named_and_nothing_stays_open(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            transport = StreamTransport(Heard())
            with pytest.raises(TransportError, match=f"port {port} is in use on 127.0.0.1"):
                transport.open([Address("127.0.0.1", 0, "tcp"), Address("127.0.0.1", port, "tcp")])
            assert not transport.addresses

    run(scenario())
