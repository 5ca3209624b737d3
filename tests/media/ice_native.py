# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's ICE agent as a library of its own, and a network of made-up time that agents talk over."""

import heapq
import random
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

from cffi import FFI

from media.engine_build import TYPES, declarations

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("ice.c", "ice_checks.c", "stun.c")
SECOND = 1_000_000_000
DECLARATIONS = """
struct ice_outcome { uint8_t state; uint8_t address[16]; uint16_t port; uint64_t checks, refused; };
typedef void (*ice_send)(void *where, const uint8_t *data, size_t length, const void *target);
void *ice_create(const struct engine_ice *wanted, struct ice_outcome *outcome, ice_send send, void *where,
                 uint64_t now);
void ice_destroy(void *ice);
void ice_change(void *ice, const struct engine_ice *wanted, uint64_t now);
bool ice_receive(void *ice, const uint8_t *data, size_t length, const void *source, uint64_t now);
void ice_tick(void *ice, uint64_t now);
uint64_t ice_due(const void *ice);
"""
STATES = ("off", "checking", "selected", "lost", "failed")
ROLES = {"lite": 1, "controlled": 2, "controlling": 3}


def build(directory):
    """`ffi` and `lib` of the agent."""
    ffi = FFI()
    ffi.cdef(TYPES)
    for header in ("bpf/flow.h", "media/srtp_keys.h", "media/engine.h"):
        ffi.cdef(declarations(ROOT / header))
    ffi.cdef(DECLARATIONS)
    target = directory / "ice.so"
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    command += [f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}", "-o", target]
    subprocess.run([*command, *(ROOT / "media" / name for name in SOURCES), "-lcrypto"], check=True, timeout=500)
    return SimpleNamespace(ffi=ffi, lib=ffi.dlopen(str(target)))


def pack_socket(address):
    """A sockaddr_in or sockaddr_in6 in 28 bytes."""
    host, port = address
    if ":" in host:
        family, rest = socket.AF_INET6, bytes(4) + socket.inet_pton(socket.AF_INET6, host) + bytes(4)
    else:
        family, rest = socket.AF_INET, socket.inet_aton(host) + bytes(20)
    return family.to_bytes(2, "little") + port.to_bytes(2, "big") + rest


def unpack_socket(packed):
    """Address and port of one."""
    port = int.from_bytes(packed[2:4], "big")
    if packed[0] == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, packed[8:24]), port
    return socket.inet_ntoa(packed[4:8]), port


class Agent:
    """One agent; what it sends goes to `out` as (data, target)."""

    def __init__(self, native, role="lite", now=SECOND, own=("ours", "o" * 22), peer=("theirs", "t" * 22), **settings):
        self.native, self.now, self.out = native, now, []
        self.own, self.peer = own, peer
        self.outcome = native.ffi.new("struct ice_outcome *")
        self._callback = native.ffi.callback("ice_send", self._sent)
        self.settings = {"role": role, "candidates": (), "complete": True, "tiebreaker": 7, "priority": 100, **settings}
        wanted = self._wanted()
        self.ice = native.lib.ice_create(wanted, self.outcome, self._callback, native.ffi.NULL, now)

    def close(self):
        self.native.lib.ice_destroy(self.ice)

    @property
    def state(self):
        return STATES[self.outcome.state]

    @property
    def selected(self):
        """The remote end of the pair, or None."""
        if not self.outcome.port:
            return None
        packed = bytes(self.outcome.address)
        port = socket.ntohs(self.outcome.port)
        mapped = packed.startswith(bytes(10) + b"\xff\xff")
        return (socket.inet_ntoa(packed[12:]) if mapped else socket.inet_ntop(socket.AF_INET6, packed)), port

    def receive(self, data, source):
        """Whether a datagram was believed, and what was sent because of it."""
        self.out.clear()
        place = self.native.ffi.new("uint64_t[]", 4)
        self.native.ffi.buffer(place)[: len(pack_socket(source))] = pack_socket(source)
        kept = self.native.ffi.new("uint8_t[]", data)
        good = self.native.lib.ice_receive(self.ice, kept, len(data), place, self.now)
        return good, list(self.out)

    def wait(self, seconds):
        """Let time pass, doing what becomes due; what was sent meanwhile."""
        self.out.clear()
        end = self.now + int(seconds * SECOND)
        while (due := max(self.native.lib.ice_due(self.ice), self.now + 1)) <= end:
            self.now = due
            self.native.lib.ice_tick(self.ice, self.now)
        self.now = end
        return list(self.out)

    def change(self, **settings):
        """Other candidates or credentials."""
        self.settings.update(settings)
        self.own, self.peer = settings.get("own", self.own), settings.get("peer", self.peer)
        self.native.lib.ice_change(self.ice, self._wanted(), self.now)

    def _wanted(self):
        wanted = self.native.ffi.new("struct engine_ice *")
        wanted.role = ROLES[self.settings["role"]]
        wanted.tiebreaker, wanted.priority = self.settings["tiebreaker"], self.settings["priority"]
        wanted.complete, wanted.candidate_count = self.settings["complete"], len(self.settings["candidates"])
        for name, text in zip(("own_name", "own_password"), self.own, strict=True):
            self.native.ffi.memmove(getattr(wanted, name), text.encode(), len(text))
        for name, text in zip(("peer_name", "peer_password"), self.peer, strict=True):
            self.native.ffi.memmove(getattr(wanted, name), text.encode(), len(text))
        for place, (host, port, priority) in zip(wanted.candidates, self.settings["candidates"], strict=False):
            place.address = bytes(10) + b"\xff\xff" + socket.inet_aton(host)
            place.port, place.priority = port, priority
        return wanted

    def _sent(self, _where, data, length, target):
        packed = bytes(self.native.ffi.buffer(self.native.ffi.cast("uint8_t *", target), 28))
        self.out.append((bytes(self.native.ffi.buffer(data, length)), unpack_socket(packed)))


class Network:
    """Agents at addresses, a delay between them, and what is lost. cut: pairs of hosts that do not reach each other."""

    def __init__(self, agents, delay=0.03, loss=0.0, seed=1):
        self.agents, self.delay, self.loss = dict(agents), int(delay * SECOND), loss
        self.dice, self.cut, self.queue, self.number = random.Random(seed), set(), [], 0
        for address, agent in self.agents.items():
            self._post(address, agent)

    def run(self, seconds):
        """Let time pass for all of them."""
        end = next(iter(self.agents.values())).now + int(seconds * SECOND)
        while True:
            due, address = min((agent.native.lib.ice_due(agent.ice), address) for address, agent in self.agents.items())
            arrival = self.queue[0][0] if self.queue else end + 1
            now = min(max(due, self._now() + 1), arrival)
            if now > end:
                break
            for agent in self.agents.values():
                agent.now = now
            if arrival <= now:
                _, _, source, target, data = heapq.heappop(self.queue)
                if target in self.agents:
                    self.agents[target].receive(data, source)
                    self._post(target, self.agents[target])
                continue
            agent = self.agents[address]
            agent.native.lib.ice_tick(agent.ice, now)
            self._post(address, agent)
        for agent in self.agents.values():
            agent.now = end

    def _now(self):
        return max(agent.now for agent in self.agents.values())

    def _post(self, source, agent):
        for data, target in agent.out:
            lost = self.dice.random() < self.loss or (source, target) in self.cut or (target, source) in self.cut
            if not lost:
                self.number += 1
                heapq.heappush(self.queue, (agent.now + self.delay, self.number, source, target, data))
        agent.out.clear()
