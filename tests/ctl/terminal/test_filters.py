# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and orders as an operator types them."""

import pytest

from ctl.terminal.filters import FilterError, compile_filter, order

FLOWS = [
    {"id": "1", "codec": "PCMU", "mos": 4.4, "path": "kernel", "source": {"address": "10.1.2.3", "port": 4000}},
    {"id": "2", "codec": "G722", "mos": 3.1, "path": "engine", "source": {"address": "192.0.2.9", "port": None}},
    {"id": "3", "codec": None, "mos": None, "path": "kernel", "source": {"address": "10.1.2.20", "port": 4000}},
    {"id": "10", "codec": "pcmu", "mos": 3.5, "path": "kernel", "source": {"address": "2001:db8::7", "port": 5}},
]
ALIASES = {"src": "source"}


def kept(text):
    return [row["id"] for row in compile_filter(text, ALIASES)(FLOWS)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1", "2", "3", "10"]),
        ("codec=PCMU", ["1", "10"]),
        ("codec!=pcmu", ["2", "3"]),
        ("codec=-", ["3"]),
        ("mos=unknown", ["3"]),
        ("mos<3.5", ["2"]),
        ("mos<=3.5", ["2", "10"]),
        ("mos>3.5", ["1"]),
        ("mos=3.5", ["10"]),
        ("mos=abc", []),
        ("src=10.0.0.0/8", ["1", "3"]),
        ("src!=10.0.0.0/8", ["2", "10"]),
        ("src=2001:db8::/32", ["10"]),
        ("src=10.1.2.3", ["1"]),
        ("src=10.1.2.3:4000", ["1"]),
        ("src=10.1.2.*", ["1", "3"]),
        ("source.port=4000", ["1", "3"]),
        ("source.port>=4000", ["1", "3"]),
        ("path~eng", ["2"]),
        ("codec~^g7", ["2"]),
        ("path<3", []),
        (" codec = PCMU , mos > 4 ", ["1"]),
        ("id=1*", ["1", "10"]),
    ],
)
def test_a_filter_keeps(text, expected):
    assert kept(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("codec", "is no filter; write KEY=VALUE"),
        ("mos<good", "'good' is no number"),
        ("codec~(", "codec~("),
        ("mso<3", "no key 'mso'; there are: codec, id, mos, path, source"),
        ("source.prt=1", "no key 'source.prt'"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(FilterError) as error:
        kept(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("mos", ["2", "10", "1", "3"]),
        ("-mos", ["1", "10", "2", "3"]),
        ("id", ["1", "2", "3", "10"]),
        ("src", ["1", "3", "2", "10"]),
        ("codec", ["2", "1", "10", "3"]),
    ],
)
def test_an_order(key, expected):
    assert [row["id"] for row in order(FLOWS, key, ALIASES)] == expected


def test_an_unknown_order_is_named():
    with pytest.raises(FilterError, match="no key 'speed'"):
        order(FLOWS, "-speed")
    assert order([], "speed") == []
