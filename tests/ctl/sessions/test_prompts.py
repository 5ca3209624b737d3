# SPDX-License-Identifier: GPL-3.0-or-later
"""Sounds by name: what is found, what no name reaches, and what is made ready by whom."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ctl.sessions.prompts import MOST_BLOB, Prompts, SoundError
from tests.media.dsp import sine
from tests.media.test_clips import wav

SECOND = wav(8000, sine(8000, 600, 1000))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    (folder / "queue").mkdir(parents=True)
    (folder / "welcome.wav").write_bytes(SECOND)
    (folder / "queue/position.WAV").write_bytes(SECOND)
    (tmp_path / "secret.wav").write_bytes(SECOND)
    return folder


@pytest.fixture
def prompts(home: Path, tmp_path: Path) -> Prompts:
    return Prompts(home, tmp_path / "clips")


def refusal(prompts: Prompts, *names: str) -> tuple[int, str]:
    with pytest.raises(SoundError) as caught:
        prompts.find(names)
    return caught.value.status, str(caught.value)


def test_what_is_there_is_made_ready_once(prompts: Prompts, home: Path) -> None:
    assert refusal(prompts, "welcome")[0] == 425
    asyncio.run(prompts.refresh())
    prompt = prompts.find("welcome")
    assert prompt == prompts.find("welcome.wav")
    assert prompt.milliseconds == 1000
    before = os.stat(f"{prompt.stem}.8000").st_ino
    asyncio.run(prompts.refresh())
    assert os.stat(f"{prompt.stem}.8000").st_ino == before
    assert prompts.find("tone/ringback").milliseconds == 5000
    assert {"welcome", "queue/position", "tone/busy"} >= set(prompts.names()) - {"tone/ringback", "tone/music"}


def test_a_file_that_changed_is_another_sound(prompts: Prompts, home: Path) -> None:
    asyncio.run(prompts.prepare("welcome"))
    (home / "welcome.wav").write_bytes(wav(16000, sine(16000, 600, 300)))
    assert refusal(prompts, "welcome")[0] == 425
    assert asyncio.run(prompts.prepare("welcome")) == "welcome"
    assert prompts.find("welcome").milliseconds == 300


def test_several_are_one_sound_without_a_gap(prompts: Prompts) -> None:
    asyncio.run(prompts.refresh())
    assert prompts.find(["welcome", "tone/busy", "welcome"]).milliseconds == 3000
    assert refusal(prompts)[0] == 400


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../secret",
        "/etc/passwd",
        "queue/../../secret",
        "nobody",
        "queue",
        "welcome\0",
        "linked",
        "away/secret",
        ".",
    ],
)
def test_no_name_reaches_anything_outside(prompts: Prompts, home: Path, name: str) -> None:
    (home / "linked.wav").symlink_to(home.parent / "secret.wav")
    (home / "away").symlink_to(home.parent)
    status, why = refusal(prompts, name)
    assert status == 404
    assert "\n" not in why


def test_a_link_that_stays_inside_is_followed(prompts: Prompts, home: Path) -> None:
    (home / "also.wav").symlink_to("welcome.wav")
    assert asyncio.run(prompts.prepare("also")) == "also"
    assert prompts.find("also") == prompts.find("welcome")


def test_what_is_no_sound_is_refused_with_the_reason(prompts: Prompts, home: Path) -> None:
    (home / "text.wav").write_text("hello")
    asyncio.run(prompts.refresh())
    assert refusal(prompts, "text") == (400, "sound 'text' cannot be played: it is no WAV file")
    with pytest.raises(SoundError, match="no WAV"):
        asyncio.run(prompts.prepare("text"))


def test_a_file_may_be_handed_in(prompts: Prompts) -> None:
    name = asyncio.run(prompts.prepare(SECOND))
    assert name == asyncio.run(prompts.prepare(SECOND))
    assert prompts.find(name).milliseconds == 1000
    with pytest.raises(SoundError, match="no WAV"):
        asyncio.run(prompts.prepare(b"hello"))
    with pytest.raises(SoundError, match="at most"):
        asyncio.run(prompts.prepare(bytes(MOST_BLOB + 1)))
    assert refusal(prompts, "blob/../welcome")[0] == 404


def test_without_a_directory_there_are_tones(tmp_path: Path) -> None:
    prompts = Prompts(None, tmp_path / "clips")
    asyncio.run(prompts.refresh())
    assert prompts.names() == ["tone/busy", "tone/music", "tone/ringback"]
    assert prompts.find("tone/music").milliseconds == 12000
    assert refusal(prompts, "welcome") == (
        404,
        "there is no sound 'welcome'; set media.prompts to a directory of WAV files",
    )


def test_what_is_not_there_any_more_is_forgotten(prompts: Prompts, home: Path) -> None:
    asyncio.run(prompts.refresh())
    stem = prompts.find("welcome").stem
    (home / "welcome.wav").unlink()
    for rate in (8000, 16000):
        os.utime(f"{stem}.{rate}", (0, 0))
    asyncio.run(prompts.refresh())
    assert not Path(f"{stem}.8000").exists()
