# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose sound goes to a consumer, beside recordings or alone; the recorder is the real one, but for its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from ctl.recording.feeds import Feeds
from ctl.recording.forwardings import Forwardings
from ctl.recording.section import RecordingSection
from ctl.verbs.control import ControlError
from tests.ctl.recording.test_recordings import Host, host  # noqa: F401 - a fixture
from tests.ctl.world import ALICE, BOB, World, sdp

NOWHERE = "tcp://127.0.0.1:9"
KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


class Forwarding(Host):
    """With a forwarder beside its recordings."""

    def __init__(self, made: Host, destination: str = NOWHERE) -> None:
        self.__dict__ = made.__dict__
        self.forwardings = Forwardings(self.recordings, made.world.sessions, lambda: self.up, destination, 8000)

    def states(self) -> list[dict[str, Any]]:
        return [state for state in self.recordings.client.states() if state["destination"]]


@pytest.fixture
def forwarding(host: Callable[..., Host]) -> Callable[..., Forwarding]:  # noqa: F811
    return lambda *given, **section: Forwarding(host(**section), *given)


def test_each_leg_is_forwarded_until_it_is_stopped(forwarding: Callable[..., Forwarding], world: World) -> None:
    made = forwarding()
    world.call()
    made.forwardings.start("call", "about it")
    assert [(state["call"], state["destination"]) for state in made.states()] == [("call", NOWHERE)] * 2
    assert (made.forwardings.forwarded("call"), made.mirrored()) == ({"a", "b"}, 2)
    made.forwardings.start("call")
    assert len(made.states()) == 2, "what is forwarded already is not forwarded twice"
    made.forwardings.stop("call", "a")
    assert (made.forwardings.forwarded("call"), made.mirrored()) == ({"b"}, 2)
    made.forwardings.stop("call")
    assert (made.states(), made.mirrored()) == ([], 0)


def test_recording_and_forwarding_do_not_end_each_other(forwarding: Callable[..., Forwarding], world: World) -> None:
    made = forwarding()
    world.call()
    made.recordings.start("call", "given")
    made.forwardings.start("call")
    made.recordings.stop("call")
    assert (made.mirrored(), len(made.states())) == (2, 2)
    made.recordings.start("call", "given")
    made.forwardings.stop("call")
    assert made.mirrored() == 2
    made.recordings.stop("call")
    assert made.mirrored() == 0


def test_it_follows_the_call_and_ends_with_it(forwarding: Callable[..., Forwarding], world: World) -> None:
    made = forwarding()
    world.call()
    made.forwardings.start("call")
    world.sessions.offer("call", "a", sdp(ALICE, "m=audio 4000 RTP/AVP 8\r\n"), ALICE, 1.0)
    world.sessions.answer("call", "b", sdp(BOB, "m=audio 4000 RTP/AVP 8\r\n"), BOB, 1.0)
    made.forwardings.look()
    made.recordings.look()
    assert len(made.states()) == 2
    made.up = []
    made.forwardings.look()
    assert made.states() == []
    made.forwardings.look()


def test_what_an_earlier_controller_forwarded_ends(forwarding: Callable[..., Forwarding], world: World) -> None:
    made = forwarding()
    world.call()
    made.forwardings.start("call")
    again = Forwardings(made.recordings, world.sessions, list, NOWHERE, 8000)
    assert made.recordings.restore() == 0
    again.restore(strangers=False)
    assert len(made.states()) == 2
    again.restore()
    assert made.states() == []


def test_what_cannot_be_forwarded_is_said(forwarding: Callable[..., Forwarding], world: World) -> None:
    made = forwarding("")
    with pytest.raises(ControlError, match=r"set recording\.forward_to"):
        made.forwardings.start("call")
    made = forwarding()
    with pytest.raises(ControlError, match="no media yet"):
        made.forwardings.start("call")
    secure = f"m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
    world.call(a=sdp(ALICE, secure), b=sdp(BOB, secure))
    with pytest.raises(ControlError, match="the relay does not hear it"):
        made.forwardings.start("call")
    with pytest.raises(ControlError, match="the relay does not hear it"):
        made.recordings.start("call", "given")
    assert made.recordings.client.states() == []


def test_copies_have_the_calls_name() -> None:
    assert Feeds.name("a") == Feeds.name("a") != Feeds.name("b")


@pytest.mark.parametrize(
    ("value", "fits"), [("tcp://127.0.0.1:9000", True), ("tls://192.0.2.9:9000", True), ("tcp://192.0.2.9:9000", False)]
)
def test_sound_leaves_the_host_sealed_alone(value: str, fits: bool) -> None:
    if fits:
        assert RecordingSection(forward_to=value).forward_to == value
        return
    with pytest.raises(ValidationError, match="by tls:// alone"):
        RecordingSection(forward_to=value)
