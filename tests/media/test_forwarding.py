# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound that goes to a consumer while it is said: over real connections, with the recorder that makes it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from array import array
from contextlib import suppress
from uuid import uuid4

import pytest

from media import forwarding
from media.forwarding import Forwarder
from media.recording_settings import RecorderError, parse_destination
from tests.ctl.certificates import Authority
from tests.media.dsp import sine, tone_level
from tests.media.test_recorder import PCMU, Bench, of_leg, settings
from tests.patience import PATIENCE


class Consumer:
    """Listens on loopback and keeps what each connection brings."""

    def __init__(self, context: ssl.SSLContext | None = None, reads: bool = True) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.context, self.reads = context, reads
        self.got: list[bytearray] = []
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                self.got.append(bytearray())
                threading.Thread(target=self._read, args=(connection, self.got[-1]), daemon=True).start()

    def _read(self, connection: socket.socket, got: bytearray) -> None:
        if not self.reads:
            return
        with suppress(OSError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with connection:
                while data := connection.recv(65536):
                    got += data

    def close(self) -> None:
        self.listener.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def consumer():
    consumer = Consumer()
    yield consumer
    consumer.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def until(true, step=lambda: None):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        step()
        time.sleep(0.005)


def wait_for(consumer, forwarder, wanted):
    """Let the forwarder go on until the consumer has got something."""
    until(lambda: any(bytes(each) == wanted for each in consumer.got), lambda: forwarder.send(b""))


def test_a_text_and_then_sound(consumer):
    forwarder = Forwarder(f"tcp://127.0.0.1:{consumer.port}", "call=7\0é")
    forwarder.send(b"ab")
    forwarder.send(b"cd")
    wait_for(consumer, forwarder, "call=7é\0abcd".encode())
    assert (forwarder.trouble, forwarder.dropped) == ("", 0)
    forwarder.close()


def test_a_consumer_that_comes_back_is_told_anew(consumer, monkeypatch):
    monkeypatch.setattr(forwarding, "RETRY_SECONDS", 0.01)
    forwarder = Forwarder(f"tcp://127.0.0.1:{consumer.port}", "x")
    forwarder.send(b"ab")
    wait_for(consumer, forwarder, b"x\0ab")
    consumer.connections[0].shutdown(socket.SHUT_RDWR)
    consumer.connections[0].close()
    until(lambda: len(consumer.got) > 1, lambda: forwarder.send(b"cd"))
    assert forwarder.dropped % 2 == 0
    until(lambda: consumer.got[1].startswith(b"x\0cd"), lambda: forwarder.send(b"cd"))
    forwarder.close()


def test_nobody_there_costs_sound_and_no_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    forwarder = Forwarder(f"tcp://127.0.0.1:{port}", "")
    until(lambda: forwarder.trouble, lambda: forwarder.send(b"ab"))
    assert "refused" in forwarder.trouble
    before = forwarder.dropped
    forwarder.send(bytes(forwarding.WAITING_BYTES + 100))
    assert forwarder.dropped - before >= 100
    forwarder.close()


def test_a_consumer_that_does_not_read_costs_sound_alone():
    slow = Consumer(reads=False)
    forwarder = Forwarder(f"tcp://127.0.0.1:{slow.port}", "")
    until(lambda: forwarder.dropped, lambda: forwarder.send(bytes(1 << 16)))
    assert forwarder.trouble == ""
    forwarder.close()
    slow.close()


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_to_whom_the_authority_has_signed(tmp_path, trusted):
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("consumer", "127.0.0.1"))
    consumer = Consumer(context)
    ca = authority.certificate if trusted else other.certificate
    forwarder = Forwarder(f"tls://127.0.0.1:{consumer.port}", "x", str(ca))
    forwarder.send(b"ab")
    if trusted:
        wait_for(consumer, forwarder, b"x\0ab")
    else:
        until(lambda: forwarder.trouble, lambda: forwarder.send(b""))
        assert "verify failed" in forwarder.trouble.lower()
        assert not any(consumer.got)
    forwarder.close()
    consumer.close()


@pytest.mark.parametrize("text", ["udp://127.0.0.1:1", "tcp://host:1", "tcp://127.0.0.1", "tcp://127.0.0.1:1/x", ""])
def test_what_is_no_destination(text):
    with pytest.raises(ValueError, match=r"tcp://ADDRESS:PORT|IPv4 or IPv6"):
        parse_destination(text)


def test_each_leg_goes_to_the_consumer_beside_the_recording(bench, consumer):
    """Three are made from the same copies; each ends when it is told to, and the others go on."""
    feed, destination = uuid4(), f"tcp://127.0.0.1:{consumer.port}"
    kept = settings(feed=feed)
    heard = [
        settings(feed=feed, layout=leg, format="pcm", destination=destination, about={"metadata": leg}) for leg in "ab"
    ]
    for each in (kept, *heard):
        bench.recorder.start(each, bench.now)
    with pytest.raises(RecorderError, match="exists"):
        bench.recorder.start(kept, bench.now)
    both = of_leg(0, PCMU, sine(8000, 440, 600)) + of_leg(1, PCMU, sine(8000, 700, 600))
    bench.feed(feed, both)
    sound = {bytes(each)[:1]: b"" for each in consumer.got}

    def arrived():
        bench.recorder.forward()
        for each in list(consumer.got):
            leg, _, data = bytes(each).partition(b"\0")
            sound[leg] = data
        return len(sound.get(b"a", b"")) >= 11200 and len(sound.get(b"b", b"")) >= 11200

    until(arrived)
    for leg, frequency in ((b"a", 440), (b"b", 700)):
        pcm = array("h", sound[leg][: len(sound[leg]) & ~1])
        assert tone_level(pcm[1600:4400], 8000, frequency) == pytest.approx(-15, abs=0.6)
    state = bench.recorder.stop(heard[0].id, bench.now)
    assert (state["destination"], state["trouble"], state["dropped_bytes"]) == (destination, "", 0)
    bench.feed(feed, of_leg(0, PCMU, sine(8000, 440, 200), sequence=60, timestamp=9600))
    assert bench.recorder.state(kept.id)["packets"] == len(both) + 10
    bench.stop(kept.id)
    assert bench.recorder.state(heard[1].id)["packets"] == len(both) + 10


def test_a_destination_that_is_none_is_refused(bench):
    with pytest.raises(RecorderError, match=r"recording\.forward_to"):
        bench.recorder.start(settings(format="pcm", destination="nowhere"), bench.now)
    assert bench.recorder.states() == []
