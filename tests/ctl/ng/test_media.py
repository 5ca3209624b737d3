# SPDX-License-Identifier: GPL-3.0-or-later
"""Sounds, digits and silence as proxies ask for them, with the kernel and the engine played."""

import asyncio
import json
import socket
from base64 import b64encode

import pytest

from ctl.ng.digits import DigitLog
from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.observe.media_watch import MediaWatch
from ctl.sessions.playback import Playback
from ctl.sessions.prompts import Prompts
from ctl.sessions.treatment import Treatments
from media.clips import write
from media.stages import CodecSettings, Cover, InsertStage
from tests.ctl.world import ALICE, BOB, sdp
from tests.media.dsp import sine
from tests.patience import PATIENCE

PCMU = CodecSettings("PCMU", 0, events=101, event_rate=8000)


class Journal:
    """Keeps nothing."""

    def put(self, *_): ...
    def remove(self, *_): ...


class Proxy:
    """One call, answered, and a clock that is set by hand."""

    def __init__(self, world, cache):
        for rate in (8000, 16000):
            write(cache / f"tone-music.{rate}", rate, sine(rate, 500, 100))
        watch = MediaWatch(world.programmer, Journal(), lambda _: None)
        self.playback = Playback(world.sessions, Prompts(None, cache), watch)
        self.now, self.world = 0.0, world
        self.relay = Relay(world.sessions, lambda: self.now, b"secret", limits=Limits(), player=self.playback)
        for command, where, tags in (("offer", ALICE, {}), ("answer", BOB, {"to-tag": "b"})):
            self.ask(command, sdp=sdp(where).decode(), **{"received-from": ["IP4", where]}, label=where, **tags)
        self.session = self.relay.calls.get("c").dialogues[0].session

    def ask(self, command, **keys):
        keys = {key.replace("_", "-"): value for key, value in keys.items()}
        asked = {"command": command, "call-id": "c", "from-tag": "a", **keys}
        reply = self.relay.handle(asked, "127.0.0.1", 0.0)
        assert reply.pop("result") == "ok", reply
        return reply

    def refused(self, command, **keys):
        return self.relay.handle({"command": command, "call-id": "c", **keys}, "", 0.0)["error-reason"]

    def hears(self):
        return {leg for leg in "ab" if self.playback.playing(self.session, leg)}

    def paths(self):
        return {view.path for view in self.world.sessions.query(self.session) if view.kind == "rtp"}


@pytest.fixture
def run(world, tmp_path):
    def play(scene):
        async def within():
            await scene(Proxy(world, tmp_path))

        asyncio.run(within())

    return play


@pytest.mark.parametrize(
    ("keys", "hearing"),
    [
        ({}, {"a"}),
        ({"from_tag": "b"}, {"b"}),
        ({"label": BOB}, {"b"}),
        ({"address": BOB}, {"b"}),
        ({"flags": ["all"]}, {"a", "b"}),
    ],
)
def test_a_sound_is_played_to_whom_it_is_for(run, keys, hearing):
    async def scene(proxy):
        assert proxy.ask("play media", file="tone/music", **keys) == {"duration": 100}
        assert (proxy.hears(), proxy.paths()) == (hearing, {"engine"})
        proxy.now = 0.06
        assert proxy.ask("stop media", **keys) == {"last-frame-pos": 60}
        assert (proxy.hears(), proxy.paths()) == (set(), {"kernel"})

    run(scene)


def test_a_sound_begins_somewhere_and_ends_by_itself(run):
    async def scene(proxy):
        proxy.ask("play media", file="tone/music", start_pos="40", repeat_duration=30)
        assert proxy.hears() == {"a"}
        for _ in range(200):
            if not proxy.hears():
                break
            await asyncio.sleep(0.02)
        assert not proxy.hears()

    run(scene)


@pytest.mark.parametrize("spelled", ["blob", "blob64"])
def test_a_sound_that_comes_with_the_request_is_played_once_it_is_ready(run, spelled):
    """8 kHz, A-law, 50 ms of silence."""
    sound = b"RIFF\xb4\1\0\0WAVEfmt \x10\0\0\0\6\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\x90\1\0\0" + b"\xd5" * 400
    value = b64encode(sound).decode() if spelled == "blob64" else sound.decode("utf-8", "surrogateescape")

    async def scene(proxy):
        assert proxy.ask("play media", **{spelled: value}) == {"duration": 50}
        assert proxy.hears() == set()
        while not proxy.hears():
            await asyncio.sleep(0.02)
        assert (proxy.hears(), proxy.paths()) == ({"a"}, {"engine"})
        proxy.ask("stop media")
        proxy.ask("play media", **{spelled: value})
        proxy.ask("stop media")
        assert proxy.relay.media._preparing == {}
        await asyncio.sleep(0)
        assert proxy.hears() == set()

    run(scene)


@pytest.mark.parametrize(
    ("flags", "legs"),
    [
        (([], []), set()),
        ((["block-DTMF"], []), {"a"}),
        (([], ["block-DTMF"]), {"b"}),
        ((["block-dtmf"], ["block DTMF"]), {"a", "b"}),
    ],
)
def test_digits_are_blocked_from_the_beginning(run, flags, legs):
    async def scene(proxy):
        for command, where, tags, said in (("offer", ALICE, {}, flags[0]), ("answer", BOB, {"to-tag": "b"}, flags[1])):
            keys = {"call-id": "d", "sdp": sdp(where).decode(), "received-from": ["IP4", where], "flags": said}
            proxy.ask(command, **keys, **tags)
        session = proxy.relay.calls.get("d").dialogues[0].session
        assert proxy.playback.digits_blocked(session) == legs

    run(scene)


def test_a_digit_is_dialled_by_whom_it_names(run):
    async def scene(proxy):
        assert proxy.ask("play DTMF", code=11, duration=300, volume=-10) == {}
        wished = proxy.world.sessions.treatments(proxy.session)
        assert {leg: (dial.digits, dial.volume) for leg, dial in wished.dials.items()} == {"a": ("#", 10)}
        assert proxy.ask("play DTMF", from_tag="b", digit="5") == {}

    run(scene)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [("block DTMF", "unblock DTMF", "digits_blocked"), ("silence media", "unsilence media", "silenced")],
)
@pytest.mark.parametrize(
    ("keys", "legs"), [({}, {"a", "b"}), ({"flags": ["directional"]}, {"a"}), ({"label": BOB}, {"b"})]
)
def test_digits_and_sound_of_one_or_of_all_are_taken_away(run, one, other, name, keys, legs):
    async def scene(proxy):
        proxy.ask(one, **keys)
        assert getattr(proxy.playback, name)(proxy.session) == legs
        assert proxy.paths() == {"engine"}
        proxy.ask(other, **keys)
        assert getattr(proxy.playback, name)(proxy.session) == set()
        assert proxy.paths() == {"kernel"}

    run(scene)


@pytest.mark.parametrize(
    ("command", "keys", "reason"),
    [
        ("play media", {"file": "nowhere"}, "there is no sound"),
        ("play media", {"from-tag": "a"}, "No media file specified"),
        ("play media", {"from-tag": "a", "db-id": "7"}, "No media file specified"),
        ("play media", {"from-tag": "a", "blob": "RIFF"}, "this is no WAV file"),
        ("play media", {"from-tag": "a", "blob64": "UklGRgAAAABXQVZF"}, "has no sound in it"),
        ("play media", {"from-tag": "a", "blob64": "???"}, "blob64: not base64"),
        ("play media", {"file": "tone/music", "from-tag": "z"}, "No participant"),
        ("play DTMF", {"from-tag": "a", "code": "16"}, "Out of range DTMF code"),
        ("play DTMF", {"from-tag": "a", "digit": "55"}, "Out of range DTMF code"),
        ("play DTMF", {"from-tag": "a", "digit": "5", "duration": 20}, "100 to 5000 ms"),
        ("play DTMF", {"digit": "5"}, "No participant specified"),
        ("block DTMF", {"DTMF-security": "loud"}, "none of drop, silence, zero, dtmf, random, tone, off"),
        ("block DTMF", {"DTMF-security": "DTMF"}, "Out of range DTMF code"),
        ("block DTMF", {"DTMF-security": "tone", "frequencies": "400,500"}, "one of 50 to 3800 Hz"),
        ("block DTMF", {"DTMF-security": "tone", "frequency": 9000}, "one of 50 to 3800 Hz"),
        ("block DTMF", {"DTMF-security": "tone", "volume": -80}, "not within 0 to -63"),
        ("block DTMF", {"trigger": "123"}, "trigger: "),
    ],
)
def test_what_cannot_be_done_is_said(run, command, keys, reason):
    async def scene(proxy):
        assert reason in proxy.refused(command, **keys)
        assert proxy.paths() == {"kernel"}

    run(scene)


@pytest.mark.parametrize(
    ("asked", "cover"),
    [
        ({}, Cover()),
        ({"DTMF-security": "silence"}, Cover()),
        ({"DTMF-security": "zero"}, Cover("digit")),
        ({"DTMF-security": "DTMF", "digit": "#", "volume": "-20"}, Cover("digit", 11, volume=20)),
        ({"DTMF security": "random"}, Cover("random")),
        ({"DTMF-security": "tone", "frequency": "700", "volume": 8}, Cover("tone", 0, 700, 8)),
        ({"DTMF-security": "tone", "frequencies": [700]}, Cover("tone", 0, 700)),
    ],
)
@pytest.mark.parametrize("how", ["block DTMF", "answer"])
def test_what_digits_become(run, asked, cover, how):
    async def scene(proxy):
        if how == "answer":
            said = {"sdp": sdp(BOB).decode(), "to-tag": "b", "received-from": ["IP4", BOB]}
            proxy.ask("answer", **said, flags=["block-DTMF"], **asked)
        else:
            proxy.ask("block DTMF", **{"from-tag": "b"}, flags=["directional"], **asked)
        found = proxy.world.sessions.treatments(proxy.session)
        assert (found.digits_blocked, dict(found.covers)) == ({"b"}, {"b": cover})
        stage = InsertStage(PCMU, block_digits=True, cover=cover)
        assert (stage.kind, stage.pack()) in proxy.world.engine.stages.values()
        again = Treatments.from_json(json.loads(json.dumps(found.to_json())))
        assert (again.digits_blocked, dict(again.covers)) == ({"b"}, {"b": cover})
        proxy.ask("block DTMF", **{"DTMF-security": "off"})
        assert proxy.paths() == {"kernel"}
        assert not proxy.world.sessions.treatments(proxy.session).covers

    run(scene)


@pytest.mark.parametrize("command", ["block DTMF", "silence media"])
def test_nothing_takes_the_place_of_sound_that_cannot_be_made(run, command):
    """In a codec that is not ours; a block or silence that is not there must not be believed in."""

    async def scene(proxy):
        body = "m=audio 4000 RTP/AVP 97 101\r\na=rtpmap:97 AMR/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        proxy.ask("offer", sdp=sdp(ALICE, body).decode(), **{"to-tag": "b", "received-from": ["IP4", ALICE]})
        proxy.ask("answer", sdp=sdp(BOB, body).decode(), **{"to-tag": "b", "received-from": ["IP4", BOB]})
        assert "hears none of" in proxy.refused(command)
        assert proxy.paths() == {"kernel"}

    run(scene)


@pytest.mark.parametrize("command", ["play media", "play DTMF"])
def test_nothing_is_put_into_what_goes_back_to_who_says_it(run, command):
    async def scene(proxy):
        echoing = {"sdp": sdp(BOB).decode(), "to-tag": "b", "media-echo": "forward"}
        proxy.ask("answer", **echoing, **{"received-from": ["IP4", BOB]})
        reason = proxy.refused(command, file="tone/music", digit="1", **{"from-tag": "a"})
        assert "goes back to it" in reason

    run(scene)


def test_without_a_player_nothing_is_acknowledged(world):
    relay = Relay(world.sessions, lambda: 0.0, b"secret")
    relay.handle({"command": "offer", "call-id": "c", "from-tag": "a", "sdp": sdp(ALICE).decode()}, "", 0.0)
    for command in ("play media", "stop media", "play DTMF", "block DTMF", "silence media"):
        reply = relay.handle({"command": command, "call-id": "c", "from-tag": "a", "file": "x", "digit": "1"}, "", 0.0)
        assert "nothing can be played on this relay" in reply["error-reason"]


def test_whoever_wants_to_know_is_told_of_each_digit(run):
    async def scene(proxy):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kamailio:
            kamailio.bind(("127.0.0.1", 0))
            kamailio.settimeout(PATIENCE)
            log = DigitLog(proxy.relay.calls, proxy.world.sessions, [kamailio.getsockname()], lambda: 1700000000.9)
            log.heard("somebody else's", "a", "1", 100.0)
            log.heard(proxy.session, "b", "#", 119.6)
            told = json.loads(kamailio.recv(2048))
            log.close()
        assert told == {
            "callid": "c",
            "source_tag": "b",
            "source_label": BOB,
            "tags": ["a", "b"],
            "type": "DTMF",
            "timestamp": 1700000000,
            "source_ip": BOB,
            "event": 11,
            "duration": 120,
            "volume": 10,
        }

    run(scene)
