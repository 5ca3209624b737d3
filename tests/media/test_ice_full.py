# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent that asks: checks and their pace, nomination, conflicts of roles, consent; alone, and two of them."""

import pytest

from tests.media import ice_native
from tests.media import stun_messages as stun
from tests.media.ice_native import SECOND, Agent, Network

NEAR, FAR, WORSE = ("192.0.2.1", 30000), ("192.0.2.10", 4000), ("198.51.100.10", 4001)
CANDIDATES = [(*FAR, 200), (*WORSE, 100)]
OURS, THEIRS = "o" * 22, "t" * 22


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return ice_native.build(tmp_path_factory.mktemp("ice"))


@pytest.fixture
def make(native):
    made = []

    def agent(role, **settings):
        made.append(Agent(native, role, **settings))
        return made[-1]

    yield agent
    for each in made:
        each.close()


def answer(agent, data, source, kind=stun.SUCCESS, password=THEIRS):
    """The peer's answer to a check of ours."""
    request = stun.Message.parse(data)
    value = stun.mapped_value(*NEAR, request.transaction)
    made = stun.Message(kind, request.transaction, {stun.MAPPED: value})
    return agent.receive(made.pack(password), source)


def other_side(role, **settings):
    return {"role": role, "own": ("theirs", THEIRS), "peer": ("ours", OURS), **settings}


def test_checks_go_to_the_best_candidate_first_and_not_all_at_once(make):
    agent = make("controlling", candidates=CANDIDATES)
    ((data, target),) = agent.out
    request = stun.Message.parse(data)
    assert target == FAR
    assert request.attributes[stun.USERNAME] == b"theirs:ours"
    assert (stun.CONTROLLING in request.attributes, stun.USE_CANDIDATE in request.attributes) == (True, False)
    assert request.attributes[stun.PRIORITY] == (100).to_bytes(4, "big")
    assert request.authentic(THEIRS)
    assert agent.wait(0.04) == []
    ((_, target),) = agent.wait(0.02)
    assert target == WORSE


def test_unanswered_checks_are_sent_again_more_and_more_seldom_and_then_fail(make):
    agent = make("controlling", candidates=[(*FAR, 200)])
    times, first = [], agent.out[0][0]
    for _ in range(200):
        times += [agent.now / SECOND - 1 for data, _ in agent.wait(0.1) if data == first]
        if agent.state == "failed":
            break
    assert [round(each, 1) for each in times] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert agent.state == "failed"


def test_the_best_answer_is_nominated_and_then_selected(make):
    agent = make("controlling", candidates=CANDIDATES)
    first = agent.out[0][0]
    _, out = answer(agent, first, FAR)
    nomination = next(data for data, target in out if target == FAR)
    assert stun.USE_CANDIDATE in stun.Message.parse(nomination).attributes
    assert agent.selected is None
    answer(agent, nomination, FAR)
    assert (agent.state, agent.selected) == ("selected", FAR)


def test_a_worse_pair_waits_a_moment_for_a_better_one(make):
    agent = make("controlling", candidates=CANDIDATES)
    ((second, target),) = agent.wait(0.06)
    assert target == WORSE
    assert answer(agent, second, WORSE)[1] == []
    out = agent.wait(0.4)
    nominations = [target for data, target in out if stun.USE_CANDIDATE in stun.Message.parse(data).attributes]
    assert nominations == [WORSE]


def test_answers_from_elsewhere_or_of_others_are_not_believed(make):
    agent = make("controlling", candidates=[(*FAR, 200)], complete=False)
    first = agent.out[0][0]
    assert answer(agent, first, FAR, password=OURS)[0] is False
    assert answer(agent, stun.check("theirs:ours").pack(THEIRS), FAR)[0] is False
    assert answer(agent, first, WORSE)[0] is False
    assert (agent.selected, agent.outcome.refused) == (None, 3)
    assert agent.wait(3) == [], "an answer from another address than was asked fails the pair"


def test_a_refusal_other_than_of_the_role_fails_the_pair(make):
    agent = make("controlling", candidates=[(*FAR, 200)])
    request = stun.Message.parse(agent.out[0][0])
    refusal = stun.Message(stun.ERROR, request.transaction, {stun.ERROR_CODE: b"\0\0\4\x14Unknown"})
    assert agent.receive(refusal.pack(THEIRS), FAR)[0]
    assert agent.state == "failed"


def test_on_487_the_role_is_changed_and_the_check_made_again(make):
    agent = make("controlling", candidates=[(*FAR, 200)])
    request = stun.Message.parse(agent.out[0][0])
    refusal = stun.Message(stun.ERROR, request.transaction, {stun.ERROR_CODE: b"\0\0\4\x57Role Conflict"})
    agent.receive(refusal.pack(THEIRS), FAR)
    again = [stun.Message.parse(data) for data, _ in agent.wait(0.2)]
    assert [stun.CONTROLLED in each.attributes for each in again] == [True]
    assert again[0].transaction != request.transaction


@pytest.mark.parametrize(
    ("role", "peer_controls", "tie", "error"),
    [
        ("controlling", True, 5, 487),
        ("controlling", True, 9, None),
        ("controlled", False, 9, 487),
        ("controlled", False, 5, None),
    ],
)
def test_the_greater_tiebreaker_has_its_way(make, role, peer_controls, tie, error):
    """Ours is 7: the peer is refused, or we change."""
    agent = make(role, complete=False)
    request = stun.check("ours:theirs", controlling=peer_controls, tie=tie)
    _, out = agent.receive(request.pack(OURS), FAR)
    reply = stun.Message.parse(out[0][0])
    assert (reply.error if reply.kind == stun.ERROR else None) == error


def test_an_incoming_check_is_answered_with_one_of_ours(make):
    """Toward an address that no candidate named: the peer is behind a NAT."""
    agent = make("controlled", complete=False)
    _, out = agent.receive(stun.check("ours:theirs", use=True).pack(OURS), WORSE)
    kinds = [stun.Message.parse(data).kind for data, target in out if target == WORSE]
    assert kinds == [stun.SUCCESS, stun.REQUEST]
    assert agent.selected is None, "not before our own check is answered"
    answer(agent, out[1][0], WORSE)
    assert agent.selected == WORSE


def test_consent_is_asked_for_every_five_seconds_and_ends_after_thirty(make):
    agent = make("controlling", candidates=[(*FAR, 200)])
    _, out = answer(agent, agent.out[0][0], FAR)
    answer(agent, out[0][0], FAR)
    assert agent.selected == FAR
    for _ in range(30):
        for data, target in agent.wait(2):
            assert stun.Message.parse(data).authentic(THEIRS)
            assert answer(agent, data, target)[0]
    assert agent.state == "selected"
    assert 3 <= len(agent.wait(23)) <= 6, "the last answer may have come six seconds before"
    assert agent.state == "selected"
    agent.wait(14)
    assert (agent.state, agent.selected) == ("lost", None)


def test_full_and_lite_find_each_other(make):
    full = make("controlling", candidates=[(*WORSE, 300), (*FAR, 200)])
    lite = make(**other_side("lite"))
    network = Network({NEAR: full, FAR: lite})
    network.run(3)
    assert (full.selected, lite.selected) == (FAR, NEAR)
    network.run(300)
    assert (full.state, lite.state) == ("selected", "selected")


@pytest.mark.parametrize(
    "roles", [("controlling", "controlled"), ("controlling", "controlling"), ("controlled", "controlled")]
)
@pytest.mark.parametrize("seed", range(5))
def test_two_full_ones_find_each_other_through_loss_whoever_thinks_to_lead(make, roles, seed):
    one = make(roles[0], candidates=CANDIDATES, tiebreaker=seed)
    other = make(**other_side(roles[1], candidates=[(*NEAR, 200)], tiebreaker=2))
    network = Network({NEAR: one, FAR: other}, delay=0.1, loss=0.3, seed=seed)
    network.run(25)
    assert (one.selected, other.selected) == (FAR, NEAR)
    network.loss = 0.0
    network.run(200)
    assert (one.state, other.state) == ("selected", "selected")


def test_trickled_candidates_are_checked_when_they_come(make):
    one = make("controlling", complete=False)
    other = make(**other_side("controlled", complete=False))
    network = Network({NEAR: one, FAR: other})
    network.run(5)
    assert (one.state, other.state) == ("checking", "checking")
    one.change(candidates=[(*FAR, 200)], complete=True)
    network.run(2)
    assert (one.selected, other.selected) == (FAR, NEAR)


def test_a_restart_finds_the_pair_anew(make):
    one = make("controlling", candidates=CANDIDATES)
    other = make(**other_side("controlled", candidates=[(*NEAR, 200)]))
    network = Network({NEAR: one, FAR: other})
    network.run(2)
    network.agents[WORSE] = network.agents.pop(FAR)
    one.change(own=("fresh", "f" * 22), peer=("anew", "n" * 22), candidates=[(*WORSE, 200)])
    other.change(own=("anew", "n" * 22), peer=("fresh", "f" * 22), candidates=[(*NEAR, 200)])
    assert (one.selected, other.selected) == (FAR, NEAR)
    network.run(2)
    assert (one.state, one.selected, other.state, other.selected) == ("selected", WORSE, "selected", NEAR)


def test_both_notice_a_cable_that_is_pulled(make):
    one = make("controlling", candidates=CANDIDATES)
    other = make(**other_side("controlled", candidates=[(*NEAR, 200)]))
    network = Network({NEAR: one, FAR: other})
    network.run(10)
    network.cut.add((NEAR, FAR))
    network.run(40)
    assert (one.state, other.state) == ("lost", "lost")
