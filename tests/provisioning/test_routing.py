# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from provisioning.hours import OpeningHours
from provisioning.numbering import DialPlan
from provisioning.plan import Group, Member, Number, Queue, Route, TenantPlan, Trunk, TrunkKey, by_prefix
from provisioning.prefixes import PrefixPrices
from provisioning.routing import (
    CALLEE_DISABLED,
    CALLER_DISABLED,
    CLOSED,
    DO_NOT_DISTURB,
    FOREIGN_DOMAIN,
    NO_ROUTE,
    NO_TRUNK,
    NOT_FOUND,
    PREFIX_CLOSED,
    TOO_MANY_HOPS,
    Diverted,
    Inquiry,
    Refusal,
    RouteTo,
    ToQueue,
    ToTrunk,
    ToUser,
    choose,
    decide,
)
from provisioning.selection import Circumstances
from provisioning.snapshot import Account, Snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME, OTHER = "example.net", "other.example"


def account(username: str, realm: str = HOME, *, enabled: bool = True) -> Account:
    return Account(realm, username, enabled, "0" * 32, "0" * 64)


SNAPSHOT = Snapshot.of(
    HOME,
    [account("anna"), account("bert"), account("gone", enabled=False), account("bert", OTHER), account("Bert")],
    hosts=["192.0.2.1", "SIP.example.net"],
)


@pytest.mark.parametrize(
    ("caller", "dialled", "domain", "expected"),
    [
        ("anna", "bert", HOME, (ToUser(HOME, "bert"),)),
        ("anna", "bert", "EXAMPLE.NET.", (ToUser(HOME, "bert"),)),
        ("anna", "bert", "192.0.2.1", (ToUser(HOME, "bert"),)),
        ("anna", "bert", "sip.Example.net", (ToUser(HOME, "bert"),)),
        ("anna", "bert", OTHER, (ToUser(OTHER, "bert"),)),
        ("anna", "Bert", HOME, (ToUser(HOME, "Bert"),)),
        ("anna", "anna", HOME, (ToUser(HOME, "anna"),)),
        ("anna", "anna", OTHER, NOT_FOUND),
        ("anna", "nobody", HOME, NOT_FOUND),
        ("anna", "", HOME, NOT_FOUND),
        ("anna", "gone", HOME, CALLEE_DISABLED),
        ("anna", "bert", "elsewhere.example", FOREIGN_DOMAIN),
        ("anna", "bert", "192.0.2.2", FOREIGN_DOMAIN),
        ("gone", "bert", HOME, CALLER_DISABLED),
        ("gone", "bert", OTHER, CALLER_DISABLED),
        ("gone", "nobody", HOME, CALLER_DISABLED),
    ],
)
def test_chooses(caller: str, dialled: str, domain: str, expected: tuple[RouteTo, ...] | Refusal) -> None:
    assert choose(caller, dialled, domain, NOW, SNAPSHOT) == expected


def test_without_names_of_ours_any_domain_means_us() -> None:
    snapshot = Snapshot.of(HOME, [account("bert")])
    assert choose("anna", "bert", "198.51.100.7", NOW, snapshot) == (ToUser(HOME, "bert"),)


def test_only_the_enabled_have_credentials() -> None:
    assert SNAPSHOT.credentials("Example.net", "anna") == {"SHA-256": "0" * 64, "MD5": "0" * 32}
    assert SNAPSHOT.credentials(HOME, "gone") is None
    assert SNAPSHOT.credentials(HOME, "nobody") is None


def test_a_snapshot_is_constant_and_shows_no_credentials() -> None:
    later = SNAPSHOT.replaced([(HOME, "anna"), (HOME, "bert")], [account("bert", enabled=False)])
    assert later.account(HOME, "anna") is None
    assert later.credentials(HOME, "bert") is None
    assert SNAPSHOT.credentials(HOME, "bert")
    with pytest.raises(TypeError):
        SNAPSHOT.accounts["x", "y"] = account("y")  # type: ignore[index] # that is the point
    assert "000" not in repr(account("anna"))


NOTHING = Circumstances(NOW)
PARIS, LYON, NICE = (Trunk(1, name, f"{name}.example", channel_limit=2) for name in ("paris", "lyon", "nice"))
OPEN, SHUT = (OpeningHours(ZoneInfo("UTC"), dict.fromkeys(range(7), hours)) for hours in (((0, 1440),), ()))


def members(*names: str, **more: int) -> tuple[Member, ...]:
    return tuple(Member(name, **more) for name in names)  # type: ignore[arg-type] # integers all


def plan(*routes: Route, **more: Any) -> TenantPlan:
    known: dict[str, Any] = {
        "dial_plan": "fr",
        "dial_plans": {"fr": DialPlan("FR")},
        "calendars": {"open": OPEN, "shut": SHUT},
        "trunks": {trunk.name: trunk for trunk in (PARIS, LYON, NICE)},
        "numbers": {"+33100000000": Number("+33100000000", user="bert")},
        "default_number": "+33100000000",
    }
    return TenantPlan(1, "default", routes=by_prefix(routes), **known | more)


def ask(
    tenant_plan: TenantPlan,
    dialled: str,
    *,
    accounts: tuple[Account, ...] = (),
    trunk: TrunkKey | None = None,
    circumstances: Circumstances = NOTHING,
) -> Any:
    """The outcome, trunks by their names."""
    known = {each.username: each for each in (account("anna"), account("bert"), *accounts)}
    snapshot = Snapshot.of(HOME, known.values()).planned({1: tenant_plan})
    said: list[str] = []
    decision = decide(Inquiry("anna", dialled, HOME, trunk=trunk), circumstances, snapshot, said.append)
    assert said
    assert decision == decide(Inquiry("anna", dialled, HOME, trunk=trunk), circumstances, snapshot)
    return decision.outcome


def names(outcome: tuple[RouteTo, ...] | Refusal) -> list[str]:
    assert not isinstance(outcome, Refusal), outcome
    return [target.trunk.name for target in outcome if isinstance(target, ToTrunk)]


def test_the_longest_prefix_wins_and_overflows_into_shorter_ones() -> None:
    routes = [
        Route("all", "", trunks=members("nice")),
        Route("france", "33", trunks=members("lyon")),
        Route("paris", "331", trunks=members("paris")),
    ]
    assert names(ask(plan(*routes), "0123456789")) == ["paris", "lyon", "nice"]
    assert names(ask(plan(*routes), "0223456789")) == ["lyon", "nice"]
    assert names(ask(plan(*routes), "00441632960000")) == ["nice"]
    alone = [replace(route, overflow=False) for route in routes]
    assert names(ask(plan(*alone), "0123456789")) == ["paris"]
    assert ask(plan(routes[1]), "00441632960000") == NO_ROUTE
    assert ask(plan(replace(routes[1], trunks=())), "0123456789") == NO_TRUNK


def test_time_priority_and_callers_choose_among_routes_of_one_prefix() -> None:
    routes = [
        Route("day", "33", priority=1, calendar="open", trunks=members("paris")),
        Route("night", "33", priority=0, calendar="shut", trunks=members("lyon")),
        Route("chief", "33", priority=0, callers=frozenset({"chief"}), trunks=members("nice")),
    ]
    assert names(ask(plan(*routes), "0123456789")) == ["paris"]
    mine = replace(routes[2], callers=frozenset({"anna"}))
    assert names(ask(plan(*routes[:2], mine), "0123456789")) == ["nice", "paris"]


def test_strategies() -> None:
    def order(strategy: Any, trunks: tuple[Member, ...], **circumstances: Any) -> list[str]:
        decks = {"a": PrefixPrices([("33", 5)]), "b": PrefixPrices([("33", 9), ("331", 2)])}
        priced = {
            "paris": replace(PARIS, rate_deck="a"), "lyon": replace(LYON, rate_deck="b"), "nice": NICE,
        }  # fmt: skip
        route = Route("r", "33", strategy=strategy, trunks=trunks)
        return names(ask(plan(route, trunks=priced, decks=decks), circumstances.pop("dialled", "0123456789"),
                         circumstances=Circumstances(NOW, **circumstances)))  # fmt: skip

    three = members("paris", "lyon", "nice")
    assert order("priority", (Member("paris", 2), Member("lyon", 1), Member("nice", 1))) == ["lyon", "nice", "paris"]
    assert [order("round_robin", three, turn=turn)[0] for turn in range(4)] == ["paris", "lyon", "nice", "paris"]
    assert order("least_cost", three) == ["lyon", "paris", "nice"]
    assert order("least_cost", three, dialled="0223456789") == ["paris", "lyon", "nice"]
    near = (Member("paris", region="331"), Member("lyon", region="33"), Member("nice", region="49"))
    assert order("geographic", near) == ["paris", "lyon", "nice"]
    assert order("geographic", near[::-1]) == ["paris", "lyon", "nice"]
    assert order("least_load", three, load={PARIS.key: 1}) == ["lyon", "nice", "paris"]
    assert order("priority", three, load={PARIS.key: 2}) == ["lyon", "nice"]
    counts = Counter(
        order("weighted", (Member("paris", weight=1), Member("lyon", weight=3), Member("nice", weight=0)),
              draw=draw / 400)[0] for draw in range(400)
    )  # fmt: skip
    assert counts == {"paris": 100, "lyon": 300}


def test_what_a_trunk_is_told() -> None:
    route = Route("r", "", trunks=members("paris"))

    def told(trunk: Trunk = PARIS, **user: Any) -> tuple[str, str | None]:
        (target,) = ask(plan(route, trunks={"paris": trunk}), "0123456789",
                        accounts=(replace(account("anna"), **user),))  # fmt: skip
        return target.number, target.caller_number

    assert told() == ("+33123456789", "+33100000000")
    assert told(caller_number="+33111111111") == ("+33123456789", "+33111111111")
    assert told(hide_number=True) == ("+33123456789", None)
    assert told(replace(PARIS, caller_id="anonymous")) == ("+33123456789", None)
    fixed = replace(PARIS, caller_id="number", caller_number="+33122222222", strip=2, prepend="0")
    assert told(fixed, caller_number="+33111111111") == ("0123456789", "+33122222222")
    assert told(replace(PARIS, prepend="00")) == ("0033123456789", "+33100000000")


def test_a_highest_price_keeps_dear_and_unpriced_trunks_out() -> None:
    route = Route("r", "", trunks=members("paris", "lyon"), max_price_micros=5)
    decks = {"a": PrefixPrices([("33", 5), ("44", 6)])}
    priced = {"paris": replace(PARIS, rate_deck="a"), "lyon": LYON}
    assert names(ask(plan(route, trunks=priced, decks=decks), "0123456789")) == ["paris"]
    assert ask(plan(route, trunks=priced, decks=decks), "00441632960000") == NO_TRUNK


@pytest.mark.parametrize("number", ["112", "911", "15", "17", "18"])
def test_help_is_always_reached(number: str) -> None:
    """By a disabled user of a disabled tenant over full trunks, everything blocked and closed."""
    route = Route("r", "33", calendar="shut", trunks=members("paris"))
    blocked = {str(digit): "block" for digit in range(1, 10)}
    hidden = replace(account("anna", enabled=False), hide_number=True, forward_always="100")
    shadow = account(number)
    for routes, expected in (((route,), ["paris", "lyon", "nice"]), ((route, replace(route, name="e", emergency=True,
                              trunks=members("lyon"))), ["lyon"])):  # fmt: skip
        outcome = ask(
            plan(*routes, enabled=False, restrictions=blocked),
            number,
            accounts=(hidden, shadow),
            circumstances=Circumstances(NOW, load={PARIS.key: 9, LYON.key: 9, NICE.key: 9}),
        )
        assert names(outcome) == expected
        assert {(target.number, target.caller_number) for target in outcome} == {(number, "+33100000000")}


def test_premium_and_blocked_numbers_are_refused() -> None:
    route = Route("r", "", trunks=members("paris"))
    assert ask(plan(route), "0033899123456") == PREFIX_CLOSED
    assert ask(plan(route), "0088161234567") == PREFIX_CLOSED
    assert ask(plan(route, restrictions={"33": "block"}), "0123456789") == PREFIX_CLOSED
    assert names(ask(plan(route, restrictions={"3389": "open"}), "0033899123456")) == ["paris"]


def test_a_trunk_reaches_numbers_of_its_tenant_and_nothing_else() -> None:
    route = Route("r", "", trunks=members("paris"))
    for dialled in ("+33100000000", "33100000000", "0100000000"):
        assert ask(plan(route), dialled, trunk=PARIS.key) == (ToUser(HOME, "bert"),)
    for dialled in ("bert", "100", "0123456789", "+33123456789", "112", ""):
        assert ask(plan(route), dialled, trunk=PARIS.key) == NOT_FOUND


def test_forwarding() -> None:
    route = Route("r", "", trunks=members("paris"))

    def bert(**features: Any) -> Any:
        return ask(plan(route), "bert", accounts=(replace(account("bert"), **features), account("carl")))

    assert bert(ring_seconds=9) == (ToUser(HOME, "bert", 9),)
    assert bert(forward_always="carl") == (ToUser(HOME, "carl", diverted=by("bert", "unconditional")),)
    assert bert(forward_busy="carl", forward_no_answer="anna") == (
        ToUser(HOME, "bert"),
        ToUser(HOME, "carl", after="busy", diverted=by("bert", "user-busy")),
        ToUser(HOME, "anna", after="no_answer", diverted=by("bert", "no-answer")),
    )
    (outside,) = bert(forward_always="0123456789", caller_number="+33155555555", hide_number=True)
    assert (outside.number, outside.caller_number) == ("+33123456789", None)
    assert outside.diverted == (Diverted("+33155555555", "unconditional", hidden=True),)
    (outside,) = bert(forward_always="0123456789", caller_number="+33155555555")
    assert (outside.number, outside.caller_number) == ("+33123456789", "+33155555555")
    assert bert(do_not_disturb=True) == DO_NOT_DISTURB
    shy = (ToUser(HOME, "carl", diverted=by("bert", "do-not-disturb")),)
    assert bert(do_not_disturb=True, forward_busy="carl") == shy
    assert bert(forward_always="bert") == TOO_MANY_HOPS
    assert bert(forward_no_answer="bert")[:1] == (ToUser(HOME, "bert"),)
    assert bert(forward_always="0033899123456") == PREFIX_CLOSED


def test_who_sent_a_call_on_is_told_the_last_one_first() -> None:
    """From a number of ours to its user, who is busy, and on to another, who is away."""
    accounts = (
        replace(account("bert"), forward_busy="carl"),
        replace(account("carl"), forward_always="0123456789", caller_number="+33155555555"),
    )
    numbers = {"+33100000001": Number("+33100000001", user="bert")}
    tenant = plan(Route("r", "", trunks=members("paris")), numbers=numbers)
    _, outside = ask(tenant, "+33100000001", accounts=accounts, trunk=PARIS.key)
    assert outside.diverted == (*by("+33155555555", "unconditional"), *by("+33100000001", "user-busy"))
    assert outside.after == "busy"


def by(name: str, reason: str) -> tuple[Diverted, ...]:
    return (Diverted(name, reason),)


def test_ring_groups_and_queues() -> None:
    group = Group("sales", ("anna", "bert", "gone", "dnd"), ring_seconds=12, overflow="600")
    known = {
        "groups": {"sales": group},
        "extensions": {"500": group, "501": replace(group, together=False, overflow=None), "600": Queue("support"),
                       "601": Queue("night", "shut", "bert"), "602": Queue("night", "shut")},
    }  # fmt: skip
    others = (account("gone", enabled=False), replace(account("dnd"), do_not_disturb=True))
    assert ask(plan(**known), "500", accounts=others) == (
        ToUser(HOME, "anna", 12),
        ToUser(HOME, "bert", 12, together=True),
        ToQueue(1, "support"),
    )
    assert ask(plan(**known), "501", accounts=others) == (ToUser(HOME, "anna", 12), ToUser(HOME, "bert", 12))
    assert ask(plan(**known), "601") == (ToUser(HOME, "bert", diverted=by("night", "time-of-day")),)
    spilt = replace(group, overflow="anna")
    (*_, last) = ask(plan(extensions={"500": spilt}), "500", accounts=others)
    assert last == ToUser(HOME, "anna", diverted=by("sales", "no-answer"))
    assert ask(plan(**known), "602") == CLOSED
    assert ask(plan(extensions={"500": Group("none")}), "500") == CALLEE_DISABLED


def test_numbers_lead_where_they_should_also_from_inside() -> None:
    numbers = {
        "+33100000001": Number("+33100000001", user="bert", calendar="shut", closed="anna"),
        "+33100000002": Number("+33100000002", calendar="shut"),
        "+33100000003": Number("+33100000003"),
        "+33100000004": Number("+33100000004", queue="support"),
    }
    tenant = plan(numbers=numbers, queues={"support": Queue("support")})
    assert ask(tenant, "0100000001") == (ToUser(HOME, "anna", diverted=by("+33100000001", "time-of-day")),)
    assert ask(tenant, "0100000002") == CLOSED
    assert ask(tenant, "0100000003") == NOT_FOUND
    assert ask(tenant, "+33100000004", trunk=PARIS.key) == (ToQueue(1, "support"),)


def test_the_tenant_is_the_callers_and_never_that_of_the_uri() -> None:
    """Two tenants that have the same of everything: nobody reaches the other's users, numbers or trunks."""
    theirs = Trunk(2, "paris", "theirs.example")
    number = "+33200000000"
    plans = {
        1: plan(Route("r", "", trunks=members("paris"))),
        2: TenantPlan(2, "two", OTHER, trunks={"paris": theirs}, numbers={number: Number(number, user="bert")},
                      routes=by_prefix([Route("r", "", trunks=members("paris"))])),
    }  # fmt: skip
    accounts = [account("anna"), account("bert"), replace(account("bert", OTHER), tenant=2)]
    snapshot = Snapshot.of(HOME, accounts).planned(plans)
    assert choose("anna", "bert", OTHER, NOW, snapshot) == NOT_FOUND
    (target,) = choose("anna", number, OTHER, NOW, snapshot)  # type: ignore[misc] # no refusal
    assert isinstance(target, ToTrunk)
    assert target.trunk is PARIS
    decision = decide(Inquiry("bert", number, HOME, realm=OTHER), Circumstances(NOW), snapshot)
    assert decision.tenant == 2
    assert decision.outcome == (ToUser(OTHER, "bert"),)
