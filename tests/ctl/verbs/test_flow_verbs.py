# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller answers of flows, over stand-ins for kernel, routes and engine."""

import json
import struct
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ctl.exits import NOT_FOUND, USAGE
from ctl.observe.captures import Captures
from ctl.verbs.control import ControlError
from ctl.verbs.flows import FlowVerbs
from tests.ctl.world import ALICE, BOB, RELAY_A, RELAY_B, rtp_port, sdp


@pytest.fixture
def carriers(world):
    return SimpleNamespace(kernel=world.programmer._kernel, interfaces={RELAY_A: "eth0", RELAY_B: "eth1"})


@pytest.fixture
def verbs(world, hops, carriers):
    core = SimpleNamespace(calls=lambda: [SimpleNamespace(id="call-in-setup")])
    return FlowVerbs(core, world.programmer, hops, carriers, Captures(world.programmer, carriers))


async def listed(verbs, **arguments):
    return json.loads(await verbs.flow_list(arguments))


def talk(world, a=500, b=500, ago=0.01):
    """Both legs have sent so many packets, the last a moment ago."""
    to_bob, to_alice = world.call("ng/one")
    now = time.monotonic() - ago
    for local, packets in (((RELAY_A, rtp_port(to_alice)), a), ((RELAY_B, rtp_port(to_bob)), b)):
        world.table.count(local, packets=packets, last_seen=now if packets else None)
    return f"{RELAY_A}:{rtp_port(to_alice)}", f"{RELAY_B}:{rtp_port(to_bob)}"


async def test_flows_are_listed_all_or_of_one_call(world, verbs):
    world.call("one")
    world.call("two")
    assert len(await listed(verbs)) == 8
    assert {flow["call"] for flow in await listed(verbs, call="tw")} == {"two"}
    assert await listed(verbs, call="call-in") == []


@pytest.mark.parametrize(("wanted", "code"), [("t", USAGE), ("x", NOT_FOUND)])
async def test_a_call_is_found_by_a_beginning_that_is_its_alone(world, verbs, wanted, code):
    world.call("two")
    world.call("three")
    with pytest.raises(ControlError) as error:
        await verbs.flow_list({"call": wanted})
    assert error.value.code == code


def test_of_a_flow_through_a_codec_what_became_of_its_sound(world, verbs):
    """As struct stage_report has it: 7 counters of the jitter buffer, 9 of the receiver, 4 of the sender, others."""
    world.sessions.data_plane = replace(world.sessions.data_plane, transcode=("PCMA",))
    narrow = "m=audio 4000 RTP/AVP {}\r\n"
    _, to_alice = world.call(a=sdp(ALICE, narrow.format(0)), b=sdp(BOB, narrow.format(8)))
    key = RELAY_A, rtp_port(to_alice)
    counts = (
        *(100, 3, 2, 0, 0, 0, 0),
        *(95, 1900, 100, 1, 20, 0, 0, 0, 0),
        *(100, 16000, 0, 0),
        5_000_000,
        40,
        0,
        0,
        0,
    )
    world.engine.reports[key] = struct.pack("=20QQIxxxxQQQ", *counts)
    shown = verbs.flow_show({"id": f"{key[0]}:{key[1]}"})
    assert (shown["late"], shown["played"], shown["recovered"], shown["buffer_ms"]) == (3, 95, 1, 40)
    assert (shown["concealed_ms"], shown["concealed_pct"], shown["silent_ms"], shown["codec_s"]) == (100, 5, 20, 0.005)
    world.engine.gone = True
    with pytest.raises(ControlError, match="no engine answers"):
        verbs.flow_show({"id": f"{key[0]}:{key[1]}"})


def test_one_flow_in_full(world, verbs):
    identity, _ = talk(world)
    shown = verbs.flow_show({"id": identity})
    assert (shown["packets"], shown["codec_s"], shown["concealed_ms"]) == (500, None, None)
    for unknown in ("", "ng/one", "192.0.2.1:9", "nonsense:", "[::1]:5"):
        with pytest.raises(ControlError) as error:
            verbs.flow_show({"id": unknown})
        assert error.value.code == NOT_FOUND


def test_a_call_is_explained_by_its_media(world, verbs):
    both = talk(world)
    found = verbs.flow_explain({"id": "ng/o"})
    assert [(each["id"], each["cause"], each["failed_check"]) for each in found] == [
        (id_, "flowing", None) for id_ in both
    ]


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda hops: hops.unroutable.add(BOB), "no_route"),
        (lambda hops: hops.unknown.add(BOB), "no_neighbour"),
    ],
)
def test_what_goes_on_is_asked_of_the_routes(world, hops, verbs, spoil, cause):
    identity, _ = talk(world)
    spoil(hops)
    (found,) = verbs.flow_explain({"id": identity})
    assert found["cause"] == cause
    assert "198.51.100.20" in found["remedy"]


def test_who_is_silent_is_told_from_both_sides(world, verbs):
    a, b = talk(world, b=0)
    causes = {each["id"]: each for each in verbs.flow_explain({"id": "ng/one"})}
    assert (causes[a]["cause"], causes[b]["cause"]) == ("far_side_silent", "no_packet_in")
    assert "tcpdump -ni eth1 udp port" in causes[b]["remedy"]
    assert causes[b]["failed_check"] == "packets in"


def test_a_capture_names_a_call_or_a_flow(world, verbs):
    identity, _ = talk(world)
    held = verbs.capture({"calls": ["ng/"], "flows": []})
    assert len(held.result["flows"]) == 4
    held.release()
    verbs.capture({"flows": [identity]}).release()
    for arguments, code in (({}, USAGE), ({"flows": ["192.0.2.1:9"]}, NOT_FOUND), ({"calls": ["x"]}, NOT_FOUND)):
        with pytest.raises(ControlError) as error:
            verbs.capture(arguments)
        assert error.value.code == code


def test_the_legs_are_alices_and_bobs(world, verbs):
    identity, _ = talk(world)
    flow = verbs.flow_show({"id": identity})
    assert (flow["leg"], flow["source"]["address"], flow["target"]["address"]) == ("a", ALICE, BOB)
