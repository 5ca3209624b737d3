# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is what the field's own tools read."""

import json
import socket
import struct
import subprocess

import pytest

from ctl.observe.pcapng import Writer


def frame(source, target, payload=b"\x80\x00\x00\x01" + bytes(8 + 160)):
    udp = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    return bytes(12) + b"\x08\x00" + header + udp


IN = frame(("192.0.2.10", 4000), ("192.0.2.1", 20000))
OUT = frame(("198.51.100.1", 20002), ("198.51.100.20", 6000))
MOMENT = 1_700_000_000_123_456_789


@pytest.fixture
def path(tmp_path):
    writer = Writer("voxdp 0.1.0")
    blocks = [
        writer.head("voxdp capture"),
        writer.frame("eth0", "in", MOMENT, len(IN), IN, "flow 192.0.2.1:20000, as it came"),
        writer.frame("eth1", "out", MOMENT, len(OUT), OUT, "flow 192.0.2.1:20000, as it left"),
        writer.frame("eth0", "in", MOMENT + 20_000_000, len(IN), IN[:61], "cut"),
    ]
    file = tmp_path / "call.pcapng"
    file.write_bytes(b"".join(blocks))
    return file


def fields(path, *names):
    options = [part for name in names for part in ("-e", name)]
    command = ["tshark", "-r", str(path), "-T", "json", "--no-duplicate-keys", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [[packet["_source"]["layers"].get(name, [""])[0] for name in names] for packet in json.loads(done.stdout)]


def test_tshark_reads_frames_times_and_comments(path):
    found = fields(path, "frame.time_epoch", "frame.interface_name", "frame.comment", "ip.src", "udp.dstport")
    assert found[0] == ["1700000000.123456789", "eth0", "flow 192.0.2.1:20000, as it came", "192.0.2.10", "20000"]
    assert found[1][1:] == ["eth1", "flow 192.0.2.1:20000, as it left", "198.51.100.1", "6000"]
    assert len(found) == 3


def test_tshark_reads_which_way_a_frame_went_and_what_was_cut(path):
    found = fields(path, "frame.packet_flags_direction", "frame.len", "frame.cap_len")
    assert [int(direction, 0) for direction, _, _ in found] == [1, 2, 1]
    assert found[2][1:] == [str(len(IN)), "61"]


def test_capinfos_finds_a_whole_file(path):
    text = subprocess.run(["capinfos", str(path)], capture_output=True, text=True, check=True).stdout
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    assert lines["File type"].strip() == "Wireshark/... - pcapng"
    assert lines["Number of packets"].strip() == "3"
    assert lines["Number of interfaces in file"].strip() == "2"
    assert "voxdp 0.1.0" in text


def test_lengths_that_are_no_multiple_of_four():
    writer = Writer("x")
    for size in range(60, 68):
        block = writer.frame("eth0", "in", 0, size, bytes(size), "c" * size)
        assert len(block) % 4 == 0
