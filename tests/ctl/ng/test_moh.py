# SPDX-License-Identifier: GPL-3.0-or-later
"""Music that a proxy has named for a participant: who hears it, since when, until when, and what both are told."""

import asyncio
import json
import os
from base64 import b64encode

import pytest

from ctl.ng.front import _from_json, _to_json
from tests.ctl.ng.test_media import Proxy
from tests.ctl.world import ALICE, AUDIO, BOB, sdp

MUSIC = {"file": "tone/music"}


class Held(Proxy):
    """The same call, offered anew by either side."""

    def again(self, who, direction, answered, where="", **keys):
        """What the other side is told, and what is answered."""
        tags = {"from-tag": who, "to-tag": "b" if who == "a" else "a"}
        first, second = (ALICE, BOB) if who == "a" else (BOB, ALICE)
        body = sdp(where or first, f"{AUDIO}a={direction}\r\n").decode()
        told = self.ask("offer", sdp=body, **{"received-from": ["IP4", first]}, **tags, **keys)["sdp"]
        body = sdp(second, f"{AUDIO}a={answered}\r\n").decode()
        return told, self.ask("answer", sdp=body, **{"received-from": ["IP4", second]}, **tags)["sdp"]


def said(body):
    """The direction of the sound, and where it is to go."""
    lines = body.decode().split("\r\n")
    directions = {"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"}
    (direction,) = directions & set(lines)
    return direction[2:], next(line.split()[-1] for line in lines if line.startswith("c="))


@pytest.fixture
def run(world, tmp_path):
    def play(scene):
        async def within():
            scene(Held(world, tmp_path))

        asyncio.run(within())

    return play


@pytest.mark.parametrize(("who", "hearer"), [("a", "b"), ("b", "a")])
def test_who_is_held_hears_the_music_of_who_holds_until_it_is_over(run, who, hearer):
    def scene(proxy):
        proxy.again(who, "sendrecv", "sendrecv", moh=MUSIC)
        assert proxy.hears() == set(), "nobody is held"
        proxy.again(who, "sendonly", "recvonly")
        assert (proxy.hears(), proxy.paths()) == ({hearer}, {"engine"})
        token = proxy.playback.playing(proxy.session, hearer)
        proxy.again(who, "sendonly", "recvonly")
        assert proxy.playback.playing(proxy.session, hearer) == token, "it goes on"
        proxy.again(who, "sendrecv", "sendrecv")
        assert (proxy.hears(), proxy.paths()) == (set(), {"kernel"})

    run(scene)


def test_the_music_is_of_who_names_it_alone(run):
    def scene(proxy):
        proxy.again("a", "sendrecv", "sendrecv", moh=MUSIC)
        proxy.again("b", "sendonly", "recvonly")
        assert proxy.hears() == set()

    run(scene)


@pytest.mark.parametrize(
    ("direction", "more", "told", "answered", "back"),
    [
        ("sendonly", {}, "sendonly", "recvonly", "recvonly"),
        ("inactive", {}, "sendonly", "recvonly", "inactive"),
        ("sendonly", {"mode": "sendrecv"}, "sendrecv", "sendrecv", "recvonly"),
        ("inactive", {"mode": "sendrecv"}, "sendrecv", "sendrecv", "inactive"),
    ],
)
def test_who_is_held_is_told_to_listen_and_who_holds_what_it_asked_for(run, direction, more, told, answered, back):
    def scene(proxy):
        to_bob, to_alice = proxy.again("a", direction, answered, moh={**MUSIC, **more})
        assert said(to_bob)[0] == told
        assert said(to_alice)[0] == back
        assert proxy.hears() == {"b"}
        plans = {plan.leg: plan.held for plan in proxy.world.programmer.rtp_of(proxy.session)}
        assert plans == {"a": False, "b": True}

    run(scene)


def test_a_hold_by_no_address_is_one_too_and_can_be_told_so(run):
    def scene(proxy):
        to_bob, _ = proxy.again("a", "sendrecv", "recvonly", "0.0.0.0", moh=MUSIC)
        assert said(to_bob)[0] == "sendonly"
        assert said(to_bob)[1] not in ("0.0.0.0", ALICE)
        assert proxy.hears() == {"b"}
        proxy.again("a", "sendrecv", "sendrecv")
        to_bob, _ = proxy.again("a", "sendonly", "recvonly", moh={**MUSIC, "connection": "zero"})
        assert said(to_bob) == ("sendonly", "0.0.0.0")
        assert proxy.hears() == {"b"}

    run(scene)


def test_music_that_comes_with_the_request_is_heard_once_it_is_ready(world, tmp_path):
    """Also long after it has come; 50 ms of it, A-law at 8 kHz."""
    sound = b"RIFF\xb4\1\0\0WAVEfmt \x10\0\0\0\6\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\x90\1\0\0" + b"\xd5" * 400

    async def scene():
        proxy = Held(world, tmp_path)
        told, _ = proxy.again("a", "inactive", "recvonly", moh={"blob64": b64encode(sound).decode()})
        assert (said(told)[0], proxy.hears()) == ("sendonly", set())
        async with asyncio.timeout(30):
            await asyncio.gather(*proxy.relay.media._making)
        assert proxy.hears() == {"b"}
        proxy.again("a", "sendrecv", "sendrecv")
        assert proxy.hears() == set()
        proxy.playback.keep_while(proxy.relay.calls.sounds)
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        await proxy.playback.prompts.refresh()
        proxy.again("a", "sendonly", "recvonly")
        assert proxy.hears() == {"b"}
        assert proxy.relay.media._making == set()

    asyncio.run(scene())


def test_without_music_a_hold_is_told_as_it_comes(run):
    def scene(proxy):
        to_bob, to_alice = proxy.again("a", "inactive", "inactive")
        assert (said(to_bob)[0], said(to_alice)[0]) == ("inactive", "inactive")
        assert proxy.hears() == set()

    run(scene)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"file": "nowhere"}, "there is no sound"),
        ({"blob": "RIFF"}, "this is no WAV file"),
        ({"blob64": "???"}, "not base64"),
        ({"db-id": 7}, "db-id is not read"),
        ({"mode": "sendrecv"}, "name a file"),
        ({**MUSIC, "mode": "reflect"}, "mode is sendonly or sendrecv"),
        ({**MUSIC, "connection": "none"}, "connection is zero"),
        ("tone/music", "no dictionary"),
    ],
)
def test_what_cannot_be_played_is_refused_at_once(run, asked, why):
    def scene(proxy):
        reason = proxy.refused("offer", **{"from-tag": "a", "sdp": sdp(ALICE).decode()}, moh=asked)
        assert why in reason

    run(scene)


def test_the_music_of_a_participant_outlives_the_controller(run):
    def scene(proxy):
        proxy.again("a", "sendrecv", "sendrecv", moh={**MUSIC, "mode": "sendrecv"})
        call = proxy.relay.calls.get("c")
        again = _from_json(json.loads(json.dumps(_to_json(call))))
        assert [each.moh for each in again.participants] == [each.moh for each in call.participants]
        assert again.find("a").moh.sendrecv

    run(scene)
