# SPDX-License-Identifier: GPL-3.0-or-later
"""Participants of different calls who are put together, with the kernel and the engine played."""

import pytest

from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from media.stages import TAP, TapStage
from tests.ctl.ng.test_relay import answer, ask, offer, relay  # noqa: F401 - a fixture
from tests.ctl.world import ALICE, BOB, VIDEO, sdp

CAROL, DAVE = "198.51.100.30", "198.51.100.40"
OPUS = "m=audio 4000 RTP/AVP {0} 0\r\na=rtpmap:{0} opus/48000/2\r\n"


def call(relay, name, one, two, *tags, media=()):  # noqa: F811
    offer(relay, call=name, tag=tags[0], where=one, sdp=sdp(one, *media).decode())
    answer(relay, call=name, tag=tags[0], to=tags[1], where=two, sdp=sdp(two, *media).decode())


def rtp(world):
    return {(view.source[0], view.target[0], view.path) for view in world.programmer.flows() if view.kind == "rtp"}


def connect(relay, **keys):  # noqa: F811
    words = {"call_id": "one", "to_call_id": "two", "from_tag": "a", "to_tag": "d", **keys}
    return ask(relay, "connect", **words)


def test_parties_of_two_calls_hear_each_other_and_the_others_are_gone(relay, world):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b")
    call(relay, "two", CAROL, DAVE, "c", "d")
    ports = {view.source[0]: view.local for view in world.programmer.flows() if view.kind == "rtp"}
    assert connect(relay) == {"result": "ok"}
    assert rtp(world) == {(ALICE, DAVE, "kernel"), (DAVE, ALICE, "kernel")}
    assert {view.source[0]: view.local for view in world.programmer.flows() if view.kind == "rtp"} == {
        who: ports[who] for who in (ALICE, DAVE)
    }
    assert ask(relay, "list")["calls"] == ["one"]
    assert set(ask(relay, "query", call_id="one")["tags"]) == {"a", "d"}
    assert sum(world.taken()) == 2
    ask(relay, "delete", call_id="one")
    assert sum(world.taken()) == 0
    assert world.sessions.calls() == frozenset()


def test_a_third_party_of_the_same_call_is_connected_with_another(relay, world):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b")
    call(relay, "one", CAROL, DAVE, "c", "d")
    ask(relay, "block media", call_id="one", from_tag="c", flags=["directional"])
    assert connect(relay, to_call_id="one", to_tag="c") == {"result": "ok"}
    assert set(ask(relay, "query", call_id="one")["tags"]) == {"a", "c"}
    assert [view.state for view in world.programmer.flows() if view.kind == "rtp"] == ["pinned", "held"]
    assert connect(relay, to_call_id="one", to_tag="c") == {"result": "ok"}


def test_they_may_offer_anew_what_connects_them(relay, world):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b")
    call(relay, "two", CAROL, DAVE, "c", "d")
    connect(relay)
    held = sdp(ALICE).decode() + "a=inactive\r\n"
    assert offer(relay, call="one", tag="a", to_tag="d", sdp=held)["result"] == "ok"
    assert answer(relay, call="one", tag="a", to="d", where=DAVE, sdp=sdp(DAVE).decode())["result"] == "ok"
    assert rtp(world) == {(ALICE, DAVE, "kernel"), (DAVE, ALICE, "kernel")}


def test_without_a_codec_in_common_they_are_transcoded(relay, world):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b", media=("m=audio 4000 RTP/AVP 0\r\n",))
    call(relay, "two", CAROL, DAVE, "c", "d", media=("m=audio 4000 RTP/AVP 8\r\n",))
    assert connect(relay) == {"result": "ok"}
    assert rtp(world) == {(ALICE, DAVE, "engine"), (DAVE, ALICE, "engine")}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"from_tag": "z"}, "From-tag given, but no such tag exists"),
        ({"to_tag": "z"}, "To-tag not found"),
        ({"to_call_id": "z"}, "Unknown call-id"),
        ({"to_tag": ""}, "No to-tag in message"),
        ({"flags": ["all"]}, "all: two are connected at once"),
        ({"from_tags": ["a", "b"]}, "from-tags: two are connected at once"),
        ({"flags": ["from-tags-a"]}, "from-tags: two are connected at once"),
        ({"to_tag": "a", "to_call_id": "one", "flags": ["directional"]}, "hears from-tag already, or is the same"),
        ({"to_tag": "o", "to_call_id": "opus", "flags": ["directional"]}, "one has 1 m-lines, the other 2"),
        ({"to_tag": "f", "to_call_id": "seen", "flags": ["directional"]}, "one sends audio, the other has video"),
        ({"to_tag": "e", "to_call_id": "ringing", "unidirectional": "1"}, "must be in a call that has been answered"),
        ({"to_tag": "e", "to_call_id": "ringing"}, "must be in a call that has been answered"),
        ({"to_tag": "a", "to_call_id": "same"}, "another participant of that tag"),
        ({"to_tag": "o", "to_call_id": "opus"}, "one has 1 m-lines, the other 2"),
    ],
)
def test_what_cannot_be_connected_is_said_and_left_alone(relay, world, keys, reason):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b")
    call(relay, "two", CAROL, DAVE, "c", "d")
    call(relay, "same", CAROL, DAVE, "x", "a")
    call(relay, "opus", CAROL, DAVE, "p", "o", media=(OPUS.format(96), OPUS.format(97)))
    call(relay, "seen", CAROL, DAVE, "g", "f", media=(VIDEO,))
    offer(relay, call="ringing", tag="e", where=CAROL)
    before = rtp(world)
    assert reason in connect(relay, **keys)["error-reason"]
    assert rtp(world) == before


@pytest.mark.parametrize("flags", [[], ["directional"]])
def test_payload_types_that_the_other_does_not_know_are_not_promised(relay, world, flags):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b", media=(OPUS.format(96),))
    call(relay, "two", CAROL, DAVE, "c", "d", media=(OPUS.format(97),))
    taken = world.taken()
    assert "was told to send opus as 96, the other wants it as 97" in connect(relay, flags=flags)["error-reason"]
    assert (len(rtp(world)), world.taken()) == (4, taken)


@pytest.mark.parametrize("word", [{"flags": ["directional"]}, {"unidirectional": "yes"}])
def test_one_way_the_other_hears_at_its_own_port_and_a_conversation_goes_on(relay, world, word):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b")
    call(relay, "two", CAROL, DAVE, "c", "d")
    port = next(view.local for view in world.programmer.flows() if (view.source[0], view.kind) == (DAVE, "rtp"))
    assert connect(relay, **word) == {"result": "ok"}
    (subscription,) = relay.calls.get("one").subscriptions
    (copy,) = (view for view in world.sessions.query(subscription.session) if (view.leg, view.kind) == ("a", "rtp"))
    talking = {view.source[0]: view for view in world.programmer.flows() if view.target[0] in (ALICE, BOB)}
    assert {who: (view.target[0], view.path) for who, view in talking.items()} == {
        ALICE: (BOB, "engine"),
        BOB: (ALICE, "engine"),
    }
    spoken = next(view for view in world.programmer.flows() if (view.source[0], view.kind) == (ALICE, "rtp"))
    assert world.engine.flows[spoken.local].copies == (copy.local,)
    assert (copy.source, copy.target, copy.egress) == (spoken.local, (DAVE, 4000), port)
    back = world.engine.flows[port]
    assert (back.held, back.target_port, world.engine.stages[port]) == (False, 0, (TAP, TapStage(None).pack()))
    assert set(ask(relay, "query", call_id="one")["tags"]) == {"a", "b", "d"}
    assert ask(relay, "list")["calls"] == ["one"]
    assert connect(relay, from_tag="b", to_call_id="one", to_tag="a") == {"result": "ok"}
    assert ask(relay, "unsubscribe", call_id="one", to_tag="d") == {"result": "ok"}
    assert rtp(world) == {(ALICE, BOB, "kernel"), (BOB, ALICE, "kernel")}
    ask(relay, "delete", call_id="one")
    assert sum(world.taken()) == 0


def test_one_way_follows_a_new_offer_and_needs_no_codec_in_common(relay, world):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b", media=("m=audio 4000 RTP/AVP 0\r\n",))
    call(relay, "two", CAROL, DAVE, "c", "d", media=("m=audio 4000 RTP/AVP 8\r\n",))
    connect(relay, flags=["directional"])
    (subscription,) = relay.calls.get("one").subscriptions
    heard = next(view for view in world.sessions.query(subscription.session) if view.leg == "a")
    assert heard.transcoded
    moved = sdp(ALICE, "m=audio 4100 RTP/AVP 0\r\n").decode()
    offer(relay, call="one", tag="a", to_tag="b", sdp=moved)
    answer(relay, call="one", tag="a", to="b", where=BOB, sdp=sdp(BOB, "m=audio 4000 RTP/AVP 0\r\n").decode())
    spoken = next(view for view in world.programmer.flows() if view.source == (ALICE, 4100))
    assert world.engine.flows[spoken.local].copies == (heard.local,)


def test_one_way_is_for_as_many_as_the_engine_copies_to(relay, world):  # noqa: F811
    call(relay, "one", ALICE, BOB, "a", "b")
    for number in range(5):
        call(relay, f"call{number}", CAROL, DAVE, f"c{number}", f"d{number}")
        reply = connect(relay, to_call_id=f"call{number}", to_tag=f"d{number}", flags=["directional"])
        assert (reply["result"] == "ok") == (number < 4)
    assert "4 have subscribed to this already" in reply["error-reason"]
    assert len(relay.calls.get("one").subscriptions) == 4


def test_a_call_that_is_to_be_recorded_still_is_or_the_proxy_is_told(world):
    alone = Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits())
    call(alone, "one", ALICE, BOB, "a", "b")
    alone.calls.get("one").record = True
    call(alone, "two", CAROL, DAVE, "c", "d")
    assert "the call is not recorded" in connect(alone)["warning"]
