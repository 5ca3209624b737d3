# SPDX-License-Identifier: GPL-3.0-or-later
"""A call of real phones, controlled by the REST API and by the command line, and what the audit says of both."""

import json

from tests.lab.test_media import kept, settings, tones_in
from vm import audio
from vm.controller import DOMAIN
from vm.process import inside, run, until

POST = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "application/json"})
if len(sys.argv) > 2:
    request.add_header("Authorization", "Bearer " + sys.argv[2])
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""
PASSWORD = "a long password of the lab"


class Rest:
    """An administrator who is logged in."""

    def __init__(self, world):
        self.world = world
        word = PASSWORD + "\n"
        world.controller.command("account", "add", "admin", "role=admin", "--password-stdin", stdin=word)
        self._token = ()
        self._token = (self.post("/auth/login", username="admin", password=PASSWORD)["access_token"],)

    def post(self, path, **body):
        command = ["python3", "-c", POST, f"http://127.0.0.1:8081/api/v1{path}", *self._token]
        return json.loads(run(*inside(self.world.lab.relay, command), stdin=json.dumps(body)))

    def control(self, call, action, **more):
        return self.post(f"/calls/{call}/control", action=action, **more)


def states(world):
    return {flow["state"] for flow in world.flows()}


def test_a_call_is_recorded_held_and_transferred(world, tmp_path):
    world = world(more=settings(tmp_path))
    carol = world.phone("carol", world.lab.b, slot=1)
    carol.registered()
    rest, ask = Rest(world), world.controller.ask
    world.connect(world.alice, world.bob)
    (call,) = ask("call", "list")
    assert rest.control(call["id"], "record_start", consent="given")["recording"]["paused"] is False
    world.carried(100)
    world.controller.command("call", "hold", call["id"], "--leg", "b")
    until(lambda: "held" in states(world))
    world.controller.command("call", "resume", call["id"])
    until(lambda: "held" not in states(world))
    rest.control(call["id"], "record_stop")
    made = rest.control(call["id"], "transfer", leg="a", target="carol")["transferred_as"]
    carol.established()
    world.bob.closed()
    world.carried(80)
    (now,) = world.controller.until("calls", "call", "list", count=1)
    assert now["id"] == made
    ask("call", "transfer", made, "bob", "--leg", "a")
    world.bob.established()
    carol.closed()
    assert audio.judge(audio.read(carol.heard()[0])).is_tone(440)
    world.alice.hangup()
    world.bob.closed()

    (recording,) = kept(world)
    world.controller.command("recording", "export", recording["id"], "-w", str(tmp_path / "call.wav"))
    assert tones_in(tmp_path / "call.wav") == [440, 1000]
    done = [
        (entry["actor"], entry["action"], entry["key"], (entry["after"] or {}).get("target"))
        for entry in ask("audit", "list")
        if entry["resource"] == "call"
    ]
    assert sorted(done) == sorted([
        ("admin", "record_start", call["id"], None),
        ("command line", "hold", call["id"], None),
        ("command line", "resume", call["id"], None),
        ("admin", "record_stop", call["id"], None),
        ("admin", "transfer", call["id"], "carol"),
        ("command line", "transfer", made, "bob"),
    ])  # fmt: skip
    assert f"sip:alice@{DOMAIN}" not in str(done)
