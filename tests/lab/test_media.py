# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs that differ, and recordings: real phones on either side, and a gateway of G.729, which no phone here has."""

import itertools
import json
import struct
import time
import wave
from array import array
from pathlib import Path

import pytest

from tests.lab.test_flows import measured
from tests.media.dsp import Codec, Rtp, Side, heard, packets, sine
from vm import audio, capture
from vm.process import PATIENCE, LabError
from vm.sipp import Sipp

BOTH = [(1000, 1000), (440, 440)]
KEY = "5a" * 32


def settings(tmp_path):
    keys = tmp_path / "recording.keys"
    keys.write_text(KEY + "\n")
    return f'\n[recording]\nkey_file = "{keys}"\n'


TRANSCODE = 'transcode = ["PCMU", "PCMA", "G722", "opus"]'


@pytest.mark.parametrize("codec", ["G722/16000", "opus/48000/2"])
def test_phones_without_a_common_codec_hear_each_other(world, codec):
    world = world(codecs=("PCMU/8000", codec), media=TRANSCODE)
    world.connect(world.alice, world.bob)
    flows = world.carried(150)
    name = codec.partition("/")[0]
    assert {flow["path"] for flow in flows} == {"engine"}
    assert {flow["reason"] for flow in flows} == {
        f"transcoding PCMU to {name}: the legs have no codec in common",
        f"transcoding {name} to PCMU: the legs have no codec in common",
    }
    world.alice.dtmf("5")
    assert world.bob.wait("CALL_DTMF_START")["param"] == "5"
    if name == "opus":  # RTCP comes every five seconds: once is enough
        for flow in measured(world):
            assert (flow["codec"], flow["far_loss_pct"]) == ("PCMU" if flow["leg"] == "a" else "opus", 0), flow
            assert 0 <= flow["rtt_ms"] < 2000, flow
            assert 2 < flow["mos_min"] <= flow["mos"] <= 4.5, flow
    record = world.finish(world.alice, world.bob)
    assert name != "opus" or all(0 <= each["rtt_ms"] < 2000 for each in record["directions"])
    assert [tones_in(phone.heard()[0])[0] for phone in (world.alice, world.bob)] == [1000, 440]


G729 = Side(Codec("G729"))
GATEWAY, G729_SNR = 1500, 10
"""The tone of the gateway, Hz; and what its codec, which is made for voices, leaves of a tone at the worst, dB."""
SCENARIO = Path(__file__).parent / "scenarios/g729.xml"


def test_a_gateway_that_has_g729_alone_is_heard_and_hears(world, tmp_path):
    """In PCMU, and in opus by DTLS-SRTP. Its sound is coded beforehand; what reached it is decoded from its wire."""
    world = world(media='transcode = ["PCMU", "G729", "opus"]')
    carol = world.phone("carol", world.lab.a, slot=1, encryption="dtls_srtp", codecs="opus/48000/2")
    carol.registered()
    lines = SCENARIO.read_text().replace("SOUND", str(tmp_path / "tone.pcap"))
    write_capture(tmp_path / "tone.pcap", packets(G729, sine(8000, GATEWAY, 6000)))
    (tmp_path / "gateway.xml").write_text(lines)
    Sipp(world.lab, world.lab.b, "gateway", ["-sf", str(tmp_path / "gateway.xml")], 5070).listening()
    command = world.controller.command
    command("trunk", "add", "gateway", f"host={world.lab.b.address}", "port=5070", "probe_seconds=0")
    command("route", "add", "france", "prefix=33", f"trunks={json.dumps([{'trunk': 'gateway'}])}")
    calls = (
        (world.alice, "transcoding PCMU to G729: the legs have no codec in common", "PCMU"),
        (carol, "DTLS-SRTP ends here", "opus"),
    )
    for phone, reason, codec in calls:
        phone.dial("sip:+33123456789@voxdp.lab")
        phone.established()
        a, b = world.carried(150)
        assert (a["reason"], a["codec"], b["codec"]) == (reason, codec, "G729")
        assert (a["lost"], b["lost"]) == (0, 0)
        phone.hangup()
        phone.closed()
        assert world.controller.until("flows", "flow", "list", count=0) == []
        said = audio.judge(audio.read(phone.heard()[0]))
        assert said.is_tone(GATEWAY, least_snr=G729_SNR), said
        assert (said.gap, said.clicks) == (0, 0), said
    reached = [
        Rtp.parse(each.payload)
        for each in capture.rtp(world.seen()[1])
        if each.payload[1] & 127 == 18 and each.target[0] == world.lab.b.address
    ]
    streams = [list(stream) for _, stream in itertools.groupby(reached, lambda packet: packet.ssrc)]
    for stream, tone, snr in zip(streams, (440, 700), (20, G729_SNR), strict=True):
        got = audio.judge(heard(G729, stream))
        assert got.is_tone(tone, least_snr=snr), got
        assert (got.gap, got.clicks) == (0, 0), got


def write_capture(path, stream):
    """RTP, 20 ms apart, as SIPp plays it: frames of Ethernet, whose addresses it makes its own."""
    data = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for number, packet in enumerate(stream):
        datagram = packet.bytes()
        udp = struct.pack("!HHHH", 4000, 4002, 8 + len(datagram), 0)
        ip = struct.pack("!BBHHHBBH8x", 0x45, 0, 28 + len(datagram), number & 0xFFFF, 0, 64, 17, 0)
        frame = bytes(12) + b"\x08\x00" + ip + udp + datagram
        data += struct.pack("=IIII", number // 50, number % 50 * 20_000, len(frame), len(frame)) + frame
    path.write_bytes(data)


def test_phones_with_a_common_codec_stay_in_the_kernel(world):
    world = world(codecs=("PCMU/8000,PCMA/8000", "PCMA/8000"), media=TRANSCODE)
    world.connect(world.alice, world.bob)
    assert {flow["path"] for flow in world.carried(100)} == {"kernel"}
    world.finish(world.alice, world.bob)
    assert world.tones_heard() == BOTH


def kept(world):
    """The recordings in the store, once there is one."""
    until = time.monotonic() + PATIENCE
    while not (found := world.controller.ask("recording", "list")):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def tones_in(path):
    """The strongest tone of each channel, heard at 8 kHz; to ten Hz, as a packet that comes late bends it."""
    with wave.open(str(path)) as file:
        pcm, channels = array("h", file.readframes(file.getnframes())), file.getnchannels()
        step = channels * file.getframerate() // audio.RATE
    return [round(audio.judge(pcm[channel::step]).frequency, -1) for channel in range(channels)]


def record(world, *words):
    (call,) = world.controller.ask("call", "list")
    return world.controller.ask("call", "record", *words[:1], call["id"], *words[1:])


def test_a_call_of_the_kernel_is_recorded_and_stays_there(world, tmp_path):
    world = world(more=settings(tmp_path))
    world.connect(world.alice, world.bob)
    world.carried(20)
    with pytest.raises(LabError, match=r"recording\.consent"):
        record(world, "start")
    state = record(world, "start", "--consent", "given")
    flows = world.carried(200)
    assert {flow["path"] for flow in flows} == {"kernel"}
    assert record(world, "pause")["paused"] is True
    assert record(world, "resume")["paused"] is False
    world.controller.kill()
    world.controller.start()
    world.carried(350)
    assert record(world, "show")["id"] == state["id"]
    world.finish(world.alice, world.bob)
    (found,) = kept(world)
    assert found["id"] == state["id"]
    checked = world.controller.ask("recording", "verify", found["id"])
    assert (checked["complete"], checked["consent"], checked["dropped_bytes"]) == (True, "given", 0)
    assert checked["seconds"] > 3
    world.controller.command("recording", "export", found["id"], "-w", str(tmp_path / "call.wav"))
    assert tones_in(tmp_path / "call.wav") == [440, 1000]
    assert world.tones_heard() == BOTH
