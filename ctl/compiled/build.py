# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m ctl.compiled.build [--fresh | --check]`: compile by mypyc, unless what there is was made of these sources.

--fresh: only tell whether it was, by the exit status. --check: only tell whether mypyc takes the sources, once for each
state of them.

mypyc comes with mypy, which checks these sources anyway. It writes C for all modules at once; the C compiler then takes
that in a few files, as many at a time as there are processors, and what mypyc adds to each library meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ctl.compiled.expand import Unsupported, dataclasses_in, expand
from ctl.compiled.modules import CHECKED, HERE, LIBRARY, NAME, ROOT, STAMP, digest, fresh, modules, source

_ROOMS = ("api", "bpf", "ctl", "media", "provisioning", "sip")
_CHECKER = """
[mypy]
python_version = 3.11
ignore_missing_imports = True
follow_imports = silent
no_site_packages = True
"""
"""Types of other packages are not read: that takes longer than all of ours, and compiled code checks what it gets."""
_TOGETHER = 8
_FLAGS = ["-O1", "-g0", "-fno-asynchronous-unwind-tables", "-fPIC", "-DNDEBUG", "-w"]
_BODY = re.compile(rb"^char CPyDef_\w*__top_level__\(void\)(?= \{)", re.MULTILINE)
"""The function that is a module's body. It runs once, but is a fifth of all C: optimizing it is lost time."""
_UNOPTIMIZED = '__attribute__((optimize("O0")))'


class BuildError(Exception):
    """What a compiler had to say."""


def build() -> None:
    """Make the library, or wait for who does. Raises BuildError, and leaves none behind that is of other sources."""
    with _alone():
        _build()


@contextmanager
def _alone() -> Iterator[None]:
    place = os.open(HERE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _build() -> None:
    if fresh():
        return
    STAMP.unlink(missing_ok=True)
    made_of = digest()
    with TemporaryDirectory(prefix="voxdp-compile-") as place:
        staged = LIBRARY.with_suffix(".new")
        shutil.copyfile(_compile(Path(place)), staged)
        staged.chmod(0o755)
        staged.replace(LIBRARY)  # who has the old one open keeps it
    STAMP.write_text(made_of)


def check() -> None:
    """Raise BuildError unless mypyc takes the sources; at once where it is known of these that it does."""
    made_of = digest()
    if fresh() or (CHECKED.exists() and CHECKED.read_text() == made_of):
        return
    with TemporaryDirectory(prefix="voxdp-compile-") as place:
        _to_c(Path(place))
    CHECKED.write_text(made_of)


_MYPYC = """
import gc
import sys
from mypyc.build import mypycify
gc.disable()  # what the checker makes is needed to the end
made = mypycify(["--config-file=mypy.ini", *sys.argv[2:]], multi_file=True, group_name=sys.argv[1], target_dir="build")
shared = next(each for each in made if each.name.endswith("__mypyc"))
open("build/sources", "w").write("\\n".join(shared.sources))
open("build/includes", "w").write("\\n".join(shared.include_dirs))
"""


def _to_c(directory: Path) -> None:
    """Have mypyc write its C into `directory`/build. Raises BuildError."""
    try:
        _prepare(directory)
    except Unsupported as why:
        raise BuildError(str(why)) from None
    _run([sys.executable, "-c", _MYPYC, NAME.removesuffix("__mypyc"), *map(_relative, modules())], directory)


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
    objects = directory / "objects"
    objects.mkdir()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as compilers:

        def start(file: Path, places: list[str]) -> Future[Path]:
            return compilers.submit(_object, file, places, objects)

        begun = {file.name: start(file, [str(file.parent)]) for file in _support()}
        _to_c(directory)
        build = directory / "build"
        sources = [Path(name) for name in (build / "sources").read_text().splitlines()]
        places = [*(build / "includes").read_text().splitlines(), str(build)]
        ours = [directory / each for each in sources if each.name.startswith("__native_")]
        begun |= {file.name: start(file, places) for file in _gathered(ours, build)}
        begun |= {
            each.name: start(directory / each, places)
            for each in sources
            if directory / each not in ours and each.name not in begun
        }
        made = [str(each.result()) for each in begun.values()]
    library = build / LIBRARY.name
    _run(["gcc", "-shared", "-s", "-o", str(library), *made], directory)
    return library


def _support() -> list[Path]:
    """What mypyc adds to each library."""
    import mypyc.common as mypyc  # for whoever only asks whether all is fresh it takes too long

    assert mypyc.__file__
    return [Path(mypyc.__file__).parent / "lib-rt" / name for name in mypyc.RUNTIME_C_FILES]


def _gathered(ours: list[Path], build: Path) -> list[Path]:
    """The sources of modules a few files together, as reading what all of them include takes a third of the time."""
    ours = sorted(ours, key=lambda each: each.stat().st_size)
    together = []
    for number in range(_TOGETHER):
        file = build / f"together{number}.c"
        file.write_text("".join(map(_included, ours[number::_TOGETHER])))
        together.append(file)
    return together


def _included(file: Path) -> str:
    bodies = (f"{_UNOPTIMIZED} {body.decode()};\n" for body in _BODY.findall(file.read_bytes()))
    return "".join(bodies) + f'#include "{file.name}"\n'


def _object(source: Path, places: list[str], directory: Path) -> Path:
    target = directory / f"{source.name}.o"
    wanted = [f"-I{place}" for place in (*places, sysconfig.get_path("include"))]
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    _run([*compiler, *_FLAGS, *wanted, "-c", str(source), "-o", str(target)], directory.parent)
    return target


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise BuildError(f"{command[0]}: exit {done.returncode}\n{done.stdout[-8000:]}")


def main(arguments: list[str]) -> int:
    """Do what the command line asks and return the exit status."""
    assert __doc__
    if arguments in (["-h"], ["--help"]):
        print(__doc__.replace("`", "").strip())
    elif arguments == ["--fresh"]:
        return 0 if fresh() else 1
    elif arguments in ([], ["--check"]):
        check() if arguments else build()
    else:
        print(f"ctl.compiled.build: takes --fresh or --check, got: {' '.join(arguments)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BuildError as error:
        sys.exit(str(error))
