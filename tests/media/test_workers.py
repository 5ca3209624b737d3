# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers that crash or hang: how soon their calls go on, what others notice, and that no key's index serves twice."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pylibsrtp import Policy, Session

from media.engine import Engine
from media.flows import EngineError, EngineFlow, EngineKeys
from tests.media.conftest import RELAY
from tests.patience import PATIENCE

NOTICED = 1.0
RESUMED = 0.5
KILLS = 12


@pytest.fixture
def two_calls(engine_process, call):
    """An engine of two workers and a call in each."""
    process = engine_process("--workers", "2")
    other = replace(
        call, facing_a=replace(call.facing_a, local_port=31000), facing_b=replace(call.facing_b, local_port=31002)
    )
    return process, call.open(process.client), other.open(process.client)


def wait_replaced(client, dead, since):
    """The workers once none of them is `dead`; how long that took."""
    while dead in (processes := client.summary().processes) or 0 in processes:
        assert time.monotonic() - since < PATIENCE
        time.sleep(0.005)
    return time.monotonic() - since


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.alone
def test_others_lose_nothing_and_its_own_go_on(two_calls, rtp, number):
    process, first, second = two_calls
    client = process.client
    dead = client.summary().processes[0]
    arrivals = {first: [], second: []}
    began = struck = time.monotonic()
    for i in range(150):
        if i == 25:
            struck = time.monotonic()
            os.kill(dead, number)
        for one in (first, second):
            one.a.send(rtp(i), one.facing_a.key)
        time.sleep(max(0.0, began + (i + 1) * 0.02 - time.monotonic()))
    assert wait_replaced(client, dead, struck) < 5
    time.sleep(0.1)
    for one in (first, second):
        arrivals[one] = [statistics.packets for statistics in client.read([one.facing_a.key])]
    gaps = [client.read([one.facing_a.key])[0].largest_gap for one in (first, second)]
    assert arrivals[first] == arrivals[second] == [150]
    assert min(gaps) < 0.1
    limit = NOTICED + RESUMED if number == signal.SIGSTOP else RESUMED
    assert max(gaps) < limit
    assert client.summary().restarts == 1
    assert [event.type for event in client.events()] == ["restart"]


def test_a_question_to_a_dead_worker_is_answered(two_calls, read):
    process, first, second = two_calls
    for number in (signal.SIGKILL, signal.SIGSTOP):
        for pid in process.client.summary().processes:
            os.kill(pid, number)
        patient = type(process.client)(process.client.path, timeout=5)
        assert len(patient.read([first.facing_a.key, second.facing_a.key])) == 2
        patient.close()


def test_what_was_learned_and_counted_outlives_the_worker(two_calls, rtp, settled):
    process, first, _ = two_calls
    first = first.learning().open(process.client)
    first.a.send(rtp(1), first.facing_a.key)
    assert settled(process.client, first.facing_a, 1).learned_port == first.a.name[1]
    for pid in process.client.summary().processes:
        os.kill(pid, signal.SIGKILL)
    first.a.send(rtp(2), first.facing_a.key)
    first.b.send(rtp(2), first.facing_b.key)
    assert settled(process.client, first.facing_a, 2).learned_port == first.a.name[1]
    assert first.a.receive()[0] == rtp(2)


def test_workers_end_with_the_engine(process):
    (pid, *_) = process.client.summary().processes
    os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("a worker is left")


def test_ports_are_free_after_a_restart_and_a_removal(two_calls):
    """A worker that is started anew keeps no other's socket open."""
    process, first, second = two_calls
    for pid in process.client.summary().processes:
        os.kill(pid, signal.SIGKILL)
        wait_replaced(process.client, pid, time.monotonic())
    for one in (first, second):
        process.client.remove([one.facing_a.key])
        one.open(process.client)


SUITE = "AEAD_AES_128_GCM"
MASTER = random.Random(7).randbytes(28)


def secure(call, **changes):
    """What b is sent is SRTP."""
    keys = EngineKeys(SUITE, MASTER)
    return replace(
        call, facing_a=replace(call.facing_a, seal=keys, **changes), facing_b=replace(call.facing_b, **changes)
    )


def receiver():
    kind = Policy.SSRC_ANY_INBOUND
    return Session(Policy(key=MASTER, ssrc_type=kind, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM))


def test_no_index_is_used_twice_however_often_workers_die(engine_process, call, rtp):
    """The sender begins its numbers anew each time, with other sound: the worst that could be encrypted."""
    process = engine_process("--workers", "1")
    call, session, used, masks = secure(call), receiver(), {}, set()
    call.open(process.client)
    for kill in range(KILLS):
        for i in range(20):
            call.a.send(rtp(i, payload=bytes([kill]) * 40), call.facing_a.key)
        for _ in range(20):
            packet, _ = call.b.receive()
            assert used.setdefault(packet[:12], packet) == packet, "one index, two packets"
            assert session.unprotect(packet)[12:] == bytes([kill]) * 40
            masks.add(packet[8:12])
        assert len(used) == 20 * (kill + 1)
        if kill % 2:
            (pid,) = process.client.summary().processes
            os.kill(pid, signal.SIGKILL)
            wait_replaced(process.client, pid, time.monotonic())
        else:
            process.stop()
            process = engine_process("--workers", "1")
            secure(call, resumed=True).open(process.client)
    assert len(masks) == KILLS


def test_replay_is_refused_after_any_restart(engine_process, call, rtp, settled):
    process = engine_process("--workers", "1")
    call = replace(call, facing_a=replace(call.facing_a, open=EngineKeys(SUITE, MASTER)))
    sender = Session(
        Policy(key=MASTER, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    )
    packets = [sender.protect(rtp(i)) for i in range(65000, 65536 + 600)]
    call.open(process.client)
    for i, packet in enumerate(packets[:-1]):
        call.a.send(packet, call.facing_a.key)
        if i % 50 == 49:
            settled(process.client, call.facing_a, i + 1)
    settled(process.client, call.facing_a, len(packets) - 1)
    (pid,) = process.client.summary().processes
    os.kill(pid, signal.SIGKILL)
    wait_replaced(process.client, pid, time.monotonic())
    for packet in packets[::100]:
        call.a.send(packet, call.facing_a.key)
    assert settled(process.client, call.facing_a, len(packets) - 1 + 12).replayed == 12
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    process = engine_process("--workers", "1")
    call.open(process.client)
    for packet in packets[::100]:
        call.a.send(packet, call.facing_a.key)
    call.a.send(packets[-1], call.facing_a.key)
    found = settled(process.client, call.facing_a, 13)
    assert (found.replayed, found.packets) == (12, 1)


def test_a_full_disk_costs_new_keys_and_neither_a_worker_nor_a_call(call, make_peer, rtp, settled, small_disk):
    """The files of keys are written where they were never written before, which a full disk answers by a signal."""
    engine = Engine(1, 64, small_disk.directory / "history", small_disk.directory / "keys")
    try:
        small_disk.fill()
        plain = call.open(engine)
        a, b = make_peer("127.77.3.1"), make_peer("127.77.4.1")
        facing = EngineFlow(RELAY, 31000, *a.name, *b.name), EngineFlow(RELAY, 31002, *b.name, *a.name)
        dice = random.Random(5)
        for number in range(40):
            last = replace(facing[0], seal=EngineKeys(SUITE, dice.randbytes(28)))
            engine.set_pair(last, facing[1])
            plain.a.send(rtp(number), plain.facing_a.key)
            assert plain.b.receive()[0] == rtp(number)
        a.send(rtp(1), last.key)
        found = settled(engine, last, 1)
        assert (found.security, found.last_reason, found.packets) == ("waiting", "no-key", 0)
        small_disk.empty()
        engine.set_pair(replace(last, seal=EngineKeys(SUITE, MASTER)), facing[1])
        a.send(rtp(2), last.key)
        assert receiver().unprotect(b.receive()[0]) == rtp(2)
        assert engine.check() == 0
        assert engine.summary().restarts == 0
    finally:
        engine.close()


def test_an_engine_whose_files_have_no_room_does_not_start(small_disk):
    small_disk.fill()
    with pytest.raises(EngineError, match="No space left"):
        Engine(1, 64, small_disk.directory / "history", small_disk.directory / "keys")


def test_one_key_sends_for_one_flow(process, call, rtp, settled):
    """Two flows that sent with one key would use its indexes twice."""
    other = replace(
        call, facing_a=replace(call.facing_a, local_port=31000), facing_b=replace(call.facing_b, local_port=31002)
    )
    first, second = secure(call).open(process.client), secure(other).open(process.client)
    first.a.send(rtp(1), first.facing_a.key)
    assert receiver().unprotect(first.b.receive()[0]) == rtp(1)
    first.a.send(rtp(1), second.facing_a.key)
    found = settled(process.client, second.facing_a, 1)
    assert (found.security, found.last_reason, found.packets) == ("waiting", "no-key", 0)


@pytest.mark.parametrize(("limit", "policy"), [(0, os.SCHED_OTHER), (1, os.SCHED_RR)])
def test_workers_go_first_where_the_limit_allows_it(engine_process, call, rtp, tmp_path, limit, policy):
    """LimitRTPRIO as the engine sees it, for a container's root may not raise it. A successor goes first too."""
    told, python = tmp_path / "limit.so", tmp_path / "python"
    source = Path(__file__).with_name("rtprio_limit.c")
    subprocess.run(["gcc", "-shared", "-fPIC", f"-DLIMIT={limit}", "-o", told, source], check=True)
    python.write_text(f'#!/bin/sh\nLD_PRELOAD={told} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    process = engine_process("--workers", "2", python=str(python))
    assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER, "who watches them takes its turn"
    workers = process.client.summary().processes
    assert {os.sched_getscheduler(each) for each in workers} == {policy}
    opened = call.open(process.client)
    os.kill(workers[0], signal.SIGKILL)
    wait_replaced(process.client, workers[0], time.monotonic())
    assert {os.sched_getscheduler(each) for each in process.client.summary().processes} == {policy}
    opened.a.send(rtp(1), opened.facing_a.key)
    assert opened.b.receive()[0] == rtp(1)


def test_rtcp_names_the_ssrcs_that_rtp_has_after_a_crash(engine_process, call, rtp, rtcp, make_peer):
    """Sender's reports go under the same other SSRC as their stream, and reports on it come back under the former."""
    process = engine_process("--workers", "2")
    call = secure(call).open(process.client)
    a, b = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    facing_a = replace(call.facing_a, local_port=30001, kind="rtcp", source_port=a.name[1], target_port=b.name[1])
    facing_b = replace(call.facing_b, local_port=30003, kind="rtcp", source_port=b.name[1], target_port=a.name[1])
    process.client.set_pair(facing_a, facing_b)
    for pid in process.client.summary().processes:
        os.kill(pid, signal.SIGKILL)
        wait_replaced(process.client, pid, time.monotonic())
    session = receiver()
    call.a.send(rtp(1, ssrc=7), call.facing_a.key)
    seen = session.unprotect(call.b.receive()[0])[8:12]
    assert seen != (7).to_bytes(4, "big")
    a.send(rtcp(7), facing_a.key)
    assert session.unprotect_rtcp(b.receive()[0])[4:8] == seen
    report = bytes.fromhex("81c90007") + (9).to_bytes(4, "big") + seen + bytes(20)
    b.send(report, facing_b.key)
    assert a.receive()[0][8:12] == (7).to_bytes(4, "big")
