# SPDX-License-Identifier: GPL-3.0-or-later
"""Real phones that speak SRTP, by SDES and by DTLS, in each codec, with each other and with ones that do not."""

import itertools
import os
import re
import select
import signal
import struct
import threading
import time
from contextlib import closing

import pytest

from media.client import EngineClient
from tests.lab.conftest import lab_with
from tests.lab.exchange import KINDS, Exchange, Kind, streams
from vm import audio, namespace, topology
from vm.controller import DOMAIN
from vm.process import PATIENCE

pytestmark = pytest.mark.xdist_group("shared lab")

CM, GCM, GCM_256 = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"
KERNEL = ("kernel", "")
TERMINATED = ("engine", "SRTP on one side only")
DTLS = ("engine", "DTLS-SRTP ends here")
RECORDING = '\n[recording]\nkey_file = "{}"\n'
HANDSHAKE, CLIENT_HELLO = 22, 1
FINGERPRINT = re.compile(rb"(fingerprint:SHA-256 )(..)", re.IGNORECASE)


@pytest.fixture(scope="module")
def exchange(cluster):
    """The phones that all of these tests share."""
    with lab_with(cluster, "two") as lab:
        keys = lab.directory / "recording.keys"
        keys.write_text("5a" * 32 + "\n")
        yield Exchange(lab, RECORDING.format(keys))


def transcoding(heard, sent):
    return "engine", f"transcoding {heard} to {sent}: the legs have no codec in common"


def check(flows, **expected):
    """What carried each phone's flow, and by which suite it came; "" where that is plain."""
    for name, (way, suite) in expected.items():
        flow = flows[name]
        assert (flow["path"], flow["reason"]) == way, flow
        assert (flow["security"], flow["suite"] or "") == ("plain" if way == KERNEL else "secure", suite), flow
        assert flow["replayed"] == 0, flow
        assert flow["forged"] <= 5 if suite == CM else flow["forged"] == 0, "what baresip says before it has its keys"


def test_one_codec(exchange):
    """SDES with SDES passes by the kernel, for both legs have the same keys; whoever is asked first has the suite."""
    exchange.watch()
    flows = exchange.talk(("alice", "bo"), ("anna", "ben"), ("anton", "bob"), ("ada", "bea"), ("axel", "bert"))
    check(flows, alice=(KERNEL, ""), bo=(KERNEL, ""), axel=(KERNEL, ""), bert=(KERNEL, ""))
    check(flows, anna=(DTLS, CM), ben=(DTLS, GCM), anton=(DTLS, CM), bob=(DTLS, GCM))
    check(flows, ada=(DTLS, CM), bea=(DTLS, GCM_256))
    seen = exchange.seen()
    assert {each for flow in ("anna", "ada") for each in hellos(exchange, seen, flows[flow])} == {"ours"}
    for callee in ("ben", "bob"):
        assert hellos(exchange, seen, flows[callee]) == ["theirs"], "answered at once, not after they were repeated"


def hellos(exchange, seen, flow):
    """Who began the handshakes of a phone's RTP, each client's hello that came before any answer."""
    end = {"a": exchange.lab.a, "b": exchange.lab.b}[flow["leg"]]
    phone = end.address, flow["source"]["port"]
    found = []
    for each in seen[flow["leg"]]:
        if phone not in (each.source, each.target) or each.payload[:1] != bytes([HANDSHAKE]):
            continue
        if each.payload[13] != CLIENT_HELLO:
            return found
        found.append("theirs" if each.source == phone else "ours")
    return found


def test_codecs_that_differ(exchange):
    flows = exchange.talk(("alice", "bob"), ("anna", "bea"), ("anton", "ben"), ("ada", "bo"))
    check(flows, alice=(DTLS, CM), bob=(DTLS, GCM), anna=(DTLS, CM), bea=(DTLS, GCM_256))
    check(flows, anton=(DTLS, CM), ben=(DTLS, GCM), ada=(DTLS, CM), bo=(DTLS, GCM_256))


def test_codecs_that_differ_the_other_way_round(exchange):
    """Two that have the same keys are opened and sealed where they do not have the same codec."""
    flows = exchange.talk(("bob", "anna"), ("bea", "alice"), ("ben", "ada"), ("bo", "anton"))
    check(flows, bob=(DTLS, CM), anna=(DTLS, GCM), ben=(DTLS, CM), ada=(DTLS, GCM))
    check(flows, bea=(transcoding("opus", "PCMU"), CM), alice=(transcoding("PCMU", "opus"), CM))
    check(flows, bo=(transcoding("PCMU", "G722"), CM), anton=(transcoding("G722", "PCMU"), CM))


def test_one_side_alone_is_protected(exchange):
    flows = exchange.talk(("axel", "bo"), ("alice", "bert"), ("anna", "ben"))
    check(flows, axel=(TERMINATED, ""), bo=(TERMINATED, GCM_256), alice=(TERMINATED, CM), bert=(TERMINATED, ""))
    flows = exchange.talk(("axel", "ben"), ("anna", "bert"))
    check(flows, axel=(DTLS, ""), ben=(DTLS, GCM), anna=(DTLS, CM), bert=(DTLS, ""))


class Meddler:
    """Between a phone and voxdp, as whoever changes messages on their way: it lies about the phone's certificate."""

    ADDRESS = "198.18.1.99"
    NEAR, FAR = (ADDRESS, 5060), (ADDRESS, 5061)

    def __init__(self, lab):
        self._lab = lab
        topology.add_address(lab.a, self.ADDRESS)
        self._near, self._far = (namespace.datagram_socket(lab.a.namespace, each) for each in (self.NEAR, self.FAR))
        self._phone = None
        self.lies = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._pass)
        self._thread.start()

    def close(self):
        """Let nothing more through."""
        self._ends.set()
        self._thread.join()
        for each in (self._near, self._far):
            each.close()

    def _pass(self):
        while not self._ends.is_set():
            ready, _, _ = select.select([self._near, self._far], [], [], 0.1)
            if self._near in ready:
                message, self._phone = self._near.recvfrom(65535)
                self._far.sendto(self._told(message), (self._lab.a.relay, 5060))
            if self._far in ready and self._phone:
                self._near.sendto(self._far.recv(65535).replace(name(self.FAR), name(self._phone)), self._phone)

    def _told(self, message):
        message, lies = FINGERPRINT.subn(lambda found: b"%s%02X" % (found[1], int(found[2], 16) ^ 1), message)
        self.lies += lies
        head, blank, body = message.partition(b"\r\n\r\n")
        return head.replace(name(self._phone), name(self.FAR)) + blank + body


def name(address):
    return b"%s:%d" % (address[0].encode(), address[1])


def test_a_certificate_that_was_not_signalled_is_heard_by_nobody(exchange):
    """Neither of the caller nor of the one who is called: no keys, and so no sound, either way."""
    with closing(Meddler(exchange.lab)) as meddler:
        mallory = exchange.phone("mallory", Kind("a", "dtls_srtp", "PCMU/8000", 330), registrar=meddler.ADDRESS)
        mallory.registered()
        bo = exchange.phones["bo"]
        for caller, callee in ((mallory, bo), (bo, mallory)):
            heard = [len(phone.heard()) for phone in (mallory, bo)]
            exchange.watch()
            caller.dial(f"sip:{callee.account.user}@{DOMAIN}")
            for phone in (caller, callee):
                phone.established()
            flow = refused(exchange, "mallory")
            time.sleep(1.5)
            assert (flow["security"], exchange.flows()["mallory"]["packets"]) == ("failed", 0)
            caller.hangup()
            callee.closed()
            seen = exchange.seen()
            assert not list(streams(seen["a"], exchange.lab.a)) + list(streams(seen["b"], exchange.lab.b))
            for phone, before in zip((mallory, bo), heard, strict=True):
                assert all(audio.judge(audio.read(path)) == audio.NOTHING for path in phone.heard()[before:])
            assert exchange.controller.until("flows", "flow", "list", count=0) == []
        assert meddler.lies >= 2
        assert "certificate is not the one that was signalled" in exchange.controller.log()
        mallory.kill()


def refused(exchange, name):
    """The flow of a phone once its handshake has failed."""
    deadline = time.monotonic() + PATIENCE
    while (flow := exchange.flows().get(name)) is None or flow["security"] != "failed":
        assert time.monotonic() < deadline, flow
        time.sleep(0.05)
    return flow


RESUMED = 5.0
"""Seconds within which calls go on after a worker was killed, however busy the host is."""
STEPS = (0, 1, 2, 3, 65535)
"""From one sequence number to the next: a packet or two may be lost on a busy machine, or one overtaken."""


def test_a_transcoded_call_is_recorded_held_and_survives_its_worker(exchange):
    """Each phone hears one stream, whatever the other one does, and after a crash another that goes on at once."""
    ask = exchange.controller.ask
    ada, bo = exchange.phones["ada"], exchange.phones["bo"]
    exchange.watch()
    exchange.connect(("ada", "bo"))
    (call,) = exchange.controller.until("calls", "call", "list", count=1)
    record = ask("call", "record", "start", call["id"], "--consent", "given")
    exchange.carried(100, "ada", "bo")
    ada.hold()
    assert bo.wait("CALL_REMOTE_SDP")["param"] == "offer"
    ada.wait("CALL_REMOTE_SDP")
    time.sleep(0.5)
    ada.resume()
    assert bo.wait("CALL_REMOTE_SDP")["param"] == "offer"
    ada.wait("CALL_REMOTE_SDP")
    before = exchange.carried(100, "ada", "bo")
    check(before, ada=(DTLS, CM), bo=(DTLS, GCM_256))
    exchange.carried(max(flow["packets"] for flow in before.values()) + 100, "ada", "bo")

    engine = EngineClient(exchange.lab.directory / "run" / "engine.sock")
    with closing(engine):
        killed = time.time()
        for process in engine.summary().processes:
            os.kill(process, signal.SIGKILL)
    after = exchange.carried(max(flow["packets"] for flow in before.values()) + 200, "ada", "bo")
    check(after, ada=(DTLS, CM), bo=(DTLS, GCM_256))
    assert ask("call", "record", "stop", call["id"])["dropped_bytes"] == 0
    exchange.part(("ada", "bo"))
    seen = exchange.seen()
    for side, end in (("a", exchange.lab.a), ("b", exchange.lab.b)):
        (stream,) = streams(seen[side], end).values()
        first, second = (list(group) for _, group in itertools.groupby(stream, lambda each: each.packet[0]))
        goes_on(first, pauses=1 if side == "a" else 0)
        goes_on(second, pauses=0)
        assert second[0].time - killed < RESUMED
    exchange.controller.until("recordings", "recording", "list", count=1)
    recording = ask("recording", "verify", record["id"])
    assert recording["complete"]
    path = exchange.lab.directory / "call.wav"
    exchange.controller.command("recording", "export", record["id"], "-w", str(path))
    for channel, phone in enumerate(("ada", "bo")):
        sound = audio.read(path, channel)
        heard = audio.judge(sound)
        assert audio.holds(sound, KINDS[phone].tone), heard
        assert heard.seconds > 0.9 * recording["seconds"], heard


def goes_on(stream, pauses):
    """Numbers follow each other, and so do times but where the other phone fell silent for a while."""
    both = list(itertools.pairwise(stream))
    assert not [pair for pair in both if (pair[1].packet[1] - pair[0].packet[1]) % 65536 not in STEPS]
    clock = 48 if stream[0].payload[1] & 127 != 0 else 8
    moments = [struct.unpack_from("!I", each.payload, 4)[0] for each in stream]
    gaps = [(later - sooner) % 2**32 for sooner, later in itertools.pairwise(moments)]
    assert sum(60 * clock < gap < 2**31 for gap in gaps) <= pauses, gaps
