# SPDX-License-Identifier: GPL-3.0-or-later
"""How sound is coded and packed where a proxy asks for it: lengths of packets, and bit rates."""

import pytest

from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from media.stages import CodecSettings, TranscodeStage
from tests.ctl.ng.test_options import ask, exchange, formats
from tests.ctl.world import ALICE, BOB, sdp

PCMU = "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
BOTH = "m=audio 4000 RTP/AVP 8 0\r\n"
OPUS = "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n"
REASONS = {20: "packets of 30 ms become 20 ms", 30: "packets of 20 ms become 30 ms"}


@pytest.fixture
def relay(world):
    return Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0))


def carried(world):
    """Path and reason by the address that RTP goes to."""
    return {view.target[0]: (view.path, view.reason) for view in world.programmer.flows() if view.kind == "rtp"}


def stages(world):
    """The settings of stages, by the address that their sound goes to."""
    targets = {view.local: view.target[0] for view in world.programmer.flows() if view.kind == "rtp"}
    return {targets[local]: settings for local, (_, settings) in world.engine.stages.items() if local in targets}


def ptimes(body):
    return [line for line in body.decode().splitlines() if line.startswith("a=ptime")]


@pytest.mark.parametrize(
    ("keys", "offered", "answered", "to_bob", "to_alice"),
    [
        ({}, 20, 20, None, None),
        ({"ptime": "20"}, 20, 20, None, None),
        ({"ptime": 30}, 30, 20, 30, 20),
        ({"ptime-reverse": 30}, 20, 30, 20, 30),
        ({"ptime": 30, "ptime-reverse": "30"}, 30, 30, None, None),
    ],
)
def test_packets_become_longer_or_shorter_on_the_way(relay, world, keys, offered, answered, to_bob, to_alice):
    sides = exchange(relay, PCMU, PCMU, **keys)
    assert [ptimes(each) for each in sides] == [[f"a=ptime:{offered}"], [f"a=ptime:{answered}"]]
    if to_bob is None:
        assert carried(world) == {BOB: ("kernel", ""), ALICE: ("kernel", "")}
        return
    assert carried(world) == {BOB: ("engine", REASONS[to_bob]), ALICE: ("engine", REASONS[to_alice])}
    heard = CodecSettings("PCMU", 0, events=101, event_rate=8000)
    found = stages(world)
    for who, ptime in ((BOB, to_bob), (ALICE, to_alice)):
        sent = CodecSettings("PCMU", 0, events=101, event_rate=8000, ptime=ptime)
        assert found[who][-len(TranscodeStage(heard, sent).pack()) :] == TranscodeStage(heard, sent).pack()


@pytest.mark.parametrize(("ptime", "left", "path"), [("", ["0", "8"], "kernel"), (40, ["0"], "engine")])
def test_where_packets_become_others_one_codec_is_left_to_both(relay, world, ptime, left, path):
    """Or an offerer could send by either name, and one is decoded."""
    assert formats(exchange(relay, BOTH, BOTH.replace("8 0", "0 8"), ptime=ptime)[1]) == left
    found = {(view.codec, view.path) for view in world.programmer.flows() if view.kind == "rtp"}
    assert found == {("PCMU", path), ("PCMU" if ptime else "PCMA", path)}


def test_what_was_asked_of_packets_holds_until_another_is(relay, world):
    exchange(relay, PCMU, PCMU, ptime=30)
    back = ask(relay, "offer", BOB, PCMU, from_tag="b", to_tag="a")
    ask(relay, "answer", ALICE, PCMU, from_tag="b", to_tag="a", ptime=50)
    assert carried(world) == {BOB: ("engine", REASONS[30]), ALICE: ("engine", REASONS[20])}
    assert ptimes(back) == ["a=ptime:20"]
    assert ptimes(exchange(relay, PCMU, PCMU, to_tag="b", ptime=20)[0]) == ["a=ptime:20"]
    assert carried(world) == {BOB: ("kernel", ""), ALICE: ("kernel", "")}


def test_a_restart_keeps_what_was_asked(relay, world):
    exchange(relay, PCMU, PCMU, ptime=30)
    before, state = carried(world), world.sessions.snapshot("ng/1/c")
    world.restart()
    assert world.sessions.restore("ng/1/c", state) == 0
    assert carried(world) == before


def test_transcoded_sound_is_packed_as_it_is_asked_for(relay, world):
    exchange(relay, PCMU, "m=audio 6000 RTP/AVP 8\r\n", "always-transcode", ptime=60)
    assert (
        TranscodeStage(
            CodecSettings("PCMU", 0, events=101, event_rate=8000), CodecSettings("PCMA", 8, event_rate=8000, ptime=60)
        ).pack()
        == stages(world)[BOB]
    )


@pytest.mark.parametrize(
    ("flags", "answer", "bitrate"),
    [
        (["codec-transcode-opus"], "", 0),
        (["codec-transcode-opus/48000/2/32000"], "", 32000),
        (["codec-transcode-opus", "codec-set-opus/48000/2/16000"], "", 16000),
        (["codec-transcode-opus/48000/2/64000", "codec-set-opus/48000/2/24000"], "", 24000),
        (["codec-transcode-opus", "codec-set-opus/48000/2/32000"], "a=fmtp:96 maxaveragebitrate=20000\r\n", 20000),
        (["codec-transcode-opus", "codec-set-opus/48000/1//"], "", 0),
        (["codec-transcode-opus", "codec-set-PCMU/8000/1/64000"], "", 0),
    ],
)
def test_how_much_opus_takes_may_be_said(relay, world, flags, answer, bitrate):
    exchange(relay, "m=audio 4000 RTP/AVP 0\r\n", OPUS + answer, "codec-mask-all", *flags)
    heard = CodecSettings("PCMU", 0, event_rate=8000)
    sent = CodecSettings("opus", 96, rate=8000, bitrate=bitrate, event_rate=48000)
    assert stages(world)[BOB] == TranscodeStage(heard, sent).pack()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"ptime": 25}, "ptime: packets are of 10, 20, 30, 40, 50, 60 ms on this relay, not of 25"),
        ({"ptime-reverse": 80}, "ptime-reverse: packets are of"),
        ({"ptime": "soon"}, "ptime: not a number"),
        ({"codec": {"set": ["AMR/8000/1/7400"]}}, "codec-set: 'AMR/8000/1/7400' is not one of PCMU, "),
        ({"codec": {"set": ["opus/48000/2/1000"]}}, "codec-set: opus is not made of 1000 bit/s"),
        ({"codec": {"set": ["G729/8000/1/6400"]}}, "codec-set: G729 is not made of 6400 bit/s"),
        ({"codec": {"transcode": ["opus/16000"]}}, "codec-transcode: 'opus/16000' is not opus as it is transcoded"),
        ({"codec": {"transcode": ["opus/48000/2/32000/40"]}}, "says more than a bit rate; for packets see ptime"),
        ({"codec": {"set": ["opus/x"]}}, "'opus/x' is not name/clock rate/channels/bit rate"),
    ],
)
def test_what_cannot_be_coded_or_packed_so_is_refused(relay, keys, reason):
    asked = {"command": "offer", "call-id": "c", "from-tag": "a", "sdp": sdp(ALICE, PCMU).decode(), **keys}
    reply = relay.handle(asked, "127.0.0.1", 0.0)
    assert (reply["result"], reason in reply["error-reason"]) == ("error", True), reply
    assert relay.calls.find("c") is None
