# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send to a flow of the engine: as the kernel relay has it, also while the source changes or is to be found."""

import os
import signal
import time
from dataclasses import replace

import pytest
from pylibsrtp import Policy, Session

from media.flows import EngineKeys
from tests.patience import PATIENCE

PACKETS = 3
FORGED = int(os.environ.get("VOXDP_FORGED", "500"))
"""Of each stranger; more make it a campaign."""
SUITE, MASTER = "AEAD_AES_128_GCM", bytes(range(28))


@pytest.fixture
def latching(call):
    """A call of which leg a may send from anywhere; it has told an address where it is not."""
    nowhere = ("10.99.0.1", 4000)
    facing_a = replace(call.facing_a, source_address=nowhere[0], source_port=None, latch=PACKETS)
    return replace(
        call,
        facing_a=facing_a,
        facing_b=replace(call.facing_b, target_address=nowhere[0], target_port=nowhere[1]),
    )


def send(peer, call, packets):
    for packet in packets:
        peer.send(packet, call.facing_a.key)


def test_consistent_packets_bind_the_source_wherever_it_is(engine, latching, rtp, settled):
    call = latching.open(engine)
    send(call.a, call, map(rtp, range(PACKETS - 1)))
    found = settled(engine, call.facing_a, PACKETS - 1)
    assert (found.packets, found.last_reason, found.learned_port, found.learned_address) == (0, "unlatched", None, None)
    send(call.a, call, [rtp(PACKETS - 1)])
    assert call.b.receive()[0] == rtp(PACKETS - 1)
    found = settled(engine, call.facing_a, PACKETS)
    assert (found.packets, found.learned_address, found.learned_port) == (1, *call.a.name)
    call.b.send(rtp(9), call.facing_b.key)
    assert call.a.receive()[0] == rtp(9), "the other direction follows"


@pytest.mark.parametrize("jump", ["ssrc", "sequence", "repeated"])
def test_what_is_not_one_stream_binds_nothing(engine, latching, rtp, settled, jump):
    call = latching.open(engine)
    numbers = {"ssrc": [1] * 30, "sequence": range(0, 30000, 1000), "repeated": [5] * 30}[jump]
    packets = [rtp(number, ssrc=i if jump == "ssrc" else 7) for i, number in enumerate(numbers)]
    send(call.a, call, packets)
    found = settled(engine, call.facing_a, 30)
    assert (found.packets, found.learned_port) == (0, None)


def test_whom_another_carrier_found_is_bound_at_once(engine, latching, rtp, settled, make_peer):
    """And heard from its first packet on, spoken to, and nobody else."""
    elsewhere, stranger = make_peer("127.77.9.8"), make_peer("127.77.9.9")
    latching = replace(latching, facing_a=replace(latching.facing_a, bound=elsewhere.name)).open(engine)
    stranger.send(rtp(1), latching.facing_a.key)
    elsewhere.send(rtp(1), latching.facing_a.key)
    assert latching.b.receive()[0] == rtp(1)
    latching.b.send(rtp(2), latching.facing_b.key)
    assert elsewhere.receive()[0] == rtp(2)
    found = settled(engine, latching.facing_a, 2)
    assert (found.learned_address, found.learned_port, found.rejected) == (*elsewhere.name, 1)
    assert found.flow.bound is None


def test_who_was_bound_is_the_only_one_and_strangers_neither_speak_nor_hear(engine, latching, rtp, settled, make_peer):
    """Injection and bleed: another address, another port, and numbers that would continue the stream."""
    call = latching.open(engine)
    send(call.a, call, map(rtp, range(PACKETS)))
    settled(engine, call.facing_a, PACKETS)
    strangers = [make_peer("127.77.9.9"), make_peer(call.a.name[0])]
    for number in range(FORGED):
        for stranger in strangers:
            stranger.send(rtp(PACKETS + number), call.facing_a.key)
        if number % 50 == 49:
            settled(engine, call.facing_a, PACKETS + 2 * (number + 1))  # more would not fit into the socket
    found = settled(engine, call.facing_a, PACKETS + 2 * FORGED)
    assert (found.packets, found.rejected, found.learned_address) == (1, 2 * FORGED, call.a.name[0])
    call.b.send(rtp(1), call.facing_b.key)
    assert call.a.receive()[0] == rtp(1)
    assert [stranger.waiting() for stranger in strangers] == [0, 0]


def test_a_stranger_among_the_first_packets_starts_the_count_anew(engine, latching, rtp, settled, make_peer):
    call, stranger = latching.open(engine), make_peer("127.77.9.9")
    for number in range(30):
        send(call.a, call, [rtp(number)])
        stranger.send(rtp(number, ssrc=9), call.facing_a.key)
        settled(engine, call.facing_a, 2 * number + 2)
    assert settled(engine, call.facing_a, 60).packets == 0


def test_with_keys_only_what_is_authentic_binds(engine, latching, rtp, settled, make_peer):
    keyed = replace(latching, facing_a=replace(latching.facing_a, open=EngineKeys(SUITE, MASTER))).open(engine)
    stranger = make_peer("127.77.9.9")
    send(stranger, keyed, [rtp(number) + bytes(16) for number in range(50)])
    assert settled(engine, keyed.facing_a, 50).forged == 50
    policy = Policy(key=MASTER, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    sender = Session(policy)
    send(keyed.a, keyed, [sender.protect(rtp(number)) for number in range(PACKETS)])
    assert settled(engine, keyed.facing_a, 50 + PACKETS).learned_address == keyed.a.name[0]


def test_what_was_latched_outlives_the_worker(engine_process, latching, rtp, settled):
    process = engine_process("--workers", "1")
    call = latching.open(process.client)
    send(call.a, call, map(rtp, range(PACKETS)))
    settled(process.client, call.facing_a, PACKETS)
    (pid,) = process.client.summary().processes
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while process.client.summary().processes == (pid,):
        assert time.monotonic() < until
        time.sleep(0.01)
    call.b.send(rtp(4), call.facing_b.key)
    assert call.a.receive()[0] == rtp(4)


def moved(call, make_peer):
    """Leg a is to be elsewhere from now on."""
    there = make_peer("127.77.3.1")
    source = replace(call.facing_a, source_address=there.name[0], source_port=there.name[1])
    target = replace(call.facing_b, target_address=there.name[0], target_port=there.name[1])
    return there, replace(call, facing_a=source, facing_b=target)


def test_the_former_source_is_heard_until_the_new_one_has_spoken(engine, call, rtp, make_peer, settled):
    call.open(engine)
    send(call.a, call, [rtp(0)])
    there, after = moved(call, make_peer)
    after.open(engine)
    send(call.a, after, [rtp(1)])
    for number in (0, 1):
        assert call.b.receive()[0] == rtp(number)
    there.send(b"nonsense", after.facing_a.key)
    send(call.a, after, [rtp(2)])
    assert call.b.receive()[0] == rtp(2), "nonsense is nothing"
    there.send(rtp(3), after.facing_a.key)
    assert call.b.receive()[0] == rtp(3)
    send(call.a, after, [rtp(4)])
    assert settled(engine, after.facing_a, 6).rejected == 1


def test_of_two_changes_in_haste_the_one_who_spoke_last_is_the_former(engine, call, rtp, make_peer, settled):
    call.open(engine)
    send(call.a, call, [rtp(0)])
    there, after = moved(call, make_peer)
    after.open(engine)
    _, further = moved(call, make_peer)
    further.open(engine)
    there.send(rtp(1), further.facing_a.key)
    send(call.a, further, [rtp(2)])
    found = settled(engine, further.facing_a, 3)
    assert (found.packets, found.rejected) == (2, 1)
    call.open(engine)
    send(call.a, call, [rtp(3)])
    assert settled(engine, call.facing_a, 4).packets == 3


def test_a_hold_ends_the_former_sources_right(engine, call, rtp, make_peer, settled):
    call.open(engine)
    send(call.a, call, [rtp(0)])
    settled(engine, call.facing_a, 1)
    replace(call, facing_a=replace(call.facing_a, held=True)).open(engine)
    _, after = moved(call, make_peer)
    after.open(engine)
    send(call.a, after, [rtp(1)])
    assert settled(engine, after.facing_a, 2).rejected == 1


def test_whoever_is_followed_hands_over_to_consistent_packets_from_elsewhere(engine, latching, rtp, settled, make_peer):
    """Until then who is bound is heard and spoken to, and single packets of strangers change nothing."""
    call = replace(latching, facing_a=replace(latching.facing_a, follows=True)).open(engine)
    other, stranger = make_peer("127.77.9.9"), make_peer("127.77.8.8")
    send(call.a, call, map(rtp, range(PACKETS)))
    assert call.b.receive()[0] == rtp(PACKETS - 1)
    send(stranger, call, [rtp(90)])
    send(other, call, [rtp(100, ssrc=9), rtp(101, ssrc=9)])
    send(call.a, call, [rtp(PACKETS)])
    assert call.b.receive()[0] == rtp(PACKETS)
    assert settled(engine, call.facing_a, PACKETS + 4).learned_address == call.a.name[0]
    send(other, call, [rtp(102, ssrc=9)])
    assert call.b.receive()[0] == rtp(102, ssrc=9)
    found = settled(engine, call.facing_a, PACKETS + 5)
    assert (found.learned_address, found.learned_port) == other.name
    call.b.send(rtp(5), call.facing_b.key)
    assert other.receive()[0] == rtp(5)


def test_who_listens_elsewhere_is_sent_to_where_it_said(engine, latching, rtp, make_peer):
    ear = make_peer("127.77.7.7")
    facing_b = replace(latching.facing_b, target_address=ear.name[0], target_port=ear.name[1])
    call = replace(latching, facing_a=replace(latching.facing_a, apart=True), facing_b=facing_b).open(engine)
    send(call.a, call, map(rtp, range(PACKETS)))
    assert call.b.receive()[0] == rtp(PACKETS - 1)
    call.b.send(rtp(5), call.facing_b.key)
    assert ear.receive()[0] == rtp(5)
