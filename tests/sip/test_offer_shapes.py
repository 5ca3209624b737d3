# SPDX-License-Identifier: GPL-3.0-or-later
"""A target that refuses an offer with 488 is shown another shape of it before the next target is tried."""

import pytest

from sip.effects import OfferMedia, UserTarget
from tests.sip.conftest import World
from tests.sip.talk import ANSWER, settle


@pytest.fixture
def world():
    """Three shapes of each offer."""
    world = World()
    world.shapes = 3
    return world


def refuse(bert, out, status, again):
    """Bert refuses; the next INVITE to him, if one is to come."""
    bert.reply(out, status)
    return bert.hears("ACK", *["INVITE"] * again)[-1]


def test_another_shape_is_offered_to_the_same_target(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    out = refuse(bert, refuse(bert, out, 488, True), 488, True)
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    anna.hears(100, 200)
    assert [effect.attempt for effect in world.effects(OfferMedia)] == [0, 1, 2]


def test_after_the_last_shape_it_is_refused(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    out = refuse(bert, refuse(bert, out, 488, True), 488, True)
    refuse(bert, out, 488, False)
    anna.hears(100, 488)
    settle(world, 488, 88, "b")


def test_other_failures_are_final(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    refuse(bert, out, 486, False)
    anna.hears(100, 486)


def test_the_next_target_is_offered_the_first_shape(world, anna, bert):
    world.routes["carl"] = (UserTarget("bert"), UserTarget("bert"))
    anna.invite("carl")
    (out,) = bert.hears("INVITE")
    out = refuse(bert, refuse(bert, out, 488, True), 503, True)
    refuse(bert, out, 486, False)
    anna.hears(100, 486)
    assert [effect.attempt for effect in world.effects(OfferMedia)] == [0, 1, 0]
