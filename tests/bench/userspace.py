# SPDX-License-Identifier: GPL-3.0-or-later
"""Our engine and rtpengine's userspace daemon, each as a relay of many calls in a network namespace."""

import os
import random
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ctl.ng.bencode import decode, encode
from media.client import EngineProcess
from media.flows import EngineFlow, EngineKeys
from tests.bench.lab import inside, on_cpu
from tests.bench.wiring import Link, Wiring

RELAY, CALLER, CALLED = "10.78.0.1", "10.78.0.2", "10.78.0.3"
SUITE, SUITE_NUMBER = "AES_CM_128_HMAC_SHA1_80", 1
MASTER = random.Random(4).randbytes(30)
FIRST_PEER_PORT = 20000
FIRST_PORT, LAST_PORT = 30000, 59999
NG_PORT = 22222
READY_SECONDS = 10.0
CHUNK = 65536
PEER_LINK, RELAY_LINK = "vxeo", "vxer"


@dataclass(frozen=True)
class Relay:
    """One that runs. ports: for each call, where its caller and its callee send to. pids: its processes."""

    name: str
    pids: tuple[int, ...]
    ports: Sequence[tuple[int, int]]

    def cpu_seconds(self) -> float:
        """All its threads have used, in the kernel too: what their sends cause on the way to the receiver is theirs."""
        threads = [thread for pid in self.pids for thread in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def memory(self) -> int:
        """Bytes, pages shared between its processes counted once."""
        return sum(_proportional(pid) for pid in self.pids)


def _proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def ours(space: str, cpu: int, folder: Path, calls: int, secured: bool) -> Iterator[Relay]:
    """`voxdp engine` with one worker, on sockets."""
    with _engine(space, cpu, folder) as process:
        ports = _open(process, calls, secured, None)
        yield Relay("voxdp", _pids(process), ports)


@contextmanager
def ours_wired(peers: str, space: str, cpu: int, folder: Path, calls: int, secured: bool) -> Iterator[Relay]:
    """The same on AF_XDP sockets, with the kernel relay attached, which hands packets up to them.

    peers: the namespace at the other end of the link.
    """
    link = Link(space, RELAY_LINK, RELAY), Link(peers, PEER_LINK, CALLER)
    with Wiring(*link, folder) as wiring, _engine(space, cpu, folder) as process:
        wires = process.client.want_wires(wiring.pins, [RELAY_LINK], folder / "none")
        if wires.trouble:
            raise RuntimeError(wires.trouble)
        yield Relay("voxdp af_xdp", _pids(process), _open(process, calls, secured, wiring))
        if not any(wire.sent for wire in process.client.wires().wires):
            raise RuntimeError("nothing was sent by AF_XDP")


@contextmanager
def _engine(space: str, cpu: int, folder: Path) -> Iterator[EngineProcess]:
    with inside(space), on_cpu(cpu):
        process = EngineProcess.ensure(folder / "engine", arguments=["--workers", "1"], timeout=READY_SECONDS)
    try:
        yield process
    finally:
        process.stop()
        process.close()
        (folder / "engine.history").unlink(missing_ok=True)  # the peers begin their numbers anew


def _pids(process: EngineProcess) -> tuple[int, ...]:
    return process.pid, *process.client.summary().processes


def _open(process: EngineProcess, calls: int, secured: bool, wiring: Wiring | None) -> list[tuple[int, int]]:
    ports = [(FIRST_PORT + 4 * call, FIRST_PORT + 4 * call + 2) for call in range(calls)]
    for call, pair in enumerate(ports):
        for extra in (0, 1):
            flows = _flows(call, pair, extra, secured)
            process.client.set_pair(*(wiring.hand_up(flows) if wiring else flows))
    return ports


def _flows(call: int, ports: tuple[int, int], extra: int, secured: bool) -> tuple[EngineFlow, EngineFlow]:
    """RTP, or with `extra` 1 RTCP, of one call; each has a key of its own to send with."""
    peer = FIRST_PEER_PORT + 2 * call + extra
    kind = "rtcp" if extra else "rtp"
    own = EngineKeys(SUITE, random.Random(call).randbytes(30)) if secured else None
    theirs = EngineKeys(SUITE, MASTER) if secured else None
    caller, called = (RELAY, ports[0] + extra), (RELAY, ports[1] + extra)
    return (
        EngineFlow(*caller, CALLER, peer, CALLED, peer, kind, 8000, open=theirs),
        EngineFlow(*called, CALLED, peer, CALLER, peer, kind, 8000, seal=own),
    )


@contextmanager
def rtpengine(space: str, cpu: int, folder: Path, calls: int, secured: bool) -> Iterator[Relay]:
    """Debian's rtpengine-daemon without its kernel module, one thread, told of the calls by the ng protocol."""
    command = ["rtpengine", "--foreground", "--log-stderr", "--log-level=3", "--table=-1", "--num-threads=1"]
    command += [f"--interface={RELAY}", f"--listen-ng=127.0.0.1:{NG_PORT}", f"--pidfile={folder}/rtpengine.pid"]
    command += [f"--port-min={FIRST_PORT}", f"--port-max={LAST_PORT}"]
    with inside(space), on_cpu(cpu):
        run_up = subprocess.Popen(
            ["prlimit", "--nofile=20000:20000", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        with asking:
            asking.connect(("127.0.0.1", NG_PORT))
            asking.settimeout(1.0)
            _wait_ready(asking)
            ports = [_negotiate(asking, call, secured) for call in range(calls)]
        yield Relay("rtpengine", (run_up.pid,), ports)
    finally:
        run_up.terminate()
        run_up.wait(10)


def _wait_ready(asking: socket.socket) -> None:
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            if _ask(asking, command="ping")["result"] == "pong":
                return
        except OSError:
            if time.monotonic() > until:
                raise RuntimeError("rtpengine does not answer; is rtpengine-daemon installed?") from None
            time.sleep(0.1)


def _negotiate(asking: socket.socket, call: int, secured: bool) -> tuple[int, int]:
    """Offer and answer of one call; where its caller and its callee send to."""
    names = {"call-id": f"call-{call}", "from-tag": "a"}
    plain = {"transport-protocol": "RTP/AVP"} if secured else {}
    words = {"ICE": "remove", "rtcp-mux": ["demux"], "DTLS": "off", "flags": ["SDES-off"] if secured else []}
    offered = _ask(asking, command="offer", sdp=_describe(CALLER, call, secured), **names, **plain, **words)
    answer = {"command": "answer", "sdp": _describe(CALLED, call, False), "to-tag": "b", **names, **words}
    answer["flags"] = []
    answered = _ask(asking, **answer)
    return _port(answered), _port(offered)


def _ask(asking: socket.socket, **request: object) -> dict[str, str]:
    cookie = os.urandom(6).hex().encode()
    asking.send(cookie + b" " + encode(request))
    reply = decode(asking.recv(CHUNK).partition(b" ")[2])
    if reply["result"] == "error":
        raise RuntimeError(f"rtpengine: {reply}")
    return dict(reply)


def _describe(address: str, call: int, secured: bool) -> str:
    port = FIRST_PEER_PORT + 2 * call
    lines = ["v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    lines += [f"m=audio {port} RTP/{'SAVP' if secured else 'AVP'} 0", "a=rtpmap:0 PCMU/8000"]
    if secured:
        lines.append(f"a=crypto:1 {SUITE} inline:{b64encode(MASTER).decode()}")
    return "\r\n".join([*lines, ""])


def _port(reply: dict[str, str]) -> int:
    (line,) = (line for line in reply["sdp"].splitlines() if line.startswith("m=audio "))
    return int(line.split()[1])
