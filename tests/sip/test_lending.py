# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers that join calls of two processes: the leg goes over, and comes back where nothing comes of it."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from itertools import count

import pytest

from sip.call_table import CallState
from sip.core import Core
from sip.effects import BorrowLeg, EndLoan, LentLeg, SaveBindings, TrunkTarget
from sip.message import Request
from sip.sharing import Among, OwnChannels
from sip.steering import call_id_of, drawn_for, kin, slot_of
from tests.sip.conftest import SERVER, Peer, World
from tests.sip.talk import ANSWER, HOLD, Talk
from tests.sip.test_transfer import CARL, consult, refer, replaces, takes
from tests.sip.test_trunks import CARRIER, FIRST

WORKERS = 2
ONE, OTHER = drawn_for(0, WORKERS, lambda: "one"), drawn_for(1, WORKERS, lambda: "other")


class Workers(World):
    """Two cores, one wire: a message goes to the core of its Call-ID, or to the one that its leg has gone to."""

    def __init__(self) -> None:
        self._made = count()
        self.channels = OwnChannels()
        self.served: dict[str, int] = {}
        self.lenders: dict[tuple[str, str], int] = {}
        self.holding = False
        self.held: list[tuple[int, object]] = []
        super().__init__()
        self.cores = [self.core, self.fresh_core(1)]

    def fresh_core(self, number: int = 0) -> Core:
        def token() -> str:
            return f"t{number}x{next(self._made):06}"

        def call_id(other: str) -> str:
            slot = slot_of(other.encode())
            return kin(token(), slot) if other and slot % WORKERS == number else drawn_for(number, WORKERS, token)

        among = Among(call_id, self.channels, leads=number == 0)
        return Core(self.settings, token, lambda peer: replace(SERVER, transport=peer.transport), among)

    def place(self, call_id: str) -> int:
        return self.served.get(call_id, slot_of(call_id.encode()) % WORKERS)

    def receive(self, data, source):
        core = self.cores[self.place(call_id_of(data).decode())]
        self.run_of(core, core.receive(data, source, SERVER, self.now))

    def pass_time(self, seconds):
        end = self.now + seconds
        while dues := [due for core in self.cores if (due := core.next_expiry()) is not None and due <= end]:
            self.now = max(self.now, min(dues))
            for core in self.cores:
                self.run_of(core, core.expire(self.now))
        self.now = end

    def run(self, effects):
        self.run_of(self.core, effects)

    def run_of(self, core, effects):
        queue = deque((core, effect) for effect in effects)
        while queue:
            self.core, effect = queue.popleft()
            self.log.append(effect)
            number = self.cores.index(self.core)
            if self.holding and isinstance(effect, LentLeg | EndLoan):
                self.held.append((number, effect))
            elif isinstance(effect, BorrowLeg | LentLeg | EndLoan | SaveBindings):
                queue.extend(self.passed_on(number, effect))
            else:
                queue.extend((self.core, more) for more in self._perform(effect))

    def release(self):
        held, self.held, self.holding = self.held, [], False
        for number, effect in held:
            for core, more in self.passed_on(number, effect):
                self.run_of(core, [more])

    def passed_on(self, number, effect):
        """What another core makes of it, whatever is said going through JSON."""
        match effect:
            case BorrowLeg():
                to = self.cores[self.place(effect.dialog[0])]
                return [(to, each) for each in to.lend((number, effect.token), effect.dialog, effect.party, self.now)]
            case LentLeg(state=None):
                to, token = self.cores[effect.asker[0]], effect.asker[1]
                return [(to, each) for each in to.refused(token, effect.status, effect.reason, self.now)]
            case LentLeg():
                borrower, token = effect.asker
                to, state = self.cores[borrower], json.loads(json.dumps(effect.state))
                self.served[state["leg"]["call_id"]] = borrower
                self.lenders[state["call"], state["leg"]["name"]] = number
                return [(to, each) for each in to.lent(token, state, self.now)]
            case EndLoan():
                lender = self.lenders.pop((effect.call, effect.leg))
                to, state = self.cores[lender], json.loads(json.dumps(effect.state))
                if state:
                    self.served[state["call_id"]] = lender
                return [(to, each) for each in to.end_loan(effect.call, effect.leg, state, self.now)]
            case SaveBindings():
                to = self.cores[1 - number]
                state = [binding.state for binding in effect.bindings]
                kept = to.restore_binding(effect.username, state, self.now)
                assert not any(isinstance(each, SaveBindings) for each in kept)
        return []

    def views(self):
        return [[view.state for view in core.calls()] for core in self.cores]

    def empty(self):
        """Whether the cores hold nothing but contacts, and no call has been told of twice."""
        kinds = ("calls", "dialogs", "transactions", "questions")
        ended = [end.call for end in self.ended()]
        return not any(core.counts()[kind] for core in self.cores for kind in kinds) and len(ended) == len(set(ended))


@pytest.fixture
def world():
    return Workers()


@pytest.fixture
def carl(world):
    peer = Peer(world, "carl", "203.0.113.30")
    assert peer.register().status == 200
    return peer


@pytest.fixture
def asked(world, anna, bert, carl):
    """Anna talks to Bert by one core, and has asked Carl by the other: Talk, and what she and Carl have heard."""
    talk = Talk(world, anna, bert, call_id=ONE)
    ok, out = consult(world, anna, bert, carl, OTHER)
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    return talk, ok, out


def transfer(anna, talk, ok):
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")


def methods(peer):
    return [message.method for message in peer.heard() if isinstance(message, Request)]


def bye(world, peer, last, other):
    """A party hangs up, and so the other hears; nothing is left then."""
    peer.say(peer.within(last, "BYE"))
    assert [message.status for message in peer.heard() if not isinstance(message, Request)] == [200]
    other.reply([m for m in other.heard() if isinstance(m, Request) and m.method == "BYE"][-1], 200)
    world.pass_time(70)


def test_attended_transfer(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    anna.hears(202, "NOTIFY")
    toward_carl = takes(carl, CARL)
    assert (toward_carl.call_id, toward_carl.body) == (out.call_id, ANSWER + b"a=via-a\r\n")
    assert toward_carl.cseq.number > out.cseq.number
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.hears("ACK")
    done, *byes = anna.hears("NOTIFY", "BYE", "BYE")
    assert done.body == b"SIP/2.0 200 OK\r\n"
    for each in byes:
        anna.reply(each, 200)
    assert world.views() == [[CallState.TALKING], []]
    hold = bert.within(toward_bert, "INVITE", sdp=HOLD)
    bert.say(hold)
    takes(carl, CARL)
    held = bert.hears(100, 200)[1]
    bert.say(bert.beside(hold, "ACK", to=str(held.to), branch="held"))
    carl.hears("ACK")
    bye(world, carl, toward_carl, bert)
    assert world.empty()
    assert sorted((end.dialled, end.reason) for end in world.ended()) == [
        ("bert", "Transferred"),
        ("carl", ""),
        ("carl", "Transferred"),
    ]


def test_a_target_that_refuses_stays_where_it_was(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    carl.reply(carl.hears("INVITE")[0], 488)
    assert anna.heard()[-1].body == b"SIP/2.0 488 Not Acceptable Here\r\n"
    bert.hears()
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    back = takes(carl, CARL, "ACK")
    assert back.body.split(b"m=")[1] == out.body.split(b"m=")[1]
    carl.hears("ACK")
    bye(world, carl, back, anna)
    bye(world, bert, talk.out, anna)
    assert world.empty()


def test_a_moved_party_that_refuses_brings_the_target_back(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    takes(carl, CARL)
    carl.hears("ACK")
    bert.reply(bert.hears("INVITE")[0], 488)
    back = takes(carl, CARL)
    assert back.body.split(b"m=")[1] == out.body.split(b"m=")[1]
    carl.hears("ACK")
    takes(bert, ANSWER, "ACK")
    bert.hears("ACK")
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    anna.heard()
    bye(world, anna, ok, carl)
    bye(world, anna, talk.ok, bert)
    assert world.empty()


def test_a_moved_party_that_leaves_meanwhile(world, anna, bert, carl, asked):
    """Carl's re-INVITE is under way, and is over before he goes back."""
    talk, ok, _ = asked
    transfer(anna, talk, ok)
    (out,) = carl.hears("INVITE")
    bert.say(bert.within(talk.out, "BYE"))
    bert.hears(200)
    assert world.views()[1] == [CallState.LENT]
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    world.pass_time(0.25)
    assert world.views()[1] == [CallState.TALKING]
    back = takes(carl, CARL)
    carl.hears("ACK")
    anna.heard()
    bye(world, carl, back, anna)
    world.pass_time(70)
    assert world.empty()


def test_a_target_that_leaves_meanwhile_ends_its_own_call(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    (again,) = carl.hears("INVITE")
    carl.say(carl.within(out, "BYE"))
    carl.hears(200)
    anna.reply([each for each in anna.heard() if isinstance(each, Request)][-1], 200)
    assert world.views()[1] == []
    assert CallState.TALKING in world.views()[0]
    carl.reply(again, 487)
    world.pass_time(40)
    bye(world, bert, talk.out, anna)
    assert world.empty()


def test_a_referrer_that_leaves_both_calls_at_once(world, anna, bert, carl, asked):
    talk, ok, _ = asked
    transfer(anna, talk, ok)
    anna.hears(202, "NOTIFY")
    (out,) = carl.hears("INVITE")
    for last in (ok, talk.ok):
        anna.say(anna.within(last, "BYE"))
    anna.hears(200, 200)
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.heard()
    bye(world, bert, toward_bert, carl)
    assert world.empty()


def test_a_referrer_that_left_and_a_target_that_refuses(world, anna, bert, carl, asked):
    """There is no call for Carl to come back to: he is hung up."""
    talk, ok, _ = asked
    transfer(anna, talk, ok)
    (out,) = carl.hears("INVITE")
    anna.say(anna.within(ok, "BYE"))
    carl.reply(out, 488)
    assert methods(carl) == ["ACK", "BYE"]
    bert.hears()
    assert world.views()[0] == [CallState.TALKING]


def test_a_transfer_to_somebody_elses_call(world, anna, bert, carl):
    talk = Talk(world, anna, bert, call_id=ONE)
    world.passwords["dora"] = "pd"
    ok, _ = consult(world, Peer(world, "dora", "203.0.113.40"), bert, carl, OTHER)
    transfer(anna, talk, ok)
    assert anna.hears(202, "NOTIFY", "NOTIFY")[2].body == b"SIP/2.0 403 Not Your Call\r\n"
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]


@pytest.mark.parametrize("place", [ONE, OTHER])
def test_a_transfer_to_a_call_that_is_not_there(world, anna, bert, place):
    talk = Talk(world, anna, bert, call_id=ONE)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={place}x%3Bto-tag%3Da%3Bfrom-tag%3Db")
    accepted, trying = anna.hears(202, "NOTIFY")
    assert (accepted.status, trying.body) == (202, b"SIP/2.0 100 Trying\r\n")
    anna.reply(trying, 200)
    world.pass_time(2.1)
    (failed,) = anna.hears("NOTIFY")
    assert failed.body == b"SIP/2.0 481 Nothing To Replace\r\n"
    assert world.views() == [[CallState.TALKING], []]
    bye(world, bert, talk.out, anna)
    assert world.empty()


def taken_over(world, anna, bert, carl):
    """Bert and Carl talk by Anna's transfer, and nothing else is left."""
    takes(carl, CARL)
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.hears("ACK")
    for each in anna.heard():
        anna.reply(each, 200)
    assert world.views() == [[CallState.TALKING], []]
    bye(world, bert, toward_bert, carl)
    assert world.empty()


def test_a_transfer_that_is_heard_of_before_the_ack_of_the_other_call(world, anna, bert, carl):
    """They go to different workers."""
    talk = Talk(world, anna, bert, call_id=ONE)
    invite = anna.invite("carl", HOLD, call_id=OTHER, from_tag="anna2")
    (out,) = carl.hears("INVITE")
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    ok = anna.heard()[-1]
    transfer(anna, talk, ok)
    trying = anna.hears(202, "NOTIFY")[1]
    anna.reply(trying, 200)
    carl.hears()
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="late"))
    world.pass_time(0.3)
    taken_over(world, anna, bert, carl)


def test_a_transfer_while_the_other_call_is_just_changed(world, anna, bert, carl, asked):
    talk, ok, out = asked
    again = carl.within(out, "INVITE", sdp=CARL)
    carl.say(again)
    (offered,) = [m for m in anna.heard() if isinstance(m, Request) and m.method == "INVITE"]
    transfer(anna, talk, ok)
    anna.reply(anna.hears(202, "NOTIFY")[1], 200)
    anna.reply(offered, 200, HOLD)
    carl.say(carl.beside(again, "ACK", to=str(carl.heard()[-1].to), branch="changed"))
    anna.hears("ACK")
    world.pass_time(0.3)
    taken_over(world, anna, bert, carl)


def test_one_transfer_soon_after_the_other(world, anna, bert, carl, asked):
    """Dora takes Bert's place when his call has gone to another worker, and nobody but the two knows that yet."""
    talk, ok, out = asked
    world.passwords["dora"] = "pd"
    dora = Peer(world, "dora", "203.0.113.40")
    world.holding = True
    transfer(anna, talk, ok)
    value = f"{out.call_id};to-tag={out.from_.tag};from-tag=carl-tag"
    dora.invite("bert", ANSWER, ("Replaces", value), call_id=drawn_for(0, WORKERS, lambda: "dora"))
    dora.hears(100)
    world.release()
    takes(carl, CARL)
    carl.hears("ACK")
    takes(bert, HOLD)
    bert.hears("ACK")
    world.pass_time(0.3)
    reinvite = takes(bert, HOLD)
    bert.hears("ACK")
    (taken,) = dora.hears(200)
    carl.reply(carl.hears("BYE")[0], 200)
    dora.say(dora.within(taken, "ACK"))
    assert reinvite.body.startswith(ANSWER)


def test_a_transfer_to_a_call_that_ends_meanwhile(world, anna, bert, carl, asked):
    talk, ok, out = asked
    again = carl.within(out, "INVITE", sdp=CARL)
    carl.say(again)
    anna.heard()
    transfer(anna, talk, ok)
    anna.reply(anna.hears(202, "NOTIFY")[1], 200)
    carl.say(carl.within(out, "BYE"))
    anna.heard()
    world.pass_time(2.1)
    assert [m for m in anna.heard() if isinstance(m, Request)][-1].body == b"SIP/2.0 481 Nothing To Replace\r\n"
    assert world.views()[0] == [CallState.TALKING]


@pytest.mark.parametrize("cancelled", [False, True])
def test_invite_that_replaces_a_party_elsewhere(world, anna, bert, carl, cancelled):
    talk = Talk(world, anna, bert, call_id=ONE)
    value = f"{talk.out.call_id};to-tag={talk.out.from_.tag};from-tag=bert-tag"
    world.holding = cancelled
    invite = carl.invite("anna", CARL, ("Replaces", value), call_id=OTHER)
    if cancelled:
        carl.say(carl.beside(invite, "CANCEL"))
        assert [message.status for message in carl.heard()] == [100, 200, 487]
        assert world.views()[0] == [CallState.LENT]
        world.release()
        assert world.views()[0] == [CallState.TALKING]
        anna.hears()
        bye(world, bert, talk.out, anna)
        assert world.empty()
        return
    reinvite = takes(anna, HOLD)
    anna.hears("ACK")
    ok = carl.heard()[-1]
    assert (ok.status, ok.body) == (200, HOLD + b"a=via-b\r\n")
    carl.say(carl.beside(invite, "ACK", to=str(ok.to), branch="r"))
    bert.reply(bert.hears("BYE")[0], 200)
    assert world.views() == [[], [CallState.TALKING]]
    bye(world, anna, reinvite, carl)
    assert world.empty()


def test_an_answer_that_comes_too_late_goes_back(world, anna, bert, carl, asked):
    talk, ok, _ = asked
    world.holding = True
    transfer(anna, talk, ok)
    world.pass_time(21)
    assert [m for m in anna.heard() if isinstance(m, Request)][-1].body.startswith(b"SIP/2.0 504")
    assert world.views() == [[CallState.TALKING], [CallState.LENT]]
    world.release()
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    carl.hears()


def test_a_borrower_that_dies_has_lost_nothing(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    (lost,) = carl.hears("INVITE")
    ((call, leg),) = world.lenders
    world.served.pop(lost.call_id)
    world.cores[0] = world.fresh_core(0)
    world.run_of(world.cores[1], world.cores[1].loan_lost(call, leg, world.now))
    assert world.views()[1] == [CallState.TALKING]
    (back,) = carl.hears("INVITE")
    assert back.body.split(b"m=")[1] == out.body.split(b"m=")[1]
    assert back.cseq.number > lost.cseq.number
    carl.reply(back, 200, CARL)
    carl.hears("ACK")
    anna.heard()
    bye(world, anna, ok, carl)


def test_a_lender_that_dies_learns_that_the_leg_has_left(world, anna, bert, carl, asked):
    """Its journal had the call as it was before."""
    talk, ok, _ = asked
    (view,) = world.cores[1].calls()
    (saved,) = world.cores[1].touch(view.id)
    transfer(anna, talk, ok)
    world.cores[1] = world.fresh_core(1)
    world.run_of(world.cores[1], world.cores[1].restore_call(json.loads(json.dumps(saved.state)), world.now))
    assert world.views()[1] == [CallState.TALKING]
    toward_carl = takes(carl, CARL)
    toward_bert = takes(bert, HOLD)
    for each in [m for m in anna.heard() if isinstance(m, Request) and m.method == "BYE"]:
        anna.reply(each, 200)
    assert world.views() == [[CallState.TALKING], []]
    assert methods(carl) == ["ACK"]
    bert.heard()
    bye(world, carl, toward_carl, bert)
    assert toward_bert
    assert world.empty()


def test_channels_of_trunks_go_along_with_their_legs(world, anna, bert):
    world.run_of(world.cores[0], world.cores[0].set_trunks([replace(CARRIER, channels=5)], world.now))
    world.run_of(world.cores[1], world.cores[1].set_trunks([replace(CARRIER, channels=5)], world.now))
    world.routes["carl"] = (TrunkTarget("carrier", "+49301"),)
    host = Peer(world, "carl", FIRST.host)
    talk = Talk(world, anna, bert, call_id=ONE)
    ok, _ = consult(world, anna, bert, host, OTHER)
    assert world.channels.calls("carrier") == 1
    transfer(anna, talk, ok)
    assert world.channels.calls("carrier") == 1
    host.reply(host.hears("INVITE")[0], 488)
    assert world.channels.calls("carrier") == 1
    takes(host, CARL, "ACK")
    host.hears("ACK")
    anna.heard()
    transfer(anna, talk, ok)
    toward_carl = takes(host, CARL)
    takes(bert, HOLD)
    assert world.channels.calls("carrier") == 1
    host.say(host.within(toward_carl, "BYE"))
    world.pass_time(70)
    assert world.channels.calls("carrier") == 0
