# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces from the kernel's messages, VLAN devices above all: not every kernel that tests run on can make them."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ctl.network.links import Egress, Link, Links
from ctl.network.netlink import Netlink

MAC = "02:00:00:00:00:07"


class Kernel:
    """Answers for the interfaces that it has, and counts how often it is asked."""

    def __init__(self, links: Mapping[int, Any]) -> None:
        self.links, self.asked = links, 0

    def ask(self, _kind: int, fields: Mapping[str, Any], _attributes: Mapping[str, Any]) -> list[Any]:
        self.asked += 1
        found = self.links.get(fields["index"])
        return [found] if found else []


def test_a_plain_interface_is_its_own_egress() -> None:
    links, _ = made({2: device(2, "eth0")})
    assert links.get(2) == Link("eth0", bytes.fromhex(MAC.replace(":", "")), up=True)
    assert links.egress(2) == Egress(2, "eth0")


def test_a_vlan_device_leads_to_the_interface_below_and_tells_its_tag() -> None:
    links, _ = made({2: device(2, "eth0"), 5: vlan(5, "voice", 2, 100)})
    assert links.egress(5) == Egress(2, "eth0", (100,))
    assert links.get(5).mac == links.get(2).mac


def test_a_vlan_in_a_vlan_has_two_tags_the_outer_first() -> None:
    links, _ = made({2: device(2, "eth0"), 5: vlan(5, "eth0.100", 2, 100), 6: vlan(6, "eth0.100.200", 5, 200)})
    assert links.egress(6) == Egress(2, "eth0", (100, 200))


def test_more_tags_than_a_flow_can_hold_have_no_egress() -> None:
    links, _ = made({2: device(2, "eth0"), **{n: vlan(n, f"v{n}", n - 1, n) for n in (3, 4, 5)}})
    assert links.egress(4) is not None
    assert links.egress(5) is None


def test_the_link_of_a_veth_is_its_peer_and_no_parent() -> None:
    links, _ = made({7: device(7, "veth0", IFLA_LINK=8, IFLA_LINKINFO={"attrs": [("IFLA_INFO_KIND", "veth")]})})
    assert links.egress(7) == Egress(7, "veth0")


def test_an_interface_without_ethernet_has_no_address() -> None:
    links, _ = made({1: device(1, "lo", ifi_type=772)})
    assert links.get(1).mac == b""


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ({}, False),
        ({"IFLA_IFNAME": "eth9"}, True),
        ({"IFLA_ADDRESS": "02:00:00:00:00:08"}, True),
        ({"flags": 0}, True),
    ],
)
def test_an_event_tells_whether_anything_changed(after: dict[str, Any], changed: bool) -> None:
    links, kernel = made({2: device(2, "eth0")})
    assert not links.take(device(2, "eth0"), gone=False), "nobody had asked"
    assert links.take(device(2, "eth0", **after), gone=False) is changed
    assert links.take(device(2, "eth0"), gone=True)
    assert kernel.asked == 0


def test_after_lost_events_each_is_asked_for_anew() -> None:
    links, kernel = made({2: device(2, "eth0")})
    for _ in range(2):
        links.get(2)
    assert kernel.asked == 1
    links.forget()
    links.get(2)
    assert kernel.asked == 2


def made(messages: Mapping[int, Any]) -> tuple[Links, Kernel]:
    kernel = Kernel(messages)
    return Links(cast(Netlink, kernel)), kernel


def vlan(index: int, name: str, parent: int, number: int) -> Any:
    data = {"attrs": [("IFLA_VLAN_ID", number)]}
    kind = {"attrs": [("IFLA_INFO_KIND", "vlan"), ("IFLA_INFO_DATA", data)]}
    return device(index, name, IFLA_LINK=parent, IFLA_LINKINFO=kind)


def device(index: int, name: str, flags: int = 1, ifi_type: int = 1, **attributes: Any) -> Any:
    """An RTM_NEWLINK as it comes from the kernel: encoded and decoded."""
    message = ifinfmsg()
    message["index"], message["flags"], message["ifi_type"] = index, flags, ifi_type
    message["attrs"] = [*({"IFLA_IFNAME": name, "IFLA_ADDRESS": MAC} | attributes).items()]
    message.encode()
    received = ifinfmsg(message.data)
    received.decode()
    return received
