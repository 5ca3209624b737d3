# SPDX-License-Identifier: GPL-3.0-or-later
"""libFuzzer targets under ASan and UBSan: `python -m tests.media.fuzzing [TARGET…] [--seconds 300]`.

Exit 1 if a target fails; its input is left beside the corpus, if that has a folder to stay in.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from media.engine_build import LIBRARIES
from tests.media.objects import LONGEST, PLACES, compiled

ROOT = Path(__file__).resolve().parents[2]
TARGETS = sorted(source.stem for source in (ROOT / "tests/media/fuzz").glob("*.c"))


def _packet(pause: int, kind: int, number: int) -> bytes:
    """One for the inserter's target, behind its pause and length."""
    return bytes([pause, 36, 0x80, kind, 0, number, 0, 0, 0, 160 * number % 256]) + bytes(28)


SEEDS = {
    "wav": [b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\4\0\0\0\1\0\2\0"],
    "events": [bytes([1, 20, 5, 10, 0, 160]) * 3],
    "frame": [
        bytes.fromhex("0202020202020202020202020800450000200000000040110000c0000201cb007109271203e8000c0000deadbeef"),
        bytes.fromhex("02020202020202020202020288a800078100000986dd6000000000091140")
        + bytes(32)
        + b"\1\2\3\4\0\t\0\0x",
    ],
    "jitter": [bytes([80, 0, n, 0, n // 2, 160 * n % 256, 0, 50]) for n in range(20)],
    "transcoder": [bytes([n]) + (bytes([80, 172, 0x80, 0, 0, 1]) + bytes(168)) * 3 for n in range(5)],
    "inserter": [
        bytes([n]) + b"".join(_packet(80, 128 * (m % 5 == 4) + (m % 5 == 4), m) for m in range(12)) for n in range(16)
    ],
}
FLAGS = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"]
FLAGS += ["-fno-sanitize-recover=all"]
LONGEST_INPUT = 4096


def build_engine(folder: Path) -> Path:
    """The engine's sources as an archive, of which each target takes what it needs. Needs clang and libclang-rt."""
    objects = compiled("fuzzing", ["clang", *FLAGS, "-fsanitize=fuzzer-no-link,address,undefined"])
    archive = folder / "engine.a"
    subprocess.run(["ar", "rcs", archive, *objects.values()], check=True, timeout=LONGEST)
    return archive


def build(name: str, archive: Path) -> Path:
    """The target's program, beside the archive."""
    program = archive.parent / name
    command = ["clang", *FLAGS, "-fsanitize=fuzzer,address,undefined", "-o", program]
    libraries = [f"-l{library}" for library in LIBRARIES]
    line = [*command, *PLACES, ROOT / f"tests/media/fuzz/{name}.c", archive, *libraries]
    subprocess.run(line, check=True, timeout=LONGEST)
    return program


def fuzz(name: str, archive: Path, corpus: Path, seconds: float, seed: int) -> int:
    """Build the target and run it, in a process that has nothing else to do: see `_spent`."""
    return run(build(name, archive), corpus / name, seconds, seed)


def run(program: Path, corpus: Path, seconds: float, seed: int) -> int:
    """Fuzz until so many seconds of processor time are used, from what the corpus holds; return how many inputs.

    Raises RuntimeError with what the sanitizers say.
    """
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(SEEDS.get(program.name, [])):
        (corpus / f"seed-{number}").write_bytes(data)
    tried, began = 0, _spent()
    while (left := seconds - (_spent() - began)) > 0:
        command = [
            program,
            f"-max_total_time={max(1, round(left))}",
            f"-seed={seed + tried}",
            f"-max_len={LONGEST_INPUT}",
        ]
        command += [f"-artifact_prefix={corpus.parent}/{program.name}-", "-timeout=20", "-print_final_stats=1", corpus]
        outcome = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=left + LONGEST)
        if outcome.returncode:
            raise RuntimeError(f"{program.name}: {outcome.stderr[-4000:]}")
        tried += _executions(outcome.stderr)
    return tried


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _executions(printed: str) -> int:
    """How many inputs were tried."""
    line = next(line for line in printed.splitlines() if "stat::number_of_executed_units" in line)
    return int(line.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.media.fuzzing", description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", default=TARGETS, help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=300, help="of processor time, each target (300)")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps what was found, to begin with the next time")
    parser.add_argument("--seed", type=int, default=os.getpid())
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        archive = build_engine(Path(folder))
        corpus = options.corpus or Path(folder) / "corpus"
        tasks = [pool.submit(fuzz, name, archive, corpus, options.seconds, options.seed) for name in options.targets]
        for name, task in zip(options.targets, tasks, strict=True):
            try:
                print(f"{name} {task.result()}", flush=True)
            except RuntimeError as found:
                failed = 1
                print(found, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
