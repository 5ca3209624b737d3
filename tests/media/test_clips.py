# SPDX-License-Identifier: GPL-3.0-or-later
"""WAV files made into clips of each rate, by the process that does it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from media.clips import HEADER, MAGIC, RATES, ClipError, prepare
from media.spawn import environment
from media.tones import TONES
from tests.media.dsp import Codec, Encoder, largest_step, sine, tone_level


def wav(rate: int, pcm: array, *, channels: int = 1, form: int = 1, data: bytes | None = None) -> bytes:
    width = 2 if form == 1 else 1
    sound = pcm.tobytes() if data is None else data
    about = struct.pack("<HHIIHH", form, channels, rate, rate * channels * width, channels * width, 8 * width)
    chunks = b"fmt " + struct.pack("<I", 16) + about + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def clip(stem: Path, rate: int) -> array:
    data = stem.with_name(f"{stem.name}.{rate}").read_bytes()
    magic, said, count, _ = HEADER.unpack_from(data)
    assert (magic, said, len(data)) == (MAGIC, rate, HEADER.size + 2 * count)
    return array("h", data[HEADER.size :])


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_a_file_of_any_rate_is_a_clip_of_each_rate(tmp_path, rate):
    source, stem = tmp_path / "in.wav", tmp_path / "out"
    source.write_bytes(wav(rate, sine(rate, 600, 1500)))
    assert prepare(str(source), stem) == pytest.approx(1500, abs=1)
    for wanted in RATES:
        pcm = clip(stem, wanted)
        assert len(pcm) == pytest.approx(wanted * 1.5, abs=2)
        assert tone_level(pcm[wanted // 10 : wanted], wanted, 600) == pytest.approx(-15, abs=0.3)
        assert largest_step(pcm[wanted // 10 : wanted]) < 1.2 * largest_step(sine(wanted, 600, 100))


def test_g711_and_stereo_are_read(tmp_path):
    pcm = sine(8000, 600, 400)
    coded = b"".join(Encoder(Codec("PCMA")).encode(pcm[start : start + 160]) for start in range(0, len(pcm), 160))
    both = array("h", (value for sample in pcm for value in (sample, sample)))
    for data in (wav(8000, pcm, form=6, data=coded), wav(8000, both, channels=2)):
        (tmp_path / "in.wav").write_bytes(data)
        prepare(str(tmp_path / "in.wav"), tmp_path / "out")
        assert tone_level(clip(tmp_path / "out", 8000), 8000, 600) == pytest.approx(-15, abs=0.3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no WAV"),
        (b"ID3" + bytes(100), "no WAV"),
        (wav(8000, sine(8000, 600, 20), form=85), "coding"),
        (wav(8000, array("h")), "no sound"),
        (wav(8000, sine(8000, 600, 20))[:20], "format"),
    ],
)
def test_what_is_no_sound_is_refused_and_leaves_nothing(tmp_path, data, why):
    (tmp_path / "in.wav").write_bytes(data)
    with pytest.raises(ClipError, match=why):
        prepare(str(tmp_path / "in.wav"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("name", TONES)
def test_tones_need_no_file_and_click_nowhere(tmp_path, name):
    prepare(name, tmp_path / "out")
    for rate in RATES:
        pcm = clip(tmp_path / "out", rate)
        assert largest_step(pcm + pcm[:10]) < 6000
        assert max(pcm) < 12000


def test_the_process_answers_line_by_line(tmp_path):
    (tmp_path / "in.wav").write_bytes(wav(8000, sine(8000, 600, 100)))
    asked = [("in.wav", "one"), ("none.wav", "two"), ("in.wav", "three")]
    lines = [json.dumps({"source": str(tmp_path / source), "stem": str(tmp_path / stem)}) for source, stem in asked]
    command = [sys.executable, "-P", "-m", "media.clips"]
    outcome = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, env=environment(), timeout=60, check=True
    )
    told = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [each.get("ms") for each in told] == [100, None, 100]
    assert told[1]["error"] == "No such file or directory"
