# SPDX-License-Identifier: GPL-3.0-or-later
"""How messages of routing netlink are spelled, by pyroute2, without the rest of it.

Its package imports all that it has, a database and an HTTP server among that: 9 MB and 50 ms for nothing. So a stand-in
has its place while the few modules are imported that are wanted; whoever wants all of it still gets it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

NAME = "pyroute2"


@contextmanager
def _alone() -> Iterator[None]:
    spec = None if NAME in sys.modules else find_spec(NAME)
    if spec is None:
        yield
        return
    stand_in = ModuleType(NAME)
    stand_in.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[NAME] = stand_in
    try:
        yield
    finally:
        del sys.modules[NAME]


with _alone():
    from pyroute2.netlink import rtnl
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = ["ifaddrmsg", "ifinfmsg", "ndmsg", "rtmsg", "rtnl"]
