# SPDX-License-Identifier: GPL-3.0-or-later
"""`voxdp sip` against a controller that listens on everything."""

import signal
import socket
import ssl
import time
from urllib.request import urlopen

import pytest

from ctl.config import load
from ctl.terminal.client import CommandError
from sip.message import Response
from sip.parser import parse
from tests.ctl.certificates import Authority
from tests.ctl.running import ask, free_port, running, write_config
from tests.patience import PATIENCE
from tests.sip.streams import REQUEST

OPTIONS = REQUEST.replace(
    b"Content-Length: 3\r\n\r\nabc",
    b"From: <sip:a@a>;tag=1\r\nTo: <sip:a>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
)


def test_status_reload_and_an_answer_by_tls(open_directory):
    directory = open_directory()
    authority = Authority(directory)
    certificate, key = authority.issue("server", "localhost")
    ports = [free_port(socket.SOCK_STREAM) for _ in range(2)]
    listen = [f"udp:127.0.0.1:{free_port()}", f"tls:127.0.0.1:{ports[0]}", f"wss:[::1]:{ports[1]}"]
    keys = {"listen": listen}
    file = write_config(directory, sip=keys, **{"sip.tls": {"certificate": str(certificate), "key": str(key)}})
    run = directory / "run"
    with running(file):
        status = ask(run, "sip.status")
        assert status["listen"] == listen
        assert (status["connections"], status["calls"]) == ({"open": 0, "refused": 0}, 0)
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with (
            socket.create_connection(("127.0.0.1", ports[0])) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(OPTIONS)
            answer = parse(client.recv(65536))
            assert isinstance(answer, Response)
            assert (answer.status, answer.via.rport) == (200, None)
            assert ask(run, "sip.status")["connections"]["open"] == 1
            client.sendall(OPTIONS.replace(b"Content-Length: 0\r\n", b""))
            refusal = parse(client.recv(65536))
            assert isinstance(refusal, Response)
            assert (refusal.status, client.recv(100)) == (400, b"")
        assert ask(run, "sip.reload").startswith("certificates read anew")
        key.write_text("")
        with pytest.raises(CommandError, match="what was read before is still used"):
            ask(run, "sip.reload")
        assert ask(run, "sip.drain") == "no new calls; 0 go on"
        assert (ask(run, "sip.status")["draining"], ask(run, "sip.drain", end=True)) == (True, "new calls are taken")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as scanner:
            to = ("127.0.0.1", int(listen[0].rpartition(":")[2]))
            scanner.sendto(OPTIONS.replace(b"CSeq", b"User-Agent: friendly-scanner\r\nCSeq"), to)
            while not ask(run, "sip.status")["dropped"]["scanner"]:
                scanner.sendto(OPTIONS, to)
            scanner.setblocking(False)
            with pytest.raises(BlockingIOError):
                scanner.recv(100)
        with urlopen(f"http://{load(file).api.listen}/metrics") as page:
            assert 'voxdp_sip_dropped_total{reason="scanner"} 1.0' in page.read().decode()


@pytest.mark.parametrize(("workers", "wish"), [(1, "signal"), (2, "signal"), (2, "verb")])
def test_a_renewed_certificate_is_shown_by_every_process_and_connections_go_on(open_directory, workers, wish):
    directory = open_directory()
    authority = Authority(directory)
    certificate, key = authority.issue("server", "localhost", "first.example")
    address = ("127.0.0.1", free_port(socket.SOCK_STREAM))
    keys = {"listen": [f"tls:127.0.0.1:{address[1]}"], "workers": workers}
    file = write_config(directory, sip=keys, **{"sip.tls": {"certificate": str(certificate), "key": str(key)}})
    context = ssl.create_default_context(cafile=str(authority.certificate))

    def shown():
        """The name that each connection sees: of sixteen, each of two processes takes some."""
        for _ in range(16 if workers > 1 else 1):
            with connected(address, context) as client:
                yield client.getpeercert()["subjectAltName"][1][1]

    with running(file) as process, connected(address, context) as before:
        assert set(shown()) == {"first.example"}
        authority.issue("server", "localhost", "second.example")
        if wish == "signal":
            process.send_signal(signal.SIGHUP)
        else:
            ask(directory / "run", "sip.reload")
        deadline = time.monotonic() + PATIENCE
        while (names := set(shown())) != {"second.example"}:
            assert time.monotonic() < deadline, names
            time.sleep(0.05)
        before.sendall(OPTIONS)
        assert before.recv(65536).startswith(b"SIP/2.0 200 ")


def connected(address, context):
    return context.wrap_socket(socket.create_connection(address, 5), server_hostname="localhost")
