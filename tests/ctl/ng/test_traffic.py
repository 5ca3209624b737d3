# SPDX-License-Identifier: GPL-3.0-or-later
"""Media that goes nowhere, or back to who sends it; the latter through a real engine."""

import json
from base64 import b64decode, b64encode
from dataclasses import replace

import pylibsrtp
import pytest

from ctl.ng.front import _from_json, _to_json
from tests.ctl.ng.test_copies import RELAY, done, peers, said
from tests.ctl.ng.test_copies import relay as through  # noqa: F401
from tests.ctl.ng.test_relay import answer, ask, offer, relay  # noqa: F401
from tests.ctl.world import ALICE, BOB, rtp_port
from tests.media.conftest import build_rtp

__all__ = ["peers"]
ECHOED = 7 ^ 0xFFFFFFFF


def flows(world):
    """Which of RTP and RTCP pass, of Alice and of Bob."""
    return {(rule.source[0], rule.target[1] % 2): rule.state.name for rule in world.table.rules.values()}


def flags(relay, tag):  # noqa: F811
    (media,) = ask(relay, "query", call_id="c1")["tags"][tag]["medias"]
    return {"echo", "blackhole"} & set(media["flags"])


@pytest.mark.parametrize("where", ["offer", "answer"])
def test_traffic_of_a_call_is_dropped_until_it_is_not(relay, world, where):  # noqa: F811
    offer(relay, **({"drop_traffic": "start"} if where == "offer" else {}))
    answer(relay, **({"drop_traffic": "start"} if where == "answer" else {}))
    assert set(flows(world).values()) == {"OFF"}
    answer(relay)
    assert set(flows(world).values()) == {"OFF"}, "an answer that says nothing changes nothing"
    assert ask(relay, "unblock media", call_id="c1") == {"result": "ok"}
    assert set(flows(world).values()) == {"OFF"}, "it is no block of media"
    answer(relay, drop_traffic="stop")
    assert set(flows(world).values()) == {"PINNED"}


def test_every_branch_of_a_call_is_dropped(relay, world):  # noqa: F811
    for branch in ("1", "2"):
        offer(relay, via_branch=branch)
        answer(relay, to=f"b{branch}", via_branch=branch)
    assert set(flows(world).values()) == {"PINNED"}
    offer(relay, via_branch="1", to_tag="b1", drop_traffic="start")
    assert set(flows(world).values()) == {"OFF"}


def test_what_is_dropped_and_echoed_outlives_the_controller(relay, world):  # noqa: F811
    offer(relay, drop_traffic="start", media_echo="forward")
    answer(relay)
    call = relay.calls.find("c1")
    state = json.loads(json.dumps(_to_json(call)))
    media = json.loads(json.dumps(world.sessions.snapshot(call.dialogues[0].session)))
    world.restart()
    assert world.sessions.restore(call.dialogues[0].session, media) == 0
    assert set(flows(world).values()) == {"OFF"}
    again = _from_json(state)
    assert (again.dropped, again.dialogues[0].echo) == (True, "b")


@pytest.mark.parametrize("word", ["blackhole", "sinkhole"])
def test_a_black_hole_is_between_two_alone(relay, world, word):  # noqa: F811
    offer(relay, media_echo=word)
    answer(relay)
    assert set(flows(world).values()) == {"OFF"}
    assert flags(relay, "a") == flags(relay, "b") == {"blackhole"}
    offer(relay, to_tag="b", media_echo="off")
    answer(relay)
    assert set(flows(world).values()) == {"PINNED"}
    assert not flags(relay, "a")


@pytest.mark.parametrize(
    ("word", "by", "echoed"),
    [
        ("forward", "offer", {BOB}),
        ("backwards", "offer", {ALICE}),
        ("fwd", "answer", {ALICE}),
        ("bk", "answer", {BOB}),
        ("both", "answer", {ALICE, BOB}),
    ],
)
def test_who_hears_himself(relay, world, word, by, echoed):  # noqa: F811
    offer(relay, **({"media_echo": word} if by == "offer" else {}))
    answer(relay, **({"media_echo": word} if by == "answer" else {}))
    engine = {flow.source_address: (flow.echo, flow.held) for flow in world.engine.flows.values()}
    assert engine == {where: (where in echoed, where not in echoed) for where in (ALICE, BOB)}
    assert [flags(relay, tag) for tag in "ab"] == [
        {"echo" if where in echoed else "blackhole"} for where in (ALICE, BOB)
    ]
    assert {state for (_, odd), state in flows(world).items() if odd} == {"OFF"}, "RTCP goes nowhere"


def test_without_an_engine_an_echo_is_refused_and_the_call_is_as_before(relay, world):  # noqa: F811
    world.sessions.data_plane = replace(world.sessions.data_plane, engine=False)
    offer(relay)
    answer(relay)
    before = flows(world)
    reply = answer(relay, media_echo="both")
    assert reply["result"] == "error"
    assert "no engine runs" in reply["error-reason"]
    assert flows(world) == before
    assert not flags(relay, "a")


@pytest.mark.parametrize("keys", [{"drop_traffic": "now"}, {"media_echo": "sideways"}])
def test_other_words_are_refused(relay, keys):  # noqa: F811
    assert offer(relay, **keys)["result"] == "error"


def test_what_one_says_comes_back_to_him_and_what_the_other_says_goes_nowhere(through, peers):  # noqa: F811
    alice, bob, _ = peers
    done(ask(through, "offer", call_id="c", from_tag="a", sdp=said(alice), media_echo="backward"))
    toward = (
        RELAY,
        rtp_port(done(ask(through, "answer", call_id="c", from_tag="a", to_tag="b", sdp=said(bob)))["sdp"]),
    )
    bobs = next(view.local for view in through.sessions.query("ng/1/c") if (view.leg, view.kind) == ("b", "rtp"))
    for number in range(3):
        bob.send(build_rtp(number, ssrc=9), bobs)
        alice.send(build_rtp(number), toward)
        assert alice.receive() == (build_rtp(number, ssrc=ECHOED), toward)
    done(ask(through, "offer", call_id="c", from_tag="a", to_tag="b", sdp=said(alice), media_echo="off"))
    done(ask(through, "answer", call_id="c", from_tag="a", to_tag="b", sdp=said(bob)))
    alice.send(build_rtp(3), toward)
    assert bob.receive() == (build_rtp(3), bobs)
    assert alice.waiting() == 0


def test_an_echo_of_srtp_is_sealed_for_who_has_sent_it_though_both_sides_share_keys(through, peers):  # noqa: F811
    alice, bob, _ = peers
    keys = {name: b64encode(bytes([number]) * 30).decode() for number, name in enumerate("ab", 1)}
    lines = {name: f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}" for name, key in keys.items()}
    body = said(alice, "sendrecv", "0", "RTP/SAVP", lines["a"])
    done(ask(through, "offer", call_id="c", from_tag="a", sdp=body, media_echo="backward"))
    body = said(bob, "sendrecv", "0", "RTP/SAVP", lines["b"])
    reply = done(ask(through, "answer", call_id="c", from_tag="a", to_tag="b", sdp=body))["sdp"].decode()
    told = next(line.split("inline:")[1].split("|")[0] for line in reply.split("\r\n") if "inline:" in line)
    toward = (RELAY, rtp_port(reply.encode()))
    ours = pylibsrtp.Policy(key=b64decode(keys["a"]), ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
    theirs = pylibsrtp.Policy(key=b64decode(told), ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND)
    alice.send(pylibsrtp.Session(policy=ours).protect(build_rtp(5)), toward)
    assert pylibsrtp.Session(policy=theirs).unprotect(alice.receive()[0]) == build_rtp(5, ssrc=ECHOED)
