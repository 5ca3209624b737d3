# SPDX-License-Identifier: GPL-3.0-or-later
"""Those who ring together and need offers of their own: one exchange with several sides, of which one answers."""

import json
from dataclasses import replace

import pytest

from ctl.sessions.call_media import CallMedia
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.relay_choice import Facing
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, RELAY_A, RELAY_B, World, address, m_lines, rtp_port, sdp

NEIGHBOUR = "192.0.2.30"
"""One who faces the same address of ours as Alice."""


def ring(world: World) -> tuple[bytes, bytes]:
    """Offer Alice's call to Bob and to the neighbour."""
    first = world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    return first, world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=NEIGHBOUR, side="1")


def answer(world: World, where: str, side: str) -> bytes:
    return world.sessions.answer("call", "b", sdp(where), where, 0.0, side=side)


def test_each_side_is_offered_an_address_of_its_own(world: World) -> None:
    to_bob, to_neighbour = ring(world)
    assert (address(to_bob), address(to_neighbour)) == (RELAY_B, RELAY_A)
    assert world.taken() == (2, 1), "the caller has one pair for all"


@pytest.mark.parametrize(("who", "side", "taken"), [(BOB, "", (1, 1)), (NEIGHBOUR, "1", (2, 0))])
def test_the_one_who_answers_has_the_call_and_the_others_ports_are_given_back(
    world: World, who: str, side: str, taken: tuple[int, int]
) -> None:
    offers = dict(zip(("", "1"), ring(world), strict=True))
    to_alice = answer(world, who, side)
    rule = world.table.at((RELAY_A, rtp_port(to_alice)))
    assert rule.target == (who, 4000)
    assert rule.egress == (address(offers[side]), rtp_port(offers[side]))
    world.sessions.settle("call", 1.0)
    assert world.taken() == taken
    world.sessions.delete("call", 2.0)
    assert world.taken() == (0, 0)


def test_early_media_of_one_gives_way_to_the_answer_of_the_other(world: World) -> None:
    ring(world)
    early = answer(world, BOB, "")
    final = answer(world, NEIGHBOUR, "1")
    assert rtp_port(early) == rtp_port(final)
    assert world.table.at((RELAY_A, rtp_port(final))).target == (NEIGHBOUR, 4000)


def test_an_answer_that_cannot_be_leaves_what_was(world: World) -> None:
    ring(world)
    early = answer(world, BOB, "")
    with pytest.raises(MediaRefused):
        world.sessions.answer("call", "b", sdp(NEIGHBOUR, AUDIO, AUDIO), NEIGHBOUR, 0.0, side="1")
    assert world.sessions.replan() == {}
    assert world.table.at((RELAY_A, rtp_port(early))).target == (BOB, 4000)


def test_a_restarted_process_knows_all_sides(world: World) -> None:
    ring(world)
    state = json.loads(world.sessions.snapshot_text("call"))
    world.restart()
    world.sessions.restore("call", state)
    assert world.taken() == (2, 1)
    assert world.table.at((RELAY_A, rtp_port(answer(world, NEIGHBOUR, "1")))).target == (NEIGHBOUR, 4000)
    assert CallMedia.from_json(world.sessions.snapshot("call")).sides.keys() == {"", "1"}


def test_a_later_offer_and_a_failed_one_give_all_back(world: World) -> None:
    ring(world)
    world.sessions.rollback("call", 1.0)
    assert world.taken() == (0, 0)
    ring(world)
    answer(world, NEIGHBOUR, "1")
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 2.0, toward=NEIGHBOUR)
    assert world.taken() == (2, 0)


def test_where_the_first_can_be_offered_nothing_the_second_is_the_first(world: World) -> None:
    wanted = Facing(srtp="required")
    world.sessions.data_plane = replace(PLANE, srtp="off")
    with pytest.raises(MediaRefused):
        world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB, there=wanted)
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=NEIGHBOUR, side="1")
    assert world.table.at((RELAY_A, rtp_port(answer(world, NEIGHBOUR, "1")))).target == (NEIGHBOUR, 4000)


def test_we_ourselves_offer_to_several(world: World) -> None:
    """As when somebody is called back who has two phones."""
    to_bob = world.sessions.attend("call", "a", b"", BOB, 0.0)
    to_neighbour = world.sessions.attend("call", "a", b"", NEIGHBOUR, 0.0, side="1")
    assert (address(to_bob), address(to_neighbour)) == (RELAY_B, RELAY_A)
    world.sessions.answer("call", "a", sdp(NEIGHBOUR), NEIGHBOUR, 0.0, side="1")
    world.sessions.settle("call", 1.0)
    assert [flow.source for flow in world.sessions.query("call") if flow.leg == "a" and flow.kind == "rtp"] == [
        (NEIGHBOUR, 4000)
    ]


@pytest.mark.parametrize(
    ("host", "party", "shapes"), [("off", None, 1), ("off", "preferred", 3), ("preferred", "off", 1),
                                  ("preferred", "required", 3), ("preferred", None, 3)]
)  # fmt: skip
def test_an_offer_has_as_many_shapes_as_the_policy_toward_its_party_has_ways(
    world: World, host: str, party: str | None, shapes: int
) -> None:
    """And those are what it is offered after each 488: other profiles, or more suites."""
    world.sessions.data_plane = replace(PLANE, srtp=host, fingerprint="sha-256 " + ":".join(["AB"] * 32))
    secured = AUDIO.replace("RTP/AVP", "RTP/SAVP") + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"
    offer = sdp(ALICE, secured if party == "required" else AUDIO)
    offered = set()
    for attempt in range(3):
        there = Facing(srtp=party)
        body = world.sessions.offer("call", "a", offer, ALICE, 0.0, toward=BOB, there=there, attempt=attempt)
        offered.add((m_lines(body)[0].split()[2], body.count(b"a=crypto:")))
    assert world.sessions.shapes("call") == len(offered) == shapes
