# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens in: what subscribers are offered, whom they get copies of, and how that follows the call."""

from dataclasses import replace

import pytest

from ctl.ng.front import _from_json, _to_json
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.sessions.relay_choice import RelayAddress
from tests.ctl.ng.test_relay import FINGERPRINT, KEY, answer, ask, lines, offer
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, RELAY_B, VIDEO, m_lines, rtp_port, sdp

CAROL = "198.51.100.30"
SAVP = f"m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"


@pytest.fixture
def relay(world):
    plane = replace(world.sessions.data_plane, srtp="preferred", fingerprint=FINGERPRINT)
    world.sessions.data_plane = plane
    return Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0))


@pytest.fixture
def call(relay):
    """Alice and Bob, answered, in the kernel."""
    offer(relay)
    answer(relay)
    return relay.calls.get("c1")


def subscribe(relay, tag="rec", **keys):
    reply = ask(relay, "subscribe request", call_id="c1", to_tag=tag, **(keys or {"flags": ["all"]}))
    assert reply["result"] == "ok", reply
    return reply


def accept(relay, tag="rec", media=(AUDIO, AUDIO), where=CAROL):
    body = sdp(where, *media).decode().replace("a=ptime:20", "a=recvonly")
    return ask(relay, "subscribe answer", call_id="c1", to_tag=tag, sdp=body, received_from=["IP4", where])


def flows(world, session):
    return {view.leg: view for view in world.sessions.query(session) if view.kind == "rtp"}


def copies(world, call):
    """Whose RTP goes where besides, by leg."""
    found = flows(world, call.dialogues[0].session)
    return {leg: world.engine.flows[view.local].copies for leg, view in found.items() if view.path == "engine"}


def test_all_of_a_call_is_offered_and_copied_once_it_is_answered(relay, call, world):
    reply = subscribe(relay)
    got = lines(reply)
    assert [line for line in got if line.startswith(("m=", "c=", "a=sendonly"))] == [
        *(f"m=audio {rtp_port(reply['sdp'])} RTP/AVP 0 101", f"c=IN IP4 {RELAY_A}", "a=sendonly"),
        *(f"m=audio {int(got[-9].split()[1])} RTP/AVP 0 101", f"c=IN IP4 {RELAY_A}", "a=sendonly"),
    ]
    assert (reply["to-tag"], reply["from-tags"]) == ("rec", ["a", "b"])
    assert copies(world, call) == {}
    accept(relay)
    session = call.subscriptions[0].session
    ends = {view.stream: view.local for view in world.sessions.query(session) if (view.leg, view.kind) == ("a", "rtp")}
    assert copies(world, call) == {"a": (ends[0],), "b": (ends[1],)}
    assert world.engine.flows[ends[0]].source_address == RELAY_A
    assert world.engine.flows[ends[0]].source_port == flows(world, call.dialogues[0].session)["a"].local[1]
    assert world.engine.flows[ends[0]].target_address == CAROL


def test_the_call_is_back_in_the_kernel_when_nobody_listens_any_more(relay, call, world):
    subscribe(relay)
    accept(relay)
    assert flows(world, call.dialogues[0].session)["a"].reason == "copied to subscribers"
    assert ask(relay, "unsubscribe", call_id="c1", to_tag="rec") == {"result": "ok"}
    assert flows(world, call.dialogues[0].session)["a"].path == "kernel"
    assert world.sessions.calls() == {call.dialogues[0].session}


@pytest.mark.parametrize(
    ("keys", "tags"),
    [
        ({"from_tag": "a"}, ["a"]),
        ({"from_tags": ["b"]}, ["b"]),
        ({"from_tags": ["a", "b"]}, ["a", "b"]),
        ({"flags": ["from-tags-a"]}, ["a"]),
        ({"label": "caller"}, ["a"]),
        ({"all": "all"}, ["a", "b"]),
    ],
)
def test_whom_a_subscriber_listens_to(relay, keys, tags):
    offer(relay, label="caller")
    answer(relay, label="callee")
    reply = subscribe(relay, tag="", **keys)
    assert reply["from-tags"] == tags
    assert reply.get("from-tag") == (tags[0] if len(tags) == 1 else None)
    assert len(reply["to-tag"]) == 32


def test_a_recorder_is_told_which_m_line_is_whose(relay, call):
    reply = subscribe(relay, flags=["siprec", "all"])
    assert [line for line in lines(reply) if line.startswith("a=label")] == ["a=label:1", "a=label:2"]
    about = {"index": 1, "type": "audio", "mode": "sendrecv"}
    assert reply["media-labels"] == {"1": {"tag": "a", **about}, "2": {"tag": "b", **about}}
    assert reply["tag-medias"] == [
        {"tag": "a", "medias": [{**about, "label": "1"}]},
        {"tag": "b", "medias": [{**about, "label": "2"}]},
    ]


@pytest.mark.parametrize(
    ("command", "keys", "reason"),
    [
        ("subscribe request", {"from_tag": "z"}, "From-tag given, but no such tag exists"),
        ("subscribe request", {}, "No monologues matched"),
        ("subscribe request", {"label": "nobody"}, "No monologues matched"),
        ("subscribe request", {"call_id": "c9", "flags": ["all"]}, "Unknown call-id"),
        ("subscribe answer", {"to_tag": "z", "sdp": sdp(BOB).decode()}, "To-tag not found"),
        ("subscribe answer", {"sdp": sdp(BOB).decode()}, "No to-tag in message"),
        ("subscribe answer", {"to_tag": "rec"}, "No SDP body in message"),
        ("unsubscribe", {"to_tag": "z"}, "To-tag not found"),
    ],
)
def test_what_cannot_be_subscribed_to_is_said(relay, call, command, keys, reason):
    assert ask(relay, command, **{"call_id": "c1", **keys})["error-reason"] == reason


def test_before_there_is_media_nothing_is_promised(relay):
    offer(relay)
    reply = ask(relay, "subscribe request", call_id="c1", from_tag="a")
    assert reply["error-reason"] == "nothing to subscribe to: no media has been agreed on yet"


def test_several_subscribers_up_to_what_the_engine_copies(relay, call, world):
    for number in range(4):
        subscribe(relay, f"r{number}", from_tag="a")
        accept(relay, f"r{number}", (AUDIO,))
    assert len(copies(world, call)["a"]) == 4
    fifth = ask(relay, "subscribe request", call_id="c1", from_tag="a", to_tag="r5")
    assert "4 have subscribed to this already" in fifth["error-reason"]
    subscribe(relay, "r1", from_tag="a")
    ask(relay, "unsubscribe", call_id="c1", to_tag="r0")
    assert len(copies(world, call)["a"]) == 3


def test_a_subscriber_may_take_part_of_it(relay, call, world):
    subscribe(relay)
    accept(relay, media=(AUDIO.replace("4000", "0"), AUDIO))
    assert copies(world, call)["a"] == ()
    assert len(copies(world, call)["b"]) == 1


def test_copies_follow_ports_that_change(relay, call, world):
    subscribe(relay, from_tag="a")
    accept(relay, media=(AUDIO,))
    before = flows(world, call.dialogues[0].session)["a"].local
    relays = (RelayAddress(RELAY_A, "in"), RelayAddress(RELAY_B, "out"))
    world.sessions.data_plane = replace(world.sessions.data_plane, relays=relays)
    offer(relay, to_tag="b", from_interface="out")
    answer(relay)
    after = flows(world, call.dialogues[0].session)["a"].local
    assert after != before
    (end,) = copies(world, call)["a"]
    assert (world.engine.flows[end].source_address, world.engine.flows[end].source_port) == after


def test_srtp_that_passes_as_it_is_is_opened_for_the_subscriber_alone(relay, world):
    """Both legs have the same keys: the copies are still sealed, and opened where they come to the subscriber."""
    offer(relay, sdp=sdp(ALICE, SAVP).decode())
    answer(relay, sdp=sdp(BOB, SAVP).decode())
    call = relay.calls.get("c1")
    reply = subscribe(relay, from_tag="a", transport_protocol="RTP/AVP")
    assert not any("crypto" in line or KEY in line for line in lines(reply))
    accept(relay, media=("m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n",))
    found = flows(world, call.dialogues[0].session)["a"]
    assert world.engine.flows[found.local].open is None
    (end,) = world.engine.flows[found.local].copies
    assert world.engine.flows[end].open.suite == "AES_CM_128_HMAC_SHA1_80"
    assert world.engine.flows[end].seal is None


def test_a_subscriber_gets_keys_of_its_own(relay, world):
    offer(relay, sdp=sdp(ALICE, SAVP).decode())
    answer(relay, sdp=sdp(BOB, SAVP).decode())
    got = lines(subscribe(relay, from_tag="a"))
    assert next(line for line in got if line.startswith("m=")).split()[2] == "RTP/SAVP"
    assert any(line.startswith("a=crypto:") for line in got)
    assert not any(KEY in line for line in got)


def test_a_codec_of_the_subscribers_own_is_transcoded_to(relay, call, world):
    got = lines(subscribe(relay, from_tag="a", codec={"transcode": ["PCMA"], "strip": ["telephone-event"]}))
    assert next(line for line in got if line.startswith("m=")).split()[3:] == ["0", "8"]
    accept(relay, media=("m=audio 4000 RTP/AVP 8\r\na=recvonly\r\n",))
    (end,) = copies(world, call)["a"]
    assert world.engine.stages[end][0] == 1


def test_the_subscriber_is_in_the_query_and_its_copies_are_in_no_total(relay, call, world):
    subscribe(relay)
    accept(relay)
    world.engine.seen = 1.0
    reply = ask(relay, "query", call_id="c1")
    assert reply["tags"]["a"]["subscribers"] == [
        {"tag": "b", "type": "offer/answer"},
        {"tag": "rec", "type": "pub/sub"},
    ]
    mine = reply["tags"]["rec"]
    assert mine["subscriptions"] == [{"tag": "a", "type": "pub/sub"}, {"tag": "b", "type": "pub/sub"}]
    assert [media["streams"][0]["endpoint"]["address"] for media in mine["medias"]] == [CAROL, CAROL]
    assert "recv" not in mine["medias"][0]["flags"]
    packets = sum(view.statistics.packets for view in flows(world, call.dialogues[0].session).values())
    assert reply["totals"]["RTP"]["packets"] == packets
    assert set(ask(relay, "query", call_id="c1", from_tag="rec")["tags"]) == {"a", "b", "rec"}


@pytest.mark.parametrize("way", ["delete", "delete subscriber", "unsubscribe"])
def test_nothing_is_left_of_a_subscriber(relay, call, world, way):
    subscribe(relay)
    accept(relay)
    if way == "delete":
        ask(relay, "delete", call_id="c1")
    elif way == "unsubscribe":
        ask(relay, "unsubscribe", call_id="c1", to_tag="rec")
    else:
        assert "rec" in ask(relay, "delete", call_id="c1", from_tag="rec")["tags"]
    left = 0 if way == "delete" else 1
    assert len(world.sessions.calls()) == left
    assert sum(world.taken()) == 2 * left


def test_it_outlives_the_controller(relay, call, world):
    subscribe(relay)
    accept(relay)
    state = _to_json(call)
    media = {session: world.sessions.snapshot(session) for session in call.sessions}
    before = dict(world.engine.flows)
    world.restart()
    again = _from_json(state)
    assert [world.sessions.restore(session, each) for session, each in media.items()] == [0, 0]
    assert world.engine.flows == before
    assert _to_json(again) == state
    assert again.subscriptions[0].sources[0][0] is again.participants[0]


def publish(relay, call="p", **keys):
    keys = {"from_tag": "pub", "sdp": sdp(ALICE).decode(), "received_from": ["IP4", ALICE], **keys}
    return ask(relay, "publish", call_id=call, **keys)


def test_a_publisher_is_answered_and_heard_by_who_subscribes(relay, world):
    reply = publish(relay)
    got = lines(reply)
    assert (reply["call-id"], reply["from-tag"]) == ("p", "pub")
    assert f"m=audio {rtp_port(reply['sdp'])} RTP/AVP 0" in got
    assert "a=recvonly" in got
    subscribed = ask(relay, "subscribe request", call_id="p", from_tag="pub", to_tag="rec")
    assert f"m=audio {rtp_port(subscribed['sdp'])} RTP/AVP 0" in lines(subscribed)
    ask(relay, "subscribe answer", call_id="p", to_tag="rec", sdp=sdp(CAROL).decode(), received_from=["IP4", CAROL])
    local = (RELAY_A, rtp_port(reply["sdp"]))
    (end,) = world.engine.flows[local].copies
    assert world.engine.flows[end].target_address == CAROL
    tags = ask(relay, "query", call_id="p")["tags"]
    assert tags["pub"]["subscriptions"] == []
    assert tags["pub"]["subscribers"] == [{"tag": "rec", "type": "pub/sub"}]
    ask(relay, "delete", call_id="p", from_tag="pub")
    assert sum(world.taken()) == 0


def test_a_publisher_of_pictures_and_of_codecs_that_are_named(relay, world):
    body = sdp(ALICE, AUDIO.replace("0 101", "8 0 101"), VIDEO).decode()
    reply = publish(relay, sdp=body, codec={"accept": ["PCMU", "VP8"]}, from_tag="")
    assert [line.split()[3:] for line in lines(reply) if line.startswith("m=")] == [["0"], ["96"]]
    assert len(reply["from-tag"]) == 32
    picture = int(m_lines(reply["sdp"])[1].split()[1])
    assert world.engine.stages[(RELAY_A, picture)][0] == 2


def test_who_may_not_publish_leaves_no_port_taken_and_what_was(relay, world):
    before = publish(relay)
    taken = world.taken()
    world.sessions.data_plane = replace(world.sessions.data_plane, engine=False)
    for call in ("p", "new"):
        assert "no engine runs" in publish(relay, call)["error-reason"]
    assert world.taken() == taken
    assert ask(relay, "list")["calls"] == ["p"]
    assert world.engine.flows[RELAY_A, rtp_port(before["sdp"])]


def test_who_publishes_again_keeps_its_port(relay, world):
    first, again = publish(relay), publish(relay)
    assert rtp_port(first["sdp"]) == rtp_port(again["sdp"])
    assert len(relay.calls.get("p").dialogues) == 1
    state = _to_json(relay.calls.get("p"))
    assert _from_json(state).dialogues[0].published
