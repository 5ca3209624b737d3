# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that a proxy puts in, takes out or changes, and m-lines that it keeps from the other side."""

import json

import pytest

from ctl.kernel.flowrule import FlowAction
from ctl.ng.front import _from_json, _to_json
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from tests.ctl.world import ALICE, BOB, RELAY_A, sdp

AUDIO = "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
AUDIO += "a=test1\r\na=foo:bar baz quuz\r\n"
VIDEO = "m=video 5000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=test1\r\n"
EXTMAPS = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:3/sendonly urn:x:y z\r\n"


@pytest.fixture
def relay(world):
    return Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0))


def send(relay, command, where, body, flags=(), **keys):
    keys = {key.replace("_", "-"): value for key, value in keys.items()}
    asked = {"call-id": "c", "from-tag": "a", "sdp": sdp(where, body).decode(), "flags": list(flags), **keys}
    return relay.handle({"command": command, "received-from": ["IP4", where], **asked}, "127.0.0.1", 0.0)


def lines(reply):
    assert reply["result"] == "ok", reply
    return reply["sdp"].decode().split("\r\n")


def parts(found):
    """The lines of each part of a description."""
    sections = [[]]
    for line in found[:-1]:
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    return sections


def offered(relay, body=AUDIO + VIDEO, flags=(), **keys):
    return parts(lines(send(relay, "offer", ALICE, body, flags, **keys)))


def test_attributes_are_put_in_at_the_end_of_their_part_and_never_twice(relay):
    asked = {"none": {"add": ["x:1", "x:2"]}, "audio": {"add": ["test1", "y..z:k--v"]}}
    session, audio, video = offered(relay, sdp_attr=asked)
    assert session[-2:] == ["a=x:1", "a=x:2"]
    assert audio[-1] == "a=y z:k=v"
    assert audio.count("a=test1") == 1
    assert "a=y z:k=v" not in video


@pytest.mark.parametrize("word", ["foo", "foo:bar", "foo:bar baz quuz", "FOO:bar"])
def test_an_attribute_is_taken_out_by_its_name_its_first_word_or_as_a_whole(relay, word):
    _, audio, video = offered(relay, sdp_attr={"audio": {"remove": ["test1", word]}})
    assert not [line for line in audio if line.startswith(("a=foo", "a=test1"))]
    assert "a=test1" in video


def test_what_does_not_match_stays(relay):
    before = offered(relay)
    asked = {"audio": {"remove": ["fo", "foo:bar baz"], "substitute": [["nothing", "new"], ["fmtp", "gone"]]}}
    after = offered(relay, sdp_attr=asked)
    assert [line for line in after[1] if "rtcp" not in line][1:] == [line for line in before[1] if "rtcp" not in line][
        1:
    ]


@pytest.mark.parametrize(
    "pairs", [[["test1", "test2"], ["fmtp:101", "fmtp:101 0-16"]], ["test1>test2", "fmtp:101..0-15>fmtp:101..0-16"]]
)
def test_an_attribute_is_changed_where_it_stands(relay, pairs):
    before = offered(relay)[1]
    audio = offered(relay, sdp_attr={"audio": {"substitute": pairs}})[1]
    assert audio.index("a=test2") == before.index("a=test1")
    assert audio.index("a=fmtp:101 0-16") == before.index("a=fmtp:101 0-15")


def test_a_single_pair_need_not_be_in_a_list(relay):
    assert "a=sendonly" in offered(relay, sdp_attr={"audio": {"substitute": ["sendrecv", "sendonly"]}})[1]


def test_all_of_it_can_be_said_by_flags(relay):
    flags = ["sdp-attr-remove-audio-test1", "sdp-attr-substitute-audio-sendrecv>recvonly", "sdp-attr-add-none-k:a--b"]
    session, audio, _ = offered(relay, flags=flags)
    assert session[-1] == "a=k:a=b"
    assert "a=test1" not in audio
    assert "a=recvonly" in audio


def test_all_of_it_can_be_said_in_one_string(relay):
    words = (
        "replace-origin sdp-attr=[audio=[add=[a:1 b] substitute=[[test1 test2]]] global=[add=[c]]] codec=[strip=[101]]"
    )
    session, audio, _ = offered(relay, rtpp_flags=words)
    assert session[-1] == "a=c"
    assert audio[-2:] == ["a=a:1", "a=b"]
    assert "a=test2" in audio
    assert audio[0].split()[3:] == ["0"]


def test_an_answer_is_changed_by_what_it_asks_itself(relay):
    offered(relay, sdp_attr={"audio": {"add": ["x"]}})
    _, audio, video = parts(
        lines(
            send(
                relay, "answer", BOB, AUDIO + VIDEO.replace("5000", "0"), to_tag="b", sdp_attr={"video": {"add": ["y"]}}
            )
        )
    )
    assert "a=x" not in audio
    assert "a=y" not in video, "a refused m-line has no attributes"


def test_changes_are_of_the_text_alone(relay, world):
    offered(relay, sdp_attr={"audio": {"substitute": [["sendrecv", "inactive"]]}})
    lines(send(relay, "answer", BOB, AUDIO + VIDEO, to_tag="b"))
    assert {flow.action for flow in world.table.rules.values()} == {FlowAction.FORWARD}


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"sdp_attr": {"audio": {"add": ["x\r\nm=audio 1 RTP/AVP 0"]}}}, "one line of text"),
        ({"sdp_attr": {"audio": {"add": [""]}}}, "one line of text"),
        ({"sdp_attr": {"audio": {"replace": ["x"]}}}, "only add, remove, substitute"),
        ({"sdp_attr": {"audio": ["x"]}}, "no dictionary"),
        ({"sdp_attr": "x"}, "no dictionary"),
        ({"sdp_attr": {"audio": {"substitute": ["x"]}}}, "pairs"),
        ({"sdp_attr": {"audio": {"substitute": [["x", "y", "z"]]}}}, "pairs"),
        ({"extmap": {"add": ["all"]}}, "only mask and strip"),
        ({"extmap": "x"}, "no dictionary"),
        ({"sdp_media_remove": ["audio", "video"]}, "nothing would be left"),
    ],
)
def test_what_cannot_be_done_is_refused(relay, world, keys, why):
    reply = send(relay, "offer", ALICE, AUDIO + VIDEO, **keys)
    assert reply["result"] == "error"
    assert why in reply["error-reason"]
    assert not world.sessions.calls()


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"flags": ["strip-extmap"]}, 0),
        ({"extmap": {"strip": ["all"]}}, 0),
        ({"extmap": {"strip": ["urn:x:y"]}}, 1),
        ({"extmap": {"mask": ["all"]}}, 0),
        ({"extmap": {"mask": ["urn:x:y"], "strip": ["urn:ietf:params:rtp-hdrext:ssrc-audio-level"]}}, 0),
        ({"extmap": {"strip": ["urn:x"]}}, 2),
    ],
)
def test_header_extensions_are_not_shown(relay, asked, left):
    _, audio = offered(relay, AUDIO + EXTMAPS, **asked)
    assert len([line for line in audio if line.startswith("a=extmap")]) == left


def seen(sections):
    return [section[0].split()[0][2:] for section in sections[1:]]


def test_media_of_a_type_is_kept_from_the_other_side_and_refused_to_who_offered_it(relay, world):
    sections = offered(relay, VIDEO + AUDIO, sdp_media_remove=["video"])
    assert seen(sections) == ["audio"]
    _, video, audio = parts(lines(send(relay, "answer", BOB, AUDIO, to_tag="b")))
    assert video == ["m=video 0 RTP/AVP 0", "c=IN IP4 0.0.0.0"]
    assert audio[0].startswith("m=audio ")
    assert sorted(flow.target[0] for flow in world.table.rules.values()) == [ALICE, ALICE, BOB, BOB]


def test_what_nobody_knows_is_other(relay):
    foreign = "m=foobar 5000 RTP/AVP 10\r\na=rtpmap:10 blah/90000\r\n"
    assert seen(offered(relay, AUDIO + foreign, sdp_media_remove="other")) == ["audio"]


def test_a_medium_whose_name_is_no_text_is_refused_by_that_name(relay):
    body = sdp(ALICE, AUDIO) + b"m=foo\xff 5000 RTP/AVP 10\r\n"
    assert seen(offered(relay, sdp=body.decode("utf-8", "surrogateescape"), sdp_media_remove="other")) == ["audio"]
    assert b"\r\nm=foo\xff 0 RTP/AVP 0\r\n" in send(relay, "answer", BOB, AUDIO, to_tag="b")["sdp"]


def again(relay, who, body, **keys):
    where, tags = (ALICE, {}) if who == "a" else (BOB, {"from_tag": "b", "to_tag": "a"})
    return parts(lines(send(relay, "offer", where, body, **{**({"to_tag": "b"} if who == "a" else tags), **keys})))


def test_later_offers_of_either_side_keep_to_what_each_sees(relay):
    offered(relay, VIDEO + AUDIO, sdp_media_remove=["video"])
    send(relay, "answer", BOB, AUDIO, to_tag="b")
    assert seen(again(relay, "b", AUDIO)) == ["video", "audio"]
    answer = send(relay, "answer", ALICE, VIDEO.replace("5000", "0") + AUDIO, from_tag="b", to_tag="a")
    assert seen(parts(lines(answer))) == ["audio"]
    assert seen(again(relay, "a", VIDEO + AUDIO)) == ["audio"], "it stays so, asked for or not"


def test_what_the_other_side_has_seen_is_refused_but_never_left_out(relay):
    offered(relay, AUDIO + VIDEO)
    send(relay, "answer", BOB, AUDIO + VIDEO, to_tag="b")
    sections = again(relay, "a", AUDIO + VIDEO, sdp_media_remove=["video"])
    assert seen(sections) == ["audio", "video"]
    assert sections[2][0].startswith("m=video 0 ")


def test_an_offer_that_nobody_has_answered_hides_nothing_from_the_next(relay):
    offered(relay, AUDIO + VIDEO, sdp_media_remove=["video"])
    assert seen(offered(relay, AUDIO + VIDEO)) == ["audio", "video"]


def test_names_of_media_that_are_not_seen_are_in_no_group(relay):
    body = "a=group:BUNDLE 0 1\r\na=group:LS 1\r\n" + AUDIO + "a=mid:0\r\n" + VIDEO + "a=mid:1\r\n"
    session, _ = offered(relay, body, sdp_media_remove=["video"])
    assert [line for line in session if "group" in line] == ["a=group:BUNDLE 0"]


def test_m_lines_with_ports_of_their_own_are_in_no_bundle(relay):
    """Nor are the sources of sound named, which may be ours."""
    source = "a=mid:0\r\na=ssrc:1 cname:x\r\n"
    body = "a=group:BUNDLE 0 1\r\na=group:LS 0 1\r\n" + AUDIO + source + VIDEO + "a=mid:1\r\na=bundle-only\r\n"
    for session, audio, video in (
        offered(relay, body),
        parts(lines(send(relay, "answer", BOB, body, to_tag="b"))),
        offered(relay, body.replace("5000", "0")),
    ):
        assert [line for line in session if "group" in line] == ["a=group:LS 0 1"]
        assert "a=mid:0" in audio
        assert not [line for line in (*audio, *video) if line.startswith(("a=ssrc", "a=bundle-only"))]
    session, audio = offered(relay, "a=group:BUNDLE 0\r\n" + AUDIO + source)
    assert "a=group:BUNDLE 0" in session


def test_what_is_hidden_outlives_the_controller(relay):
    offered(relay, AUDIO + VIDEO, sdp_media_remove=["video"])
    send(relay, "answer", BOB, AUDIO, to_tag="b")
    state = json.loads(json.dumps(_to_json(relay.calls.find("c"))))
    relay.calls.remove(relay.calls.find("c"))
    relay.calls.add(_from_json(state))
    assert seen(again(relay, "a", AUDIO + VIDEO)) == ["audio"]
    assert f"c=IN IP4 {RELAY_A}" in again(relay, "b", AUDIO)[1]
