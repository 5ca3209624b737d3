# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of docs/verdicts.md that end a packet: what is passed, what is dropped, and under which reason."""

import pytest

from tests.bpf import model
from tests.bpf.cases import INDEX, Case, check, ids, sent
from tests.bpf.packets import CALLER, RELAY, frame, rtcp, rtp

STUN = bytes.fromhex("000100002112a442") + bytes(12)
OPTIONS = bytes.fromhex("94040000")  # router alert
LONG_EXTENSION = bytes.fromhex("bede0002") + bytes(7)
MARKED = {"marker": True, "payload_type": 63}
MARKED_96 = {"marker": True, "payload_type": 96}

PASSED = [
    Case("IPv6", frame(ethertype=0x86DD), model.NOT_IP),
    Case("ARP", frame(ethertype=0x0806), model.NOT_IP),
    Case("Ethernet header alone", frame()[:14], model.NOT_IP),
    Case("IPv4 header cut off", frame()[:33], model.NOT_IP),
    Case("IP version 6 under the EtherType of IPv4", frame(version=6), model.NOT_IP),
    Case("IP header of four words", frame(ihl=4), model.NOT_IP),
    Case("TCP", frame(protocol=6), model.NOT_UDP),
    Case("TCP in a fragment", frame(protocol=6, fragment=0x2000), model.NOT_UDP),
    Case("another host", frame(to=("10.0.0.9", 10000)), model.NOT_OURS),
    Case("fragment to another host", frame(to=("10.0.0.9", 10000), fragment=0x2000), model.NOT_OURS),
    Case("first fragment", frame(fragment=0x2000), model.FRAGMENT),
    Case("last fragment", frame(fragment=0x00B9), model.FRAGMENT),
    Case("SIP", frame(b"OPTIONS sip:a SIP/2.0\r\n", to=("10.0.0.1", 5060)), model.NOT_OURS),
    Case("port just below the range", frame(to=("10.0.0.1", 9999)), model.NOT_OURS),
    Case("port just above the range", frame(to=("10.0.0.1", 11000)), model.NOT_OURS),
    Case("UDP header cut off", frame()[:41], model.NOT_OURS),
    Case("IP options outside the range", frame(to=("10.0.0.1", 5060), options=OPTIONS), model.NOT_OURS),
    Case("IP options that fill the frame", frame(options=OPTIONS * 10)[:60], model.NOT_OURS),
    Case("flow of the engine", frame(), model.TO_ENGINE, flow={"action": model.ENGINE}),
    Case("stranger to a flow of the engine", frame(source=("192.0.2.66", 4000)), model.TO_ENGINE, flow={"action": 1}),
    Case("check of ICE", frame(STUN), model.TO_ENGINE, flow={"stun": True}),
    Case("answer to a check of ICE", frame(b"\x01\x01" + STUN[2:]), model.TO_ENGINE, flow={"stun": True}),
    Case("check from elsewhere", frame(STUN, source=("192.0.2.66", 4000)), model.TO_ENGINE, flow={"stun": True}),
    Case("check to a held flow", frame(STUN), model.TO_ENGINE, flow={"stun": True, "action": model.BLOCK}),
]

DROPPED = [
    Case("IP options", frame(options=OPTIONS), model.OPTIONS),
    Case("the most options there can be", frame(options=OPTIONS * 10), model.OPTIONS),
    Case("options and a bad length", frame(options=OPTIONS, total=28), model.OPTIONS),
    Case("TTL 0", frame(ttl=0), model.TTL),
    Case("TTL 1", frame(ttl=1), model.TTL),
    Case("TTL 1 and a bad length", frame(ttl=1, length=9), model.TTL),
    Case("IP length beyond the frame", frame(rtp(), total=201, length=181), model.BAD_LENGTH),
    Case("UDP length beyond the IP length", frame(rtp(), length=181), model.BAD_LENGTH),
    Case("UDP length short of the IP length", frame(rtp(), length=179), model.BAD_LENGTH),
    Case("UDP length 7", frame(b"", length=7, total=27), model.BAD_LENGTH),
    Case("UDP length 0", frame(b"", length=0, total=20), model.BAD_LENGTH),
    Case("IP length 0", frame(total=0), model.BAD_LENGTH),
    Case("both lengths wrong alike", frame(length=0xFFFF, total=19), model.BAD_LENGTH),
    Case("source port 0", frame(source=("192.0.2.10", 0)), model.BAD_SOURCE_PORT),
    Case("never used port", frame(to=("10.0.0.1", 10001)), model.UNKNOWN_PORT),
    Case("same port of the other address", frame(to=("10.0.0.2", 10000)), model.UNKNOWN_PORT),
    Case("last port of the range", frame(to=("10.0.0.1", 10999)), model.UNKNOWN_PORT),
    Case("TTL 1 to a never used port", frame(to=("10.0.0.1", 10001), ttl=1), model.TTL),
    Case("flow off", frame(), model.SWITCHED_OFF, flow={"state": model.OFF}),
    Case("flow off, stranger", frame(source=("192.0.2.66", 4000)), model.SWITCHED_OFF, flow={"state": model.OFF}),
    Case("flow blocked", frame(), model.BLOCKED, flow={"action": model.BLOCK}),
    Case("no payload", frame(b""), model.SHORT),
    Case("payload of 7 bytes", frame(rtp()[:7]), model.SHORT),
    Case("RTP header of 11 bytes", frame(rtp()[:11]), model.SHORT),
    Case("RTP header cut, rest in the padding", frame(rtp()[:11], trailer=bytes(20)), model.SHORT),
    Case("STUN", frame(STUN), model.BAD_VERSION),
    Case(
        "check of ICE to a flow that is off", frame(STUN), model.SWITCHED_OFF, flow={"stun": True, "state": model.OFF}
    ),
    Case("check cut off", frame(STUN[:19]), model.BAD_VERSION, flow={"stun": True}),
    Case(
        "check cut off, rest in the padding", frame(STUN[:19], trailer=bytes(9)), model.BAD_VERSION, flow={"stun": True}
    ),
    Case("check of another cookie", frame(bytes(20)), model.BAD_VERSION, flow={"stun": True}),
    Case("DTLS where checks pass", frame(b"\x16" + STUN[1:]), model.BAD_VERSION, flow={"stun": True}),
    Case("DTLS", frame(bytes.fromhex("16fefd0000000000") + bytes(40)), model.BAD_VERSION),
    Case("RTP version 1", frame(rtp(first=0x40)), model.BAD_VERSION),
    Case("RTP version 3", frame(rtp(first=0xC0)), model.BAD_VERSION),
    Case("CSRC list beyond the payload", frame(rtp(first=0x8F, body=bytes(59))), model.SHORT),
    Case("extension header cut off", frame(rtp(first=0x90, body=bytes(3))), model.SHORT),
    Case("extension beyond the payload", frame(rtp(first=0x90, body=LONG_EXTENSION)), model.SHORT),
    Case("extension of the greatest length", frame(rtp(first=0x90, body=b"\xff" * 160)), model.SHORT),
    Case("RTP to an RTCP port", frame(), model.BAD_RTCP, flow={"flags": model.RTCP}),
    Case("RTCP of type 191", frame(rtcp(191)), model.BAD_RTCP, flow={"flags": model.RTCP}),
    Case("RTCP of type 224", frame(rtcp(224)), model.BAD_RTCP, flow={"flags": model.RTCP}),
    Case("RTCP longer than the payload", frame(rtcp(words=7)), model.BAD_RTCP, flow={"flags": model.RTCP}),
    Case("RTCP of 65,536 words", frame(rtcp(words=0xFFFF)), model.BAD_RTCP, flow={"flags": model.RTCP}),
    Case(
        "multiplexed RTCP longer than the payload", frame(rtcp(words=7)), model.BAD_RTCP, flow={"flags": model.RTCP_MUX}
    ),
    Case("RTCP of 4 bytes", frame(bytes.fromhex("80c90000")), model.SHORT, flow={"flags": model.RTCP}),
    Case("RTCP version 1", frame(rtcp(first=0x40)), model.BAD_VERSION, flow={"flags": model.RTCP}),
]

ALLOWED = [
    Case("do not fragment", frame(fragment=0x4000), out=sent(fragment=0x4000)),
    Case("CSRC list that fits", frame(rtp(first=0x8F, body=bytes(60))), out=sent(rtp(first=0x8F, body=bytes(60)))),
    Case(
        "extension that fits",
        frame(rtp(first=0x91, body=bytes(4) + bytes.fromhex("bede0001") + bytes(4))),
        out=sent(rtp(first=0x91, body=bytes(4) + bytes.fromhex("bede0001") + bytes(4))),
    ),
    Case("RTP header alone", frame(rtp(body=b"")), out=sent(rtp(body=b""))),
    Case(
        "shortest RTCP",
        frame(rtcp(201, words=1, body=b"")),
        out=sent(rtcp(201, words=1, body=b"")),
        flow={"flags": model.RTCP_MUX},
    ),
    Case(
        "marker and payload type 63",
        frame(rtp(**MARKED)),
        out=sent(rtp(**MARKED)),
    ),
    Case(
        "marker and payload type 96",
        frame(rtp(**MARKED_96)),
        out=sent(rtp(**MARKED_96)),
    ),
    Case("first port of the range", frame(to=RELAY), out=sent()),
]


@pytest.mark.parametrize("case", PASSED, ids=ids(PASSED))
def test_passed_untouched(relay, case):
    check(relay, case)
    assert relay.ledgers[INDEX].tally.dropped == 0


@pytest.mark.parametrize("case", DROPPED, ids=ids(DROPPED))
def test_dropped(relay, case):
    check(relay, case)
    tally = relay.ledgers[INDEX].tally
    to_flow = case.packet[30:34] == frame()[30:34] and case.packet[36:38] == frame()[36:38]
    expected = (1, case.reason) if to_flow or case.reason == model.OPTIONS else (0, 0)
    assert (tally.dropped, tally.last_reason) == expected
    assert relay.flows[INDEX].track.packets == 0


@pytest.mark.parametrize("case", ALLOWED, ids=ids(ALLOWED))
def test_allowed(relay, case):
    check(relay, case)


def test_rtcp_on_its_own_port(relay):
    check(relay, Case("", frame(rtcp()), out=sent(rtcp()), flow={"flags": model.RTCP}))
    track = relay.flows[INDEX].track
    assert (track.packets, track.bytes, track.window) == (1, 28, 0)


def test_reasons_count_whole_frames(relay):
    for ttl in (1, 1, 64):
        relay.run(frame(source=CALLER, ttl=ttl))
    assert relay.reasons() == {model.TTL: [2, 428], model.UNKNOWN_PORT: [1, 214]}
