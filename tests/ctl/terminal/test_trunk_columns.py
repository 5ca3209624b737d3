# SPDX-License-Identifier: GPL-3.0-or-later
"""What `voxdp trunk status` shows of each trunk in one cell."""

from ctl.commands.trunk import COLUMNS

ROW = {"name": "t", "domain": "t.example", "addresses": [], "registered": None, "error": "", "calls": 0, "channels": 0}
ADDRESSES, REGISTERED = (
    next(each.value for each in COLUMNS if each.title == title) for title in ("ADDRESSES", "REGISTERED")
)


def test_addresses_and_which_of_them_are_down():
    known = [{"address": "udp:192.0.2.1:5060", "up": True}, {"address": "tcp:192.0.2.2:5060", "up": False}]
    assert ADDRESSES({**ROW, "addresses": known}) == "udp:192.0.2.1:5060, tcp:192.0.2.2:5060 down"


def test_a_trunk_without_an_address_says_why():
    assert ADDRESSES({**ROW, "error": "t.example leads to no address"}) == "t.example leads to no address"
    assert REGISTERED({**ROW, "error": "t.example leads to no address"}) is None
