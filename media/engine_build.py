# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds `media._engine`: the engine's C, with bpf/flow.h and media/engine.h as cffi reads them.

Run as a script it builds in place; setuptools builds it by way of `ffibuilder`.
"""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(source.name for source in (ROOT / "media").glob("[!_]*.c"))
LIBRARIES = ("bcg729", "crypto", "m", "opus", "spandsp", "speexdsp", "ssl")

TYPES = """
typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;
typedef uint16_t __be16; typedef uint32_t __be32;
"""

DIRECTIVE = re.compile(r"^#.*$", re.MULTILINE)
NUMBER = re.compile(r"#define\s+\w+\s+(0x[0-9a-fA-F]+|\d+)")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def declarations(header: Path) -> str:
    """What cffi can read of a header: no comments, and of the preprocessor's lines those that name a number."""

    def number_or_nothing(directive: re.Match[str]) -> str:
        number = NUMBER.match(directive.group())
        return number.group() if number else ""

    return DIRECTIVE.sub(number_or_nothing, COMMENT.sub("", header.read_text()))


ffibuilder = FFI()
ffibuilder.cdef(
    TYPES
    + declarations(ROOT / "bpf/flow.h")
    + declarations(ROOT / "media/srtp_keys.h")
    + declarations(ROOT / "media/engine.h")
    + "".join(declarations(ROOT / "media" / name) for name in ("tap.h", "wav.h", "resample.h", "recorder.h"))
)
ffibuilder.set_source(
    "media._engine",
    '#include "engine.h"\n#include "recorder.h"\n#include "resample.h"\n#include "wav.h"',
    sources=[f"media/{name}" for name in SOURCES],
    libraries=list(LIBRARIES),
    include_dirs=[str(ROOT / "bpf"), str(ROOT / "media")],
    depends=[str(header) for room in ("bpf", "media") for header in sorted((ROOT / room).glob("*.h"))],
    define_macros=[("_GNU_SOURCE", "1")],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread"],
    extra_link_args=["-pthread"],
)


def build_in_place() -> None:
    """Put the module beside this file, under the name that setuptools gives it too, and nothing else."""
    with TemporaryDirectory() as scratch:
        shutil.copytree(ROOT / "media", Path(scratch) / "media", ignore=shutil.ignore_patterns("*.so", "_engine.c"))
        built = ffibuilder.compile(tmpdir=scratch, target="_engine.abi3.so")
        shutil.move(built, ROOT / "media/_engine.abi3.so")


if __name__ == "__main__":
    build_in_place()
