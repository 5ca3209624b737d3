# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.verbs.control import ControlError
from tests.ctl.ng.test_relay import answer, ask, offer


class Tape:
    """A recorder that only remembers."""

    def __init__(self):
        self.said = []
        self.refusal = ""

    def start(self, call, consent=""):
        if self.refusal:
            raise ControlError(self.refusal)
        self.said.append(("start", call, consent))

    def stop(self, call):
        self.said.append(("stop", call))

    def pause(self, call):
        self.said.append(("pause", call))

    def resume(self, call):
        self.said.append(("resume", call))


@pytest.fixture
def tape():
    return Tape()


@pytest.fixture
def relay(world, tape):
    return Relay(world.sessions, lambda: 0.0, b"secret", limits=Limits(delete_delay=0), recorder=tape)


def test_recording_is_started_paused_resumed_and_stopped(relay, tape):
    offer(relay)
    answer(relay)
    steps = (
        ("start recording", {"consent": "given"}),
        ("pause recording", {}),
        ("start recording", {}),
        ("stop recording", {"flags": ["pause"]}),
        ("stop recording", {}),
        ("stop recording", {}),
    )
    for command, keys in steps:
        assert ask(relay, command, call_id="c1", **keys) == {"result": "ok"}
    session = "ng/1/c1"
    assert tape.said == [
        ("start", session, "given"),
        ("pause", session),
        ("resume", session),
        ("pause", session),
        ("stop", session),
    ]


@pytest.mark.parametrize("keys", [{"record_call": "on"}, {"record_call": "yes"}, {"flags": ["record-call"]}])
def test_a_call_may_be_recorded_from_its_answer_on(relay, tape, keys):
    offer(relay, **keys)
    assert tape.said == []
    assert "warning" not in answer(relay)
    assert tape.said == [("start", "ng/1/c1", "")]
    answer(relay)
    assert len(tape.said) == 1


def test_who_asked_for_a_recording_that_cannot_be_is_told(relay, tape):
    tape.refusal = "no key for recordings"
    offer(relay, record_call="on")
    reply = answer(relay)
    assert reply["result"] == "ok"
    assert reply["warning"] == "the call is not recorded: no key for recordings"
    refused = ask(relay, "start recording", call_id="c1")
    assert refused == {"result": "error", "error-reason": "no key for recordings"}


def test_what_goes_back_to_who_says_it_is_not_recorded(relay, tape):
    offer(relay)
    answer(relay, media_echo="both")
    assert "not recorded" in ask(relay, "start recording", call_id="c1")["error-reason"]
    answer(relay, media_echo="off")
    ask(relay, "start recording", call_id="c1")
    assert "stop recording" in answer(relay, media_echo="both")["error-reason"]
    assert [what for what, *_ in tape.said] == ["start"]
    assert answer(relay, media_echo="blackhole")["result"] == "ok"


def test_without_a_recorder_nothing_is_acknowledged(world):
    bare = Relay(world.sessions, lambda: 0.0, b"s")
    offer(bare)
    answer(bare)
    assert "not available" in ask(bare, "start recording", call_id="c1")["error-reason"]


class Consumer:
    """A forwarder that only remembers."""

    def __init__(self):
        self.said = []

    def start(self, call, metadata="", legs=()):
        if metadata == "no":
            raise ControlError("set recording.forward_to")
        self.said.append(("start", call, metadata, set(legs)))

    def stop(self, call, legs=()):
        self.said.append(("stop", call, set(legs)))

    def forwarded(self, call):
        found = set()
        for what, session, *_, legs in self.said:
            if session == call:
                found = found | legs if what == "start" else found - legs
        return frozenset(found)


def test_sound_is_forwarded_of_all_or_of_one(world):
    consumer = Consumer()
    relay = Relay(world.sessions, lambda: 0.0, b"secret", forwarder=consumer)
    offer(relay, label="7", metadata="about")
    answer(relay)
    for command, keys in (
        ("start forwarding", {}),
        ("start forwarding", {"from_tag": "b", "flags": ["directional"], "metadata": "more"}),
        ("stop forwarding", {"label": "7"}),
        ("stop forwarding", {"flags": ["all"]}),
    ):
        assert ask(relay, command, call_id="c1", **keys) == {"result": "ok"}
    session = "ng/1/c1"
    assert consumer.said == [
        ("start", session, "about", {"a", "b"}),
        ("start", session, "more", {"b"}),
        ("stop", session, {"a"}),
        ("stop", session, {"a", "b"}),
    ]
    assert ask(relay, "start forwarding", call_id="c1", metadata="no")["error-reason"] == "set recording.forward_to"


def test_without_a_forwarder_nothing_is_acknowledged(relay):
    offer(relay)
    answer(relay)
    for command in ("start forwarding", "stop forwarding"):
        assert "not available" in ask(relay, command, call_id="c1")["error-reason"]


def test_what_is_recorded_and_forwarded_is_told_as_it_is(world, tape):
    """Also by the reply to `delete`; a call with several dialogues is recorded as long as one of them is."""
    relay = Relay(world.sessions, lambda: 0.0, b"secret", recorder=tape, forwarder=Consumer())
    offer(relay)
    answer(relay)

    def told():
        reply = ask(relay, "query", call_id="c1")
        whom = {tag: about["recording"] for tag, about in reply["tags"].items() if "recording" in about}
        return (*reply["recording"].values(), {tag: about["forwarding"] for tag, about in whom.items()})

    assert told() == (0, 0, {})
    for command, keys, expected in (
        ("start recording", {}, (1, 0, {})),
        ("start forwarding", {"from_tag": "b", "flags": ["directional"]}, (1, 1, {"b": 1})),
        ("pause recording", {}, (0, 1, {"b": 1})),
        ("start forwarding", {}, (0, 1, {"a": 1, "b": 1})),
        ("start recording", {}, (1, 1, {"a": 1, "b": 1})),
        ("stop forwarding", {"from_tag": "a", "flags": ["directional"]}, (1, 1, {"b": 1})),
        ("stop recording", {}, (0, 1, {"b": 1})),
        ("stop forwarding", {}, (0, 0, {})),
        ("start recording", {}, (1, 0, {})),
    ):
        assert ask(relay, command, call_id="c1", **keys) == {"result": "ok"}
        assert told() == expected, command
    assert ask(relay, "delete", call_id="c1", from_tag="a")["recording"] == {"call recording": 1, "forwarding": 0}
