# SPDX-License-Identifier: GPL-3.0-or-later
"""Real phones that speak SRTP, by SDES and by DTLS, with each other and with one that does not."""

import pytest

from vm import capture

BOTH = [(1000, 1000), (440, 440)]
TERMINATED = {("engine", "SRTP on one side only")}
DTLS = {("engine", "DTLS-SRTP ends here")}
KERNEL = {("kernel", "")}


def ways(flows):
    return {(flow["path"], flow["reason"]) for flow in flows}


@pytest.mark.parametrize(
    ("encryption", "expected"),
    [
        (("srtp-mand", ""), TERMINATED),
        (("srtp-mand", "srtp-mand"), KERNEL),
        (("dtls_srtp", ""), DTLS),
        (("dtls_srtp", "dtls_srtp"), DTLS),
        (("srtp-mand", "dtls_srtp"), DTLS),
    ],
    ids=["sdes-plain", "sdes-sdes", "dtls-plain", "dtls-dtls", "sdes-dtls"],
)
def test_a_call_is_heard_both_ways(world, encryption, expected):
    world = world(encryption=encryption)
    world.connect(world.alice, world.bob)
    flows = world.carried(100)
    assert ways(flows) == expected
    assert {flow["security"] for flow in flows} == {"plain" if expected == KERNEL else "secure"}
    # Of two that shake hands one has its keys first, and its first packet may come before the other has them.
    assert sum(flow["forged"] + flow["replayed"] for flow in flows) <= (1 if expected == DTLS else 0) * len(flows)
    world.finish(world.alice, world.bob)
    assert world.tones_heard() == BOTH
    at_a, at_b = world.seen()
    for datagrams in (at_a, at_b):
        assert capture.rtp(datagrams)


def test_hold_and_resume_of_a_protected_call(world):
    world = world(encryption=("srtp-mand", ""))
    world.connect(world.alice, world.bob)
    world.carried(50)
    world.alice.hold()
    assert world.bob.wait("CALL_REMOTE_SDP", 5)["param"] == "offer"
    world.alice.wait("CALL_REMOTE_SDP", 5)
    world.alice.resume()
    assert world.bob.wait("CALL_REMOTE_SDP", 5)["param"] == "offer"
    world.alice.wait("CALL_REMOTE_SDP", 5)
    before = max(flow["packets"] for flow in world.flows())
    assert ways(world.carried(before + 50)) == TERMINATED
    world.finish(world.alice, world.bob)
