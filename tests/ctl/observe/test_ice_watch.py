# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine tells of ICE: read, followed, counted, and logged by its weight."""

from collections import Counter
from ipaddress import ip_address

import pytest
from media._engine import lib
from structlog.testing import capture_logs

from ctl.observe.ice_watch import IceWatch, pair_of
from ctl.sessions.ice import IcePair
from ctl.sessions.media_sessions import MediaRefused
from media.engine_structs import ICE_STATES, pack_address
from media.flows import EngineEvent

FLOW = ("192.0.2.1", 20000)


class Sessions:
    """What follows; refuses where it is told to."""

    def __init__(self, call="call", refusal=None):
        self.call, self.refusal, self.pairs = call, refusal, []

    def paired(self, local, pair):
        self.pairs.append((local, pair))
        if self.refusal:
            raise self.refusal
        return self.call


def event(state, remote=None):
    data = pack_address(remote[0]) + remote[1].to_bytes(2, "big") if remote else bytes(18)
    return EngineEvent(FLOW, "ice", state, data)


@pytest.mark.parametrize("remote", [("203.0.113.5", 40000), ("2001:db8::7", 65535)])
def test_a_pair_is_read(remote):
    assert pair_of(event(lib.ENGINE_ICE_SELECTED, remote)) == IcePair("selected", remote)
    assert ip_address(remote[0])


def test_every_state_of_the_engine_has_its_name_here():
    assert {number: pair_of(event(number)).state for number in ICE_STATES} == ICE_STATES


@pytest.mark.parametrize(
    ("state", "remote", "level", "said"),
    [
        (lib.ENGINE_ICE_SELECTED, ("203.0.113.5", 40000), "info", "ICE selected a pair"),
        (lib.ENGINE_ICE_LOST, None, "warning", "ICE: the peer consents no more, its media has ceased"),
        (lib.ENGINE_ICE_FAILED, None, "warning", "ICE found no pair"),
        (lib.ENGINE_ICE_CHECKING, None, "debug", "ICE"),
    ],
)
def test_each_is_followed_counted_and_told(state, remote, level, said):
    sessions, counted = Sessions(), Counter()
    with capture_logs() as logged:
        IceWatch(sessions, counted).take(event(state, remote))
    assert sessions.pairs == [(FLOW, IcePair(ICE_STATES[state], remote))]
    assert counted == {(ICE_STATES[state],): 1}
    assert [(line["log_level"], line["event"], line["call"]) for line in logged] == [(level, said, "call")]


def test_what_is_no_call_is_not_told_and_what_cannot_follow_is():
    with capture_logs() as logged:
        IceWatch(Sessions(call=None), Counter()).take(event(lib.ENGINE_ICE_LOST))
    assert logged == []
    with capture_logs() as logged:
        refusal = MediaRefused(503, "no engine answers")
        IceWatch(Sessions(refusal=refusal), Counter()).take(event(lib.ENGINE_ICE_SELECTED, ("203.0.113.5", 1)))
    assert [(line["log_level"], line["why"]) for line in logged] == [("error", "no engine answers")]
