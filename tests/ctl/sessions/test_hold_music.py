# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is put on hold hears music, however that was said, and the peer again when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ctl.sessions.hold_music import HoldMusic
from tests.ctl.sessions.test_playback import Room
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, World, sdp


class Lobby(Room):
    """A call between Alice and Bob."""

    def __init__(self, world: World, cache: Path, sound: str = "tone/music") -> None:
        super().__init__(world, cache)
        music = HoldMusic(world.sessions, self.playback, lambda _call, _leg: sound)
        world.sessions.on_agreed.append(music.look)
        world.call()

    def bob_says(self, direction: str, alice_says: str) -> tuple[bytes, bytes]:
        """A re-INVITE of Bob's: what Alice is told, and what he is answered."""
        to_alice = self.world.sessions.offer("call", "b", sdp(BOB, f"{AUDIO}a={direction}\r\n"), BOB, 1.0, toward=ALICE)
        to_bob = self.world.sessions.answer("call", "a", sdp(ALICE, f"{AUDIO}a={alice_says}\r\n"), ALICE, 2.0)
        return to_alice, to_bob

    def hears_music(self) -> set[str]:
        return {leg for leg in "ab" if self.playback.playing("call", leg)}


@pytest.fixture
def run(world: World, tmp_path: Path) -> Callable[[Callable[[Lobby], None]], None]:
    def play(scene: Callable[[Lobby], None]) -> None:
        async def within_a_loop() -> None:
            scene(Lobby(world, tmp_path))

        asyncio.run(within_a_loop())

    return play


Run = Callable[[Callable[[Lobby], None]], Coroutine[Any, Any, None]]


def test_who_is_held_hears_music_until_the_call_is_resumed(run: Run) -> None:
    def scene(lobby: Lobby) -> None:
        assert lobby.hears_music() == set()
        lobby.bob_says("sendonly", "recvonly")
        assert lobby.hears_music() == {"a"}
        first = lobby.playback.playing("call", "a")
        lobby.bob_says("sendonly", "recvonly")
        assert lobby.playback.playing("call", "a") == first, "it goes on"
        lobby.bob_says("sendrecv", "sendrecv")
        assert lobby.hears_music() == set()
        assert lobby.paths() == {"kernel"}
        lobby.bob_says("sendonly", "recvonly")
        assert lobby.hears_music() == {"a"}

    run(scene)


def test_one_who_is_held_by_inactive_is_told_that_there_is_something_to_hear(run: Run) -> None:
    def scene(lobby: Lobby) -> None:
        to_alice, to_bob = lobby.bob_says("inactive", "recvonly")
        assert b"a=sendonly" in to_alice
        assert b"inactive" not in to_alice
        assert b"a=inactive" in to_bob
        assert lobby.hears_music() == {"a"}

    run(scene)


@pytest.mark.parametrize(("direction", "answered"), [("sendrecv", "recvonly"), ("inactive", "inactive")])
def test_one_who_is_held_by_no_address_is_given_one_to_hear(run: Run, direction: str, answered: str) -> None:
    """As RFC 2543 has it; the other description says nothing of that, and nothing is sent to who holds."""

    def scene(lobby: Lobby) -> None:
        nowhere = sdp("0.0.0.0", f"{AUDIO}a={direction}\r\n")
        to_alice = lobby.world.sessions.offer("call", "b", nowhere, BOB, 1.0, toward=ALICE)
        assert to_alice.endswith(b"a=sendonly\r\n")
        assert f"c=IN IP4 {RELAY_A}\r\n".encode() in to_alice.partition(b"m=audio")[2]
        to_bob = lobby.world.sessions.answer("call", "a", sdp(ALICE, f"{AUDIO}a=recvonly\r\n"), ALICE, 2.0)
        assert f"a={answered}\r\n".encode() in to_bob
        assert lobby.hears_music() == {"a"}
        states = {plan.leg: plan.held for plan in lobby.world.programmer.rtp_of("call")}
        assert states == {"a": True, "b": False}
        lobby.bob_says("sendrecv", "sendrecv")
        assert lobby.hears_music() == set()
        assert lobby.paths() == {"kernel"}

    run(scene)


def test_who_wants_to_hear_nothing_hears_nothing(run: Run) -> None:
    def scene(lobby: Lobby) -> None:
        lobby.bob_says("sendonly", "inactive")
        assert lobby.hears_music() == set()

    run(scene)


def test_an_announcement_goes_before_music_and_is_not_ended_by_it(run: Run) -> None:
    def scene(lobby: Lobby) -> None:
        token = lobby.play(times=0)
        lobby.bob_says("sendonly", "recvonly")
        lobby.bob_says("sendrecv", "sendrecv")
        assert lobby.playback.playing("call", "a")
        assert lobby.playback.stop("call", "a", token)

    run(scene)


def test_the_end_of_the_call_is_the_end_of_it(run: Run) -> None:
    def scene(lobby: Lobby) -> None:
        lobby.bob_says("sendonly", "recvonly")
        lobby.world.sessions.delete("call", 3.0)
        lobby.world.call()
        lobby.bob_says("sendonly", "recvonly")
        assert lobby.hears_music() == {"a"}

    run(scene)


def test_without_the_sound_the_call_goes_on_in_silence(world: World, tmp_path: Path) -> None:
    async def scene() -> None:
        lobby = Lobby(world, tmp_path, "nobody")
        lobby.bob_says("sendonly", "recvonly")
        assert lobby.hears_music() == set()

    asyncio.run(scene())
