# SPDX-License-Identifier: GPL-3.0-or-later
"""What proxies get for what they ask, over media sessions whose kernel, routes and engine are played."""

import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from ctl.ng.front import _from_json, _to_json
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import NOT_HERE, Relay
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, rtp_port, sdp

PROXY = "127.0.0.1"
FINGERPRINT = "SHA-256 " + ":".join(["AB"] * 32)


@pytest.fixture
def relay(world):
    return Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0))


@pytest.fixture
def secure(world, relay):
    world.sessions.data_plane = replace(world.sessions.data_plane, srtp="preferred", fingerprint=FINGERPRINT)
    return relay


def ask(relay, command, now=0.0, **keys):
    dictionary = {"command": command, **{key.replace("_", "-"): value for key, value in keys.items()}}
    return relay.handle(dictionary, PROXY, now)


def offer(relay, call="c1", tag="a", where=ALICE, **keys):
    keys = {"flags": ["trust-address"], "ICE": "remove", "received_from": ["IP4", where], **keys}
    return ask(relay, "offer", call_id=call, from_tag=tag, **{"sdp": sdp(where).decode(), **keys})


def answer(relay, call="c1", tag="a", to="b", where=BOB, **keys):
    keys = {"sdp": sdp(where).decode(), "received_from": ["IP4", where], **keys}
    return ask(relay, "answer", call_id=call, from_tag=tag, to_tag=to, **keys)


def lines(reply):
    assert reply["result"] == "ok", reply
    return reply["sdp"].decode().split("\r\n")


def test_ping(relay):
    assert ask(relay, "ping") == {"result": "pong"}


def test_an_offer_and_its_answer_make_flows(relay, world):
    assert f"c=IN IP4 {RELAY_A}" in lines(offer(relay))
    reply = answer(relay)
    assert f"c=IN IP4 {RELAY_A}" in lines(reply)
    local = (RELAY_A, rtp_port(reply["sdp"]))
    assert world.table.at(local).source == (ALICE, 4000)
    assert world.table.at(local).target == (BOB, 4000)
    assert ask(relay, "list") == {"result": "ok", "calls": ["c1"]}


def test_a_description_is_written_in_the_order_that_proxies_expect(relay):
    body = (
        f"v=0\r\no=alice 7 8 IN IP4 {ALICE}\r\ns=call\r\nc=IN IP4 {ALICE}\r\nb=AS:100\r\nt=0 0\r\na=tool:x\r\n"
        "a=recvonly\r\n"
        "m=audio 4000 RTP/AVP 8 0 101\r\na=ptime:20\r\na=sendrecv\r\na=foo:bar\r\na=fmtp:101 0-16\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=rtcp:4001\r\na=candidate:1 1 UDP 1 10.0.0.1 4000 typ host\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    )
    got = lines(offer(relay, sdp=body, replace=["origin", "session-connection"]))
    port = int(got[6].split()[1])
    assert got[:6] == ["v=0", f"o=alice 7 8 IN IP4 {RELAY_A}", "s=call", "b=AS:100", "t=0 0", "a=tool:x"]
    assert got[6:] == [
        f"m=audio {port} RTP/AVP 8 0 101",
        f"c=IN IP4 {RELAY_A}",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=foo:bar",
        "a=sendrecv",
        f"a=rtcp:{port + 1}",
        "a=ptime:20",
        "m=video 0 RTP/AVP 96",
        "c=IN IP4 0.0.0.0",
        "",
    ]


@pytest.mark.parametrize(
    ("keys", "has", "lacks"),
    [
        ({}, "o=- 1 1 IN IP4 192.0.2.10", "a=rtcp-mux"),
        ({"replace": ["origin"]}, f"o=- 1 1 IN IP4 {RELAY_A}", "o=- 1 1 IN IP4 192.0.2.10"),
        ({"flags": ["generate-mid"]}, "a=mid:1", "a=inactive"),
        ({"flags": ["inactive"]}, "a=inactive", "a=sendrecv"),
        ({"flags": ["original-sendrecv"]}, "a=ptime:20", "a=sendrecv"),
        ({"label": "7"}, "a=label:7", "a=mid:1"),
        ({"media_address": "203.0.113.99"}, "c=IN IP4 203.0.113.99", f"c=IN IP4 {RELAY_A}"),
        ({"ptime": "30"}, "a=ptime:30", "a=ptime:20"),
        ({"flags": ["codec-strip-telephone-event"]}, "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000"),
        (
            {"flags": ["codec-strip-all", "codec-except-PCMU"]},
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:101 telephone-event/8000",
        ),
        ({"transport_protocol": "RTP/AVPF"}, "a=sendrecv", "x"),
    ],
)
def test_what_a_proxy_asks_of_the_description(relay, keys, has, lacks):
    got = lines(offer(relay, **keys))
    assert has in got
    assert lacks not in got


KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


@pytest.mark.parametrize(
    ("keys", "protocol", "sdes", "dtls"),
    [
        ({"transport_protocol": "RTP/SAVP"}, "RTP/SAVP", True, True),
        ({"flags": ["RTP/SAVPF", "DTLS=off"]}, "RTP/SAVPF", True, False),
        ({"transport_protocol": "UDP/TLS/RTP/SAVPF"}, "UDP/TLS/RTP/SAVPF", False, True),
        ({"transport_protocol": "RTP/SAVP", "SDES": ["off"]}, "RTP/SAVP", False, True),
        ({"transport_protocol": "RTP/AVPF"}, "RTP/AVPF", False, False),
    ],
)
def test_plain_rtp_is_bridged_to_the_profile_that_is_asked_for(secure, keys, protocol, sdes, dtls):
    got = lines(offer(secure, **keys))
    names = [line.partition(":")[0] for line in got]
    assert protocol in next(line for line in got if line.startswith("m=")).split()
    assert ("a=crypto" in names, "a=fingerprint" in names, "a=setup" in names) == (sdes, dtls, dtls)
    assert names.index("a=sendrecv") < names.index("a=rtcp") < names.index("a=ptime")


def test_keys_of_one_side_are_not_shown_to_the_other(secure):
    to_bob = lines(offer(secure, transport_protocol="RTP/SAVP", DTLS="off"))
    suite = next(line for line in to_bob if "AES_CM_128_HMAC_SHA1_80" in line).split()[0]
    secured = f"m=audio 4000 RTP/SAVP 0 101\r\n{suite} AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
    to_alice = lines(answer(secure, sdp=sdp(BOB, secured).decode(), transport_protocol="RTP/AVP"))
    assert not [line for line in to_alice if "crypto" in line]
    assert any(line.startswith("m=audio") and " RTP/AVP " in line for line in to_alice)
    assert {view.path for view in secure.sessions.query(secure.calls.get("c1").dialogues[0].session)} == {"engine"}


def test_srtp_is_bridged_to_plain_rtp(secure):
    crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
    body = sdp(ALICE, f"m=audio 4000 RTP/SAVP 0\r\n{crypto}\r\n").decode()
    to_bob = lines(offer(secure, sdp=body, transport_protocol="RTP/AVP"))
    assert not [line for line in to_bob if "crypto" in line]
    to_alice = lines(answer(secure, sdp=sdp(BOB, "m=audio 4000 RTP/AVP 0\r\n").decode()))
    assert any(line.startswith("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") and KEY not in line for line in to_alice)


def test_a_codec_is_offered_besides_and_transcoded_if_it_is_taken(relay):
    body = sdp(ALICE, "m=audio 4000 RTP/AVP 0\r\n").decode()
    assert "a=rtpmap:8 PCMA/8000" in lines(offer(relay, sdp=body, flags=["codec-transcode-PCMA", "codec-strip-G722"]))
    got = lines(answer(relay, sdp=sdp(BOB, "m=audio 4000 RTP/AVP 8\r\n").decode()))
    assert "a=rtpmap:0 PCMU/8000" in got
    assert "a=rtpmap:8 PCMA/8000" not in got


@pytest.mark.parametrize(("flag", "state"), [("endpoint-learning-heuristic", "LATCHING"), ("debug", "PINNED")])
def test_any_source_is_accepted_only_where_it_is_asked_for(relay, world, flag, state):
    offer(relay, flags=[flag])
    assert world.table.at((RELAY_A, rtp_port(answer(relay)["sdp"]))).state.name == state


def test_the_rtcp_attribute_is_plain_full_or_absent(relay):
    attributes = [
        [line for line in lines(offer(relay, call=flag, flags=[flag])) if line.startswith("a=rtcp")]
        for flag in ("debug", "full-rtcp-attribute", "no-rtcp-attribute")
    ]
    assert [len(each) for each in attributes] == [1, 1, 0]
    assert attributes[1][0].endswith(f" IN IP4 {RELAY_A}")


def test_loop_protect_marks_the_description_alike_each_time(relay):
    marks = [
        [line for line in lines(offer(relay, flags=["loop-protect"])) if line.startswith("a=rtpengine:")]
        for _ in range(2)
    ]
    assert marks[0] == marks[1]
    assert len(marks[0][0].removeprefix("a=rtpengine:")) == 12


def test_rtcp_mux_is_offered_on_and_can_be_rejected(relay):
    muxed = sdp(ALICE, "m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n").decode()
    assert "a=rtcp-mux" in lines(offer(relay, sdp=muxed))
    assert "a=rtcp-mux" not in lines(offer(relay, call="c2", sdp=muxed, rtcp_mux=["demux"]))


def test_a_callee_may_offer_and_ports_stay(relay):
    first = offer(relay)
    answer(relay)
    again = offer(relay, tag="b", where=BOB, to_tag="a")
    assert rtp_port(answer(relay, tag="b", to="a", where=ALICE)["sdp"]) == rtp_port(first["sdp"])
    assert rtp_port(again["sdp"]) != rtp_port(first["sdp"])
    assert len(relay.calls.get("c1").dialogues) == 1


def test_branches_of_a_fork_have_flows_of_their_own(relay):
    ports = {rtp_port(offer(relay, via_branch=branch)["sdp"]) for branch in ("1", "2")}
    assert len(ports) == 2
    assert rtp_port(answer(relay, to="b1", via_branch="1")["sdp"]) != rtp_port(
        answer(relay, to="b2", via_branch="2")["sdp"]
    )
    assert ask(relay, "delete", call_id="c1", from_tag="a", via_branch="1")["result"] == "ok"
    assert [each.b.tag for each in relay.calls.get("c1").dialogues] == ["b2"]


def test_another_tag_in_an_answer_is_another_name_of_the_same(relay):
    offer(relay)
    answer(relay, to="b")
    answer(relay, to="b2")
    assert relay.calls.get("c1").find("b2") is relay.calls.get("c1").find("b")
    assert ask(relay, "query", call_id="c1")["tags"]["b"]["tag-aliases"] == ["b2"]


def test_delete_gives_the_last_figures_and_frees_the_ports(relay, world):
    offer(relay)
    port = rtp_port(answer(relay)["sdp"])
    world.table.count((RELAY_A, port), packets=50, bytes=8600, ssrc=7, lost=1)
    reply = ask(relay, "delete", call_id="c1", from_tag="a")
    assert reply["totals"]["RTP"] == {"packets": 50, "bytes": 8600, "errors": 0}
    assert reply["SSRC"]["7"]["packets"] == 50
    assert world.taken() == (0, 0)
    assert ask(relay, "query", call_id="c1") == {"result": "error", "error-reason": "Unknown call-id"}


def test_a_deleted_call_stays_for_its_delay(relay, world):
    offer(relay)
    answer(relay)
    ask(relay, "delete", call_id="c1", from_tag="a", delete_delay="10", now=100.0)
    relay.look(109.0)
    assert world.taken() != (0, 0)
    relay.look(110.0)
    assert world.taken() == (0, 0)
    assert len(relay.calls) == 0


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"result": "ok", "warning": "Call-ID not found or tags didn't match"}),
        ({"flags": ["fatal"]}, {"result": "error", "error-reason": "Call-ID not found or tags didn't match"}),
    ],
)
def test_deleting_what_is_not_there(relay, keys, expected):
    assert ask(relay, "delete", call_id="none", from_tag="a", **keys) == expected


def test_query_tells_who_takes_part_and_by_which_ports(relay, world):
    offer(relay, metadata="customer 7", set_label="1")
    port = rtp_port(answer(relay)["sdp"])
    reply = ask(relay, "query", call_id="c1")
    assert reply["metadata"] == "customer 7"
    assert set(reply["tags"]) == {"a", "b"}
    alice = reply["tags"]["a"]
    assert alice["label"] == "1"
    assert alice["subscriptions"] == [{"tag": "b", "type": "offer/answer"}]
    media = alice["medias"][0]
    assert (media["index"], media["type"], media["protocol"]) == (1, "audio", "RTP/AVP")
    rtp, rtcp = media["streams"]
    assert (rtp["local address"], rtp["local port"]) == (RELAY_A, port)
    assert rtp["endpoint"] == {"family": "IPv4", "address": ALICE, "port": 4000}
    assert {"RTP", "kernelized", "confirmed"} <= set(rtp["flags"])
    assert "no kernel support" not in rtp["flags"]
    assert rtcp["flags"][0] == "RTCP"
    json.dumps(reply)


@pytest.mark.parametrize(
    ("command", "keys", "reason"),
    [
        ("offer", {"call_id": "c", "from_tag": "a"}, "No SDP body in message"),
        ("offer", {"sdp": "v=0", "from_tag": "a"}, "No call-id in message"),
        ("offer", {"sdp": sdp(ALICE).decode(), "call_id": "c"}, "No from-tag in message"),
        ("offer", {"sdp": "hello", "call_id": "c", "from_tag": "a"}, "Failed to parse SDP"),
        ("answer", {"sdp": "v=0", "call_id": "c", "from_tag": "a"}, "No to-tag in message"),
        ("answer", {"sdp": sdp(BOB).decode(), "call_id": "c", "from_tag": "a", "to_tag": "b"}, "Unknown call-id"),
        ("query", {"call_id": "c"}, "Unknown call-id"),
        ("query", {}, "No call-id in message"),
        ("dance", {}, "Unrecognized command"),
        ("", {}, "Unrecognized command"),
    ],
)
def test_errors_say_what_proxies_match_on(relay, command, keys, reason):
    assert ask(relay, command, **keys) == {"result": "error", "error-reason": reason}


@pytest.mark.parametrize("command", sorted(NOT_HERE))
def test_what_is_not_done_is_not_acknowledged(relay, command):
    offer(relay)
    answer(relay)
    reply = ask(relay, command, call_id="c1", from_tag="a")
    assert reply["result"] == "error"
    assert "not available" in reply["error-reason"]


@pytest.mark.parametrize(
    ("keys", "passes"),
    [
        ({}, (False, False)),
        ({"from_tag": "a"}, (False, False)),
        ({"from_tag": "a", "flags": ["directional"]}, (False, True)),
        ({"label": "2"}, (True, False)),
        ({"address": BOB}, (True, False)),
        ({"address": BOB, "flags": ["all"]}, (False, False)),
    ],
)
def test_media_of_one_or_of_all_is_blocked_and_flows_again(relay, world, keys, passes):
    to_bob = offer(relay, set_label="1")
    to_alice = answer(relay, set_label="2")
    flows = [world.table.at((RELAY_A, rtp_port(reply["sdp"]))) for reply in (to_alice, to_bob)]
    assert [flow.state.name for flow in flows] == ["PINNED", "PINNED"]
    assert ask(relay, "block media", call_id="c1", **keys) == {"result": "ok"}
    flows = [world.table.at((RELAY_A, rtp_port(reply["sdp"]))) for reply in (to_alice, to_bob)]
    assert tuple(flow.state.name == "PINNED" for flow in flows) == passes
    assert ask(relay, "unblock media", call_id="c1", **keys) == {"result": "ok"}
    flows = [world.table.at((RELAY_A, rtp_port(reply["sdp"]))) for reply in (to_alice, to_bob)]
    assert [flow.state.name for flow in flows] == ["PINNED", "PINNED"]


def test_a_block_outlives_a_restart(relay, world):
    offer(relay)
    port = rtp_port(answer(relay)["sdp"])
    ask(relay, "block media", call_id="c1")
    session = relay.calls.get("c1").dialogues[0].session
    state = json.loads(json.dumps(world.sessions.snapshot(session)))
    world.restart()
    assert world.sessions.restore(session, state) == 0
    assert world.table.at((RELAY_A, port)).state.name == "OFF"
    assert world.sessions.blocked(session) == {"a", "b"}


def test_blocking_someone_who_is_not_there_is_an_error(relay):
    offer(relay)
    answer(relay)
    assert ask(relay, "block media", call_id="c1", label="9")["result"] == "error"


@pytest.mark.parametrize(
    "keys",
    [
        {"ICE": "upside-down"},
        {"ICE_lite": "sideways"},
        {"generate_RTCP": "sometimes"},
        {"drop_traffic": "begin"},
        {"sdp_attr": {"none": {"move": ["x"]}}},
        {"sdp_media_remove": ["audio"]},
        {"flags": ["codec-transcode-EVS"]},
        {"flags": ["codec-set-opus/48000/2/1000"]},
        {"transport_protocol": "TCP/MSRP"},
        {"transport_protocol": "UDP/TLS/RTP/SAVP", "DTLS": "off"},
        {"received_from": ["IP4", "nowhere"]},
        {"audio_player": "always"},
        {"address_family": "IP5"},
        {"TOS": 999},
    ],
)
def test_an_offer_that_cannot_be_done_is_refused_and_leaves_nothing(relay, world, keys):
    assert offer(relay, **keys)["result"] == "error"
    assert world.taken() == (0, 0)
    assert len(relay.calls) == 0


@pytest.mark.parametrize("word", ["off", "default", "on-demand", "transcoding"])
def test_no_player_of_sound_is_what_there_is(relay, word):
    assert offer(relay, audio_player=word)["result"] == "ok"


@pytest.mark.parametrize(
    ("asked", "said", "found"),
    [
        (["media-handover"], [], {"a": (True, False), "b": (True, False)}),
        (["asymmetric"], [], {"a": (False, True), "b": (False, False)}),
        ([], ["asymmetric"], {"a": (False, False), "b": (False, True)}),
        ([], ["media-handover"], {"a": (False, False), "b": (True, False)}),
    ],
)
def test_whose_source_may_be_elsewhere(relay, world, asked, said, found):
    offer(relay, flags=asked)
    answer(relay, flags=said)
    views = {view.leg: view for view in world.programmer.flows() if view.kind == "rtp"}
    flows = {leg: world.engine.flows[view.local] for leg, view in views.items()}
    assert {leg: (flow.follows, flow.apart) for leg, flow in flows.items()} == found
    assert {leg: (flow.latch > 0, flow.source_port is None) for leg, flow in flows.items()} == {
        leg: (any(each), any(each)) for leg, each in found.items()
    }
    assert {view.reason.partition(":")[0] for view in views.values()} == {(asked or said)[0]}
    state = world.sessions.snapshot("ng/1/c1")
    world.restart()
    assert world.sessions.restore("ng/1/c1", state) == 0


def test_ice_knows_better_where_a_source_is(relay, world):
    speaks = (
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=candidate:1 1 UDP 1 192.0.2.10 4000 typ host\r\n"
    )
    offer(relay, flags=["media-handover"], ICE="", sdp=sdp(ALICE, AUDIO + speaks).decode())
    answer(relay)
    assert not any(flow.follows for flow in world.engine.flows.values() if flow.ice)


def test_words_that_nobody_knows_have_no_effect(relay):
    with capture_logs() as said:
        for call in ("c1", "c2"):
            keys = {"flags": ["make-coffee", "sugar=2"], "replace": ["everything"], "milk": "1", "media_echo": "off"}
            assert offer(relay, call=call, **keys)["result"] == "ok"
    assert sorted(each["word"] for each in said) == ["make-coffee", "milk", "replace-everything", "sugar"]


def test_no_port_left_is_said_in_the_words_that_make_proxies_go_elsewhere(relay, world):
    for number in range(50):
        assert offer(relay, call=f"c{number}")["result"] == "ok"
    assert offer(relay, call="one more") == {"result": "error", "error-reason": "Ran out of ports"}
    assert "one more" not in ask(relay, "list", limit=1000)["calls"]


def test_limits_send_calls_elsewhere(world):
    few = Relay(world.sessions, lambda: 0.0, b"s", limits=Limits(max_sessions=1))
    assert offer(few)["result"] == "ok"
    assert offer(few)["result"] == "ok"
    assert offer(few, call="c2") == {"result": "error", "error-reason": "Parallel session limit reached"}
    busy = Relay(world.sessions, lambda: 0.0, b"s", ports_used=lambda: 0.9, limits=Limits(load_limit=0.8))
    assert offer(busy, call="c3", supports=["load limit"])["result"] == "load limit"
    assert offer(busy, call="c3")["result"] == "ok"


def test_statistics_count_calls_packets_and_requests(relay, world):
    offer(relay)
    port = rtp_port(answer(relay)["sdp"])
    world.table.count((RELAY_A, port), packets=50, bytes=8600)
    ask(relay, "dance")
    found = ask(relay, "statistics", now=60.0)["statistics"]
    assert found["currentstatistics"]["sessionstotal"] == 1
    assert found["totalstatistics"]["relayedpackets_kernel"] == 50
    ask(relay, "delete", call_id="c1", from_tag="a", now=90.0)
    found = ask(relay, "statistics", now=100.0)["statistics"]
    assert found["totalstatistics"]["regularterminatedsessions"] == 1
    assert found["totalstatistics"]["relayedpackets_kernel"] == 50
    assert found["totalstatistics"]["avgcallduration"] == "90.000000"
    assert found["totalstatistics"]["onewaystreams"] == 1
    proxy = found["controlstatistics"]["proxies"][0]
    assert (proxy["proxy"], proxy["offercount"], proxy["errorcount"]) == (PROXY, 1, 1)


def test_a_silent_call_is_ended(relay, world):
    offer(relay)
    answer(relay)
    session = relay.calls.get("c1").dialogues[0].session
    assert relay.owns(session)
    assert relay.answered(session) == 0.0
    relay.end_silent(session, 60.0)
    assert len(relay.calls) == 0
    assert world.taken() == (0, 0)


def test_a_call_is_kept_in_words_that_json_can_carry(relay):
    offer(relay, via_branch="1", metadata="m")
    offer(relay, via_branch="2")
    answer(relay, to="b2", via_branch="2")
    kept = _to_json(relay.calls.get("c1"))
    assert _to_json(_from_json(json.loads(json.dumps(kept)))) == kept


def test_our_own_fault_fails_one_request_alone(relay, world, monkeypatch):
    monkeypatch.setattr(world.hops, "route", lambda *_: 1 / 0)
    assert offer(relay) == {"result": "error", "error-reason": "Internal error: ZeroDivisionError"}
    assert ask(relay, "ping") == {"result": "pong"}
