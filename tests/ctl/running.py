# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller of its own on this host's loopback, with the engine and no kernel relay, and a phone to try it with."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctl.terminal.client import CommandError, ask_raw
from sip.digest import authorization, choose, ha1
from sip.message import Request, Response
from sip.parser import parse
from tests.patience import PATIENCE

START_SECONDS = 300.0
"""Within which a controller answers, its database made, on a machine that has much else to do."""


def write_config(directory: Path, **changes: dict[str, Any]) -> Path:
    """Write a configuration file with everything of its own; `changes` are further keys by their section."""
    sections: dict[str, dict[str, Any]] = {
        "sip": {"listen": [f"127.0.0.1:{free_port()}"], "lateness": 0},  # what else the host does is no load of ours
        "xdp": {"mode": "off", "bpffs": str(directory)},
        "run": {"directory": str(directory / "run"), "state": str(directory / "state")},
        "database": {"directory": str(directory / "database")},
        "api": {"listen": f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"},
        "rest": {"listen": f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"},
    }
    for name, keys in changes.items():
        sections.setdefault(name, {}).update(keys)
    lines = []
    for name, keys in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    file = directory / "voxdp.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`voxdp run` by this configuration, from the moment at which it answers; it must end well."""
    process = subprocess.Popen([sys.executable, "-m", "ctl.cli", "-c", str(file), "run"], stderr=subprocess.DEVNULL)
    try:
        _wait_for(file.parent / "run")
        yield process
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def _wait_for(directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask(directory, "user.list")
            return
        except CommandError:
            assert time.monotonic() < deadline, f"the controller did not come up within {START_SECONDS} s"
            time.sleep(0.05)


def ask(directory: Path, verb: str, **arguments: Any) -> Any:
    """The controller's answer. Raises CommandError."""
    return json.loads(ask_raw(directory, verb, arguments, PATIENCE))


class Phone:
    """Registers over UDP, as a phone of `user` in the domain localhost."""

    def __init__(self, user: str, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._user = user
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.connect((host, int(port)))
        self._local = "{}:{}".format(*self._socket.getsockname())
        self.cseq = 0
        self.call_id = f"{user}-{self._local}"

    def close(self) -> None:
        self._socket.close()

    def register(self, password: str, *algorithms: str) -> Response:
        """The answer to a REGISTER that answers the challenge by the first of `algorithms` that was offered."""
        chosen = choose(self.put().www_authenticate, algorithms or ("SHA-256",))
        assert chosen
        secret = ha1(chosen.algorithm, self._user, chosen.realm, password)
        answer = authorization(chosen, "REGISTER", "sip:localhost", self._user, ha1=secret, cnonce="c0ffee")
        return self.put(("Authorization", answer))

    def put(self, *extra: tuple[str, str]) -> Response:
        """The answer to one REGISTER."""
        self.cseq += 1
        headers = [
            ("Via", f"SIP/2.0/UDP {self._local};rport;branch=z9hG4bK{self.cseq}"),
            ("From", f"<sip:{self._user}@localhost>;tag=phone"),
            ("To", f"<sip:{self._user}@localhost>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} REGISTER"),
            ("Contact", f"<sip:{self._user}@{self._local}>"),
            ("Max-Forwards", "70"),
            ("User-Agent", "a phone that says who it is, what it can do, and all else that real ones say"),
            ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, SUBSCRIBE, INFO, MESSAGE, REFER, UPDATE, PRACK"),
            ("Supported", "gruu, outbound, path, replaces, timer"),
            *extra,
        ]
        self._socket.send(Request("REGISTER", "sip:localhost", headers, b"").to_bytes())
        answer = parse(self._socket.recv(65536))
        assert isinstance(answer, Response)
        return answer
