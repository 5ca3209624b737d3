# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proxy asks of codecs, of RTCP beside RTP, of fax and of packets, and what both sides get to see of it."""

from dataclasses import replace

import pytest

from ctl.kernel.flowrule import FlowAction, FlowFlag
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.sessions.treatment import NOTHING
from media.stages import REPORTS, TRANSCODE, ReportsStage
from tests.ctl.world import ALICE, BOB, RELAY_A, rtp_port, sdp

AUDIO = (
    "m=audio 4000 RTP/AVP 8 0 9 96 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-15\r\n"
)
PLAIN = "m=audio 4000 RTP/AVP 0\r\n"
MUXED = f"{PLAIN}a=rtcp-mux\r\n"
FAX = "m=image 4000 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"


@pytest.fixture
def relay(world):
    return Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0))


def ask(relay, command, where, body, *flags, call="c", **keys):
    keys = {key.replace("_", "-"): value for key, value in keys.items()}
    asked = {"call-id": call, "from-tag": "a", "sdp": sdp(where, body).decode(), "flags": list(flags), **keys}
    reply = relay.handle({"command": command, "received-from": ["IP4", where], **asked}, "127.0.0.1", 0.0)
    assert reply["result"] == "ok", reply
    return reply["sdp"]


def exchange(relay, offer, answer, *flags, said=(), **keys):
    """What the other side is offered, and what the offerer is answered."""
    offered = ask(relay, "offer", ALICE, offer, *flags, **keys)
    return offered, ask(relay, "answer", BOB, answer, *said, to_tag="b")


def formats(body):
    return next(line for line in body.decode().splitlines() if line.startswith("m=")).split()[3:]


def control(body):
    """How far the port for RTCP is from that of RTP, and whether it may be that itself."""
    lines = body.decode().splitlines()
    port = next(int(line[7:]) for line in lines if line.startswith("a=rtcp:"))
    return port - rtp_port(body), "a=rtcp-mux" in lines


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (["codec-offer-PCMU"], "8 0 9 96 101"),
        (["codec-strip-PCMA", "codec-strip-opus/48000/2"], "0 9 101"),
        (["codec-strip-opus/48000/1"], "8 0 9 96 101"),
        (["codec-strip-96"], "8 0 9 101"),
        (["codec-strip-all", "codec-except-PCMU", "codec-except-G722"], "0 9"),
        (["codec-strip-all", "codec-offer-G722", "codec-offer-PCMU"], "9 0"),
        (["codec-strip-all"], "8 0 9 96 101"),
        (["codec-mask-PCMA"], "0 9 96 101"),
        (["codec-consume-PCMA"], "0 9 96 101"),
        (["codec-accept-PCMA"], "8 0 9 96 101"),
        (["codec-mask-all", "codec-transcode-G729"], "18"),
        (["codec-strip-all", "codec-transcode-G729"], "18"),
        (["codec-strip-all", "codec-transcode-PCMU"], "0"),
        (["codec-transcode-G729"], "8 0 9 96 18 101"),
        (["codec-ignore-PCMA"], "0 9 96 101"),
        (["codec-ignore-all"], "8 0 9 96 101"),
        (["codec-ignore-PCMU", "codec-transcode-PCMU"], "8 9 96 0 101"),
        (["codec-strip-PCMU", "codec-transcode-PCMU"], "8 0 9 96 101"),
    ],
)
def test_which_codecs_the_other_side_is_offered(relay, flags, left):
    assert formats(ask(relay, "offer", ALICE, AUDIO, *flags)) == left.split()


@pytest.mark.parametrize(
    ("flags", "answer", "back", "path"),
    [
        (["codec-mask-all", "codec-transcode-G729"], "18", "8 101", "engine"),
        (["codec-mask-PCMA", "codec-mask-PCMU"], "9", "9", "kernel"),
        (["codec-accept-PCMA"], "18", "8 101", "engine"),
        ([], "0", "0", "kernel"),
    ],
)
def test_what_is_hidden_is_transcoded_where_both_have_nothing_else(relay, flags, answer, back, path):
    _, answered = exchange(relay, AUDIO, f"m=audio 4000 RTP/AVP {answer}\r\n", *flags)
    assert formats(answered) == back.split()
    (dialogue,) = relay.calls.get("c").dialogues
    assert {view.path for view in relay.sessions.query(dialogue.session) if view.kind == "rtp"} == {path}


def test_an_answer_may_be_of_one_codec(relay):
    both = "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    assert formats(exchange(relay, AUDIO, both, said=["single-codec"])[1]) == ["0", "101"]


NEVER, BESIDES, ALONE = (1, False), (1, True), (0, True)


@pytest.mark.parametrize(
    ("word", "offer", "answer", "offered", "answered"),
    [
        ("", PLAIN, PLAIN, NEVER, NEVER),
        ("", MUXED, PLAIN, BESIDES, NEVER),
        ("", MUXED, MUXED, BESIDES, ALONE),
        ("offer", PLAIN, PLAIN, BESIDES, NEVER),
        ("offer", PLAIN, MUXED, BESIDES, NEVER),
        ("offer", MUXED, PLAIN, BESIDES, NEVER),
        ("offer", MUXED, MUXED, BESIDES, ALONE),
        ("require", PLAIN, MUXED, ALONE, NEVER),
        ("require", MUXED, PLAIN, ALONE, NEVER),
        ("require", MUXED, MUXED, ALONE, ALONE),
        ("demux", PLAIN, PLAIN, NEVER, NEVER),
        ("demux", MUXED, PLAIN, NEVER, ALONE),
        ("demux", MUXED, MUXED, NEVER, ALONE),
        ("accept", PLAIN, MUXED, NEVER, NEVER),
        ("accept", MUXED, PLAIN, BESIDES, ALONE),
        ("accept", MUXED, MUXED, BESIDES, ALONE),
        ("reject", PLAIN, MUXED, NEVER, NEVER),
        ("reject", MUXED, PLAIN, BESIDES, NEVER),
        ("reject", MUXED, MUXED, BESIDES, NEVER),
    ],
)
def test_rtcp_beside_rtp_on_either_side(relay, word, offer, answer, offered, answered):
    keys = {"rtcp_mux": [word]} if word else {}
    assert tuple(map(control, exchange(relay, offer, answer, **keys))) == (offered, answered)


def test_fax_passes_as_it_is(relay, world):
    offered, answered = exchange(relay, FAX, FAX, transport_protocol="RTP/AVP")
    lines = offered.decode().splitlines()
    assert lines[-5:] == [
        f"m=image {rtp_port(offered)} udptl t38",
        f"c=IN IP4 {RELAY_A}",
        "a=T38FaxVersion:0",
        "a=T38FaxUdpEC:t38UDPRedundancy",
        "a=sendrecv",
    ]
    rule = world.table.at((RELAY_A, rtp_port(answered)))
    assert (rule.action, rule.flags, rule.target) == (FlowAction.RAW, FlowFlag.RTCP, (BOB, 4000))
    query = relay.handle({"command": "query", "call-id": "c"}, "", 0.0)
    (stream,) = query["tags"]["a"]["medias"][0]["streams"]
    assert stream["flags"][0] == "filled"


def test_a_call_may_turn_into_fax(relay, world):
    exchange(relay, PLAIN, PLAIN)
    offered = ask(relay, "offer", BOB, FAX, from_tag="b", to_tag="a")
    answered = ask(relay, "answer", ALICE, FAX, from_tag="b", to_tag="a")
    assert {world.table.at((RELAY_A, rtp_port(each))).action for each in (offered, answered)} == {FlowAction.RAW}


@pytest.mark.parametrize("words", [["decode"], ["force"]])
def test_fax_is_not_made_of_sound(relay, words):
    keys = {"call-id": "c", "from-tag": "a", "sdp": sdp(ALICE, FAX).decode(), "T.38": words}
    assert "T.38" in relay.handle({"command": "offer", **keys}, "", 0.0)["error-reason"]


@pytest.mark.parametrize(("tos", "dscp"), [("184", 46), (0, 0), (-1, None), (None, None)])
def test_packets_are_marked(relay, world, tos, dscp):
    keys = {} if tos is None else {"TOS": tos}
    sides = exchange(relay, PLAIN, PLAIN, **keys)
    assert {world.table.at((RELAY_A, rtp_port(each))).dscp for each in sides} == {dscp}


@pytest.mark.parametrize(("keys", "dscp"), [({}, 46), ({"TOS": 0}, 0), ({"TOS": "-1"}, None)])
def test_packets_are_marked_as_configured_where_nothing_is_said(world, keys, dscp):
    relay = Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(tos=184))
    assert {world.table.at((RELAY_A, rtp_port(each))).dscp for each in exchange(relay, PLAIN, PLAIN, **keys)} == {dscp}


@pytest.mark.parametrize(("keys", "dscp"), [({}, 46), ({"TOS": 136}, 34), ({"TOS": -1}, None)])
def test_an_answer_may_mark_packets_otherwise(relay, world, keys, dscp):
    ask(relay, "offer", ALICE, PLAIN, TOS=184)
    local = (RELAY_A, rtp_port(ask(relay, "answer", BOB, PLAIN, **{"to-tag": "b", **keys})))
    assert world.table.at(local).dscp == dscp


def test_always_transcode_means_that_codecs_may_differ(relay, world):
    ask(relay, "offer", ALICE, PLAIN, "always-transcode")
    ask(relay, "answer", BOB, "m=audio 4000 RTP/AVP 8\r\n", **{"to-tag": "b"})
    assert {view.reason.partition(":")[0] for view in world.programmer.flows() if view.kind == "rtp"} == {
        "transcoding PCMU to PCMA",
        "transcoding PCMA to PCMU",
    }


def test_rtcp_may_be_ours(relay, world):
    """Of both sides, RTP and RTCP by way of the engine; a stage for digits reports too; a new offer ends it."""
    exchange(relay, PLAIN, PLAIN, "generate-RTCP")
    assert {(view.kind, view.path, view.reason) for view in world.programmer.flows()} == {
        (kind, "engine", "RTCP of our own") for kind in ("rtp", "rtcp")
    }
    rtp = [view.local for view in world.programmer.flows() if view.kind == "rtp"]
    assert {world.engine.stages[local] for local in rtp} == {(REPORTS, ReportsStage(8000).pack())}
    world.sessions.treat("ng/1/c", replace(world.sessions.treatments("ng/1/c"), silenced=frozenset("ab")))
    assert {world.engine.stages[local][0] for local in rtp} == {TRANSCODE}
    world.sessions.treat("ng/1/c", NOTHING)
    assert {world.engine.stages[local] for local in rtp} == {(REPORTS, ReportsStage(8000).pack())}
    ask(relay, "offer", ALICE, PLAIN, to_tag="b", generate_RTCP="off")
    ask(relay, "answer", BOB, PLAIN, to_tag="b")
    assert {view.path for view in world.programmer.flows()} == {"kernel"}


@pytest.mark.parametrize(("keys", "shared"), [({}, True), ({"generate-RTCP": "on"}, False)])
def test_both_sides_have_keys_of_their_own_where_rtcp_is_ours(relay, keys, shared):
    """What we say under a sender's name may not be sealed with what that one seals with."""
    secured = f"m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}\r\n"
    offered = ask(relay, "offer", ALICE, secured, **keys).decode()
    assert ("A" * 40 in offered) == shared
    assert "a=crypto:" in offered


def test_what_has_been_here_is_not_touched_again(relay):
    first = ask(relay, "offer", ALICE, PLAIN, "loop-protect")
    keys = {"call-id": "other", "from-tag": "x", "sdp": first.decode(), "flags": ["loop-protect"]}
    again = relay.handle({"command": "offer", **keys}, "", 0.0)
    assert again["sdp"] == first
    assert relay.calls.find("other") is None


@pytest.mark.parametrize(
    ("words", "suites"),
    [
        ([], ["AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_80"]),
        (["only-AES_CM_128_HMAC_SHA1_80"], ["AES_CM_128_HMAC_SHA1_80"]),
        (
            ["no-AEAD_AES_256_GCM", "no-AEAD_AES_128_GCM", "no-NULL_HMAC_SHA1_80"],
            ["AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_80"],
        ),
    ],
)
def test_which_suites_the_other_side_is_offered(relay, words, suites):
    offered = ask(relay, "offer", ALICE, PLAIN, transport_protocol="RTP/SAVP", SDES=words, DTLS="off").decode()
    lines = [line for line in offered.splitlines() if line.startswith("a=crypto:")]
    assert [line.split()[1] for line in lines] == suites


def test_keys_are_padded_and_read_if_they_are_not(relay):
    padded = ask(relay, "offer", ALICE, PLAIN, transport_protocol="RTP/SAVP", DTLS="off").decode()
    line = next(line for line in padded.splitlines() if "AES_256_CM_HMAC_SHA1_80" in line)
    assert line.endswith("==")
    crypto = f"{line.split()[0]} AES_256_CM_HMAC_SHA1_80 inline:{'A' * 62}"
    secured = f"m=audio 6000 RTP/SAVP 0\r\n{crypto}\r\n"
    assert ask(relay, "answer", BOB, secured, to_tag="b")


def test_no_suite_at_all_is_an_error(relay):
    keys = {"call-id": "c", "from-tag": "a", "sdp": sdp(ALICE, PLAIN).decode(), "transport-protocol": "RTP/SAVP"}
    asked = {**keys, "SDES": ["only-F8_128_HMAC_SHA1_80"], "DTLS": "off", "command": "offer"}
    assert "without SDES" in relay.handle(asked, "", 0.0)["error-reason"]


@pytest.mark.parametrize(
    ("words", "offered", "answered"),
    [([], "actpass", "active"), (["passive"], "actpass", "passive"), (["passive"], "passive", "active")],
)
def test_who_begins_a_dtls_handshake_may_be_asked_for(relay, world, words, offered, answered):
    fingerprint = "SHA-256 " + ":".join(["AB"] * 32)
    world.sessions.data_plane = replace(world.sessions.data_plane, fingerprint=fingerprint)
    secured = f"m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=setup:{offered}\r\na=fingerprint:{fingerprint}\r\n"
    ask(relay, "offer", ALICE, secured, transport_protocol="RTP/AVP")
    assert f"a=setup:{answered}" in ask(relay, "answer", BOB, PLAIN, to_tag="b", DTLS=words).decode().splitlines()
