# SPDX-License-Identifier: GPL-3.0-or-later
"""What setuptools cannot know: clang builds the BPF objects, cffi two C modules, mypyc the busiest Python modules."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).parent


class BuildWithBpf(build_py):
    """Compile every bpf/*.bpf.c beside its source, and Python, before package data is collected."""

    def run(self) -> None:
        """Compile, then let setuptools copy what package-data names. In a checkout scripts/setup compiles Python."""
        for source in sorted((ROOT / "bpf").glob("*.bpf.c")):
            compile_bpf(source)
        if not self.editable_mode:
            compile_python()
        super().run()


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
    cmdclass={"build_py": BuildWithBpf},
    cffi_modules=["ctl/kernel/libbpf_build.py:ffibuilder", "media/engine_build.py:ffibuilder"],
)
