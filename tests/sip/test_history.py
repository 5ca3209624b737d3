# SPDX-License-Identifier: GPL-3.0-or-later
"""History-Info: what is told of those who sent a call on, to whom, and whose word is passed on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.effects import Diversion, TrunkTarget, UriTarget, UserTarget
from sip.headers import NameAddr
from tests.sip.conftest import Peer
from tests.sip.talk import HOLD
from tests.sip.test_identity import TRUSTED, by_trunk, from_trunk
from tests.sip.test_trunks import FIRST

SENT_ON = (Diversion("+4930301", "no-answer", hidden=True), Diversion("bert", "unconditional"))
TOLD = [
    "<sip:bert@example.org>;index=1",
    "<sip:+4930301@example.org;cause=302?Privacy=history>;index=1.1;mp=1",
    "<sip:1@carrier.example;cause=408>;index=1.1.1;mp=1.1",
]
RECEIVED = ("History-Info", "<sip:+49891@c.example>;index=1, <sip:bert@example.org;cause=486>;index=1.1;mp=1")


@pytest.fixture
def policy(world):
    """Has a core that tells these."""

    def told(who, **settings):
        world.settings = replace(world.settings, history_info=who, diversion="none", **settings)
        world.core = world.fresh_core()

    return told


@pytest.mark.parametrize("who", ["all", "trunks"])
def test_a_forwarded_call_names_those_who_forwarded(world, anna, policy, who):
    policy(who)
    out = by_trunk(world, anna, TRUSTED, diversions=SENT_ON)
    assert out.values("History-Info") == TOLD
    assert all(NameAddr.parse(value).params.get("index") for value in out.values("History-Info"))
    assert "Diversion" not in out


def test_nothing_is_told_unless_the_settings_say_so_nor_to_who_is_not_trusted(world, anna, policy):
    assert "History-Info" not in by_trunk(world, anna, TRUSTED, diversions=SENT_ON)
    policy("all")
    anna.address = replace(anna.address, host="192.0.2.8")
    assert "History-Info" not in by_trunk(world, anna, replace(TRUSTED, trusted=False), diversions=SENT_ON)


def test_a_call_that_nobody_sent_on_has_no_history(world, anna, policy):
    policy("all")
    assert "History-Info" not in by_trunk(world, anna, TRUSTED, ("History-Info", "<sip:liar@example.org>;index=1"))


@pytest.mark.parametrize("who", ["all", "trunks", "none"])
def test_users_are_told_but_not_of_who_hides(world, anna, bert, policy, who):
    policy(who)
    assert bert.register(call_id="anew").status == 200
    world.routes["1"] = (UserTarget("bert", diversions=SENT_ON),)
    anna.invite("1")
    told = [
        "<sip:bert@example.org>;index=1",
        "<sip:anonymous@anonymous.invalid;cause=302>;index=1.1;mp=1",
        "<sip:bert@example.org;cause=408>;index=1.1.1;mp=1.1",
    ]
    assert bert.hears("INVITE")[0].values("History-Info") == (told if who == "all" else [])


def test_a_host_that_is_neither_trunk_nor_user_is_told_nothing(world, anna, policy):
    policy("all")
    world.settings = replace(world.settings, diversion="all")
    world.core = world.fresh_core()
    world.routes["1"] = (UriTarget("sip:1@192.0.2.201", diversions=SENT_ON),)
    anna.invite("1")
    (out,) = Peer(world, "host", "192.0.2.201").hears("INVITE")
    assert (out.get("History-Info"), out.get("Diversion")) == (None, None)


def test_who_deflects_is_told(world, anna, policy):
    policy("trunks", redirections=1)
    world.run(world.core.set_trunks([TRUSTED], world.now))
    bert = Peer(world, "bert", "203.0.113.9")
    bert.register()
    world.routes["49301"] = (TrunkTarget("carrier", "49301"),)
    anna.invite("bert")
    bert.reply(bert.hears("INVITE")[0], 302, b"", ("Contact", "<sip:49301@example.org>"))
    (out,) = Peer(world, "host", FIRST.host).hears("INVITE")
    assert out.values("History-Info") == [
        "<sip:bert@example.org>;index=1",
        "<sip:49301@carrier.example;cause=480>;index=1.1;mp=1",
    ]


def between(world, *extra, trusted=True, diversions=()):
    """What a trusted trunk hears of a call that comes from another trunk for Bert."""
    source = replace(TRUSTED, trusted=trusted)
    other = replace(TRUSTED, name="other", domain="other.example", addresses=(replace(FIRST, host="192.0.2.200"),))
    world.run(world.core.set_trunks([source, replace(other, sources=())], world.now))
    world.routes["bert"] = (TrunkTarget("other", "2", diversions=diversions),)
    host = Peer(world, "4930555", FIRST.host)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", *extra, sdp=HOLD))
    return Peer(world, "other", "192.0.2.200").hears("INVITE")[0].values("History-Info")


def test_a_history_goes_on_between_trusted_trunks(world, policy):
    policy("trunks")
    kept = [value.strip() for value in RECEIVED[1].split(",")]
    assert between(world, RECEIVED) == [*kept, "<sip:2@other.example>;index=1.1.1;rc=1.1"]


def test_what_is_added_begins_where_the_history_ends(world, policy):
    policy("trunks")
    kept = [value.strip() for value in RECEIVED[1].split(",")]
    added = "<sip:2@other.example;cause=302>;index=1.1.1;mp=1.1"
    assert between(world, RECEIVED, diversions=SENT_ON[1:]) == [*kept, added]


@pytest.mark.parametrize(
    "extra",
    [
        [("History-Info", "<sip:a@b>")],
        [("History-Info", "<sip:a@b>;index=x")],
        [("History-Info", "<<>;index=1")],
        [("History-Info", ",")],
        [RECEIVED, ("Privacy", "id;history")],
    ],
)
def test_what_cannot_be_read_or_is_not_to_be_told_is_left_out(world, policy, extra):
    policy("trunks")
    assert between(world, *extra) == []


def test_who_is_not_trusted_is_not_believed(world, policy):
    policy("trunks")
    assert between(world, RECEIVED, trusted=False) == []


def test_what_a_trunk_tells_reaches_no_user(world, policy):
    policy("all", pass_headers=("History-*",))
    bert = Peer(world, "bert", "203.0.113.9")
    bert.register()
    assert "History-Info" not in from_trunk(world, bert, TRUSTED, RECEIVED)
