# SPDX-License-Identifier: GPL-3.0-or-later
"""libFuzzer with ASan and UBSan on what strangers can send to the engine's sound processing.

For hours: `python -m tests.media.test_fuzz_media SECONDS` runs each target that long, on a corpus kept in the directory
that VOXDP_FUZZ names.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from media.engine_build import LIBRARIES

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"events": 1, "wav": 2, "jitter": 3, "transcoder": 4}
SOURCES = (
    "clip",
    "codec",
    "codec_g711",
    "codec_g722",
    "codec_g729",
    "codec_opus",
    "correlate",
    "delay",
    "dtmf",
    "g711",
)
SOURCES += ("jitterbuffer", "noise", "plc", "receiver", "resample", "rtp", "sender", "talk", "timescale", "tone")
SOURCES += ("transcoder", "wav")
FLAGS = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
PLACES = [f"-I{ROOT / room}" for room in ("media", "bpf")]
SECONDS = 2
SEEDS = {
    "wav": [b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\4\0\0\0\1\0\2\0"],
    "events": [bytes([1, 20, 5, 10, 0, 160]) * 3],
    "jitter": [bytes([80, 0, n, 0, n // 2, 160 * n % 256, 0, 50]) for n in range(20)],
    "transcoder": [bytes([n]) + (bytes([80, 172, 0x80, 0, 0, 1]) + bytes(168)) * 3 for n in range(5)],
}


def compile_sources(folder: Path) -> list[Path]:
    """The engine's sources as objects, for all targets."""
    names = [str(ROOT / f"media/{source}.c") for source in SOURCES]
    subprocess.run(["clang", *FLAGS, *PLACES, "-c", *names], cwd=folder, check=True, timeout=200)
    return sorted(folder.glob("*.o"))


def build(folder: Path, objects: list[Path], name: str) -> Path:
    program = folder / name
    libraries = [f"-l{library}" for library in LIBRARIES if library not in ("ssl", "crypto")]
    sources = [ROOT / "tests/media/fuzz_media.c", *objects]
    command = ["clang", *FLAGS, *PLACES, f"-DTARGET={TARGETS[name]}", "-o", program, *sources, *libraries]
    subprocess.run(command, check=True, timeout=120)
    return program


def run(folder: Path, objects: list[Path], name: str, seconds: int, seed: int) -> subprocess.CompletedProcess[str]:
    """One target on its corpus below `folder`."""
    corpus = folder / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(data)
    words = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096", f"-artifact_prefix={folder}/"]
    return subprocess.run(
        [build(folder, objects, name), corpus, *words, "-print_final_stats=1"],
        capture_output=True,
        text=True,
        timeout=seconds + 100,
    )


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return compile_sources(tmp_path_factory.mktemp("objects"))


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_harms(tmp_path, objects, name):
    outcome = run(tmp_path, objects, name, SECONDS, 1)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    executed = next(line for line in outcome.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 200


def main() -> int:
    seconds, folder = int(sys.argv[1]), Path(os.environ.get("VOXDP_FUZZ", "fuzz"))
    folder.mkdir(exist_ok=True)
    objects = compile_sources(folder)
    outcomes = {name: run(folder, objects, name, seconds, 0) for name in TARGETS}
    for name, outcome in outcomes.items():
        print(f"{name}: {'ok' if not outcome.returncode else outcome.stderr[-2000:]}")
    return int(any(outcome.returncode for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
