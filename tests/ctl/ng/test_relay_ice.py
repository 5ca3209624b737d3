# SPDX-License-Identifier: GPL-3.0-or-later
"""What proxies say of ICE: force, remove and the rest, in offers and in answers, and candidates that trickle in."""

import pytest

from ctl.ng.fragments import Fragments
from tests.ctl.ng.test_relay import answer, ask, lines, offer, relay  # noqa: F401 - a fixture
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, sdp

NAMES = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
CANDIDATE = "a=candidate:1 1 UDP 2130706431 {0} 4000 typ host\r\n"


def speaking(where: str, more: str = "") -> str:
    return sdp(where, AUDIO + NAMES + CANDIDATE.format(where) + more).decode()


def said(reply, name):
    return [line.partition(":")[2] for line in lines(reply) if line.startswith(f"a={name}")]


@pytest.mark.parametrize(
    ("ice", "speaks", "offered"),
    [
        ("force", False, True),
        ("force", True, True),
        ("remove", True, False),
        ("default", True, True),
        ("default", False, False),
        ("optional", False, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_what_the_other_side_is_offered(relay, ice, speaks, offered):  # noqa: F811
    words = {} if ice is None else {"ICE": ice}
    reply = offer(relay, sdp=speaking(ALICE) if speaks else sdp(ALICE).decode(), **{"ICE": "", **words})
    assert bool(said(reply, "candidate")) == bool(said(reply, "ice-ufrag")) == offered
    assert all(f"{RELAY_A} " in line for line in said(reply, "candidate"))


def test_lines_come_last_in_the_order_that_proxies_know(relay):  # noqa: F811
    reply = offer(relay, ICE="force", flags=["trickle-ICE"])
    names = [line.partition(":")[0] for line in lines(reply) if line][-7:]
    assert names == [
        "a=ptime",
        "a=ice-ufrag",
        "a=ice-pwd",
        "a=ice-options",
        *["a=candidate"] * 2,
        "a=end-of-candidates",
    ]


def test_a_relayed_candidate_and_a_lite_side(relay):  # noqa: F811
    reply = offer(relay, ICE="force-relay", ICE_lite="forward")
    assert all(f"typ relay raddr {RELAY_A}" in line for line in said(reply, "candidate"))
    assert "a=ice-lite" in lines(reply)
    assert "a=ice-lite" not in lines(offer(relay, "c2", ICE="force"))


@pytest.mark.parametrize(("ice", "spoken"), [("force", True), ("", True), ("remove", False)])
def test_who_offered_it_is_answered_with_it_unless_the_answer_removes_it(relay, world, ice, spoken):  # noqa: F811
    offer(relay, sdp=speaking(ALICE), ICE="remove")
    reply = answer(relay, ICE=ice)
    assert bool(said(reply, "candidate")) == spoken
    assert all(RELAY_A in line for line in said(reply, "candidate"))
    medium = ask(relay, "query", call_id="c1")["tags"]["a"]["medias"][0]
    assert {flow["local address"] for flow in medium["streams"]} == {RELAY_A}
    assert ("ICE" in medium["flags"]) == spoken
    assert bool(world.programmer.speaks_ice) == spoken


def test_who_offered_it_may_be_answered_without_it_from_the_offer_on(relay, world):  # noqa: F811
    told = offer(relay, sdp=speaking(ALICE), ICE="force", flags=["reject-ICE"])
    assert said(told, "candidate")
    assert not said(answer(relay), "candidate")
    assert "ICE" not in ask(relay, "query", call_id="c1")["tags"]["a"]["medias"][0]["flags"]


FRAGMENT = NAMES + "m=audio 9 RTP/AVP 0\r\n" + CANDIDATE.format("203.0.113.5") + "a=end-of-candidates\r\n"
WORDS = {"call_id": "c1", "from_tag": "a", "to_tag": "b", "flags": ["fragment"], "sdp": FRAGMENT}


def candidates(world):
    """Of both legs, as the engine has them."""
    flows = [flow for flow in world.engine.flows.values() if flow.kind == "rtp"]
    return [[each.address for each in flow.ice.candidates] for flow in flows]


def test_candidates_trickle_in_from_either_side(relay, world):  # noqa: F811
    offer(relay, sdp=speaking(ALICE), ICE="force")
    answer(relay, sdp=speaking(BOB))
    assert ask(relay, "offer", **WORDS) == {"result": "ok"}
    assert ask(relay, "answer", **WORDS) == {"result": "ok"}
    assert candidates(world) == [[ALICE, "203.0.113.5"], [BOB, "203.0.113.5"]]


def test_candidates_that_overtake_their_description_wait_for_it(relay, world):  # noqa: F811
    assert ask(relay, "offer", **WORDS) == {"result": "ok"}
    offer(relay, sdp=speaking(ALICE), ICE="force")
    assert ask(relay, "answer", **WORDS) == {"result": "ok"}
    answer(relay, sdp=speaking(BOB))
    assert candidates(world) == [[ALICE, "203.0.113.5"], [BOB, "203.0.113.5"]]


def test_early_candidates_wait_for_a_moment_and_are_not_without_number(relay):  # noqa: F811
    fragments = Fragments()
    assert fragments.keep("c", "a", b"1", 0.0)
    assert fragments.take("c", "a", 31.0) == []
    assert fragments.keep("c", "a", b"2", 40.0)
    assert fragments.keep("c", "a", b"3", 41.0)
    assert fragments.take("c", "b", 42.0) == []
    assert fragments.take("c", "a", 42.0) == [b"2", b"3"]
    assert fragments.take("c", "a", 42.0) == []
    assert [fragments.keep(f"{number}", "a", b"", 50.0) for number in range(1025)].count(True) == 1024
    for number in range(16):
        assert ask(relay, "offer", **{**WORDS, "from_tag": "z"})["result"] == "ok", number
    assert "too many candidates" in ask(relay, "offer", **{**WORDS, "from_tag": "z"})["error-reason"]
