# SPDX-License-Identifier: GPL-3.0-or-later
"""What setuptools cannot know: clang builds the BPF objects, cffi two C modules, mypyc the busiest Python modules."""

import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).parent
AT_ONCE = len(os.sched_getaffinity(0))
"""Compilers that run beside each other."""


class BuildWithBpf(build_py):
    """Compile every bpf/*.bpf.c beside its source, and Python, before package data is collected."""

    def run(self) -> None:
        """Compile, then let setuptools copy what package-data names. In a checkout scripts/setup compiles Python."""
        with ThreadPoolExecutor(AT_ONCE) as compilers:
            list(compilers.map(compile_bpf, sorted((ROOT / "bpf").glob("*.bpf.c"))))
        if not self.editable_mode:
            compile_python()
        super().run()


class BuildBesideEachOther(build_ext):
    """Compile several C sources of a module at a time, for which setuptools takes one after the other."""

    def build_extensions(self) -> None:
        """As ever, but for the compiler's loop over sources."""
        one_by_one = self.compiler.compile

        def compile_all(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(AT_ONCE) as compilers:
                made = compilers.map(lambda source: one_by_one([source], **options), sources)
                return [each for objects in made for each in objects]

        self.compiler.compile = compile_all
        super().build_extensions()


def compile_python() -> None:
    """Make the library of compiled modules, in `ctl/compiled`."""
    sys.path.insert(0, str(ROOT))
    from ctl.compiled.build import BuildError, build

    try:
        build()
    except BuildError as error:
        raise CompileError(str(error)) from None


def compile_bpf(source: Path) -> None:
    """Make the CO-RE object of one BPF source; -g is what puts BTF into it."""
    target = source.with_suffix(".o")
    headers = [target, *source.parent.glob("*.h"), source]
    if target.exists() and max(h.stat().st_mtime for h in headers[1:]) < target.stat().st_mtime:
        return
    multiarch = sysconfig.get_config_var("MULTIARCH")
    command = ["clang", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"]
    command += [f"-I/usr/include/{multiarch}", "-c", str(source), "-o", str(target)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise CompileError("clang is missing; run: apt-get install clang llvm libbpf-dev") from None
    except subprocess.CalledProcessError as failure:
        raise CompileError(f"{source.name} does not compile (clang exit {failure.returncode})") from None


setup(
    cmdclass={"build_ext": BuildBesideEachOther, "build_py": BuildWithBpf},
    cffi_modules=["ctl/kernel/libbpf_build.py:ffibuilder", "media/engine_build.py:ffibuilder"],
)
