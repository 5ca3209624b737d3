# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound that comes one way goes on in another codec: what is asked, what is refused, and through a real engine."""

import json
import struct
from dataclasses import replace

import pytest

from ctl.ng.front import _from_json, _to_json
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.ng.transformations import read
from tests.ctl.ng.test_copies import RELAY, Loopback, done, peers  # noqa: F401 - fixtures
from tests.ctl.ng.test_copies import relay as engined  # noqa: F401 - a fixture
from tests.ctl.ng.test_relay import ask, relay  # noqa: F401 - a fixture
from tests.ctl.sessions.test_sessions_families import BOB6, BOTH, RELAY_B6
from tests.ctl.world import BOB, RELAY_B, World, sdp
from tests.media.conftest import build_rtp

PACKETS = 20
LOOPBACK = "127.0.0.1"
ALAW_SILENCE, ULAW_SILENCE = b"\xd5", b"\xff"


def coding(name, number, rate=8000, channels=1, **keys):
    return {"codec": name, "payload type": number, "clock rate": rate, "channels": channels, **keys}


PCMA, PCMU, OPUS = coding("PCMA", 8), coding("PCMU", 0), coding("opus", 111, 48000, 2)
EVENTS, WIDE_EVENTS = coding("telephone-event", 101), coding("telephone-event", 110, 48000)


def pair(one, other):
    return {"input": one, "output": other}


def medium(*pairs, to=(BOB, 4000), family="IP4", **keys):
    address, port = to
    place = {"family": family, "address": address, "port": port}
    return {"type": "audio", "codec": list(pairs or [pair(PCMA, PCMU)]), "destination": place, **keys}


def transform(relay, *media, call="t", tag="x", **keys):  # noqa: F811
    return ask(relay, "transform", call_id=call, from_tag=tag, media=list(media or [medium()]), **keys)


def flow_of(world, reply, index=0):
    place = done(reply)["media"][index]
    return world.engine.flows[(place["address"], place["port"])]


def test_the_reply_says_where_to_send(relay, world):  # noqa: F811
    reply = transform(relay, medium(id="one"), medium(to=(BOB, 5000)), instance="other")
    assert (reply["call-id"], reply["from-tag"]) == ("t", "x")
    assert [(each["id"], each["family"], each["address"]) for each in reply["media"]] == [
        ("one", "IP4", RELAY_B),
        ("2", "IP4", RELAY_B),
    ]
    first, second = flow_of(world, reply), flow_of(world, reply, 1)
    assert (first.target_address, first.target_port) == (BOB, 4000)
    assert (second.target_address, second.target_port) == (BOB, 5000)
    assert first.latch
    assert ask(relay, "list")["calls"] == ["t"]
    (described,) = ask(relay, "query", call_id="t")["tags"].values()
    assert len(described["medias"]) == 2


def test_without_ids_it_makes_them(relay):  # noqa: F811
    one, two = (done(ask(relay, "transform", media=[medium()])) for _ in range(2))
    assert len({one["call-id"], two["call-id"], one["from-tag"], two["from-tag"]}) == 4
    assert sorted(ask(relay, "list")["calls"]) == sorted([one["call-id"], two["call-id"]])


def test_asked_again_it_changes_and_keeps_its_port(relay, world):  # noqa: F811
    before, after = transform(relay), transform(relay, medium(pair(PCMA, OPUS), to=(BOB, 4100)))
    assert before["media"] == after["media"]
    assert flow_of(world, after).target_port == 4100
    assert len(relay.calls.get("t").dialogues) == 1


def test_what_is_not_transcoded_stays_in_the_kernel(relay, world):  # noqa: F811
    (place,) = done(transform(relay, medium(pair(PCMA, PCMA), pair(OPUS, OPUS))))["media"]
    flow = world.table.at((place["address"], place["port"]))
    assert flow.target == (BOB, 4000)
    assert flow.latch_packets
    assert not world.engine.flows


def test_a_destination_of_ipv6_has_a_port_of_ours_there(table, hops, engine):
    world = World(table, hops, engine, plane=BOTH)
    reply = transform(Relay(world.sessions, lambda: 0.0, b""), medium(to=(BOB6, 4000), family="IP6"))
    assert (reply["media"][0]["family"], reply["media"][0]["address"]) == ("IP6", RELAY_B6)
    assert flow_of(world, reply).target_address == BOB6


def test_where_srtp_is_required_there_is_none(relay, world):  # noqa: F811
    world.sessions.data_plane = replace(world.sessions.data_plane, srtp="required")
    assert "SRTP is required" in transform(relay)["error-reason"]
    assert sum(world.taken()) == 0


def test_it_ends_by_delete(relay, world):  # noqa: F811
    transform(relay)
    assert done(ask(relay, "delete", call_id="t"))["tags"]["x"]
    assert sum(world.taken()) == 0
    assert not world.sessions.calls()


def test_what_cannot_be_changed_leaves_what_was(relay, world):  # noqa: F811
    before = transform(relay)
    taken = world.taken()
    for call in ("t", "new"):
        assert "loopback" in transform(relay, medium(to=(LOOPBACK, 4000)), call=call)["error-reason"]
    world.sessions.data_plane = replace(world.sessions.data_plane, engine=False)
    for call in ("t", "new"):
        assert "no engine runs" in transform(relay, medium(to=(BOB, 4100)), call=call)["error-reason"]
    assert flow_of(world, before).target_port == 4000
    assert ask(relay, "list")["calls"] == ["t"]
    assert world.taken() == taken


def test_a_subscriber_may_hear_it_too(relay, world):  # noqa: F811
    reply = transform(relay)
    done(ask(relay, "subscribe request", call_id="t", from_tag="x", to_tag="rec"))
    done(ask(relay, "subscribe answer", call_id="t", to_tag="rec", sdp=sdp(BOB, "m=audio 6000 RTP/AVP 8\r\n").decode()))
    (end,) = flow_of(world, reply).copies
    assert world.engine.flows[end].target_address == BOB


def test_it_outlives_the_controller(relay):  # noqa: F811
    transform(relay)
    state = _to_json(relay.calls.get("t"))
    again = _from_json(json.loads(json.dumps(state)))
    assert again.dialogues[0].transformed
    assert json.dumps(_to_json(again)) == json.dumps(state)


def test_a_tag_of_another_kind_is_refused(relay):  # noqa: F811
    transform(relay)
    body = sdp(BOB).decode()
    assert "is transformed" in ask(relay, "publish", call_id="t", from_tag="x", sdp=body)["error-reason"]
    done(ask(relay, "publish", call_id="t", from_tag="p", sdp=body))
    assert "published" in transform(relay, tag="p")["error-reason"]


def test_limits_are_those_of_offers(world):
    full = Relay(world.sessions, lambda: 0.0, b"", limits=Limits(max_sessions=1))
    done(transform(full))
    assert transform(full, call="second")["error-reason"] == "Parallel session limit reached"
    world.sessions.delete(full.calls.get("t").dialogues[0].session, 0.0)


def test_no_ports_are_said_as_with_offers(relay):  # noqa: F811
    replies = [transform(relay, *[medium()] * 16, call=name) for name in "abcd"]
    assert [reply["result"] for reply in replies] == ["ok", "ok", "ok", "error"]
    assert replies[-1]["error-reason"] == "Ran out of ports"
    assert ask(relay, "list")["calls"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("media", "why"),
    [
        (None, "media: no list"),
        ([], "media: no list"),
        (["x"], "media: no dictionary"),
        ([{**medium(), "type": "video"}], "only audio"),
        ([{**medium(), "type": ""}], "no type"),
        ([{**medium(), "codec": []}], "codec: no list"),
        ([{**medium(), "destination": None}], "destination: no dictionary"),
        ([medium(family="IP5")], "neither IP4 nor IP6"),
        ([medium(family="IP6")], "no address of IP6"),
        ([medium(to=("0.0.0.0", 4000))], "no address of IP4"),
        ([medium(to=("example.org", 4000))], "no address of IP4"),
        ([medium(to=("fe80::1%eth0", 4000), family="IP6")], "no address of IP6"),
        ([medium(to=(BOB, 0))], "1-65535"),
        ([medium()] * 17, "more than 16"),
        ([medium(), medium(to=("2001:db8::1", 4000), family="IP6")], "IPv4 and of IPv6"),
        ([medium(to=(BOB, 65535))], "no port for RTCP"),
        ([medium(to=(BOB, "x"))], "not a number"),
        ([medium(pair(coding("AMR", 96), PCMU))], "'amr' is not one of"),
        ([medium(pair(coding("PCMA", 8, 16000), PCMU))], "16000 Hz"),
        ([medium(pair(coding("opus", 96, 48000, 1), PCMU))], "1 channels"),
        ([medium(pair(coding("PCMA", 72), PCMU))], "payload type"),
        ([medium(pair(coding("PCMA", ""), PCMU))], "payload type"),
        ([medium(pair(coding("PCMA", 8, format="x\r\na=y"), PCMU))], "one line"),
        ([medium(pair(coding("PCMA", 8, options="x"), PCMU))], "options"),
        ([medium(pair(PCMA, EVENTS))], "telephone-event becomes"),
        ([medium(pair(EVENTS, EVENTS))], "no pair of sound"),
        ([medium(pair(PCMA, PCMU), pair(OPUS, PCMU))], "one pair is transcoded"),
        ([medium(pair(PCMA, coding("PCMA", 96)))], "the same codec passes as it is"),
        ([medium(pair(PCMA, PCMA), pair(EVENTS, WIDE_EVENTS))], "passes as it is where nothing"),
        ([medium(pair(PCMA, PCMU), pair({**EVENTS, "payload type": 8}, EVENTS))], "named twice"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(relay, world, media, why):  # noqa: F811
    reply = ask(relay, "transform", call_id="t", media=media)
    assert why in reply["error-reason"]
    assert ask(relay, "list")["calls"] == []
    assert sum(world.taken()) == 0


def test_keys_are_spelled_freely_and_usual_values_go_without_saying():
    (said,) = read([medium(pair({"codec": "opus", "payload_type": "96"}, {"codec": "pcmu", "Payload-Type": 0}))])
    assert [(each.name, each.payload_type, each.clock_rate) for each in (*said.inputs, *said.outputs)] == [
        ("opus", 96, 48000),
        ("pcmu", 0, 8000),
    ]


def heard(engined, sender, listener, *pairs, first=ALAW_SILENCE, payload_type=8):  # noqa: F811
    """Send packets to where the reply says; return the first that the destination gets."""
    (place,) = done(transform(engined, medium(*pairs, to=listener.name)))["media"]
    assert (place["family"], place["address"]) == ("IP4", RELAY)
    for number in range(PACKETS):
        packet = bytearray(build_rtp(number, payload=first * 160))
        packet[1] = payload_type
        sender.send(bytes(packet), (RELAY, place["port"]))
    return sound(listener)


def sound(listener):
    """Return the next packet that is no report of our engine's."""
    return next(packet for packet, _ in iter(listener.receive, None) if packet[1] & 0x7F not in range(64, 96))


def test_the_destination_gets_the_codec_that_was_asked_for(engined, peers):  # noqa: F811
    sender, listener, _ = peers
    packet = heard(engined, sender, listener, pair(PCMA, PCMU))
    assert packet[1] & 0x7F == 0
    assert len(packet) == 12 + 160
    assert set(packet[12:]) <= {0xFF, 0x7F, 0xFE, 0x7E}  # silence, by the law of the other side


def test_the_payload_type_is_the_one_that_was_named(engined, peers):  # noqa: F811
    sender, listener, _ = peers
    packet = heard(engined, sender, listener, pair(PCMA, OPUS), pair(EVENTS, WIDE_EVENTS))
    assert packet[1] & 0x7F == 111
    first, second = (struct.unpack_from(">I", each, 4)[0] for each in (packet, sound(listener)))
    assert second - first == 960


def test_what_has_the_codec_already_passes_as_it_is(engined, peers):  # noqa: F811
    sender, listener, other = peers
    packet = heard(engined, sender, listener, pair(PCMA, PCMA))
    assert packet[1] == 8
    assert packet[12:] == ALAW_SILENCE * 160
    listener.waiting()
    again = heard(engined, sender, other, pair(PCMA, PCMA))
    assert again[12:] == ALAW_SILENCE * 160
