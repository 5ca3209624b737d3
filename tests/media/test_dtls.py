# SPDX-License-Identifier: GPL-3.0-or-later
"""DTLS-SRTP: two flows of ours shake hands with each other; strangers, forgers and other certificates do not pass."""

import os
import signal
import socket
import time
from dataclasses import dataclass, replace

import pytest

from media.flows import EngineDtls, EngineError, EngineFlow
from tests.patience import PATIENCE

RELAY = "127.77.0.1"
NEAR, NEAR_OUT, FAR_IN, FAR = (RELAY, 32000), (RELAY, 32002), (RELAY, 32004), (RELAY, 32006)


@dataclass
class Chain:
    """a speaks RTP to `near`; from there it goes as SRTP to `far`, and as RTP to b."""

    client: object
    a: object
    b: object
    near: tuple
    far: tuple

    def open(self):
        self.client.set_pair(*self.near)
        self.client.set_pair(*self.far)

    def states(self):
        return [self.client.read([key])[0].security for key in (NEAR_OUT, FAR_IN)]

    def wait(self, states):
        until = time.monotonic() + PATIENCE
        while self.states() != states:
            assert time.monotonic() < until, self.states()
            time.sleep(0.01)


@pytest.fixture
def chain(process, make_peer):
    return make_chain(process.client, make_peer)


def make_chain(client, make_peer):
    a, b = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    ours = bytes.fromhex(client.summary().fingerprint.replace(":", ""))
    near = (
        EngineFlow(*NEAR, *a.name, *FAR_IN, clock_rate=8000),
        EngineFlow(*NEAR_OUT, *FAR_IN, *a.name, clock_rate=8000, dtls=EngineDtls(True, ours)),
    )
    far = (
        EngineFlow(*FAR_IN, *NEAR_OUT, *b.name, clock_rate=8000, dtls=EngineDtls(False, ours)),
        EngineFlow(*FAR, *b.name, *NEAR_OUT, clock_rate=8000),
    )
    return Chain(client, a, b, near, far)


def test_both_roles_agree_on_keys_and_audio_passes(chain, rtp):
    chain.open()
    chain.wait(["secure", "secure"])
    for i in range(50):
        chain.a.send(rtp(i), NEAR)
        chain.b.send(rtp(i, ssrc=9), FAR)
        assert chain.b.receive() == (rtp(i), FAR)
        assert chain.a.receive() == (rtp(i, ssrc=9), NEAR)
    (found,) = chain.client.read([FAR_IN])
    assert (found.suite, found.bytes, found.packets) == ("AEAD_AES_128_GCM", 50 * (172 + 16), 50)
    assert sorted(event.type for event in chain.client.events()) == ["secure", "secure"]


def test_nothing_passes_before_the_keys(chain, rtp, settled):
    chain.client.set_pair(*chain.near)
    chain.a.send(rtp(1), NEAR)
    found = settled(chain.client, chain.near[0], 1)
    assert (found.packets, found.last_reason, found.security) == (0, "no-key", "waiting")
    chain.client.set_pair(*chain.far)
    chain.wait(["secure", "secure"])
    chain.a.send(rtp(2), NEAR)
    assert chain.b.receive()[0] == rtp(2)


@pytest.mark.parametrize("side", ["near", "far"])
def test_another_certificate_is_refused(chain, rtp, settled, side):
    """The forged side of the handshake never gets keys, so that nothing it says or hears is worth anything."""
    wrong = EngineDtls(side == "near", bytes(32))
    if side == "near":
        chain.near = (chain.near[0], replace(chain.near[1], dtls=wrong))
    else:
        chain.far = (replace(chain.far[0], dtls=wrong), chain.far[1])
    chain.open()
    until = time.monotonic() + PATIENCE
    while not (failed := [event for event in chain.client.events() if event.type == "failed"]):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert failed[0].data == b"certificate is not the one that was signalled"
    assert chain.states()[side == "far"] != "secure"
    chain.a.send(rtp(1), NEAR)
    chain.b.send(rtp(1), FAR)
    time.sleep(0.1)
    assert chain.b.waiting() == chain.a.waiting() == 0


def test_hellos_of_strangers_and_nonsense_do_not_disturb(chain, make_peer, rtp):
    chain.client.set_pair(*chain.far)
    stranger = make_peer("127.77.9.9")
    hello = bytes.fromhex("16feff000000000000000000200100001400000000000000140000") + bytes(30)
    for i in range(100):
        stranger.send(hello, FAR_IN)
        stranger.send(bytes([20 + i % 44]) + os.urandom(40), FAR_IN)
    chain.client.set_pair(*chain.near)
    chain.wait(["secure", "secure"])
    chain.a.send(rtp(2), NEAR)
    assert chain.b.receive()[0] == rtp(2)
    assert chain.client.read([FAR_IN])[0].rejected == 200


def test_keys_outlive_the_workers(chain, rtp):
    """And go under other SSRCs, which both sides' RTCP follows."""
    chain.open()
    chain.wait(["secure", "secure"])
    chain.a.send(rtp(1, ssrc=77), NEAR)
    assert chain.b.receive()[0] == rtp(1, ssrc=77)
    for pid in chain.client.summary().processes:
        os.kill(pid, signal.SIGKILL)
    chain.a.send(rtp(1, ssrc=77), NEAR)
    packet = chain.b.receive()[0]
    assert packet[:8] + packet[12:] == rtp(1)[:8] + rtp(1)[12:]
    assert packet[8:12] != (77).to_bytes(4, "big")


def test_a_change_of_ports_alone_keeps_the_keys(chain, rtp):
    chain.open()
    chain.wait(["secure", "secure"])
    chain.near = (replace(chain.near[0], held=True), chain.near[1])
    chain.client.set_pair(*chain.near)
    chain.near = (replace(chain.near[0], held=False), chain.near[1])
    chain.client.set_pair(*chain.near)
    assert chain.states() == ["secure", "secure"]
    chain.a.send(rtp(2), NEAR)
    assert chain.b.receive()[0] == rtp(2)


def test_a_hello_that_nobody_answers_is_sent_again_soon(process, make_peer):
    """The peer may not listen yet, and each moment is one of speech. One in ten tries finds the machine idle enough."""
    a, deaf = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    waits = []
    while min(waits, default=1.0) > 0.5:
        dtls = EngineDtls(True, bytes([len(waits)]) * 32)
        active = EngineFlow(*NEAR_OUT, *deaf.name, *a.name, clock_rate=8000, dtls=dtls)
        process.client.set_pair(EngineFlow(*NEAR, *a.name, *deaf.name, clock_rate=8000), active)
        hello, _ = deaf.receive()
        first = time.monotonic()
        again, _ = deaf.receive()
        waits.append(time.monotonic() - first)
        assert hello[13:] == again[13:]
        assert len(waits) < 10, waits
        process.client.remove([NEAR])
        deaf.waiting()


def kill(process):
    """The whole engine, its workers with it, as at a crash."""
    os.kill(process.pid, signal.SIGKILL)
    process.stop()


def test_keys_outlive_the_engine(engine_process, make_peer, rtp):
    """Nobody shakes hands again: the peers know nothing of it. Twice, for what is recalled is kept on."""
    process = engine_process()
    chain = make_chain(process.client, make_peer)
    chain.open()
    chain.wait(["secure", "secure"])
    certificate = process.client.summary().fingerprint
    ssrcs = set()
    for _ in range(3):
        chain.a.send(rtp(1), NEAR)
        packet, _ = chain.b.receive()
        assert packet[:8] + packet[12:] == rtp(1)[:8] + rtp(1)[12:]
        ssrcs.add(packet[8:12])
        chain.b.send(rtp(1), FAR)
        assert chain.a.receive()[0][12:] == rtp(1)[12:]
        kill(process)
        process = engine_process()
        chain.client = process.client
        assert process.client.summary().fingerprint == certificate
        chain.open()
        assert chain.states() == ["secure", "secure"]
    assert len(ssrcs) == 3, "an index of a key served two packets"
    assert process.client.events() == ()


def test_keys_of_another_peer_are_not_those_that_were_kept(engine_process, make_peer):
    process = engine_process()
    chain = make_chain(process.client, make_peer)
    chain.open()
    chain.wait(["secure", "secure"])
    kill(process)
    chain.client = engine_process().client
    chain.near = (chain.near[0], replace(chain.near[1], dtls=EngineDtls(True, bytes(32))))
    chain.open()
    assert chain.states()[0] != "secure"


def test_keys_are_kept_no_longer_than_their_flow(engine_process, make_peer, tmp_path):
    process = engine_process()
    chain = make_chain(process.client, make_peer)
    chain.open()
    chain.wait(["secure", "secure"])
    kept = tmp_path / "engine.keys"
    assert kept.stat().st_mode & 0o777 == 0o600
    chain.client.remove([NEAR, FAR])
    kill(process)
    chain.client = engine_process().client
    chain.open()
    chain.wait(["secure", "secure"])
    assert [event.type for event in chain.client.events()] == ["secure", "secure"], "they shook hands anew"
    chain.client.remove([NEAR, FAR])
    chain.client.shutdown()


@pytest.fixture
def hello(process, make_peer):
    """A peer and the hello that it would send."""
    a, peer = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    active = EngineFlow(*NEAR_OUT, *peer.name, *a.name, clock_rate=8000, dtls=EngineDtls(True, bytes(32)))
    process.client.set_pair(EngineFlow(*NEAR, *a.name, *peer.name, clock_rate=8000), active)
    said, _ = peer.receive()
    process.client.remove([NEAR])
    peer.waiting()
    return peer, said


def test_a_hello_that_comes_before_its_flow_is_answered_as_soon_as_that_is_there(process, hello, make_peer, rtp):
    peer, said = hello
    process.client.bind([FAR_IN, FAR])
    process.client.bind([FAR_IN])
    assert set(process.client.list_bound()) == {FAR_IN, FAR}
    peer.send(rtp(1), FAR_IN)
    peer.send(said, FAR_IN)
    a = make_peer("127.77.3.1")
    passive = EngineFlow(*FAR_IN, *peer.name, *a.name, clock_rate=8000, dtls=EngineDtls(False, bytes(32)))
    process.client.set_pair(passive, EngineFlow(*FAR, *a.name, *peer.name, clock_rate=8000))
    answer, source = peer.receive()
    assert (answer[0], source) == (22, FAR_IN), "a handshake message"
    assert process.client.list_bound() == ()
    (found,) = process.client.read([FAR_IN])
    assert (found.packets, found.last_reason) == (0, "no-key"), "what was said before the handshake is not heard"


def test_sound_that_comes_before_its_flow_is_not_kept(process, make_peer, rtp):
    """It would go on its way before the flow has been told what to make of it."""
    a, b = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    process.client.bind([NEAR, NEAR_OUT])
    a.send(rtp(1), NEAR)
    there, back = EngineFlow(*NEAR, *a.name, *b.name, clock_rate=8000), EngineFlow(*NEAR_OUT, *b.name, *a.name)
    process.client.set_pair(there, back)
    a.send(rtp(2), NEAR)
    assert b.receive()[0] == rtp(2)
    assert process.client.list_bound() == ()


def test_a_port_that_waits_is_given_up_and_flows_are_not(process, make_peer, rtp):
    a, b = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    process.client.bind([NEAR])
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(NEAR)
        process.client.unbind([NEAR, FAR])
        other.bind(NEAR)
    process.client.set_pair(
        EngineFlow(*NEAR, *a.name, *b.name, clock_rate=8000), EngineFlow(*NEAR_OUT, *b.name, *a.name)
    )
    with pytest.raises(EngineError, match="another socket has this port") as refused:
        process.client.bind([NEAR])
    assert refused.value.code == "port-in-use"
    process.client.unbind([NEAR])
    a.send(rtp(1), NEAR)
    assert b.receive()[0] == rtp(1)


def test_no_more_ports_wait_than_there_may_be_flows(engine_process):
    process = engine_process("--flows", "4")
    process.client.bind([NEAR, NEAR_OUT, FAR_IN, FAR])
    with pytest.raises(EngineError) as refused:
        process.client.bind([(RELAY, 32008)])
    assert refused.value.code == "full"
    process.client.unbind([FAR])
    process.client.bind([(RELAY, 32008)])
