# SPDX-License-Identifier: GPL-3.0-or-later
"""Our engine and rtpengine's userspace daemon, each as a relay of many calls in a network namespace."""

import os
import random
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ctl.ng.bencode import decode, encode
from media.client import EngineProcess
from media.cpu_latency import UNBOUNDED
from media.flows import EngineFlow, EngineKeys
from media.stages import CodecSettings, TranscodeStage
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


class Schedule(NamedTuple):
    """Seconds of CPU used, and waited for a CPU that was taken; and of those used, what was the kernel's."""

    ran: float
    waited: float
    kernel: float


@dataclass(frozen=True)
class Relay:
    """One that runs. ports: for each call, where its caller and its callee send to. pids: its processes."""

    name: str
    pids: tuple[int, ...]
    ports: Sequence[tuple[int, int]]

    def schedule(self) -> Schedule:
        """Of all its threads, in the kernel too: what their sends cause on the way to the receiver is theirs."""
        threads = [thread for pid in self.pids for thread in Path(f"/proc/{pid}/task").iterdir()]
        counted = [list(map(int, (thread / "schedstat").read_text().split()[:2])) for thread in threads]
        ran, waited = (sum(column) / 1e9 for column in zip(*counted, strict=True))
        kernel, user = (sum(_ticks(thread)[place] for thread in threads) for place in (0, 1))
        return Schedule(ran, waited, ran * kernel / max(1, kernel + user))

    def memory(self) -> int:
        """Bytes, pages shared between its processes counted once."""
        return sum(_proportional(pid) for pid in self.pids)


def _ticks(thread: Path) -> tuple[int, int]:
    """CPU time in the kernel and outside of it: stime and utime of proc(5)."""
    fields = (thread / "stat").read_text().rpartition(")")[2].split()
    return int(fields[12]), int(fields[11])


def _proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@dataclass(frozen=True)
class Callee:
    """A codec as rtpengine is asked for it, as session descriptions have it, and its payload type."""

    wanted: str
    described: str
    payload_type: int


CALLERS = CodecSettings("PCMU", 0)
PCMU = Callee("PCMU", "PCMU/8000", 0)


@contextmanager
def ours(
    space: str, cpu: int, folder: Path, calls: int, secured: bool, through: CodecSettings | None = None
) -> Iterator[Relay]:
    """`voxdp engine` with one worker, on sockets. through: what the callee speaks where that is not PCMU."""
    with _engine(space, cpu, folder) as process:
        ports = _open(process, calls, secured, None)
        _transcode(process, ports, through)
        yield Relay("voxdp", _pids(process), ports)


@contextmanager
def ours_wired(
    peers: str,
    first: bool,
    space: str,
    cpu: int,
    folder: Path,
    calls: int,
    secured: bool,
    through: CodecSettings | None = None,
    awake: bool = False,
) -> Iterator[Relay]:
    """The same on AF_XDP sockets, with the kernel relay attached, which hands packets up to them.

    peers: the namespace at the other end of the link. first: before all else that wants the CPU, as LimitRTPRIO allows.
    awake: no processor sleeps meanwhile, as with media.cpu_dma_latency = 0.
    """
    link = Link(space, RELAY_LINK, RELAY), Link(peers, PEER_LINK, CALLER)
    with Wiring(*link, folder) as wiring, _engine(space, cpu, folder, first) as process:
        wires = process.client.want_wires(wiring.pins, [RELAY_LINK], folder / "none")
        if wires.trouble:
            raise RuntimeError(wires.trouble)
        kept = process.client.want_cpu_latency(0 if awake else UNBOUNDED, folder / "none")
        if kept.trouble:
            raise RuntimeError(kept.trouble)
        ports = _open(process, calls, secured, wiring)
        _transcode(process, ports, through)
        yield Relay("voxdp af_xdp", _pids(process), ports)
        if not any(wire.sent for wire in process.client.wires().wires):
            raise RuntimeError("nothing was sent by AF_XDP")


def _transcode(process: EngineProcess, ports: Sequence[tuple[int, int]], through: CodecSettings | None) -> None:
    if through is None:
        return
    for caller, called in ports:
        there, back = TranscodeStage(CALLERS, through), TranscodeStage(through, CALLERS)
        process.client.set_stage((RELAY, caller), there.kind, there.pack())
        process.client.set_stage((RELAY, called), back.kind, back.pack())


@contextmanager
def _engine(space: str, cpu: int, folder: Path, first: bool = False) -> Iterator[EngineProcess]:
    python = sys.executable
    if first:
        python = str(folder / "first")
        Path(python).write_text(f'#!/bin/sh\nexec chrt --rr 1 {sys.executable} "$@"\n')
        Path(python).chmod(0o755)
    arguments = ["--workers", "1"]
    with inside(space), on_cpu(cpu):
        process = EngineProcess.ensure(folder / "engine", python=python, arguments=arguments, timeout=READY_SECONDS)
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
def rtpengine(
    space: str, cpu: int, folder: Path, calls: int, secured: bool, callee: Callee | None = None
) -> Iterator[Relay]:
    """Debian's rtpengine-daemon without its kernel module, one thread, told of the calls by the ng protocol.

    callee: what it speaks where that is not PCMU.
    """
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
            ports = [_negotiate(asking, call, secured, callee) for call in range(calls)]
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


def _negotiate(asking: socket.socket, call: int, secured: bool, callee: Callee | None) -> tuple[int, int]:
    """Offer and answer of one call; where its caller and its callee send to."""
    names = {"call-id": f"call-{call}", "from-tag": "a"}
    plain = {"transport-protocol": "RTP/AVP"} if secured else {}
    words = {"ICE": "remove", "rtcp-mux": ["demux"], "DTLS": "off", "flags": ["SDES-off"] if secured else []}
    codec = {"codec": {"mask": ["all"], "transcode": [callee.wanted]}} if callee else {}
    sdp = _describe(CALLER, call, secured, PCMU)
    offered = _ask(asking, command="offer", sdp=sdp, **names, **plain, **words, **codec)
    sdp = _describe(CALLED, call, False, callee or PCMU)
    answer = {"command": "answer", "sdp": sdp, "to-tag": "b", **names, **words}
    answer["flags"] = []
    answered = _ask(asking, **answer)
    return _port(answered), _port(offered)


def _ask(asking: socket.socket, **request: Any) -> dict[str, str]:
    cookie = os.urandom(6).hex().encode()
    asking.send(cookie + b" " + encode(request))
    reply = decode(asking.recv(CHUNK).partition(b" ")[2])
    if reply["result"] == "error":
        raise RuntimeError(f"rtpengine: {reply}")
    return dict(reply)


def _describe(address: str, call: int, secured: bool, codec: Callee) -> str:
    port = FIRST_PEER_PORT + 2 * call
    lines = ["v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    lines.append(f"m=audio {port} RTP/{'SAVP' if secured else 'AVP'} {codec.payload_type}")
    lines.append(f"a=rtpmap:{codec.payload_type} {codec.described}")
    if secured:
        lines.append(f"a=crypto:1 {SUITE} inline:{b64encode(MASTER).decode()}")
    return "\r\n".join([*lines, ""])


def _port(reply: dict[str, str]) -> int:
    (line,) = (line for line in reply["sdp"].splitlines() if line.startswith("m=audio "))
    return int(line.split()[1])
