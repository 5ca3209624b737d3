# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are led somewhere: to queues and groups, by trunks of which one fails, by the time of day."""

import json
from pathlib import Path

from vm import audio
from vm.process import until
from vm.sipp import Sipp

SCENARIOS = Path(__file__).parent / "scenarios"
ALWAYS = [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "opens": "00:00", "closes": "24:00"}]


def test_a_queue_with_two_agents(world):
    """One agent does not answer, the other one does; before that the controller is killed, after it there is a hold."""
    world = world()
    command = world.controller.command
    carol = world.phone("carol", world.lab.b, slot=1, answer="manual")
    carol.registered()
    for name in ("bob", "carol"):
        command("agent", "add", name, f"user={name}")
    agents = json.dumps([{"agent": "carol"}, {"agent": "bob", "tier": 2}])
    command("queue", "add", "sales", "extension=500", "ring_seconds=5", "wrap_up_seconds=1", f"agents={agents}")

    world.alice.dial("sip:500@voxdp.lab")
    world.alice.established()
    (caller,) = world.controller.until("callers", "queue", "board", count=1)
    assert (caller["queue"], caller["position"], caller["caller"]) == ("sales", 1, "alice")
    world.controller.kill()
    world.controller.start()
    world.controller.until("callers", "queue", "board", count=1)
    world.controller.ready()
    carol.dial("sip:*45@voxdp.lab")
    carol.established()
    carol.closed()
    carol.wait("CALL_INCOMING")
    command("agent", "state", "bob", "available")
    world.bob.established()
    assert {flow["path"] for flow in world.carried(100)} == {"kernel"}

    (call,) = world.controller.ask("call", "list")
    assert (call["state"], call["caller"], call["dialled"]) == ("talking", "alice", "500")
    command("call", "hold", call["id"], "--leg", "b")
    until(lambda: {flow["path"] for flow in world.flows() if flow["leg"] == "a"} == {"engine"})
    command("call", "resume", call["id"])
    before = max(flow["packets"] for flow in world.flows())
    world.carried(before + 50)
    world.alice.hangup()
    world.bob.closed()
    assert world.controller.until("flows", "flow", "list", count=0) == []
    code, record = sorted(world.controller.until("records", "cdr", "list", count=2), key=lambda each: each["dialled"])
    assert (code["dialled"], code["q850_cause"], code["queue"]) == ("*45", 16, None)
    assert (record["queue"], record["agent"], record["abandoned"]) == ("sales", "bob", False)
    assert record["waited_seconds"] > 5
    (heard,) = world.alice.heard()
    music = audio.judge(audio.read(heard)).seconds
    assert music > record["waited_seconds"], "music until bob answered, and then bob"
    assert world.controller.ask("queue", "board") == []

    command("queue", "set", "sales", "callback=true")
    for name in ("bob", "carol"):
        command("agent", "state", name, "off")
    world.alice.dial("sip:500@voxdp.lab")
    world.alice.established()
    world.controller.until("callers", "queue", "board", count=1)
    world.alice.dtmf("1")
    world.alice.closed()
    (caller,) = those_who_hung_up(world)
    assert (caller["number"], caller["position"]) == ("alice", 1)
    command("agent", "state", "bob", "available")
    world.bob.established()
    world.alice.established()
    assert {flow["path"] for flow in world.carried(50)} == {"kernel"}
    world.alice.hangup()
    world.bob.closed()
    assert world.controller.until("callers", "queue", "board", count=0) == []


def those_who_hung_up(world):
    """Who is on the board, once none of them is on the line: alice may hear of the end before the board does."""
    return until(lambda: (found := board(world)) and all(each["number"] for each in found) and found)


def board(world):
    return world.controller.look("queue", "board")


def test_members_of_a_group_in_two_networks_ring_together(world):
    """Each is offered the address of ours that it faces, and one of them answers."""
    world = world()
    carol = world.phone("carol", world.lab.a, slot=1, answer="manual")
    dave = world.phone("dave", world.lab.b, slot=1, answer="manual")
    for phone in (carol, dave):
        phone.registered()
    members = json.dumps([{"user": "carol"}, {"user": "dave"}])
    world.controller.command("group", "add", "all", "extension=501", f"members={members}")
    world.alice.dial("sip:501@voxdp.lab")
    carol.wait("CALL_INCOMING")
    dave.wait("CALL_INCOMING")
    dave.command("accept")
    world.alice.established()
    carol.closed()
    assert {flow["path"] for flow in world.carried(80)} == {"kernel"}
    world.finish(world.alice, dave)
    assert audio.judge(audio.read(dave.heard()[0])).is_tone(440)


def test_trunks_of_which_one_fails_and_the_time_of_day(world):
    world = world()
    command = world.controller.command
    for port, name, scenario in (
        (5070, "broken", ["-sf", str(SCENARIOS / "out_of_order.xml")]),
        (5072, "sound", ["-sn", "uas", "-rtp_echo"]),
    ):
        Sipp(world.lab, world.lab.b, name, scenario, port).listening()
        command("trunk", "add", name, f"host={world.lab.b.address}", f"port={port}", "probe_seconds=0")
    trunks = json.dumps([{"trunk": "broken"}, {"trunk": "sound", "priority": 1}])
    command("route", "add", "france", "prefix=33", f"trunks={trunks}")
    world.alice.dial("sip:+33123456789@voxdp.lab")
    world.alice.established()
    world.alice.hangup()
    world.alice.closed()
    (record,) = world.controller.until("records", "cdr", "list", count=1)
    assert (record["to_trunk"], record["sip_status"]) == ("1/sound", 200)

    command("calendar", "add", "office")
    command("number", "add", "+4930555", "user=bob", "calendar=office")
    world.alice.dial("sip:+4930555@voxdp.lab")
    assert "480" in world.alice.closed()
    command("calendar", "set", "office", f"hours={json.dumps(ALWAYS)}")
    world.alice.dial("sip:+4930555@voxdp.lab")
    world.alice.established()
    world.bob.established()
    world.alice.hangup()
    world.bob.closed()
