# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports as they stand on the wire, whole, cut and hostile."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ctl.observe.rtcp import Report, ReportBlock, parse

CORPUS = os.environ.get("VOXDP_CORPUS")


def block(source=7, fraction=64, lost=5, highest=1000, jitter=80, last=0x12345678, delay=65536):
    return struct.pack("!IIIIII", source, fraction << 24 | lost & 0xFFFFFF, highest, jitter, last, delay)


def packet(kind, body, count=0):
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def sender_report(*blocks, ntp=0x0000123456780000):
    return packet(200, struct.pack("!IQIII", 9, ntp, 160, 10, 1600) + b"".join(blocks), len(blocks))


READ = ReportBlock(7, 0.25, 5, 1000, 80, 0x12345678, 1.0)


def test_a_sender_report_tells_its_time_and_what_it_received():
    assert parse(sender_report(block())) == [Report(9, 0x12345678, (READ,))]


def test_a_receiver_report_has_no_time():
    assert parse(packet(201, struct.pack("!I", 9) + block(), 1)) == [Report(9, None, (READ,))]


def test_losses_may_be_negative():
    assert parse(packet(201, struct.pack("!I", 9) + block(lost=-3), 1))[0].blocks[0].lost == -3


def test_other_packets_of_a_compound_are_passed_over():
    source = packet(202, struct.pack("!IBB", 9, 1, 2) + b"me", 1)
    assert parse(sender_report() + source + packet(201, struct.pack("!I", 9) + block(), 1)) == [
        Report(9, 0x12345678, ()),
        Report(9, None, (READ,)),
    ]


def test_of_a_cut_packet_the_whole_blocks_are_read():
    whole = sender_report(block(), block(source=8))
    assert parse(whole[:-1])[0].blocks == (READ,)
    assert parse(whole[:28])[0].blocks == ()
    assert parse(whole[:27]) == []


def test_blocks_beyond_the_packet_are_not_read_from_the_next():
    assert parse(packet(201, struct.pack("!I", 9), 3) + sender_report())[0].blocks == ()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x00" * 40, b"\xff" * 40])
def test_what_is_no_rtcp_is_nothing(data):
    assert parse(data) == []


@given(some.binary(max_size=200))
def test_nothing_raises(data):
    parse(data)


@given(some.binary(max_size=120), some.integers(0, 31), some.sampled_from([200, 201, 202]))
def test_nothing_raises_with_a_good_head(data, count, kind):
    for report in parse(struct.pack("!BBH", 0x80 | count, kind, len(data) // 4) + data):
        assert len(report.blocks) <= count


if CORPUS:

    @pytest.mark.parametrize(
        "path", sorted((Path(CORPUS) / "pj-fuzz-rtcp").glob("*.[rb]*")), ids=lambda path: path.name
    )
    def test_seeds_of_others_fuzzers(path):
        data = path.read_bytes()
        for end in range(len(data) + 1):
            parse(data[:end])
