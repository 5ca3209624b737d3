# SPDX-License-Identifier: GPL-3.0-or-later
"""STUN on the signalling port: a Binding request learns its address, by datagrams and at the measure of its source."""

from __future__ import annotations

import pytest

from sip.effects import Address
from tests.sip.conftest import SERVER, World

HEADER = b"\x00\x01\x00\x00\x21\x12\xa4\x42"
ID = bytes(range(12))
BINDING = HEADER + ID
SOURCE = Address("192.0.2.7", 40000)


def test_a_binding_request_learns_its_address(world):
    world.receive(BINDING, SOURCE)
    ((_, effect),) = world.wire
    mapped = bytes([0, 0x20, 0, 8, 0, 1, 0x9C ^ 0x21, 0x40 ^ 0x12, 192 ^ 0x21, 0 ^ 0x12, 2 ^ 0xA4, 7 ^ 0x42])
    assert effect.data == b"\x01\x01\x00\x0c\x21\x12\xa4\x42" + ID + mapped
    assert (effect.target, effect.local) == (SOURCE, SERVER)


def test_one_by_ipv6_as_well(world):
    world.receive(BINDING, Address("2001:db8::7", 40000))
    ((_, effect),) = world.wire
    assert effect.data[20:26] == bytes([0, 0x20, 0, 20, 0, 2])
    address = bytes(a ^ b for a, b in zip(effect.data[28:], BINDING[4:], strict=True))
    assert address.hex() == "20010db8000000000000000000000007"


@pytest.mark.parametrize(
    "data", [b"\x01\x01" + BINDING[2:], b"\x00\x02" + BINDING[2:], b"\x00\x01\x00\x04" + BINDING[4:], BINDING + b"x"]
)
def test_what_is_no_binding_request_is_not_answered(world, data):
    world.receive(data, SOURCE)
    assert world.wire == []


def test_by_a_connection_it_is_no_sip(world):
    world.receive(BINDING, Address("192.0.2.7", 40000, "tcp", inbound=True))
    assert world.wire == []


def test_it_is_limited_as_all_else_is():
    world = World(requests_per_source=10.0)
    for _ in range(100):
        world.receive(BINDING, SOURCE)
    assert len(world.wire) == 40
    assert world.core.defence.dropped["rate"] == 60
