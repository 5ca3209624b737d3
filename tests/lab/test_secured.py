# SPDX-License-Identifier: GPL-3.0-or-later
"""Real phones that speak SRTP, by SDES and by DTLS, with each other and with one that does not."""

import pytest

from vm import capture

BOTH = [(1000, 1000), (440, 440)]
TERMINATED = {("engine", "SRTP on one side only")}
DTLS = {("engine", "DTLS-SRTP ends here")}
KERNEL = {("kernel", "")}
PLAIN = 12 + 160
"""Bytes of RTP with 20 ms of PCMU; SRTP is longer."""


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
    world.finish(world.alice, world.bob)
    assert world.tones_heard() == BOTH
    seen = zip(flows, world.seen(), (world.lab.a, world.lab.b), encryption, strict=True)
    for flow, datagrams, endpoint, protected in seen:
        assert capture.rtp(datagrams)
        assert flow["replayed"] == 0
        assert flow["forged"] <= (unprotected(datagrams, endpoint) if protected else 0)


def unprotected(datagrams, phone):
    """How many packets the phone sent as they are: baresip does so when its RTCP has keys a moment before its RTP."""
    return sum(each.is_rtp and each.source[0] == phone.address and len(each.payload) == PLAIN for each in datagrams)


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
