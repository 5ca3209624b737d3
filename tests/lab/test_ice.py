# SPDX-License-Identifier: GPL-3.0-or-later
"""ICE of real phones (baresip's, by RFC 5245) with ours: the checks of the one, the answers of the other, and media."""

import time

import pytest

BOTH = [(1000, 1000), (440, 440)]


def settled(world, path):
    """The flows of RTP once each leg's checks have selected a pair and they are carried by `path`."""
    deadline = time.monotonic() + 20
    while True:
        flows = world.flows()
        if len(flows) == 2 and all(flow["path"] == path and flow["ice"] in ("selected", "off") for flow in flows):
            return flows
        assert time.monotonic() < deadline, flows
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("ours", "speakers", "encryption", "path"),
    [
        ("lite", ("alice", "bob"), ("", ""), "kernel"),
        ("full", ("alice",), ("", ""), "kernel"),
        ("lite", ("alice", "bob"), ("dtls_srtp", "dtls_srtp"), "engine"),
    ],
    ids=["lite", "full-with-one", "dtls"],
)
def test_phones_that_check_are_heard_both_ways(world, ours, speakers, encryption, path):
    world = world(media=f'ice = "{ours}"', ice=speakers, encryption=encryption)
    world.connect(world.alice, world.bob)
    flows = settled(world, path)
    assert {flow["leg"]: flow["ice"] for flow in flows} == {
        "a": "selected",
        "b": "selected" if "bob" in speakers else "off",
    }
    assert {flow["source"]["address"] for flow in flows} == {world.lab.a.address, world.lab.b.address}
    world.carried(150)
    world.finish(world.alice, world.bob)
    assert world.tones_heard() == BOTH
