# SPDX-License-Identifier: GPL-3.0-or-later
"""Trunks of the configuration and of the database on their way to signalling, and the calls that they carry."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import MappingProxyType

import pytest

from ctl.sessions.relay_choice import Facing
from ctl.signalling.directory import Directory
from ctl.signalling.section import TrunkSection
from ctl.signalling.trunk_keeper import TrunkKeeper
from ctl.verbs.control import ControlError
from ctl.verbs.sip import SipVerbs
from provisioning.plan import EMPTY, Member, Number, Route, by_prefix
from provisioning.plan import Trunk as Provisioned
from provisioning.routing import Refusal
from provisioning.snapshot import Account, Snapshot
from sip.core import Core
from sip.effects import Address, FindRoute, TrunkTarget, UserTarget
from sip.settings import Settings
from sip.trunk import network
from sip.uri import Uri

REALM = "example.org"
HOSTS = {"carrier.example": ("192.0.2.71", "192.0.2.72"), "pbx.example": ("192.0.2.80",), "192.0.2.9": ("192.0.2.9",)}
CARRIER = TrunkSection(name="carrier", domain="carrier.example", dial=("+", "0"), strip=1, prepend="49")
BACKUP = TrunkSection(name="backup", domain="pbx.example", dial=("0",), deliver="anna")


class Names:
    """A resolver that knows HOSTS, and what it is told further."""

    def __init__(self) -> None:
        self.hosts = dict(HOSTS)
        self.asked: list[str] = []

    async def locate(self, uri: Uri) -> tuple[Address, ...]:
        self.asked.append(str(uri))
        return tuple(Address(host, uri.port or 5060, uri.transport or "udp") for host in self.hosts.get(uri.host, ()))


class Keeper:
    """Anna and Bert, and one trunk with a number and a route in the database."""

    ready = True

    def __init__(self) -> None:
        trunk = Provisioned(
            1, "paris", "192.0.2.9", 5070, "tcp", username="u", password="p", channel_limit=3, setup_seconds=5,
            digest_realm="r", expires_seconds=600, probe_seconds=0, certificates=("c.example",), trusted=True,
            refer=True, from_user="+331", media="pub", latch=True, ice="lite",
        )  # fmt: skip
        route = Route("all", "44", trunks=(Member("paris"),))
        plan = replace(
            EMPTY,
            tenant=1,
            trunks={"paris": trunk, "off": replace(trunk, name="off", enabled=False)},
            routes=by_prefix([route]),
            numbers={"+33123": Number("+33123", user="bert")},
            media="lan",
        )
        accounts = [Account(REALM, "anna", True, "", "", ice="full"), Account(REALM, "bert", True, "", "", media="dmz")]
        self.current = replace(Snapshot.of(REALM, accounts), plans=MappingProxyType({1: plan}))

    async def renewed(self) -> None:
        await asyncio.sleep(3600)


MANNERS = {"anna": "lan auto None full", "bert": "dmz auto None None"}
"""All that is asked toward a user, as one word."""


def told(sections=(CARRIER, BACKUP)):
    heard: list[tuple] = []
    keeper = TrunkKeeper(sections, Keeper(), Names(), lambda trunks: heard.append(tuple(trunks)))
    asyncio.run(keeper.look())
    return {trunk.name: trunk for trunk in heard[0]}


def test_trunks_of_both_sources():
    trunks = told()
    assert list(trunks) == ["carrier", "backup", "1/paris"]
    assert [address.host for address in trunks["carrier"].addresses] == ["192.0.2.71", "192.0.2.72"]
    assert trunks["carrier"].sources == (network("192.0.2.71"), network("192.0.2.72"))
    paris = trunks["1/paris"]
    assert paris.addresses == (Address("192.0.2.9", 5070, "tcp"),)
    assert (paris.login.username, paris.channels, paris.register) == ("u", 3, False)
    assert (paris.login.realm, paris.expires, paris.probe, paris.certificates) == ("r", 600, 0, ("c.example",))
    assert (paris.trusted, paris.refer, paris.from_user) == (True, True, "+331")


def test_what_the_file_says_of_a_trunk():
    section = TrunkSection(
        name="x",
        domain="carrier.example",
        proxies=("sip:pbx.example:5070;transport=tcp", "tel:1", "sip:nowhere.example"),
        username="me",
        password="secret",
        registration=True,
        sources=("192.0.2.0/24",),
        probe=0,
    )
    trunk = told([section])["x"]
    assert trunk.addresses == (Address("192.0.2.80", 5070, "tcp"),)
    assert (trunk.register, trunk.probe, trunk.sources) == (True, 0, (network("192.0.2.0/24"),))
    assert "secret" not in f"{section!r} {trunk!r}"


def test_trunk_without_an_address_is_none_until_it_has_one():
    async def look() -> list[int]:
        counts: list[int] = []
        lost = []
        names = Names()
        names.hosts.pop("pbx.example")
        keeper = TrunkKeeper([BACKUP], Keeper(), names, lambda trunks: counts.append(len(tuple(trunks))))
        await keeper.look()
        lost.append(keeper.nowhere)
        await keeper.look()
        lost.append(keeper.nowhere)
        names.hosts["pbx.example"] = ("192.0.2.80",)
        await keeper.look()
        assert [*lost, keeper.nowhere] == [{"backup": "pbx.example"}, {"backup": "pbx.example"}, {}]
        return counts

    assert asyncio.run(look()) == [1, 2]


def ask(dialled, *, caller="anna", trunk="", diverted="", load=None):
    directory = Directory(Keeper(), (CARRIER, BACKUP), lambda: load or {})
    return directory.route(FindRoute(1, "call", caller, dialled, REALM, trunk, diverted))


def test_numbers_go_by_the_trunks_of_the_file_in_their_order():
    assert ask("0301") == (TrunkTarget("carrier", "49301"), TrunkTarget("backup", "0301"))
    assert ask("+301") == (TrunkTarget("carrier", "49301"),)
    assert ask("xyz").status == 404
    assert isinstance(ask("0301", caller="stranger"), Refusal)


def test_where_the_media_of_each_party_goes():
    file = TrunkSection(name="file", domain="pbx.example", media="wan", latch=True, ice="full")
    directory = Directory(Keeper(), (CARRIER, file))
    facing = directory.facing
    assert (facing("1/paris", ""), facing("file", "")) == (Facing("pub", latch=True), Facing("wan", latch=True))
    assert (facing("", "bert"), facing("", "anna")) == (Facing("dmz"), Facing("lan"))
    assert facing("", "stranger") == facing("1/gone", "") == facing("gone", "") == facing("carrier", "") == Facing()
    asked = ("1/paris", "file", "1/gone", "carrier", "")
    assert [directory.ice(trunk, "udp") for trunk in asked] == ["lite", "full", "remove", "remove", "remove"]


def test_whose_media_is_protected():
    keeper = Keeper()
    plan = keeper.current.plan(1)
    trunks = {**plan.trunks, "own": replace(plan.trunks["paris"], name="own", srtp="preferred")}
    keeper.current = replace(keeper.current, plans={1: replace(plan, trunks=trunks, srtp="required")})
    facing = Directory(keeper, (CARRIER, TrunkSection(name="file", domain="pbx.example", srtp="off"))).facing
    parties = [("", "anna"), ("1/paris", ""), ("1/own", ""), ("1/gone", ""), ("file", ""), ("carrier", ""), ("", "who")]
    asked = [facing(trunk, user).srtp for trunk, user in parties]
    assert asked == ["required", "required", "preferred", "required", "off", None, None]
    elsewhere = Snapshot.of("other.example", keeper.current.accounts.values())
    keeper.current = replace(elsewhere, plans=keeper.current.plans)
    assert facing("", "anna").srtp == "required", "whatever her realm"


def test_users_say_whether_ice_is_spoken_and_so_does_how_they_signal():
    ice = Directory(Keeper(), (CARRIER,), ice=("remove", "lite")).ice
    assert [ice("", transport, "bert") for transport in ("udp", "tls", "ws", "wss")] == [
        "remove",
        "remove",
        "lite",
        "lite",
    ]
    assert (ice("", "udp", "anna"), ice("", "wss", "anna")) == ("full", "full")
    assert (ice("carrier", "wss"), ice("", "wss", "stranger"), ice("", "udp")) == ("remove", "lite", "remove")


def test_users_come_first_and_pay_when_they_send_on():
    assert ask("bert") == (UserTarget("bert", ring=30.0, manner=MANNERS["bert"]),)
    assert ask("0301", caller="stranger", diverted="bert")[0] == TrunkTarget("carrier", "49301")


def test_routes_of_the_database():
    (target,) = ask("+4420")
    assert (target.trunk, target.number, target.setup) == ("1/paris", "+4420", 5.0)
    assert isinstance(ask("+4420", load={"1/paris": 3}), Refusal)
    assert ask("33123", caller="+4420", trunk="1/paris") == (UserTarget("bert", ring=30.0, manner=MANNERS["bert"]),)


@pytest.mark.parametrize(
    ("trunk", "dialled", "user"),
    [("backup", "bert", "bert"), ("backup", "555", "anna"), ("carrier", "bert", "bert"), ("carrier", "555", None)],
)
def test_calls_from_a_trunk_of_the_file_reach_users_only(trunk, dialled, user):
    found = ask(dialled, caller="+4420", trunk=trunk)
    assert found == ((UserTarget(user, ring=30.0, manner=MANNERS[user]),) if user else found)
    assert isinstance(found, Refusal) is (user is None)


@pytest.mark.parametrize("dialled", ["0301", "+4420"])
def test_no_trunk_leads_to_another(dialled):
    assert isinstance(ask(dialled, caller="+4420", trunk="carrier"), Refusal)
    assert isinstance(ask(dialled, caller="+4420", trunk="1/paris"), Refusal)


def test_status_of_trunks_as_operators_see_it():
    core = Core(Settings(realm=REALM, secret=b"k" * 32), lambda: "token", lambda peer: Address("192.0.2.1", 5060))
    core.set_trunks(told().values(), 0.0)
    verbs = SipVerbs(core, None, str)
    rows = verbs.trunks({})
    assert [row["name"] for row in rows] == ["carrier", "backup", "1/paris"]
    assert rows[2] == {
        "name": "1/paris",
        "domain": "192.0.2.9",
        "addresses": [{"address": "tcp:192.0.2.9:5070", "up": True}],
        "registered": None,
        "error": "",
        "calls": 0,
        "channels": 3,
    }
    assert verbs.trunks({"name": "backup"}) == [rows[1]]
    (lost,) = SipVerbs(core, None, str, lambda: {"7/lost": "lost.example"}).trunks({"name": "7/lost"})
    assert (lost["domain"], lost["addresses"], lost["registered"]) == ("lost.example", [], None)
    assert lost["error"].startswith("lost.example leads to no address; look it up: dig ")
    with pytest.raises(ControlError, match="no trunk 'x'"):
        verbs.trunks({"name": "x"})
