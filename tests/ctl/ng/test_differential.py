# SPDX-License-Identifier: GPL-3.0-or-later
"""The same conversations with Debian's rtpengine-daemon and with us: what proxies get back must be alike."""

import itertools
import os
import subprocess
from collections import Counter

import pytest

from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from tests.ctl.ng.sequences import conversations, reduced, reduced_copies
from tests.ctl.world import ALICE, BOB, RELAY_A, World
from vm import namespace
from vm.rtpengine import Rtpengine

CALLS = 1000


@pytest.fixture
def reference(tmp_path):
    name = f"vxng-{os.getpid()}"
    namespace.create(name)
    try:
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{RELAY_A}/32", "dev", "lo")):
            subprocess.run(["ip", "-n", name, *words], check=True)
        with Rtpengine(name, tmp_path / "rtpengine.log", [RELAY_A]) as daemon:
            yield daemon.client
    finally:
        namespace.remove(name)


@pytest.fixture
def relay(table, hops, engine):
    """A minute passes between any two requests, so that ports come out of their quarantine."""
    world = World(table, hops, engine, pairs=2000)
    return Relay(world.sessions, itertools.count(0.0, 60.0).__next__, b"secret", limits=Limits(delete_delay=0))


def test_descriptions_are_alike_line_by_line(reference, relay):
    asked = Counter()
    for talk in conversations(CALLS, 1, ALICE, BOB):
        for command, keys in talk.requests:
            theirs = reference.ask(command, **keys)
            ours = relay.handle(
                {"command": command, **{key.replace("_", "-"): value for key, value in keys.items()}}, "", 0
            )
            assert ours["result"] == theirs["result"], (keys, ours, theirs)
            if command == "subscribe request" and "sdp" in theirs:
                assert reduced_copies(ours["sdp"]) == reduced_copies(theirs["sdp"]), keys
                assert ours["from-tags"] == theirs["from-tags"]
                assert [each["tag"] for each in ours.get("tag-medias", ())] == [
                    each["tag"] for each in theirs.get("tag-medias", ())
                ]
            elif "sdp" in theirs:
                original = "original-sendrecv" in keys["flags"]
                found, wanted = (reduced(each["sdp"], original=original) for each in (ours, theirs))
                assert found == wanted, (command, keys)
            asked[command] += 1
    assert asked["offer"] > CALLS
    assert asked["answer"] > 0.8 * CALLS
    assert asked["subscribe request"] > 0.8 * CALLS
