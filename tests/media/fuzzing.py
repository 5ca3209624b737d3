# SPDX-License-Identifier: GPL-3.0-or-later
"""libFuzzer targets under ASan and UBSan: `python -m tests.media.fuzzing [TARGET…] [--seconds 300]`.

What was found interesting is kept in a corpus folder, to begin with the next time. Exit 1 if a target fails; its
input is left beside the corpus.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {
    "rtp": ("packet.c",),
    "rtcp": ("rtcp_rewrite.c",),
    "srtp": ("srtp.c", "srtp_setup.c", "srtp_history.c", "packet.c"),
    "stun": ("stun.c",),
    "dtls": ("dtls.c", "srtp.c", "srtp_setup.c", "srtp_history.c", "packet.c"),
}
"""Name of the file in tests/media/fuzz, and the sources of media/ that it is linked with."""
FLAGS = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all"]
LONGEST = 2048


def build(name: str, folder: Path) -> Path:
    """The target's program. Needs clang and libclang-rt."""
    program = folder / name
    sources = [ROOT / f"tests/media/fuzz/{name}.c", *(ROOT / "media" / source for source in TARGETS[name])]
    command = ["clang", *FLAGS, "-fsanitize=fuzzer,address,undefined", f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
    subprocess.run([*command, "-o", program, *sources, "-lssl", "-lcrypto"], check=True, timeout=100)
    return program


def run(program: Path, corpus: Path, seconds: int, seed: int = 1) -> subprocess.CompletedProcess[str]:
    """Fuzz for so long, from what the corpus holds."""
    corpus.mkdir(parents=True, exist_ok=True)
    command = [program, f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=5"]
    command += [f"-artifact_prefix={corpus.parent}/{program.name}-", "-print_final_stats=1", corpus]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)


def executions(outcome: subprocess.CompletedProcess[str]) -> int:
    """How many inputs were tried."""
    line = next(line for line in outcome.stderr.splitlines() if "stat::number_of_executed_units" in line)
    return int(line.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.media.fuzzing", description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", default=[*TARGETS], help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=300, help="of each target (300)")
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "voxdp-fuzz")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.targets:
            outcome = run(build(name, Path(folder)), options.corpus / name, options.seconds, os.getpid())
            if outcome.returncode:
                failed = 1
                print(outcome.stderr[-4000:], file=sys.stderr)
            print(f"{name}: {'FAILED' if outcome.returncode else executions(outcome)}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
