# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's protocol: every message has a reply, and none breaks it."""

import json
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media.flow_json import flow_from_json, flow_to_json, statistics_from_json, statistics_to_json
from media.requests import Requests

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FLOW = {
    "local_address": "127.77.0.1",
    "local_port": 30000,
    "source_address": "127.77.1.1",
    "source_port": 4000,
    "target_address": "127.77.2.1",
    "target_port": 4002,
}


@pytest.fixture
def requests(engine):
    return Requests(engine)


def ask(requests, **members):
    return json.loads(requests.answer(json.dumps(members).encode()))


def test_set_read_list_remove(requests, call):
    a, b = call.facing_a, call.facing_b
    assert ask(requests, op="set", a=flow_to_json(a), b=flow_to_json(b)) == {"ok": True, "worker": 0}
    assert ask(requests, op="list", cursor=0)["keys"] == [list(a.key), list(b.key)]
    (read,) = ask(requests, op="read", keys=[a.key])["statistics"]
    assert statistics_from_json(read).flow == a
    assert ask(requests, op="stats")["summary"]["flows"] == 2
    assert len(ask(requests, op="remove", keys=[a.key, b.key])["statistics"]) == 2
    cursor = ask(requests, op="list", cursor=0)["cursor"]
    assert ask(requests, op="list", cursor=cursor)["keys"] == []


def test_statistics_survive_json(requests, call, rtp, make_peer, settled):
    call.open(requests.engine)
    make_peer("127.77.9.9").send(rtp(), call.facing_a.key)
    statistics = settled(requests.engine, call.facing_a, 1)
    assert statistics_from_json(json.loads(json.dumps(statistics_to_json(statistics)))) == statistics


def test_shutdown(requests):
    assert ask(requests, op="shutdown") == {"ok": True}
    assert requests.ending


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"op": 1}',
        b'{"op": []}',
        b'{"op": "format"}',
        b'{"op": "ping", "extra": 1}',
        b'{"op": "read"}',
        b'{"op": "read", "keys": [["127.0.0.1", 1.5]]}',
        b'{"op": "read", "keys": [["127.0.0.1", true]]}',
        b'{"op": "read", "keys": {}}',
        b'{"op": "list", "cursor": -1}',
        b'{"op": "list", "cursor": ' + b"9" * 5000 + b"}",
        b"[" * 60000,
    ],
)
def test_a_bad_message_gets_an_error(requests, message):
    reply = json.loads(requests.answer(message))
    assert (reply["ok"], reply["code"]) == (False, "bad-request")
    assert "\n" not in reply["text"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"colour": "red"}, "bad-request"),
        ({"held": 1}, "bad-request"),
        ({"local_port": "30000"}, "bad-request"),
        ({"local_port": True}, "bad-request"),
        ({"local_address": None}, "bad-request"),
        ({"local_address": "::g"}, "bad-flow"),
        ({"source_address": "voxdp.example"}, "bad-flow"),
        ({"target_address": ""}, "bad-flow"),
        ({"local_port": 0}, "bad-flow"),
        ({"local_port": 65536}, "bad-flow"),
        ({"target_port": -1}, "bad-flow"),
        ({"clock_rate": 900_001}, "bad-flow"),
        ({"dscp": 64}, "bad-flow"),
        ({"kind": "srtp"}, "bad-flow"),
    ],
)
def test_a_bad_flow_is_named(requests, change, code):
    reply = ask(requests, op="set", a=FLOW | change, b=FLOW)
    assert (reply["ok"], reply["code"]) == (False, code)
    assert any(name in reply["text"] for name in change)


def test_a_flow_lacks_a_member(requests):
    reply = ask(requests, op="set", a={k: v for k, v in FLOW.items() if k != "source_port"}, b=FLOW)
    assert (reply["code"], reply["text"]) == ("bad-request", "missing key source_port")


def test_flow_survives_json():
    flow = flow_from_json(FLOW)
    assert flow_from_json(asdict(flow)) == flow


def test_too_many_keys(requests):
    assert ask(requests, op="read", keys=[["127.0.0.1", 1]] * 65)["code"] == "bad-request"


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(["ping", "set", "remove", "read", "list", "stats", "no"]), ANYTHING, ANYTHING, ANYTHING)
def test_no_json_breaks_it(requests, op, first, second, third):
    for request in ({"op": op, "keys": first}, {"op": op, "a": second, "b": third}, {"op": op, "cursor": first}):
        assert isinstance(json.loads(requests.answer(json.dumps(request).encode()))["ok"], bool)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_no_bytes_break_it(requests, message):
    assert json.loads(requests.answer(message))["ok"] is False
