# SPDX-License-Identifier: GPL-3.0-or-later
"""The media plan: a codec that both legs have stays in the kernel; where there is none, the engine transcodes."""

from dataclasses import replace

import pytest

from ctl.sessions.codecs import additional, media_plan, settled, transcoding
from ctl.sessions.streams import Codec, Stream
from media.stages import TRANSCODE, TranscodeStage
from sip.sdp import SessionDescription
from tests.ctl.world import ALICE, BOB, PLANE, RELAY_A, RELAY_B, World, m_lines, rtp_port, sdp

PCMU, PCMA, G722 = Codec(0, "PCMU", 8000), Codec(8, "PCMA", 8000), Codec(9, "G722", 8000)
G729 = Codec(18, "G729", 8000)
OPUS = Codec(111, "opus", 48000, "useinbandfec=1;maxaveragebitrate=24000;usedtx=1")
ILBC, NOISE = Codec(97, "iLBC", 8000), Codec(13, "CN", 8000)
EVERY = ("PCMU", "PCMA", "G722", "G729", "opus")


def stream(*codecs: Codec, **changes: object) -> Stream:
    audio = Stream("audio", "RTP/AVP", ALICE, 4000, 4001, ALICE, codecs=codecs, telephone_events=(101,), ptime=20)
    return replace(audio, **changes)


@pytest.mark.parametrize(
    ("have", "wanted", "expected"),
    [
        ((PCMU,), EVERY, ["8 PCMA/8000", "9 G722/8000", "18 G729/8000", "96 opus/48000/2", "97 telephone-event/48000"]),
        ((OPUS,), ("PCMU", "opus"), ["0 PCMU/8000"]),
        ((PCMU, PCMA), ("PCMU", "PCMA"), []),
        ((ILBC,), EVERY, []),
        ((), EVERY, []),
        ((PCMU,), (), []),
    ],
)
def test_what_is_offered_in_addition(have, wanted, expected):
    found = additional(stream(*have), wanted, (0, 101))
    assert [f"{each.payload_type} {each.rtpmap}" for each in found] == expected


def test_dynamic_types_in_use_are_not_taken():
    assert additional(stream(PCMU), ("opus",), range(96, 127))[0].payload_type == 127
    assert additional(stream(PCMU), ("opus",), range(96, 128)) == ()


@pytest.mark.parametrize("changes", [{"media": "video"}, {"rtp_port": 0}])
def test_nothing_is_offered_where_nothing_is_spoken(changes):
    assert additional(stream(PCMU, **changes), EVERY, ()) == ()


@pytest.mark.parametrize(
    ("offered", "answered", "counts"),
    [
        ((PCMU, PCMA), (PCMA, PCMU), (PCMA, PCMU)),
        ((PCMU,), (PCMU, PCMA), (PCMU,)),
        ((PCMU,), (PCMA,), (PCMA,)),
        ((PCMU,), (PCMA, PCMU), (PCMA,)),
    ],
)
def test_what_counts_of_an_answer(offered, answered, counts):
    assert settled(offered, answered) == counts


@pytest.mark.parametrize(
    ("offer", "answer", "chosen", "transcoded", "reason"),
    [
        ((PCMU, OPUS), (PCMU,), ("PCMU", "PCMU"), False, "both legs have it"),
        ((OPUS, PCMU), (PCMU,), ("PCMU", "PCMU"), False, "both legs have it"),
        ((PCMU,), (OPUS,), ("PCMU", "opus"), True, "transcoding PCMU to opus: the legs have no codec in common"),
        ((ILBC,), (PCMU,), ("", ""), False, "no codec in common, and none that can be transcoded"),
    ],
)
def test_the_plan_prefers_what_both_have_and_says_why_not(offer, answer, chosen, transcoded, reason):
    plan = media_plan(stream(*offer), stream(*answer))
    assert (plan.chosen, plan.transcoded, plan.reason) == (chosen, transcoded, reason)


def test_the_plan_tells_what_was_offered_in_all():
    plan = media_plan(stream(PCMU), stream(PCMA), ("PCMA", "opus"))
    assert (plan.offered, plan.answered) == (("PCMU", "PCMA", "opus"), ("PCMA",))


def test_settings_follow_what_the_legs_said():
    found = transcoding(stream(PCMU, NOISE), stream(OPUS, telephone_events=(110,), ptime=40))
    assert found is not None
    assert (found.heard.name, found.heard.events, found.heard.noise, found.heard.rate) == ("PCMU", 101, 13, 0)
    sent = found.sent
    assert (sent.name, sent.payload_type, sent.rate, sent.ptime, sent.events) == ("opus", 111, 8000, 40, 110)
    assert (sent.bitrate, sent.dtx, sent.fec, sent.loss, sent.noise) == (24000, True, True, 10, None)


def test_opus_has_the_rate_of_the_other_leg():
    assert transcoding(stream(G722), stream(OPUS)).sent.rate == 16000
    assert transcoding(stream(OPUS), stream(G729)).heard.rate == 8000


@pytest.mark.parametrize(("parameters", "dtx"), [("annexb=yes", True), ("annexb=no", False), ("", False)])
def test_annex_b_is_used_where_it_was_asked_for(parameters, dtx):
    assert transcoding(stream(PCMU), stream(replace(G729, parameters=parameters))).sent.dtx is dtx


@pytest.mark.parametrize("rate", ["", "x", "999999999", "-5"])
def test_an_unreadable_bit_rate_is_none(rate):
    opus = replace(OPUS, parameters=f"maxaveragebitrate={rate}")
    assert transcoding(stream(PCMU), stream(opus)).sent.bitrate == 0


@pytest.fixture
def transcoding_world(world: World) -> World:
    world.plane = replace(PLANE, transcode=EVERY)
    world.restart()
    return world


def audio(formats: str, *lines: str) -> str:
    return f"m=audio 4000 RTP/AVP {formats}\r\n" + "".join(f"a={line}\r\n" for line in lines)


EVENTS = "rtpmap:101 telephone-event/8000"


def test_an_offer_names_further_codecs_after_the_callers(transcoding_world: World) -> None:
    to_bob = transcoding_world.sessions.offer("call", "a", sdp(ALICE, audio("0 101", EVENTS)), ALICE, 0.0, toward=BOB)
    assert m_lines(to_bob)[0].split()[3:] == [b"0", b"101", b"8", b"9", b"18", b"96", b"97"]
    assert b"a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n" in to_bob
    assert b"a=rtpmap:97 telephone-event/48000\r\na=fmtp:97 0-15\r\n" in to_bob


def test_a_common_codec_stays_in_the_kernel_and_the_rest_is_not_answered(transcoding_world: World) -> None:
    _, to_alice = transcoding_world.call(a=sdp(ALICE, audio("0 101", EVENTS)), b=sdp(BOB, audio("0 8 101", EVENTS)))
    assert m_lines(to_alice)[0].split()[3:] == [b"0", b"101"]
    assert {flow.path for flow in transcoding_world.sessions.query("call")} == {"kernel"}


def test_without_a_common_codec_the_engine_transcodes(transcoding_world: World) -> None:
    world = transcoding_world
    to_bob, to_alice = world.call(a=sdp(ALICE, audio("0 101", EVENTS)), b=sdp(BOB, audio("8")))
    assert m_lines(to_alice)[0].split()[3:] == [b"0", b"101"]
    assert to_alice.count(b"a=rtpmap:0 PCMU/8000\r\n") == to_alice.count(b"telephone-event") == 1
    rtp = [flow for flow in world.sessions.query("call") if flow.kind == "rtp"]
    assert {flow.path for flow in rtp} == {"engine"}
    assert {flow.reason for flow in rtp} == {
        "transcoding PCMU to PCMA: the legs have no codec in common",
        "transcoding PCMA to PCMU: the legs have no codec in common",
    }
    kind, settings = world.engine.stages[(RELAY_A, rtp_port(to_alice))]
    plan = next(each for each in world.programmer.rtp_of("call") if each.leg == "a")
    assert (kind, settings) == (TRANSCODE, TranscodeStage(plan.transcoding.heard, plan.transcoding.sent).pack())
    assert plan.transcoding.heard.events == 101
    assert plan.transcoding.sent.events is None
    assert (RELAY_B, rtp_port(to_bob)) in world.engine.stages
    (shown,) = world.sessions.media_plans("call")
    assert (shown.chosen, shown.transcoded) == (("PCMU", "PCMA"), True)
    assert shown.offered == ("PCMU", "PCMA", "G722", "G729", "opus")
    assert world.sessions.media_plans("another") == []


@pytest.mark.parametrize(
    ("codec", "offered", "answered"),
    [
        ("96 opus/48000/2", "minptime=10;useinbandfec=0;maxaveragebitrate=24000;usedtx=1", "useinbandfec=1"),
        ("96 opus/48000/2", "", "useinbandfec=1"),
        ("18 G729/8000", "annexb=no", "annexb=no"),
        ("18 G729/8000", "annexb=yes", ""),
        ("18 G729/8000", "", ""),
        ("0 PCMU/8000", "", ""),
    ],
)
def test_an_answer_says_what_we_want_to_hear_of_who_is_transcoded(
    transcoding_world: World, codec: str, offered: str, answered: str
) -> None:
    """Our wishes, not the offerer's, which say what it wants of us (RFC 7587 §7)."""
    number = codec.split()[0]
    lines = [f"rtpmap:{codec}", *([f"fmtp:{number} {offered}"] if offered else [])]
    _, to_alice = transcoding_world.call(a=sdp(ALICE, audio(number, *lines)), b=sdp(BOB, audio("8")))
    (medium,) = SessionDescription.parse(to_alice).media
    assert medium.formats == [number]
    assert list(medium.attributes("fmtp")) == ([f"{number} {answered}"] if answered else [])
    assert len(medium.attributes("rtpmap")) == 1


def test_rtcp_of_a_transcoded_stream_ends_in_the_engine_too(transcoding_world: World) -> None:
    world = transcoding_world
    world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, audio("8")))
    flows = [(flow.kind, flow.path) for flow in world.sessions.query("call")]
    assert sorted(flows) == 2 * [("rtcp", "engine")] + 2 * [("rtp", "engine")]
    world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, audio("0")))
    assert {flow.path for flow in world.sessions.query("call")} == {"kernel"}


def test_what_is_transcoded_is_counted_by_the_clock_and_named_by_the_codec_that_comes(transcoding_world: World) -> None:
    opus = audio("96", "rtpmap:96 opus/48000/2")
    transcoding_world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, opus))
    rtp = transcoding_world.programmer.rtp_of("call")
    assert {(plan.leg, plan.codecs[0].name, plan.clock_rate) for plan in rtp} == {
        ("a", "PCMU", 8000),
        ("b", "opus", 48000),
    }


def test_a_re_invite_to_a_common_codec_goes_back_to_the_kernel(transcoding_world: World) -> None:
    world = transcoding_world
    world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, audio("8")))
    world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, audio("0")))
    assert {flow.path for flow in world.sessions.query("call")} == {"kernel"}
    assert world.engine.flows == {}


def test_a_restart_finds_a_transcoded_call_in_place(transcoding_world: World) -> None:
    world = transcoding_world
    world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, audio("8")))
    state = world.sessions.snapshot("call")
    world.restart()
    assert world.sessions.restore("call", state) == 0
    assert {each.path for each in world.programmer.rtp_of("call")} == {"engine"}


def test_no_engine_no_transcoding(transcoding_world: World) -> None:
    world = transcoding_world
    world.sessions.data_plane = replace(world.plane, engine=False)
    with pytest.raises(Exception, match="no engine runs"):
        world.call(a=sdp(ALICE, audio("0")), b=sdp(BOB, audio("8")))


def test_nothing_changes_where_transcoding_is_not_wanted(world: World) -> None:
    to_bob, to_alice = world.call(a=sdp(ALICE, audio("0 101", EVENTS)), b=sdp(BOB, audio("8")))
    assert m_lines(to_bob)[0].split()[3:] == [b"0", b"101"]
    assert m_lines(to_alice)[0].split()[3:] == [b"8"]
    assert {flow.path for flow in world.sessions.query("call")} == {"kernel"}
