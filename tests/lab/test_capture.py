# SPDX-License-Identifier: GPL-3.0-or-later
import os
import signal
import socket
import struct
import threading

import pytest

from vm import capture, namespace
from vm.capture import Capture, Datagram, Passage
from vm.process import LabError
from vm.topology import Endpoint

A = Endpoint("ns-a", "a0", "198.18.1.11", "198.18.1.1")
B = Endpoint("ns-b", "b0", "198.18.2.12", "198.18.2.1")


def media(number, source, target, kind=0, ssrc=9, time=0.0):
    payload = struct.pack("!BBHII", 0x80, kind, number, 160 * number, ssrc) + bytes(160)
    return Datagram(time, (source, 10000), (target, 20000), payload)


def frame(datagram):
    udp = struct.pack("!HHHH", datagram.source[1], datagram.target[1], 8 + len(datagram.payload), 0)
    addresses = socket.inet_aton(datagram.source[0]) + socket.inet_aton(datagram.target[0])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(datagram.payload), 0, 0, 64, 17, 0)
    return bytes(12) + b"\x08\x00" + header + addresses + udp + datagram.payload


def write(path, frames):
    records = [struct.pack("=IIII", 5, 250000, len(data), len(data)) + data for data in frames]
    path.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))


def test_reads_back_what_a_capture_holds(tmp_path):
    sent = media(7, A.address, A.relay, time=5.25)
    arp = bytes(12) + b"\x08\x06" + bytes(46)
    tcp = bytearray(frame(sent))
    tcp[23] = 6
    write(tmp_path / "x.pcap", [arp, frame(sent) + b"padding", bytes(tcp), b"short"])
    assert list(capture.read(tmp_path / "x.pcap")) == [sent]


def test_a_record_cut_at_the_end_does_not_matter_twice(tmp_path):
    write(tmp_path / "x.pcap", [frame(media(7, A.address, A.relay))])
    whole = (tmp_path / "x.pcap").read_bytes()
    (tmp_path / "x.pcap").write_bytes(whole + whole[24:32])
    assert len(list(capture.read(tmp_path / "x.pcap"))) == 1


def test_a_capture_that_is_held_up_has_all_that_was_sent(one):
    wire = Capture(one, one.a)
    (tcpdump,) = namespace.processes(one.a.namespace)
    os.kill(tcpdump, signal.SIGSTOP)
    with namespace.datagram_socket(one.a.namespace, (one.a.address, 4000)) as sender:
        for number in range(50):
            sender.sendto(bytes([number]), (one.a.relay, 4001))
    threading.Timer(0.3, os.kill, (tcpdump, signal.SIGCONT)).start()
    assert [each.payload for each in wire.stop()] == [bytes([number]) for number in range(50)]


def test_refuses_what_is_no_capture(tmp_path):
    (tmp_path / "x.pcap").write_bytes(b"hello" * 10)
    with pytest.raises(LabError, match="not a capture"):
        list(capture.read(tmp_path / "x.pcap"))


def test_tells_rtp_rtcp_and_sip_apart():
    voice = media(1, A.address, A.relay, kind=0x80)
    report = media(1, A.address, A.relay, kind=200)
    invite = Datagram(0.0, (A.address, 5060), (A.relay, 5060), b"INVITE sip:b SIP/2.0\r\n")
    assert [(d.is_rtp, d.is_rtcp, d.is_sip) for d in (voice, report, invite)] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_counts_what_did_not_arrive_by_sequence_number():
    sent = [media(n, A.address, A.relay) for n in (65534, 65535, 0, 1)]
    received = [media(n, B.relay, B.address) for n in (1, 65534, 0)]
    returning = [media(n, B.address, B.relay, ssrc=4) for n in range(5)]
    assert capture.passage(sent, received + returning, A, B) == Passage(sent=4, lost=1)


def test_a_packet_of_another_stream_does_not_count_as_arrived():
    sent = [media(1, A.address, A.relay, ssrc=1)]
    received = [media(1, B.relay, B.address, ssrc=2)]
    assert capture.passage(sent, received, A, B) == Passage(sent=1, lost=1)


def test_media_past_the_relay_is_found():
    through = [media(1, A.address, A.relay), media(1, A.relay, A.address)]
    assert capture.strangers(through, A) == set()
    assert capture.strangers([*through, media(2, B.address, A.address)], A) == {B.address}


def test_talking_is_from_the_acknowledged_answer_to_the_first_bye():
    answer, refusal = b"SIP/2.0 200 OK\r\nCSeq: 2 INVITE\r\n", b"SIP/2.0 401 No\r\nCSeq: 1 INVITE\r\n"
    lines = [(1, b"INVITE "), (2, refusal), (3, b"ACK "), (4, answer), (5, b"ACK "), (6, b"ACK "), (8, b"BYE ")]
    later = [(9, b"SIP/2.0 200 OK\r\nCSeq: 3 BYE\r\n"), (10, b"ACK "), (11, answer), (12, b"ACK "), (15, b"BYE ")]
    seen = [Datagram(time, (A.address, 5060), (A.relay, 5060), line) for time, line in lines + later]
    assert capture.talking(seen) == [(5, 8), (12, 15)]
