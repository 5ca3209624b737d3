# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent that answers: whom it believes, what it refuses, which pair it takes and when it gives that up."""

import pytest

from tests.media import ice_native
from tests.media import stun_messages as stun
from tests.media.ice_native import Agent

PEER, OTHER, STRANGER = ("192.0.2.10", 4000), ("192.0.2.11", 4001), ("203.0.113.66", 666)
NAME, PASSWORD, THEIRS = "ours:theirs", "o" * 22, "t" * 22


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return ice_native.build(tmp_path_factory.mktemp("ice"))


@pytest.fixture
def agent(native):
    made = Agent(native)
    yield made
    made.close()


def ask(agent, source=PEER, password=PASSWORD, name=NAME, **settings):
    """A check; whether it was believed, and the one answer if there was one."""
    request = stun.check(name, **settings)
    good, out = agent.receive(request.pack(password), source)
    answers = [data for data, target in out if target == source]
    assert len(answers) <= 1
    answer = stun.Message.parse(answers[0]) if answers else None
    assert answer is None or answer.transaction == request.transaction
    return good, answer


def test_a_check_is_answered_with_the_address_it_came_from(agent):
    good, answer = ask(agent)
    assert good
    assert (answer.kind, answer.mapped) == (stun.SUCCESS, PEER)
    assert answer.authentic(PASSWORD)
    assert (agent.state, agent.selected) == ("checking", None)


def test_the_nominated_pair_is_taken(agent):
    ask(agent)
    ask(agent, use=True)
    assert (agent.state, agent.selected) == ("selected", PEER)
    assert (agent.outcome.checks, agent.outcome.refused) == (2, 0)


def test_over_ipv6_too(agent):
    _, answer = ask(agent, ("2001:db8::7", 5000), use=True)
    assert answer.mapped == agent.selected == ("2001:db8::7", 5000)


@pytest.mark.parametrize("password", ["x" * 22, THEIRS, ""])
def test_a_wrong_password_is_met_with_silence(agent, password):
    assert ask(agent, STRANGER, password, use=True) == (False, None)
    assert (agent.state, agent.selected, agent.outcome.refused) == ("checking", None, 1)


@pytest.mark.parametrize("name", ["theirs:ours", "ours", "ours:", "ours:theirs2", "OURS:theirs", ":"])
def test_a_name_of_somebody_else_is_401(agent, name):
    good, answer = ask(agent, STRANGER, name=name, use=True)
    assert (good, answer.error, agent.selected) == (False, 401, None)
    assert stun.INTEGRITY not in answer.attributes


def test_without_name_or_digest_it_is_400(agent):
    for request in (stun.check(NAME, use=True).pack(), stun.Message(stun.REQUEST).pack(PASSWORD)):
        good, out = agent.receive(request, STRANGER)
        assert (good, stun.Message.parse(out[0][0]).error) == (False, 400)
    assert agent.selected is None


def test_what_must_be_understood_and_is_not_is_420(agent):
    request = stun.check(NAME, use=True)
    request.attributes[0x7EEE] = b"news"
    good, out = agent.receive(request.pack(PASSWORD), PEER)
    answer = stun.Message.parse(out[0][0])
    assert (good, answer.error, answer.attributes[stun.UNKNOWN]) == (False, 420, b"\x7e\xee")
    assert agent.selected is None


def test_a_peer_that_would_follow_has_to_lead(agent):
    good, answer = ask(agent, controlling=False, use=True)
    assert (good, answer.error, agent.selected) == (True, 487, None)
    assert answer.authentic(PASSWORD)


def test_damaged_and_old_messages_are_nothing(agent):
    whole = stun.check(NAME, use=True).pack(PASSWORD)
    for data in (
        whole[:-1],
        whole[:40],
        whole[:-4] + b"\0\0\0\0",
        stun.check(NAME, use=True).pack(PASSWORD, fingerprint=False),
    ):
        assert agent.receive(data, PEER) == (False, [])
    assert (agent.selected, agent.outcome.refused) == (None, 4)


def test_indications_and_answers_change_nothing(agent):
    assert agent.receive(stun.Message(stun.INDICATION).pack(), PEER) == (True, [])
    answer = stun.Message(stun.SUCCESS, attributes={stun.MAPPED: stun.mapped_value("192.0.2.1", 1, bytes(12))})
    assert agent.receive(answer.pack(THEIRS), PEER) == (False, [])
    assert agent.selected is None


def test_another_pair_is_nominated_in_the_middle_of_a_call(agent):
    """A phone that leaves its wireless network checks from another address before it nominates that."""
    ask(agent, use=True, priority=200)
    agent.wait(20)
    ask(agent, OTHER, priority=100)
    assert agent.selected == PEER
    ask(agent, OTHER, use=True, priority=100)
    assert agent.selected == OTHER


def test_of_pairs_nominated_in_haste_the_best_is_taken(agent):
    """RFC 5245's aggressive nomination: every check carries USE-CANDIDATE."""
    ask(agent, use=True, priority=200)
    ask(agent, OTHER, use=True, priority=100)
    assert agent.selected == PEER
    ask(agent, STRANGER, use=True, priority=300)
    assert agent.selected == STRANGER
    agent.wait(4)
    ask(agent, OTHER, use=True, priority=100)
    assert agent.selected == OTHER, "the better one is not checked any more"


def test_consent_of_a_peer_that_keeps_checking_is_lost_after_30_s(agent):
    ask(agent, use=True)
    for _ in range(6):
        agent.wait(5)
        ask(agent)
    agent.wait(29)
    assert agent.state == "selected"
    agent.wait(3)
    assert (agent.state, agent.selected) == ("lost", None)
    ask(agent, use=True)
    assert agent.selected is None, "consent that was lost wants other credentials (RFC 7675 section 5.1)"
    ask(agent, OTHER, use=True)
    assert (agent.state, agent.selected) == ("selected", OTHER)


def test_a_peer_that_never_checks_again_is_left_to_its_media(agent):
    """Peers of RFC 5245 send indications, which prove nothing."""
    ask(agent, use=True)
    agent.wait(600)
    assert (agent.state, agent.selected) == ("selected", PEER)


def test_the_way_is_kept_open(agent):
    ask(agent, use=True)
    out = agent.wait(100)
    assert len(out) in (6, 7)
    assert {(stun.Message.parse(data).kind, target) for data, target in out} == {(stun.INDICATION, PEER)}


def test_no_pair_in_time_is_told_and_one_that_comes_late_is_taken(agent):
    agent.wait(39)
    assert agent.state == "checking"
    agent.wait(2)
    assert agent.state == "failed"
    ask(agent, use=True)
    assert (agent.state, agent.selected) == ("selected", PEER)


def test_a_restart_keeps_the_pair_until_it_has_another(agent):
    ask(agent, use=True)
    agent.change(own=("fresh", "f" * 22), peer=("anew", "n" * 22))
    assert (agent.state, agent.selected) == ("checking", PEER)
    assert ask(agent, PEER)[1].kind == stun.SUCCESS, "the former credentials are answered"
    ask(agent, OTHER, use=True)
    assert agent.selected == PEER, "and select nothing any more"
    ask(agent, OTHER, "f" * 22, "fresh:anew", use=True)
    assert (agent.state, agent.selected) == ("selected", OTHER)
    assert ask(agent, PEER)[1].error == 401


def test_a_restart_that_nobody_answers_ends_the_old_pair(agent):
    ask(agent, use=True)
    agent.change(own=("fresh", "f" * 22), peer=("anew", "n" * 22))
    agent.wait(41)
    assert (agent.state, agent.selected) == ("failed", None)


def test_news_of_the_same_credentials_change_nothing(agent):
    ask(agent, use=True)
    agent.change(candidates=[("192.0.2.99", 9000, 5)], complete=True)
    assert (agent.state, agent.selected) == ("selected", PEER)


def test_strangers_are_answered_no_more_than_a_few_times_a_second(agent):
    """Who was authentic is answered all the same."""
    ask(agent, use=True)
    answers = sum(bool(ask(agent, (f"203.0.113.{n % 250}", 6000), name="a:b")[1]) for n in range(1000))
    assert answers == 39, "the first check was a stranger's too"
    assert ask(agent)[1].kind == stun.SUCCESS
    agent.wait(1)
    assert ask(agent, STRANGER, name="a:b")[1].error == 401


def test_more_sources_than_there_is_room_for_do_not_push_out_the_selected_one(agent):
    ask(agent, use=True)
    for n in range(200):
        agent.wait(0.1)
        assert ask(agent, ("192.0.2.200", 1000 + n))[0]
    assert agent.selected == PEER
    assert ask(agent)[1].kind == stun.SUCCESS
