# SPDX-License-Identifier: GPL-3.0-or-later
"""UDP checksums that the sender left for a network card, which XDP comes before."""

import pytest

from tests.bpf import model
from tests.bpf.cases import FROM_V6, INDEX, INDEX6, TO_V6, caller_flow, sent, sent6
from tests.bpf.packets import checksums_hold, frame, frame6, left_undone, rtp

ATOMIC = {"fragment": 0x4000, "identity": 0}
WAYS = {
    "IPv4": (INDEX, {}, frame, sent),
    "IPv6": (INDEX6, FROM_V6 | TO_V6, frame6, sent6),
    "IPv4 to IPv6": (INDEX, TO_V6, frame, sent6),
    "IPv6 to IPv4": (INDEX6, FROM_V6, frame6, lambda packet: sent(packet, **ATOMIC)),
}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.mark.parametrize("body", [b"", b"odd", bytes(range(256)) * 5], ids=["none", "odd", "long"])
def test_the_checksum_is_completed_in_every_packet(relay, way, body):
    index, flow, came, left = way
    relay.put(index, caller_flow(**flow))
    for sequence in range(3):
        packet = rtp(sequence, sequence * 160, body=body)
        outcome = relay.run(left_undone(came(packet)))
        assert outcome.data == left(packet)
        assert checksums_hold(outcome.data)
    assert not relay.flows[index].track.express


def test_a_flow_takes_the_express_way_once_its_checksums_are_complete(relay, way):
    index, flow, came, _ = way
    relay.put(index, caller_flow(**flow))
    relay.run(left_undone(came(rtp(1))))
    assert not relay.flows[index].track.express
    relay.run(came(rtp(2)))
    assert relay.flows[index].track.express


def test_where_none_is_wanted_none_is_computed(relay):
    relay.put(INDEX, caller_flow(flags=model.ZERO_CHECKSUM))
    assert relay.run(left_undone(frame())).data == sent(checksum=0)


def test_another_wrong_checksum_stays_wrong(relay, way):
    index, flow, came, _ = way
    relay.put(index, caller_flow(**flow))
    assert not checksums_hold(relay.run(came(checksum=0x1234)).data)
