# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is heard while a call changes, and how much of it: from description to wire."""

import select
import socket
import time
from collections.abc import Iterator

import pytest

from ctl.sessions.relay_choice import Facing
from tests.ctl.kernel.wired import (
    ALICE,
    ALICE6,
    BOB,
    BOB6,
    Relay,
    Wiring,
    address,
    drain,
    rtp,
    rtp_port,
    run,
    sdp,
    udp,
)
from tests.patience import PATIENCE
from vm import namespace

ELSEWHERE = "192.0.2.77"
PARTIES = [(ALICE, BOB), (ALICE6, BOB6), (ALICE, BOB6)]


class Ends:
    """Sockets where Alice is, or anybody in her network, and Bob's."""

    def __init__(self, wiring: Wiring, relay: Relay) -> None:
        self._wiring, self._relay = wiring, relay
        self._open: list[socket.socket] = []
        self._sequence = 0

    def alice(self, *local: str | int) -> socket.socket:
        return self._udp(self._wiring.a, (str(local[0]), int(local[1])))

    def bob(self, host: str) -> socket.socket:
        return self._udp(self._wiring.b, (host, 5000))

    def arrives(self, sender: socket.socket, target: tuple[str, int], receiver: socket.socket) -> bool:
        """Whether the next packet of the stream gets through, sent by that socket."""
        self._sequence += 1
        drain(receiver)
        sender.sendto(rtp(self._sequence), target)
        ready = select.select([receiver], [], [], 0.2)[0]
        return bool(ready) and receiver.recv(2048) == rtp(self._sequence)

    def until_arrives(self, sender: socket.socket, target: tuple[str, int], receiver: socket.socket) -> None:
        """The neighbours may have to be found first."""
        deadline = time.monotonic() + PATIENCE
        while not self.arrives(sender, target, receiver):
            self._relay.hops.drain()
            assert time.monotonic() < deadline, "no packet arrives"

    def close(self) -> None:
        for each in self._open:
            each.close()

    def _udp(self, where: str, local: tuple[str, int]) -> socket.socket:
        with namespace.entered(where):
            self._open.append(udp(local))
        return self._open[-1]


@pytest.fixture
def ends(wiring: Wiring, relay: Relay) -> Iterator[Ends]:
    ends = Ends(wiring, relay)
    yield ends
    ends.close()


@pytest.mark.parametrize(("alice", "bob"), PARTIES)
def test_after_a_reinvite_the_former_port_is_heard_until_the_new_one_is(
    relay: Relay, ends: Ends, alice: str, bob: str
) -> None:
    target, receiver = relay.call(alice, bob), ends.bob(bob)
    before, after, stranger = ends.alice(alice, 4000), ends.alice(alice, 6000), ends.alice(alice, 7000)
    ends.until_arrives(before, target, receiver)
    assert not ends.arrives(after, target, receiver)
    assert relay.call(alice, bob, port=6000) == target
    assert ends.arrives(before, target, receiver)
    assert not ends.arrives(stranger, target, receiver)
    assert ends.arrives(after, target, receiver)
    assert not ends.arrives(before, target, receiver), "the former source has lost its right"
    assert ends.arrives(after, target, receiver)


def test_a_latching_leg_is_heard_from_wherever_it_sends_consistently(wiring: Wiring, relay: Relay, ends: Ends) -> None:
    run("ip", "-n", wiring.a, "address", "add", f"{ELSEWHERE}/24", "dev", "a-east")
    relay.sessions.offer("call", "a", sdp(ALICE, 4000), ALICE, 0.0, toward=BOB, here=Facing(latch=True))
    to_alice = relay.sessions.answer("call", "b", sdp(BOB, 5000), BOB, 0.0)
    target, receiver = (address(to_alice), rtp_port(to_alice)), ends.bob(BOB)
    sender, stranger = ends.alice(ELSEWHERE, 9000), ends.alice(ALICE, 9001)
    heard = [ends.arrives(sender, target, receiver) for _ in range(4)]
    assert heard == [False] * 4
    ends.until_arrives(sender, target, receiver)
    assert not ends.arrives(stranger, target, receiver)
    there, back = (flow for flow in relay.sessions.query("call") if flow.kind == "rtp")
    assert there.source == (ELSEWHERE, 9000)
    with namespace.entered(wiring.b):
        receiver.sendto(rtp(1), (back.local[0], back.local[1]))
    assert select.select([sender], [], [], 2)[0], "Bob is not sent to where Alice latched"
    assert sender.recv(2048) == rtp(1)


def test_a_flow_carries_three_times_its_codecs_packets_and_no_more(relay: Relay, ends: Ends) -> None:
    """10 ms of packet time: 300 packets a second, and as many at once."""
    target, receiver = relay.call(ALICE, BOB), ends.bob(BOB)
    sender = ends.alice(ALICE, 4000)
    ends.until_arrives(sender, target, receiver)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    began = time.monotonic()
    for sequence in range(1000, 2000):
        sender.sendto(rtp(sequence), target)
    seconds = time.monotonic() - began
    time.sleep(0.05)
    arrived = 0
    while select.select([receiver], [], [], 0.05)[0]:
        receiver.recv(2048)
        arrived += 1
    there = next(flow for flow in relay.sessions.query("call") if (flow.leg, flow.kind) == ("a", "rtp"))
    assert there.statistics is not None
    assert 250 <= arrived <= 310 + 300 * seconds
    assert there.statistics.policed == 1000 - arrived
    assert there.statistics.last_reason == "policed"
