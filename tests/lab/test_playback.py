# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts, music and digits amid a real call: what the phones hear, and that their streams neither jump nor pause."""

from __future__ import annotations

import itertools
import math
import struct
import time
from collections import Counter

import pytest

from tests.lab.conftest import TONES
from vm import audio, capture
from vm.process import PATIENCE, LabError

PROMPT, MUSIC = 700, 1500
LIVE = 0.08
"""Seconds between two packets of a phone that is not silent; the engine takes it for silent after 0.1."""
STEPS = (1, 2, 3, 65535)
"""From one number to the next: a packet or two may be lost on a busy machine, or one overtaken."""


@pytest.fixture
def placed(world, tmp_path):
    """A world with a prompt of four seconds and music of one, which is heard on hold too."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    audio.write_tone(prompts / "prompt.wav", PROMPT, 4)
    audio.write_tone(prompts / "music.wav", MUSIC, 1)
    return world(media=f'prompts = "{prompts}"\nhold_music = "music"')


@pytest.fixture
def talking(placed):
    """A call in the kernel."""
    placed.connect(placed.alice, placed.bob)
    placed.carried(50)
    return placed


def on_the_way(world, path, reason, seconds=PATIENCE):
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

    once = {"id": call["id"], "action": "play", "leg": "b", "sounds": ["prompt"], "times": 1, "start_ms": 0}
    assert talking.controller.tell("call.media", once)["ms"] == 4000  # over before the end of a command may be seen
    on_the_way(talking, "engine", "playback")
    back_in_the_kernel(talking)

    ask("call", "play", call["id"], "music", "--to", "a", "--loop")
    on_the_way(talking, "engine", "playback")
    time.sleep(2.5)
    assert ask("call", "stop-media", call["id"], "--to", "a") == {"stopped": True}
    back_in_the_kernel(talking)

    ask("call", "dtmf", call["id"], "4#", "--to", "b")
    assert [talking.bob.wait("CALL_DTMF_START")["param"] for _ in range(2)] == ["4", "#"]
    back_in_the_kernel(talking)

    ask("call", "block", call["id"], "--from", "a", "--what", "digits")
    on_the_way(talking, "engine", "digits blocked")
    talking.alice.dtmf("7")
    heard_by_us(talking, "7")
    ask("call", "unblock", call["id"], "--from", "a", "--what", "digits")
    back_in_the_kernel(talking)
    talking.alice.dtmf("8")
    assert talking.bob.wait("CALL_DTMF_START")["param"] == "8", "and no 7 before it"

    until_held = time.time()
    talking.bob.hold()
    on_the_way(talking, "engine", "playback")
    time.sleep(1.5)
    talking.bob.resume()
    back_in_the_kernel(talking)

    talking.finish(talking.alice, talking.bob)
    at_a, at_b = talking.seen()
    near, far = talking.lab.a, talking.lab.b
    for seen, endpoint, theirs, other in ((at_a, near, at_b, far), (at_b, far, at_a, near)):
        if longest_pause(theirs, other, until_held) < LIVE:
            one_stream([each for each in seen if each.time < until_held], endpoint)
        no_number_twice(seen, endpoint)
    assert audio.holds(audio.read(talking.bob.heard()[0]), PROMPT, TONES["alice"])
    assert audio.holds(audio.read(talking.alice.heard()[0]), MUSIC, TONES["bob"])


def heard_by_us(world, digit, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not any((flow["dtmf"] or "").endswith(digit) for flow in world.flows() if flow["leg"] == "a"):
        assert time.monotonic() < deadline, world.flows()
        time.sleep(0.1)


def longest_pause(seen, endpoint, until):
    """Seconds for which a phone sent nothing. What is played beside one that is silent is no part of its stream."""
    times = [each.time for each in capture.rtp(seen) if each.source[0] == endpoint.address and each.time < until]
    return max(later - sooner for sooner, later in itertools.pairwise(times))


def one_stream(seen, endpoint):
    """All that reached a phone is one stream: no jump of numbers or times, and no pause beyond 60 ms in it.

    Times of sound, not of arrival: that a busy machine sends late is not what is judged here.
    """
    got = [each for each in capture.rtp(seen) if each.target[0] == endpoint.address]
    assert len({each.packet[0] for each in got}) == 1
    numbers = [each.packet[1] for each in got]
    jumps = [pair for pair in itertools.pairwise(got) if (pair[1].packet[1] - pair[0].packet[1]) % 65536 not in STEPS]
    assert not jumps, [(each.time, each.target, each.payload[:16].hex()) for pair in jumps for each in pair]
    assert len(set(numbers)) >= 0.995 * ((numbers[-1] - numbers[0]) % 65536)
    sound = [struct.unpack_from("!I", each.payload, 4)[0] for each in got if each.payload[1] & 127 == 0]
    gaps = [(b - a) % 2**32 for a, b in itertools.pairwise(sorted(sound))]
    during_digits = 8 * (160 + 160)
    assert max(gaps) <= during_digits
    assert sum(gap > 8 * 60 for gap in gaps) <= 6, "the digits, two of ours and two of the phone's"


def no_number_twice(seen, endpoint):
    """In none of the streams that reached a phone, whoever carried them and whatever was put into them."""
    got = [each for each in capture.rtp(seen) if each.target[0] == endpoint.address]
    times = Counter((each.payload[8:12], each.packet[1]) for each in got)
    doubled = [each for each in got if times[each.payload[8:12], each.packet[1]] > 1]
    assert not doubled, [(each.time, each.target, each.payload[:16].hex()) for each in doubled]


def dtmf_of(placed, form):
    placed.controller.command("user", "set", "bob", f"dtmf={form}")
    placed.connect(placed.alice, placed.bob)
    placed.carried(20)


def ended(placed):
    placed.alice.hangup()
    placed.bob.closed()
    placed.alice.closed()
    placed.controller.until("flows", "flow", "list", count=0)


def test_keys_reach_a_phone_in_the_form_that_it_has(placed):
    dtmf_of(placed, "info")
    on_the_way(placed, "engine", "digits by INFO")
    placed.alice.dtmf("5")
    assert placed.bob.wait("CALL_DTMF_START")["param"] == "5"
    ended(placed)

    dtmf_of(placed, "inband")
    on_the_way(placed, "engine", "digits as tones")
    placed.alice.dtmf("1")
    heard_by_us(placed, "1")
    placed.bob.dtmf("8")
    assert placed.alice.wait("CALL_DTMF_START")["param"] == "8", "hers are events all the same"
    time.sleep(0.5)
    ended(placed)

    _, at_b = placed.seen()
    assert len({each.payload for each in at_b if each.is_sip and each.payload.startswith(b"INFO ")}) == 1
    got = [each for each in capture.rtp(at_b) if each.target[0] == placed.lab.b.address]
    assert {each.payload[1] & 127 for each in got} == {0}, "no telephone event in either call"
    assert rings_with(placed.bob.heard()[-1], 697, 1209)


def rings_with(path, *tones):
    """Whether these tones are heard together for 40 ms, each far above what speech has there."""
    samples = audio.read(path)
    size = audio.RATE * 40 // 1000
    return any(
        all(power(samples[start : start + size], tone) > 1e5 for tone in tones)
        for start in range(0, len(samples) - size, size // 2)
    )


def power(piece, frequency):
    """Mean square of the sine of that frequency in it."""
    step = 2 * math.pi * frequency / audio.RATE
    real = sum(value * math.cos(step * number) for number, value in enumerate(piece))
    imaginary = sum(value * math.sin(step * number) for number, value in enumerate(piece))
    return 2 * (real**2 + imaginary**2) / len(piece) ** 2
