# SPDX-License-Identifier: GPL-3.0-or-later
"""What proxies send in an order that is not offer, answer, delete; and descriptions that say less than they must."""

import itertools
import json
from dataclasses import replace

import pytest

from ctl.ng.framing import split
from ctl.ng.front import _from_json, _to_json
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.ng.server import Answers
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, VIDEO, rtp_port, sdp

CAROL = "198.51.100.30"
FINGERPRINT = "SHA-256 " + ":".join(["AB"] * 32)


@pytest.fixture
def relay(world):
    world.sessions.data_plane = replace(world.sessions.data_plane, srtp="preferred", fingerprint=FINGERPRINT)
    return Relay(world.sessions, itertools.count(0.0, 60.0).__next__, b"secret", limits=Limits(delete_delay=0))


def ask(relay, command, **keys):
    keys = {key.replace("_", "-"): value for key, value in keys.items()}
    return relay.handle({"command": command, "call-id": "c", "ICE": "remove", **keys}, "127.0.0.1", 0.0)


def send(relay, command, tags, where, *media, **keys):
    """The description that comes back. tags: `from` or `from to`."""
    named = dict(zip(("from_tag", "to_tag"), tags.split(), strict=False))
    reply = ask(relay, command, **named, sdp=sdp(where, *media).decode(), received_from=["IP4", where], **keys)
    assert reply["result"] == "ok", reply
    return reply["sdp"]


def m_lines(body):
    """Type and whether it is live, of each."""
    return [(line.split()[0][2:], line.split()[1] != "0") for line in body.decode().split("\r\n") if line[:2] == "m="]


def sources(relay):
    return {view.source for call in relay.sessions.calls() for view in relay.sessions.query(call)}


def test_who_answers_an_offer_that_was_handed_on_again_hears_and_is_heard(relay, world):
    """A proxy forks and names no branch: each of those who ring may be the one, by what it was told."""
    first = send(relay, "offer", "a", ALICE)
    assert send(relay, "offer", "a", ALICE) == first
    taken = world.taken()
    send(relay, "answer", "a b", BOB)
    assert world.table.at((RELAY_A, rtp_port(first))).source == (BOB, 4000)
    assert world.taken() == taken


def test_keys_and_candidates_are_told_again_but_not_where_the_offer_differs(relay):
    asked = {"transport_protocol": "RTP/SAVP", "ICE": "force"}
    first = send(relay, "offer", "a", ALICE, **asked)
    assert b"a=crypto:" in first
    assert b"a=ice-ufrag:" in first
    assert send(relay, "offer", "a", ALICE, **asked) == first
    fewer = send(relay, "offer", "a", ALICE, **asked, SDES=["only-AES_CM_128_HMAC_SHA1_80"])
    assert fewer.count(b"a=crypto:") == 1
    assert rtp_port(fewer) == rtp_port(first)


def test_a_key_of_the_offerer_is_never_told_as_ours(relay):
    def keyed(key):
        line = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key * 10}\r\n"
        return send(relay, "offer", "a", ALICE, AUDIO.replace("RTP/AVP", "RTP/SAVP") + line).decode()

    assert "inline:" + "abcd" * 10 in keyed("abcd")
    again = keyed("efgh")
    assert "inline:" + "efgh" * 10 in again
    assert "abcd" * 10 not in again


def test_ports_that_an_offer_needs_no_longer_are_given_back(relay, world):
    send(relay, "offer", "a", ALICE, AUDIO, VIDEO)
    send(relay, "offer", "a", ALICE, AUDIO)
    assert sum(world.taken()) == 2
    ask(relay, "delete", from_tag="a")
    assert world.taken() == (0, 0)


def test_another_branch_has_ports_of_its_own(relay):
    first = send(relay, "offer", "a", ALICE, via_branch="1")
    second = send(relay, "offer", "a", ALICE, via_branch="2")
    assert rtp_port(first) != rtp_port(second)
    assert send(relay, "offer", "a", ALICE, via_branch="1") == first


def test_who_leaves_an_m_line_out_of_a_new_offer_has_ended_it(relay):
    send(relay, "offer", "a", ALICE, AUDIO, VIDEO)
    send(relay, "answer", "a b", BOB, AUDIO, VIDEO)
    for _ in range(2):
        assert m_lines(send(relay, "offer", "a b", ALICE, AUDIO)) == [("audio", True), ("video", False)]
        refused = "m=video 0 RTP/AVP 96\r\n"
        assert m_lines(send(relay, "answer", "a b", BOB, AUDIO, refused)) == [("audio", True)]
    assert len(sources(relay)) == 4
    asked = [("audio", True), ("video", False), ("video", True)]
    assert m_lines(send(relay, "offer", "a b", ALICE, AUDIO, VIDEO)) == asked
    assert m_lines(send(relay, "answer", "a b", BOB, AUDIO, refused, VIDEO)) == [("audio", True), ("video", True)]


def test_what_was_left_out_outlives_the_controller(relay):
    send(relay, "offer", "a", ALICE, AUDIO, VIDEO)
    send(relay, "answer", "a b", BOB, AUDIO, VIDEO)
    send(relay, "offer", "b a", BOB, AUDIO)
    state = json.loads(json.dumps(_to_json(relay.calls.find("c"))))
    relay.calls.remove(relay.calls.find("c"))
    relay.calls.add(_from_json(state))
    assert m_lines(send(relay, "answer", "b a", ALICE, AUDIO, VIDEO)) == [("audio", True)]


def test_who_leaves_an_m_line_out_of_an_answer_has_refused_it(relay):
    send(relay, "offer", "a", ALICE, AUDIO, VIDEO)
    assert m_lines(send(relay, "answer", "a b", BOB, AUDIO)) == [("audio", True), ("video", False)]
    send(relay, "offer", "b a", BOB, AUDIO)
    assert m_lines(send(relay, "answer", "b a", ALICE, AUDIO)) == [("audio", True)]


def test_an_m_line_that_was_refused_is_taken_up_by_the_other_side(relay):
    send(relay, "offer", "a", ALICE, AUDIO, VIDEO)
    send(relay, "answer", "a b", BOB, AUDIO, "m=video 0 RTP/AVP 96\r\n")
    assert m_lines(send(relay, "offer", "b a", BOB, AUDIO, VIDEO)) == [("audio", True), ("video", True)]
    assert m_lines(send(relay, "answer", "b a", ALICE, AUDIO, VIDEO)) == [("audio", True), ("video", True)]


@pytest.mark.parametrize(
    ("said", "flags", "told"),
    [
        ("sendrecv", [], "sendonly"),
        ("recvonly", [], "inactive"),
        ("sendonly", [], "sendonly"),
        ("sendrecv", ["original-sendrecv"], "sendrecv"),
    ],
)
def test_who_holds_by_no_address_is_told_to_hear_nothing(relay, said, flags, told):
    send(relay, "offer", "a", ALICE)
    send(relay, "answer", "a b", BOB)
    hold = send(relay, "offer", "a b", "0.0.0.0", f"{AUDIO}a={said}\r\n", flags=flags).decode().split("\r\n")
    assert f"a={told}" in hold
    assert "c=IN IP4 0.0.0.0" in hold
    assert "a=sendrecv" in send(relay, "offer", "a b", ALICE).decode().split("\r\n")


def test_the_callee_offers_anew_with_its_tag_first_and_ports_stay(relay):
    to_bob = send(relay, "offer", "a", ALICE)
    to_alice = send(relay, "answer", "a b", BOB)
    assert rtp_port(send(relay, "offer", "b a", CAROL)) == rtp_port(to_alice)
    assert rtp_port(send(relay, "answer", "b a", ALICE)) == rtp_port(to_bob)
    assert {where for where, _ in sources(relay)} == {ALICE, CAROL}


def test_one_of_two_who_answered_goes_on(relay):
    """Both are one participant by two tags; whoever spoke last is heard."""
    send(relay, "offer", "a", ALICE)
    for tag, where in (("b", BOB), ("c", CAROL), ("b", BOB)):
        send(relay, "answer", f"a {tag}", where)
    assert {where for where, _ in sources(relay)} == {ALICE, BOB}
    assert send(relay, "offer", "c a", CAROL)


def test_a_delete_may_name_either_side_first(relay, world):
    send(relay, "offer", "a", ALICE)
    send(relay, "answer", "a b", BOB)
    assert "warning" in ask(relay, "delete", from_tag="x", to_tag="a")
    assert "warning" not in ask(relay, "delete", from_tag="b", to_tag="a")
    assert world.taken() == (0, 0)
    reply = ask(relay, "answer", from_tag="a", to_tag="b", sdp=sdp(BOB).decode())
    assert reply["error-reason"] == "Unknown call-id"


def test_the_profile_toward_the_other_side_changes_with_a_new_offer(relay):
    key = "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
    secured = AUDIO.replace("RTP/AVP", "RTP/SAVP") + key
    assert b"RTP/SAVP" in send(relay, "offer", "a", ALICE, transport_protocol="RTP/SAVP", DTLS="off")
    assert b"RTP/AVP" in send(relay, "answer", "a b", BOB, secured)
    assert {view.path for view in relay.sessions.query("ng/1/c") if view.kind == "rtp"} == {"engine"}
    assert b"RTP/AVP" in send(relay, "offer", "a b", ALICE, transport_protocol="RTP/AVP")
    send(relay, "answer", "a b", BOB)
    assert {view.path for view in relay.sessions.query("ng/1/c")} == {"kernel"}


@pytest.mark.parametrize("escaped", [True, False])
def test_names_may_be_long_and_of_any_letters(relay, escaped):
    call_id, tag, answers = "ça/" + "x" * 4000, "tag 💬 " + "t" * 3000, Answers(relay, lambda: 0.0)

    def reply(cookie, **keys):
        document = json.dumps({"call-id": call_id, "from-tag": tag, **keys}, ensure_ascii=escaped)
        body = answers.answer(split(f"{cookie} {document}".encode()), "127.0.0.1")
        return json.loads(body.removeprefix(f"{cookie} ".encode()).decode())

    assert reply("1", command="offer", sdp=sdp(ALICE).decode())["result"] == "ok"
    assert reply("1", command="delete")["sdp"], "what comes under the same cookie has been answered"
    assert reply("2", command="list")["calls"] == [call_id]
    assert tag in reply("3", command="query")["tags"]


@pytest.mark.parametrize("key", ["call-id", "from-tag", "sdp", "command", "metadata"])
def test_half_a_letter_is_none(relay, key):
    asked = {"command": "offer", "call-id": "c", "from-tag": "a", "sdp": sdp(ALICE).decode()}
    document = json.dumps({**asked, key: "half \ud83d"})
    reply = json.loads(Answers(relay, lambda: 0.0).answer(split(f"1 {document}".encode()), "127.0.0.1")[2:])
    assert reply == {"result": "error", "error-reason": "the message is no JSON object"}
    assert len(relay.calls) == 0
