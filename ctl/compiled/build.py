# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m ctl.compiled.build [--fresh]`: compile by mypyc, unless what there is was made of the same sources.

--fresh: only tell whether it was, by the exit status.

mypyc comes with mypy, which checks these sources anyway. It writes C for all modules at once; the C compiler then takes
a file of it for each module, as many at a time as there are processors.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from ctl.compiled.expand import dataclasses_in, expand
from ctl.compiled.modules import LIBRARY, NAME, ROOT, STAMP, digest, fresh, modules, source

_ROOMS = ("api", "bpf", "ctl", "media", "provisioning", "sip")
_CHECKER = "[mypy]\npython_version = 3.11\nignore_missing_imports = True\nfollow_imports = silent\n"
_TOGETHER = 8
_FLAGS = ["-O1", "-g0", "-fPIC", "-DNDEBUG", "-w"]


class BuildError(Exception):
    """What a compiler had to say."""


def build() -> None:
    """Make the library. Raises BuildError, and leaves none behind that is of other sources."""
    if fresh():
        return
    STAMP.unlink(missing_ok=True)
    made_of = digest()
    with TemporaryDirectory(prefix="voxdp-compile-") as place:
        directory = Path(place)
        _prepare(directory)
        _run([sys.executable, "-c", _MYPYC, NAME.removesuffix("__mypyc"), *map(_relative, modules())], directory)
        library = _compile(directory / "build")
        staged = LIBRARY.with_suffix(".new")
        shutil.copyfile(library, staged)
        staged.chmod(0o755)
        staged.replace(LIBRARY)  # who has the old one open keeps it
    STAMP.write_text(made_of)


_MYPYC = """
import sys
from mypyc.build import mypycify
made = mypycify(["--config-file=mypy.ini", *sys.argv[2:]], multi_file=True, group_name=sys.argv[1], target_dir="build")
shared = next(each for each in made if each.name.endswith("__mypyc"))
open("build/sources", "w").write("\\n".join(shared.sources))
open("build/includes", "w").write("\\n".join(shared.include_dirs))
"""


def _prepare(directory: Path) -> None:
    """Copy all sources, those to be compiled with their dataclasses written out."""
    for room in _ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            copy = directory / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    texts = {name: source(name).read_text() for name in modules()}
    known = {name: node for text in texts.values() for name, node in dataclasses_in(text).items()}
    for name, text in texts.items():
        (directory / _relative(name)).write_text(expand(text, known))
    (directory / "mypy.ini").write_text(_CHECKER)


def _relative(name: str) -> str:
    return str(source(name).relative_to(ROOT))


def _compile(directory: Path) -> Path:
    sources = (directory / "sources").read_text().splitlines()
    places = [*(directory / "includes").read_text().splitlines(), "build", sysconfig.get_path("include")]
    flags = [*_FLAGS, *(f"-I{place}" for place in places)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as compilers:
        wanted = _gathered(sources, directory)
        objects = list(compilers.map(lambda each: _object(each, flags, directory.parent), wanted))
    library = directory / LIBRARY.name
    _run(["gcc", "-shared", "-s", "-o", str(library), *objects], directory.parent)
    return library


def _gathered(sources: list[str], directory: Path) -> list[str]:
    """The sources of modules a few files together, as reading what all of them include takes a third of the time."""
    ours = sorted(each for each in sources if Path(each).name.startswith("__native_"))
    ours.sort(key=lambda each: (directory.parent / each).stat().st_size)
    together = []
    for number in range(_TOGETHER):
        name = f"build/together{number}.c"
        lines = (f'#include "{Path(each).name}"\n' for each in ours[number::_TOGETHER])
        (directory.parent / name).write_text("".join(lines))
        together.append(name)
    return together + [each for each in sources if each not in ours]


def _object(name: str, flags: Iterable[str], directory: Path) -> str:
    target = str(directory / "build" / (name.replace("/", "-") + ".o"))
    _run([*shlex.split(os.environ.get("CC", "gcc")), *flags, "-c", name, "-o", target], directory)
    return target


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise BuildError(f"{command[0]}: exit {done.returncode}\n{done.stdout[-8000:]}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--fresh"]:
        sys.exit(0 if fresh() else 1)
    try:
        build()
    except BuildError as error:
        sys.exit(str(error))
