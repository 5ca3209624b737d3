# SPDX-License-Identifier: GPL-3.0-or-later
"""All that `query`, `delete` and `statistics` tell, key by key, as the field's own relay spells and nests it."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.ng.requests_counted import COUNTED
from ctl.ng.statistics import Interface
from ctl.observe.quality import Sample
from tests.ctl.ng.test_relay import FINGERPRINT, answer, ask, offer
from tests.ctl.ng.test_relay_ice import speaking
from tests.ctl.world import ALICE, BOB, RELAY_A, rtp_port, sdp

EPOCH = 1_700_000_000.0
"""Since the epoch; the media's own clock begins at 0."""


@pytest.fixture
def relay(world):
    return Relay(world.sessions, lambda: 40.0, b"secret", limits=Limits(delete_delay=0))


@pytest.fixture
def port(relay, world):
    offer(relay, now=EPOCH, set_label="1", via_branch="z9")
    port = rtp_port(answer(relay, now=EPOCH, via_branch="z9")["sdp"])
    counted = {"ssrc": 7, "lost": 3, "last_seen": 30.0, "sequence": 65535, "timestamp": 4_000_000_000}
    world.table.count((RELAY_A, port), packets=500, bytes=86000, rejected=2, dropped=1, payload_type=0, **counted)
    world.table.count((RELAY_A, port + 1), packets=6, bytes=600, last_seen=29.0)
    return port


def judge(world, relay, *intervals, packets=250):
    """Intervals of five seconds of what Alice says, each with its loss."""
    quality, session = world.programmer.quality, relay.calls.get("c1").dialogues[0].session
    lost = 0
    for number, missing in enumerate(intervals, 1):
        lost += missing
        quality.look(session, 0, "a", Sample(packets * number, lost, 2.0, 5.0 * number, "PCMU"), 5.0 * number)
    return quality.of(session, 0, "a")


def query(relay, **keys):
    reply = ask(relay, "query", call_id="c1", now=EPOCH + 40, **keys)
    json.dumps(reply)
    return reply


def test_a_call_has_its_times(relay, port):
    reply = query(relay)
    times = {key: reply[key] for key in ("created", "created_us", "created_ts", "last signal", "last redis update")}
    assert times == {
        "created": int(EPOCH),
        "created_us": 0,
        "created_ts": int(EPOCH * 1e6),
        "last signal": int(EPOCH),
        "last redis update": 0,
    }
    assert reply["totals"] == {
        "RTP": {"packets": 500, "bytes": 86000, "errors": 3},
        "RTCP": {"packets": 6, "bytes": 600, "errors": 0},
    }
    assert reply["recording"] == {"call recording": 0, "forwarding": 0}


def test_a_participant_has_its_media(relay, port):
    alice = query(relay)["tags"]["a"]
    assert set(alice) == {"tag", "label", "created", "subscriptions", "subscribers", "medias", "VSC"}
    assert (alice["tag"], alice["label"], query(relay)["tags"]["b"]["via-branch"]) == ("a", "1", "z9")
    (media,) = alice["medias"]
    heard = {"SSRC": 7, "bytes": 86000, "packets": 500, "last RTP timestamp": 4_000_000_000, "last RTP seq": 65535}
    assert {key: value for key, value in media.items() if key != "streams"} == {
        "index": 1,
        "type": "audio",
        "protocol": "RTP/AVP",
        "codec": "PCMU/8000",
        "flags": ["initialized", "send", "recv"],
        "ingress SSRCs": [{**heard, "cumulative loss": 3}],
        "egress SSRCs": [],
    }
    (theirs,) = query(relay)["tags"]["b"]["medias"]
    assert theirs["egress SSRCs"] == media["ingress SSRCs"]


def test_a_stream_has_its_ports_and_counters(relay, port):
    rtp, rtcp = query(relay)["tags"]["a"]["medias"][0]["streams"]
    assert rtp == {
        "local port": port,
        "local address": RELAY_A,
        "family": "IPv4",
        "endpoint": {"family": "IPv4", "address": ALICE, "port": 4000},
        "advertised endpoint": {"family": "IPv4", "address": ALICE, "port": 4000},
        "last packet": int(EPOCH) + 30,
        "last kernel packet": int(EPOCH) + 30,
        "last user packet": 0,
        "SSRC": 7,
        "flags": ["RTP", "filled", "confirmed", "kernelized", "strict source address"],
        "stats": {"packets": 500, "bytes": 86000, "errors": 3},
        "stats_out": {"packets": 0, "bytes": 0, "errors": 0},
    }
    assert (rtcp["local port"], rtcp["flags"][0], rtcp["last packet"]) == (port + 1, "RTCP", int(EPOCH) + 29)
    assert query(relay)["tags"]["b"]["medias"][0]["streams"][0]["stats_out"]["packets"] == 500


def test_quality_is_told_as_proxies_account_for_it(relay, world, port):
    direction = judge(world, relay, 0, 25, 0)
    direction.round_trip_sum, direction.round_trips = 0.040, 2
    ssrc = query(relay)["SSRC"]["7"]
    average = ssrc["average MOS"]
    assert set(average) == {"MOS", "round-trip time", "round-trip time leg", "jitter", "packet loss", "samples"}
    assert (average["samples"], average["jitter"], average["packet loss"]) == (3, 2, 3)
    assert average["round-trip time leg"] == 20_000
    worst, best = ssrc["lowest MOS"], ssrc["highest MOS"]
    point = {"MOS", "round-trip time", "round-trip time leg", "jitter", "packet loss", "reported at"}
    assert set(worst) == set(best) == point
    assert worst["MOS"] < average["MOS"] < best["MOS"] == 44
    assert (worst["reported at"], worst["packet loss"]) == (int(EPOCH) + 10, 9)
    course = ssrc["MOS progression"]
    assert course["interval"] == 5
    assert [each["reported at"] - int(EPOCH) for each in course["entries"]] == [5, 10, 15]
    assert course["entries"][1] == worst


def test_the_course_of_a_long_call_is_about_ten_points(relay, world, port):
    judge(world, relay, *[0] * 1000)
    course = query(relay)["SSRC"]["7"]["MOS progression"]
    assert 8 <= len(course["entries"]) <= 16
    times = [each["reported at"] for each in course["entries"]]
    assert {after - before for before, after in pairwise(times)} == {course["interval"]}


def test_before_anything_was_measured_nothing_is_made_up(relay, port):
    ssrc = query(relay)["SSRC"]["7"]
    assert set(ssrc) == {"bytes", "packets", "last RTP timestamp", "last RTP seq", "cumulative loss"}


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ("sendrecv", ["send", "recv"]),
        ("sendonly", ["recv"]),
        ("recvonly", ["send"]),
        ("inactive", []),
    ],
)
def test_who_may_speak_is_among_the_flags(relay, said, flags):
    offer(relay, sdp=sdp(ALICE).decode() + f"a={said}\r\n")
    answer(relay)
    found = query(relay)["tags"]["a"]["medias"][0]["flags"]
    assert [each for each in found if each in ("send", "recv")] == flags


def test_keys_and_ice_are_among_the_flags(relay, world):
    world.sessions.data_plane = replace(world.sessions.data_plane, srtp="preferred", fingerprint=FINGERPRINT)
    key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"
    body = sdp(ALICE).decode().replace("RTP/AVP", "RTP/SAVP") + key
    offer(relay, sdp=body, transport_protocol="RTP/AVP", flags=["asymmetric"])
    answer(relay)
    assert {"SDES", "asymmetric"} <= set(query(relay)["tags"]["a"]["medias"][0]["flags"])
    stream = query(relay)["tags"]["a"]["medias"][0]["streams"][0]
    assert {"no kernel support"} <= set(stream["flags"])
    assert "kernelized" not in stream["flags"]
    assert "SDES" not in query(relay)["tags"]["b"]["medias"][0]["flags"]
    tls = sdp(BOB).decode().replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
    tls += f"a=fingerprint:{FINGERPRINT}\r\na=setup:active\r\n"
    offer(relay, call="c2", sdp=sdp(ALICE).decode(), transport_protocol="UDP/TLS/RTP/SAVP")
    answer(relay, call="c2", sdp=tls)
    theirs = ask(relay, "query", call_id="c2")["tags"]["b"]["medias"][0]
    assert {"DTLS-SRTP", "DTLS role passive"} <= set(theirs["flags"])


def test_media_that_moves_is_not_strict(relay, world):
    offer(relay, flags=["media-handover"])
    answer(relay, flags=["media-handover"])
    flags = query(relay)["tags"]["a"]["medias"][0]["streams"][0]["flags"]
    assert "media handover" in flags
    assert "strict source address" not in flags


def test_delete_tells_the_same(relay, world, port):
    judge(world, relay, 0, 5)
    asked = query(relay)
    told = ask(relay, "delete", call_id="c1", from_tag="a", now=EPOCH + 40)
    assert told == asked


def test_a_from_tag_narrows_it_to_whom_it_talks_to(relay, port):
    offer(relay, tag="c", flags=["new-branch"])
    assert set(query(relay, from_tag="b")["tags"]) == {"a", "b"}


CURRENT = (
    *("sessionsown", "sessionsforeign", "sessionstotal", "transcodedmedia", "mediacache", "playercache"),
    *("packetrate_user", "packetrate_kernel", "packetrate", "byterate_user", "byterate_kernel", "byterate"),
    *("errorrate_user", "errorrate_kernel", "errorrate", "media_userspace", "media_kernel", "media_mixed"),
)
TOTAL = (
    *("uptime", "managedsessions", "rejectedsessions", "timeoutsessions", "silenttimeoutsessions"),
    *("finaltimeoutsessions", "offertimeoutsessions", "regularterminatedsessions", "forcedterminatedsessions"),
    *(f"relayed{what}{by}" for what in ("packets", "packeterrors", "bytes") for by in ("_user", "_kernel", "")),
    *("zerowaystreams", "onewaystreams", "avgcallduration", "totalcallsduration", "totalcallsduration2"),
    "totalcallsduration_stddev",
)
SPREAD = ("{}_total", "{}2_total", "{}_samples_total", "{}_average", "{}_stddev")
MEASURES = ("jitter", "rtt_e2e", "rtt_dsct", "packetloss", "jitter_measured")
FAULTS = ("packets_lost", "rtp_duplicates", "rtp_skips", "rtp_seq_resets", "rtp_reordered")


def test_statistics_have_every_key(relay, world, port):
    judge(world, relay, 0, 25)
    relay.interfaces = lambda: [Interface("lan", RELAY_A, 20000, 20999, 4, 996)]
    found = ask(relay, "statistics", now=EPOCH + 60)["statistics"]
    json.dumps(found)
    assert set(found) == {
        *("currentstatistics", "totalstatistics", "mos", "voip_metrics", "controlstatistics", "interfaces"),
        *("transcoders", "poller_threads", "bufferpools"),
    }
    assert set(found["currentstatistics"]) == set(CURRENT)
    assert set(found["totalstatistics"]) == set(TOTAL)
    assert set(found["mos"]) == {each.format("mos") for each in SPREAD}
    measures = {each.format(name) for name in MEASURES for each in SPREAD}
    assert set(found["voip_metrics"]) == measures | set(FAULTS)
    voice = found["voip_metrics"]
    assert (voice["packetloss_samples_total"], voice["packets_lost"]) == (1, 3)
    assert float(voice["packetloss_average"]) == pytest.approx(4.545, abs=0.01)
    rates = found["currentstatistics"]
    assert (rates["packetrate_kernel"], rates["byterate"], rates["errorrate"]) == (50, 8600, 0)
    (lan,) = found["interfaces"]
    assert set(lan) == {
        *("name", "address", "ports", "packets_lost", "duplicates", "voip_metrics", "ingress", "egress"),
    }
    assert set(lan["voip_metrics"]) == measures | set(found["mos"])
    ports = {"min": 20000, "max": 20999, "used": 4, "used_pct": "0.400000", "free": 996, "totals": 1000}
    assert (lan["name"], lan["ports"], lan["ingress"]["packets"]) == ("lan", ports, 506)


def test_what_ended_stays_in_the_totals(relay, world, port):
    judge(world, relay, 0, 25)
    before = ask(relay, "statistics", now=EPOCH + 60)["statistics"]
    ask(relay, "delete", call_id="c1", from_tag="a", now=EPOCH + 60)
    after = ask(relay, "statistics", now=EPOCH + 60)["statistics"]
    assert (after["mos"], after["voip_metrics"]) == (before["mos"], before["voip_metrics"])
    assert after["currentstatistics"]["packetrate"] == 0


def test_every_command_is_counted_by_proxy_and_in_all(relay, port):
    ask(relay, "ping")
    ask(relay, "block media", call_id="c1")
    ask(relay, "query", call_id="none")
    control = ask(relay, "statistics")["statistics"]["controlstatistics"]
    (proxy,) = control["proxies"]
    counts = {name: proxy[f"{name}count"] for name in COUNTED.values() if proxy[f"{name}count"]}
    assert counts == {"ping": 1, "offer": 1, "answer": 1, "blkmedia": 1, "query": 1}
    assert {name: control[f"total{name}count"] for name in counts} == counts
    assert all(float(proxy[f"{name}duration"]) >= 0 for name in COUNTED.values())
    assert (proxy["proxy"], proxy["errorcount"]) == ("127.0.0.1", 1)


def test_a_call_that_nobody_answers_is_taken_away_and_counted(world):
    relay = Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0, offer_timeout=60))
    offer(relay, now=EPOCH)
    offer(relay, call="c2", now=EPOCH)
    answer(relay, call="c2", now=EPOCH)
    relay.look(EPOCH + 59)
    assert len(relay.calls) == 2
    relay.look(EPOCH + 60)
    assert ask(relay, "list")["calls"] == ["c2"]
    assert ask(relay, "statistics")["statistics"]["totalstatistics"]["offertimeoutsessions"] == 1
    relay.look(EPOCH + 9999)
    assert len(relay.calls) == 1


def flags(relay, tag="a", call="c1"):
    return ask(relay, "query", call_id=call)["tags"][tag]["medias"][0]["flags"]


def test_how_rtcp_and_ice_go_is_among_the_flags(relay):
    lite = speaking(ALICE, "a=rtcp-mux\r\n").replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\na=ice-options:trickle\r\n")
    offer(relay, sdp=lite, ICE="remove")
    answer(relay)
    assert {"ICE", "ICE controlling", "ICE-lite peer", "trickle ICE"} <= set(flags(relay))
    assert not {"ICE", "trickle ICE", "ICE-lite peer"} & set(flags(relay, "b"))
    assert "ICE" in ask(relay, "query", call_id="c1")["tags"]["a"]["medias"][0]["streams"][0]["flags"]
    muxed = "m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n"
    offer(relay, call="c2", sdp=sdp(ALICE, muxed).decode())
    answer(relay, call="c2", sdp=sdp(BOB, muxed).decode())
    assert "rtcp-mux" in flags(relay, call="c2")
    assert "rtcp-mux" not in flags(relay)


def test_what_is_transcoded_is_told_and_counted(relay):
    offer(relay, sdp=sdp(ALICE, "m=audio 4000 RTP/AVP 0\r\n").decode(), flags=["codec-transcode-PCMA"])
    answer(relay, sdp=sdp(BOB, "m=audio 4000 RTP/AVP 8\r\n").decode())
    offer(relay, call="c2")
    answer(relay, call="c2")
    assert ("transcoding" in flags(relay), "transcoding" in flags(relay, call="c2")) == (True, False)
    current = ask(relay, "statistics")["statistics"]["currentstatistics"]
    assert (current["transcodedmedia"], current["media_userspace"], current["media_kernel"]) == (1, 1, 1)


def test_srtp_tells_its_suite_and_whether_dtls_was_who_it_said(relay, world):
    world.sessions.data_plane = replace(world.sessions.data_plane, srtp="preferred", fingerprint=FINGERPRINT)
    offer(relay, transport_protocol="UDP/TLS/RTP/SAVP")
    body = sdp(BOB).decode().replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
    answer(relay, sdp=f"{body}a=fingerprint:{FINGERPRINT}\r\na=setup:active\r\n")
    read = world.engine.read
    told = {"security": "secure", "suite": "AES_CM_128_HMAC_SHA1_80"}
    world.engine.read = lambda keys: tuple(replace(each, **told) for each in read(keys))
    stream = ask(relay, "query", call_id="c1")["tags"]["b"]["medias"][0]["streams"][0]
    assert stream["crypto suite"] == "AES_CM_128_HMAC_SHA1_80"
    assert "DTLS fingerprint verified" in stream["flags"]
    other = ask(relay, "query", call_id="c1")["tags"]["a"]["medias"][0]["streams"][0]
    assert "DTLS fingerprint verified" not in other["flags"]


def test_figures_go_on_where_media_moves_to_the_engine_and_back(relay, world, port):
    """500 packets of Alice's were counted by the kernel, then seven each way by the engine."""
    judge(world, relay, 0, 25)
    session = relay.calls.get("c1").dialogues[0].session
    samples = query(relay)["SSRC"]["7"]["average MOS"]["samples"]
    plane = world.sessions.data_plane
    world.sessions.data_plane = replace(plane, attached=frozenset())
    world.sessions.replan()
    assert {view.path for view in world.sessions.query(session)} == {"engine"}
    assert {view.path for view in world.sessions.ended(session)} == {"kernel"}
    reply = query(relay)
    assert reply["totals"]["RTP"] == {"packets": 514, "bytes": 86000 + 2 * 1204, "errors": 3}
    rtp, rtcp = reply["tags"]["a"]["medias"][0]["streams"]
    assert (rtp["stats"]["packets"], rtp["stats_out"]["packets"], rtcp["stats"]["packets"]) == (507, 7, 13)
    assert "kernelized" not in rtp["flags"]
    total = ask(relay, "statistics")["statistics"]["totalstatistics"]
    assert (total["relayedpackets_kernel"], total["relayedpackets_user"]) == (506, 28)
    told = ask(relay, "delete", call_id="c1", from_tag="a", delete_delay=30, now=EPOCH + 40)
    assert told["totals"] == reply["totals"]
    relay.look(EPOCH + 80)
    found = ask(relay, "statistics")["statistics"]
    assert (found["totalstatistics"]["relayedpackets"], found["totalstatistics"]["onewaystreams"]) == (534, 0)
    assert found["mos"]["mos_samples_total"] == 1
    assert samples == 2
