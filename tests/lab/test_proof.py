# SPDX-License-Identifier: GPL-3.0-or-later
import io
import struct

import pytest

from vm import proof
from vm.audio import Heard
from vm.capture import Datagram
from vm.proof import Evidence, Hearing
from vm.screen import Screen
from vm.topology import plan

TOPOLOGY = plan("two", "lab")
A, B = TOPOLOGY.a, TOPOLOGY.b
ANSWER = b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n"


def rtp(time, source, target, number, ssrc):
    payload = struct.pack("!BBHII", 0x80, 0, number, 0, ssrc) + bytes(160)
    return Datagram(time, (source, 10000), (target, 20000), payload)


def sip(time, end, payload):
    return Datagram(time, (end.address, 5060), (end.relay, 5060), payload)


def wire(end, own, other, lost=()):
    """One call of a hundred packets each way, with some before the answer and some after the BYE."""
    sent = [rtp(number / 10, end.address, end.relay, number, own) for number in range(120)]
    heard = [rtp(number / 10, end.relay, end.address, number, other) for number in range(10, 110) if number not in lost]
    signalling = [sip(0.5, end, ANSWER), sip(0.95, end, b"ACK sip:x"), sip(10.95, end, b"BYE sip:x")]
    return sorted(sent + heard + signalling, key=lambda each: each.time)


def evidence(lost=(), **changes):
    good = {
        "topology": TOPOLOGY,
        "at_a": wire(A, 1, 2),
        "at_b": wire(B, 2, 1, lost),
        "hearings": [
            Hearing("alice", 1000, Heard(1000.2, 35.0, 9.0, 0.0)),
            Hearing("bob", 440, Heard(439.9, 35.0, 9.0, 0.0)),
        ],
        "records": [{"directions": [{"path": "kernel", "packets": 100}, {"path": "kernel", "packets": 100}]}],
        "placed": 1,
        "kills": 1,
    }
    return Evidence(**(good | changes))


def judged(found):
    result = found.result(12.34)
    return result, proof.complaints(found, result)


def test_a_good_run_has_no_complaint_and_tells_its_figures():
    result, wrong = judged(evidence())
    assert wrong == []
    assert result.as_json() == {
        "calls": 1,
        "answered": 1,
        "audio_ok": True,
        "rtp_packets": 200,
        "kernel_packets": 200,
        "rtp_lost": 0,
        "controller_kills": 1,
        "cdrs": 1,
        "seconds": 12.3,
    }


def test_a_packet_lost_while_talking_is_told():
    result, wrong = judged(evidence(lost=(50, 51)))
    assert result.rtp_lost == 2
    assert wrong == ["the relay lost 2 RTP packets"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"placed": 2}, "1 of 2 calls were answered"),
        ({"records": []}, "0 call records in the database for 1 calls"),
        (
            {"records": [{"directions": [{"path": "engine", "packets": 200}]}]},
            "the kernel carried 0 of 200 RTP packets",
        ),
        ({"hearings": []}, "0 recordings for 1 calls"),
        ({"at_a": [*wire(A, 1, 2), rtp(5.0, B.address, A.address, 1, 2)]}, f"media went past the relay: {B.address}"),
        (
            {"hearings": [Hearing("alice", 1000, Heard(440.0, 35.0, 9.0, 0.0))] * 2},
            "alice should hear 1000 Hz but heard 440 Hz (35 dB)",
        ),
    ],
)
def test_each_shortcoming_has_its_line(changes, line):
    assert line in judged(evidence(**changes))[1]


@pytest.mark.parametrize(("changes", "verdict"), [({}, "All of it works"), ({"records": []}, "FAILED")])
def test_the_summary_shows_every_claim_and_the_verdict(changes, verdict):
    stream = io.StringIO()
    found = evidence(**changes)
    result, wrong = judged(found)
    Screen(stream).summary(found, result, wrong)
    assert verdict in stream.getvalue()
    assert ("FAIL" in stream.getvalue()) == bool(wrong)
    assert "\x1b" not in stream.getvalue()


def test_a_table_is_redrawn_in_place_on_a_terminal_and_shown_once_elsewhere():
    terminal, pipe = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    for stream in (terminal, pipe):
        Screen(stream).live(lambda: "HEAD\nrow\n", seconds=0.05, interval=0.02)
    assert pipe.getvalue() == "  HEAD\n  row\n"
    assert "\x1b[2A\x1b[J  HEAD" in terminal.getvalue()
