# SPDX-License-Identifier: GPL-3.0-or-later
"""RTCP where a stage makes another stream of what comes: each side hears of the engine's, not of the other side's."""

import struct
import time
from dataclasses import replace

import pytest

from media.stages import REPORTS, CodecSettings, ReportsStage, TranscodeStage
from tests.media.dsp import Codec, Rtp, Side, packets, speech

PCMU, PCMA = CodecSettings("PCMU", 0), CodecSettings("PCMA", 8)
OPUS = CodecSettings("opus", 111, rate=8000, fec=True, bitrate=24000)
SECONDS_1900 = 2208988800
SENDER_REPORT = struct.Struct(">BBHI IIIII")
BLOCK = struct.Struct(">I I I I I I")


@pytest.fixture
def reports(engine, call, make_peer):
    """The peers' sockets for RTCP, once the call transcodes."""
    call.open(engine)
    a, b = make_peer("127.77.1.1"), make_peer("127.77.2.1")
    ports = {"source_port": a.name[1], "target_port": b.name[1]}
    facing_a = replace(call.facing_a, local_port=30001, kind="rtcp", **ports)
    facing_b = replace(call.facing_b, local_port=30003, kind="rtcp", source_port=b.name[1], target_port=a.name[1])
    engine.set_pair(facing_a, facing_b)
    for flow, stage in ((call.facing_a, TranscodeStage(PCMU, PCMA)), (call.facing_b, TranscodeStage(PCMA, PCMU))):
        engine.set_stage(flow.key, stage.kind, stage.pack())
    return a, b, facing_a, facing_b


def talk(call, rtp, numbers):
    for number in numbers:
        call.a.send(rtp(number, ssrc=7), call.facing_a.key)
        call.b.send(b"\x80\x08" + rtp(number, ssrc=8)[2:], call.facing_b.key)
        time.sleep(0.02)


def test_each_side_is_reported_to_about_the_stream_it_gets_and_the_one_it_sends(call, rtp, reports):
    _, b, _, facing_b = reports
    talk(call, rtp, [65530, 65531, 65533, *range(65534, 65560)])
    sent, _ = call.b.receive()
    report, source = b.receive()
    assert source == facing_b.key
    first, kind, words, ssrc, seconds, _, _, packets, octets = SENDER_REPORT.unpack_from(report)
    assert (first, kind, words) == (0x81, 200, 12)
    assert ssrc == int.from_bytes(sent[8:12], "big")
    assert abs(seconds - SECONDS_1900 - time.time()) < 5
    assert packets > 0
    assert octets == 160 * packets
    about, lost, highest, _, _, _ = BLOCK.unpack_from(report, 28)
    assert about == 8
    assert lost & 0xFFFFFF <= 1
    assert highest & 0xFFFF in {number & 0xFFFF for number in range(65530, 65560)}
    assert report[52:54] == b"\x81\xca"
    assert report[60] == 1


def test_reports_of_one_side_do_not_reach_the_other(engine, call, rtp, rtcp, reports, settled):
    a, b, facing_a, _ = reports
    a.send(rtcp(7), facing_a.key)
    assert settled(engine, facing_a, 1).packets == 1
    assert b.waiting() == 0
    engine.set_stage(call.facing_a.key, 0)
    a.send(rtcp(7), facing_a.key)
    assert b.receive()[0] == rtcp(7)


def test_a_stream_that_passes_as_it_is_can_have_reports_of_ours(engine, call, rtp, rtcp, reports, settled):
    """Under the sender's own name, for its packets go on as they came; and what it reports goes no further."""
    a, b, facing_a, facing_b = reports
    for flow in (call.facing_a, call.facing_b):
        engine.set_stage(flow.key, REPORTS, ReportsStage(8000).pack())
    before = time.monotonic()
    talk(call, rtp, range(30))
    received = [call.b.receive()[0] for _ in range(30)]
    assert received == [rtp(number, ssrc=7) for number in range(30)]
    a.send(rtcp(7), facing_a.key)
    assert settled(engine, facing_a, 1).packets == 1
    report, source = b.receive()
    assert source == facing_b.key
    first, kind, _, ssrc, _, _, stamp, packets, octets = SENDER_REPORT.unpack_from(report)
    assert (first, kind, ssrc) == (0x81, 200, 7)
    assert 0 < packets <= 30
    assert octets == 160 * packets
    assert abs(stamp - 160 * packets) < 8000 * (time.monotonic() - before)
    assert BLOCK.unpack_from(report, 28)[0] == 8
    assert b.waiting() == 0


def test_the_round_trip_can_be_told_from_our_report(call, rtp, reports):
    """The middle of the time stamp of a sender's report comes back, and how long ago that came."""
    _, b, _, facing_b = reports
    stamp = 0x1234567890ABCDEF
    b.send(struct.pack(">BBHIQIII", 0x80, 200, 6, 8, stamp, 0, 1, 160), facing_b.key)
    time.sleep(0.1)
    talk(call, rtp, range(10))
    _, _, _, _, last, delay = BLOCK.unpack_from(b.receive()[0], 28)
    assert last == stamp >> 16 & 0xFFFFFFFF
    assert 0.1 <= delay / 65536 < 2


def test_what_a_leg_reports_is_told_and_so_is_what_we_report_in_its_stead(engine, call, rtp, reports, settled):
    """At most twice a second; ours of the leg's stream, without what we say of the other one."""
    _, b, _, facing_b = reports
    report = struct.pack(">BBHIIIIIII", 0x81, 201, 7, 8, 7, 64 << 24, 0, 80, 0, 0)
    began = time.monotonic()
    for _ in range(5):
        b.send(report, facing_b.key)
    settled(engine, facing_b, 5)
    before = time.monotonic()
    talk(call, rtp, range(10))
    ours = b.receive()[0]
    events = [event for event in engine.events() if event.type == "rtcp"]
    told = [event.data for event in events if event.flow == facing_b.key]
    assert set(told) == {report}
    assert len(told) <= 1 + 2 * (before - began)
    (stood_in,) = [event for event in events if event.flow == call.facing_a.key]
    assert stood_in.data == ours[:28]
    assert before < stood_in.time < time.monotonic()


def test_reports_of_a_stream_that_passes_are_told(engine, call, make_peer):
    call.open(engine)
    a = make_peer("127.77.1.1")
    facing_a = replace(call.facing_a, local_port=30001, kind="rtcp", source_port=a.name[1])
    engine.set_pair(facing_a, replace(call.facing_b, local_port=30003, kind="rtcp", target_port=a.name[1]))
    sender = struct.pack(">BBHIQIII", 0x80, 200, 6, 7, 1 << 40, 0, 1, 160)
    report = sender + bytes.fromhex("81ca0006000000070110") + b"x" * 16 + bytes(2)
    a.send(report, facing_a.key)
    assert call.b.receive()[0] == report
    (event,) = engine.events()
    assert (event.flow, event.type, event.data) == (facing_a.key, "rtcp", report[:64])


def redundant(received):
    """How many of Opus packets in narrow band carry the packet before along: the bit behind that of speech."""
    return sum(len(each.payload) > 2 and each.payload[1] >> 6 & 1 for each in received)


@pytest.mark.alone
def test_opus_carries_more_along_once_its_receiver_loses_packets(engine, call, reports):
    """And as much as before when nothing is lost any more: the share that is reckoned with falls by halves."""
    _, b, _, facing_b = reports
    stage = TranscodeStage(PCMU, OPUS)
    engine.set_stage(call.facing_a.key, stage.kind, stage.pack())
    sound = list(packets(Side(Codec("PCMU")), speech(8000, 1000)))

    def spoken(first):
        for number, packet in enumerate(sound):
            numbered = replace(packet, sequence=first + number, timestamp=160 * (first + number))
            call.a.send(numbered.bytes(), call.facing_a.key)
            time.sleep(0.015)
        call.b.socket.settimeout(0.3)
        received = []
        try:
            while True:
                received.append(Rtp.parse(call.b.receive()[0]))
        except TimeoutError:
            return received

    def lost(share):
        b.send(struct.pack(">BBHIIIIIII", 0x81, 201, 7, 8, 7, share << 24, 0, 80, 0, 0), facing_b.key)

    assert redundant(spoken(0)) == 0
    lost(64)
    assert redundant(spoken(50)) > 10
    for _ in range(6):
        lost(0)
    assert redundant(spoken(100)) <= 1
