# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the compiled modules imported in place of their sources, if they are of exactly these sources."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from ctl.compiled.modules import LIBRARY, NAME, fresh, modules


def load() -> bool:
    """Import compiled modules from now on; whether that is so. Not where a source has changed since they were made.

    Nor where VOXDP_PLAIN is set in the environment, by whoever wants to know whether something is the compiler's doing.
    All of them or none: they know each other's layout. Raises RuntimeError where one has been imported already.
    """
    if running():
        return True
    if not usable():
        return False
    names = frozenset(modules())
    if early := sorted(names & sys.modules.keys()):
        raise RuntimeError(f"{early[0]} was imported before the compiled modules were asked for")
    sys.meta_path.insert(0, _Finder(_open(), names))
    return True


def usable() -> bool:
    """Whether there are compiled modules, of these very sources, and nobody wants to do without."""
    return not os.environ.get("VOXDP_PLAIN") and fresh()


def running() -> bool:
    """Whether this process imports compiled modules."""
    return NAME in sys.modules


def _open() -> ModuleType:
    spec = spec_from_file_location(NAME, LIBRARY, loader=ExtensionFileLoader(NAME, str(LIBRARY)))
    assert spec
    return module_from_spec(spec)


class _Finder(MetaPathFinder, Loader):
    """One library has them all: each is an entry in it, by a capsule that its module offers."""

    def __init__(self, library: ModuleType, names: frozenset[str]) -> None:
        self._library, self._names = library, names
        sys.modules[NAME] = library

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        return ModuleSpec(fullname, self, origin=str(LIBRARY))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        entry = "init_" + spec.name.replace(".", "___")
        address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
            ("PyCapsule_GetPointer", ctypes.pythonapi)
        )(getattr(self._library, entry), f"{NAME}.{entry}".encode())
        made: ModuleType = ctypes.PYFUNCTYPE(ctypes.py_object)(address)()
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Its body has run when it was made."""
