# SPDX-License-Identifier: GPL-3.0-or-later
"""What is played over a leg, dialled, silenced and stripped of digits: which way the flows take, and what stages do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.treatment import NOTHING, Sound, Treatments
from media.flows import EngineError, EngineKeys
from media.stages import INSERT, TRANSCODE, CodecSettings, Dial, InsertStage
from tests.ctl.sessions.test_sessions_secured import SUITE, key, secured
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, World, sdp

MUSIC = Sound(5, "/run/clips/music", 0, 200)
PCMU = CodecSettings("PCMU", 0, events=101, event_rate=8000)
OVER_BOB = Treatments(sounds={"b": MUSIC})
"""Alice hears it."""


def paths(world: World) -> set[tuple[str, str]]:
    return {(view.path, view.reason) for view in world.sessions.query("call") if view.kind == "rtp"}


def stages(world: World) -> dict[str, tuple[int, bytes]]:
    """What RTP's stages are, by the leg that sends."""
    legs = {view.local: view.leg for view in world.sessions.query("call") if view.kind == "rtp"}
    return {legs[local]: stage for local, stage in world.engine.stages.items() if local in legs}


def test_what_is_played_over_a_leg_takes_the_call_to_the_engine_and_its_end_gives_it_back(world: World) -> None:
    world.call()
    world.sessions.treat("call", OVER_BOB)
    assert paths(world) == {("engine", "playback")}
    assert {view.path for view in world.sessions.query("call") if view.kind == "rtcp"} == {"kernel"}
    kind, settings = stages(world)["b"]
    assert kind == INSERT
    assert settings == InsertStage(PCMU, clip=MUSIC.clip(8000)).pack()
    assert b"/run/clips/music.8000\0" in settings
    assert "a" not in stages(world)
    world.sessions.treat("call", NOTHING)
    assert paths(world) == {("kernel", "")}
    assert not world.engine.flows


def test_a_stage_is_opened_before_it_is_told_to_play_so_that_digits_are_sent_once(world: World) -> None:
    world.call()
    told: list[bytes] = []
    known = world.engine.set_stage
    world.engine.set_stage = lambda key, kind, settings=b"": told.append(settings) or known(key, kind, settings)
    dialling = NOTHING.dialling("b", Dial(3, "12"))
    world.sessions.treat("call", dialling)
    world.sessions.treat("call", replace(dialling, digits_blocked=frozenset("b")))
    blocked = InsertStage(PCMU, True, dial=Dial(3, "12"))
    mine = [settings for settings in told if settings]
    assert mine == [InsertStage(PCMU).pack(), InsertStage(PCMU, dial=Dial(3, "12")).pack(), blocked.pack()]


@pytest.mark.parametrize(
    ("wished", "reason", "stage"),
    [
        (Treatments(digits_blocked=frozenset("a")), "digits blocked", InsertStage(PCMU, block_digits=True)),
        (Treatments(silenced=frozenset("a")), "silenced", InsertStage(PCMU, mute=True)),
        (NOTHING.dialling("a", Dial(1, "5")), "digits sent", InsertStage(PCMU, dial=Dial(1, "5"))),
    ],
)
def test_each_has_a_reason_and_a_stage(world: World, wished: Treatments, reason: str, stage: InsertStage) -> None:
    world.call()
    world.sessions.treat("call", wished)
    assert paths(world) == {("engine", reason)}
    assert stages(world)["a"] == (INSERT, stage.pack())


def test_a_blocked_leg_is_off_in_the_kernel_and_played_over_in_the_engine(world: World) -> None:
    world.call()
    world.sessions.block("call", "b")
    assert paths(world) == {("kernel", "")}
    assert [view.state for view in world.sessions.query("call") if view.kind == "rtp"] == ["pinned", "held"]
    world.sessions.treat("call", replace(world.sessions.treatments("call"), sounds={"b": MUSIC}))
    assert {flow.held for flow in world.engine.flows.values()} == {False}
    assert stages(world)["b"][1] == InsertStage(PCMU, deaf=True, clip=MUSIC.clip(8000)).pack()
    assert world.sessions.blocked("call") == {"b"}


def test_who_is_held_hears_music_and_who_holds_is_spared(world: World) -> None:
    world.call()
    world.call(a=sdp(ALICE, AUDIO + "a=sendrecv\r\n"), b=sdp(BOB, AUDIO + "a=sendonly\r\n"))
    world.sessions.treat("call", OVER_BOB)
    held = {view.leg: view.state for view in world.sessions.query("call") if view.kind == "rtp"}
    assert held == {"a": "held", "b": "pinned"}
    world.call(a=sdp(ALICE, AUDIO + "a=sendonly\r\n"), b=sdp(BOB, AUDIO + "a=recvonly\r\n"))
    held = {view.leg: view.state for view in world.sessions.query("call") if view.kind == "rtp"}
    assert held == {"a": "pinned", "b": "held"}, "she does not want to hear anything"


def test_playing_survives_a_new_description_in_another_codec(world: World) -> None:
    world.call()
    world.sessions.treat("call", OVER_BOB)
    wide = AUDIO.replace("RTP/AVP 0 101", "RTP/AVP 9 101")
    world.call(a=sdp(ALICE, wide), b=sdp(BOB, wide))
    settings = stages(world)["b"][1]
    assert b"/run/clips/music.16000\0" in settings


def test_events_beside_opus_keep_their_clock(world: World) -> None:
    opus = "m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\n"
    world.call(a=sdp(ALICE, opus), b=sdp(BOB, opus))
    world.sessions.treat("call", OVER_BOB)
    expected = CodecSettings("opus", 96, rate=16000, events=97, event_rate=8000)
    assert stages(world)["b"][1] == InsertStage(expected, clip=MUSIC.clip(16000)).pack()


def test_a_transcoded_direction_plays_by_its_own_stage(world: World) -> None:
    world.sessions.data_plane = replace(PLANE, transcode=("PCMA",))
    pcma = AUDIO.replace("RTP/AVP 0 101", "RTP/AVP 8 101")
    world.call(b=sdp(BOB, pcma))
    world.sessions.treat("call", OVER_BOB)
    kind, settings = stages(world)["b"]
    assert kind == TRANSCODE
    assert b"/run/clips/music.8000\0" in settings


def test_legs_that_share_their_keys_are_played_to_under_another_name(world: World) -> None:
    world.call(a=secured(ALICE, 1), b=secured(BOB, 2, "RTP/AVP"))
    assert paths(world) == {("kernel", "")}
    world.sessions.treat("call", OVER_BOB)
    legs = {view.leg: view.local for view in world.sessions.query("call") if view.kind == "rtp"}
    from_bob, from_alice = world.engine.flows[legs["b"]], world.engine.flows[legs["a"]]
    assert (from_bob.open, from_bob.seal, from_bob.mux) == (None, EngineKeys(SUITE, key(2)), False)
    assert (from_alice.open, from_alice.seal) == (None, None)
    expected = replace(PCMU, event_rate=8000)
    assert stages(world)["b"][1] == InsertStage(expected, deaf=True, own=True, clip=MUSIC.clip(8000)).pack()


def test_a_caller_whom_we_answered_hears_silence_then_music(world: World) -> None:
    world.sessions.attend("call", "a", sdp(ALICE), ALICE, 0.0)
    kind, before = stages(world)["b"]
    assert kind == TRANSCODE
    world.sessions.treat("call", OVER_BOB)
    kind, after = stages(world)["b"]
    assert kind == TRANSCODE
    assert before != after
    assert b"/run/clips/music.8000\0" in after
    assert stages(world)["a"][0] == INSERT, "her digits are heard"


def test_what_is_refused_leaves_what_was(world: World) -> None:
    with pytest.raises(MediaRefused, match="no media"):
        world.sessions.treat("call", OVER_BOB)
    world.call()
    world.engine.refusal = EngineError("full", "no more flows")
    with pytest.raises(MediaRefused, match="no more flows"):
        world.sessions.treat("call", OVER_BOB)
    assert world.sessions.treatments("call") == NOTHING
    assert paths(world) == {("kernel", "")}


def test_a_restart_keeps_who_is_not_heard_and_forgets_what_was_played(world: World) -> None:
    world.call()
    world.sessions.treat("call", replace(OVER_BOB, silenced=frozenset("a")))
    state = world.sessions.snapshot("call")
    world.restart()
    world.sessions.restore("call", state)
    assert world.sessions.treatments("call") == Treatments(silenced=frozenset("a"))
    assert paths(world) == {("engine", "silenced")}


def test_a_codec_that_we_do_not_speak_stays_in_the_kernel(world: World) -> None:
    amr = "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 AMR/8000\r\n"
    world.call(a=sdp(ALICE, amr), b=sdp(BOB, amr))
    world.sessions.treat("call", OVER_BOB)
    assert paths(world) == {("kernel", "")}


def test_the_settings_name_the_file_of_their_rate() -> None:
    assert MUSIC.clip(16000).path == "/run/clips/music.16000"
