# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts, music and digits amid a real call: what the phones hear, and that their streams neither jump nor pause."""

from __future__ import annotations

import itertools
import struct
import time

import pytest

from tests.lab.conftest import TONES
from vm import audio, capture
from vm.process import LabError

PROMPT, MUSIC = 700, 1500


@pytest.fixture
def talking(world, tmp_path):
    """A call in the kernel, and a directory with a prompt of two seconds and music of one."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    audio.write_tone(prompts / "prompt.wav", PROMPT, 2)
    audio.write_tone(prompts / "music.wav", MUSIC, 1)
    made = world(media=f'prompts = "{prompts}"')
    made.connect(made.alice, made.bob)
    made.carried(50)
    return made


def on_the_way(world, path, reason, seconds=15):
    """Wait until both directions are carried so."""
    deadline = time.monotonic() + seconds
    while {(flow["path"], flow["reason"]) for flow in world.flows()} != {(path, reason)}:
        assert time.monotonic() < deadline, world.flows()
        time.sleep(0.05)


def back_in_the_kernel(world):
    on_the_way(world, "kernel", "")
    before = max(flow["packets"] for flow in world.flows())
    world.carried(before + 50)


def test_what_is_played_dialled_and_blocked_amid_a_call(talking):
    ask = talking.controller.ask
    (call,) = ask("call", "list")
    assert {each["name"] for each in ask("sound", "list")} >= {"prompt", "music", "tone/music"}
    with pytest.raises(LabError, match=r"there is no sound '\.\./voxdp'"):
        ask("call", "play", call["id"], "../voxdp", "--to", "b")
    with pytest.raises(LabError, match="send 1 to 16 digits"):
        ask("call", "dtmf", call["id"], "xyz", "--to", "b")

    assert ask("call", "play", call["id"], "prompt", "--to", "b")["ms"] == 2000
    on_the_way(talking, "engine", "playback")
    back_in_the_kernel(talking)

    ask("call", "play", call["id"], "music", "--to", "a", "--loop")
    on_the_way(talking, "engine", "playback")
    time.sleep(2.5)
    assert ask("call", "stop-media", call["id"], "--to", "a") == {"stopped": True}
    back_in_the_kernel(talking)

    ask("call", "dtmf", call["id"], "4#", "--to", "b")
    assert [talking.bob.wait("CALL_DTMF_START", 5)["param"] for _ in range(2)] == ["4", "#"]
    back_in_the_kernel(talking)

    ask("call", "block", call["id"], "--from", "a", "--what", "digits")
    on_the_way(talking, "engine", "digits blocked")
    talking.alice.dtmf("7")
    heard_by_us(talking, "7")
    ask("call", "unblock", call["id"], "--from", "a", "--what", "digits")
    back_in_the_kernel(talking)
    talking.alice.dtmf("8")
    assert talking.bob.wait("CALL_DTMF_START", 5)["param"] == "8", "and no 7 before it"

    talking.finish(talking.alice, talking.bob)
    at_a, at_b = talking.seen()
    one_stream(at_a, talking.lab.a)
    one_stream(at_b, talking.lab.b)
    assert holds(talking.bob.heard()[0], PROMPT, TONES["alice"])
    assert holds(talking.alice.heard()[0], MUSIC, TONES["bob"])


def heard_by_us(world, digit, seconds=10):
    deadline = time.monotonic() + seconds
    while not any((flow["dtmf"] or "").endswith(digit) for flow in world.flows() if flow["leg"] == "a"):
        assert time.monotonic() < deadline, world.flows()
        time.sleep(0.1)


def one_stream(seen, endpoint):
    """All that reached a phone is one stream: no jump of numbers or times, and no pause beyond 60 ms in it.

    Times of sound, not of arrival: that a busy machine sends late is not what is judged here.
    """
    got = [each for each in capture.rtp(seen) if each.target[0] == endpoint.address]
    assert len({each.packet[0] for each in got}) == 1
    numbers = [each.packet[1] for each in got]
    steps = {(b - a) % 65536 for a, b in itertools.pairwise(numbers)}
    assert steps <= {1, 2, 3, 65535}, steps
    assert len(set(numbers)) >= 0.995 * ((numbers[-1] - numbers[0]) % 65536)
    sound = [struct.unpack_from("!I", each.payload, 4)[0] for each in got if each.payload[1] & 127 == 0]
    gaps = [(b - a) % 2**32 for a, b in itertools.pairwise(sorted(sound))]
    during_digits = 8 * (160 + 160)
    assert max(gaps) <= during_digits
    assert sum(gap > 8 * 60 for gap in gaps) <= 6, "the digits, two of ours and two of the phone's"


def holds(path, *tones):
    """Whether each of the tones is heard alone for a second somewhere in what a phone has recorded."""
    samples = audio.read(path)
    second = audio.RATE
    pieces = [
        audio.judge(samples[start : start + second + 320]) for start in range(0, len(samples) - second, second // 2)
    ]
    return all(any(piece.is_tone(tone) for piece in pieces) for tone in tones)
