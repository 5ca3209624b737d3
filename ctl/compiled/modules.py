# SPDX-License-Identifier: GPL-3.0-or-later
"""Which modules are compiled, where what comes of them lies, and by what it is told that they have changed since."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAME = "voxdp__mypyc"
"""The one shared object that holds them all."""
LIBRARY = HERE / f"{NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"
STAMP = HERE / "sources.sha256"
"""Digest of the sources that the library was made of."""
CHECKED = HERE / "checked.sha256"
"""Digest of the sources that mypyc was last seen to take."""

_LEFT_OUT = frozenset(
    {
        "__init__",
        "acceptor",  # what waits for sockets works little
        "transport_stream",
        "transport_udp",
        "facts",  # `dataclasses` itself
        "sockets",
    }
)
_FURTHER = (
    "ctl.journal",
    "ctl.kernel.flowcounts",
    "ctl.kernel.flowrule",
    "ctl.kernel.flowtable",
    "ctl.network.addresses",
    "ctl.network.nexthop",
    "ctl.ng.bencode",
    "ctl.observe.emodel",
    "ctl.observe.metrics",
    "ctl.observe.quality",
    "ctl.randomness",
    "ctl.sessions.call_media",
    "ctl.sessions.call_ports",
    "ctl.sessions.carrier",
    "ctl.sessions.codecs",
    "ctl.sessions.copies",
    "ctl.sessions.dataplane",
    "ctl.sessions.descriptions",
    "ctl.sessions.digits",
    "ctl.sessions.engine_carrier",
    "ctl.sessions.expected_ports",
    "ctl.sessions.flow_plan",
    "ctl.sessions.flow_view",
    "ctl.sessions.house",
    "ctl.sessions.ice",
    "ctl.sessions.ice_exchange",
    "ctl.sessions.inactivity",
    "ctl.sessions.joining",
    "ctl.sessions.kernel_carrier",
    "ctl.sessions.media_calls",
    "ctl.sessions.media_sessions",
    "ctl.sessions.negotiation",
    "ctl.sessions.plan",
    "ctl.sessions.policing",
    "ctl.sessions.ports",
    "ctl.sessions.programmed",
    "ctl.sessions.programmer",
    "ctl.sessions.protecting",
    "ctl.sessions.reachable",
    "ctl.sessions.relay_choice",
    "ctl.sessions.riding",
    "ctl.sessions.security",
    "ctl.sessions.sides",
    "ctl.sessions.streams",
    "ctl.sessions.terms",
    "ctl.sessions.treatment",
    "ctl.signalling.conductor",
    "ctl.signalling.directory",
    "ctl.signalling.records",
    "ctl.workers.admission",
    "ctl.workers.held",
    "ctl.workers.steering",  # has a dataclass that is derived from one of the core
    "provisioning.cdr",
    "provisioning.routing",
    "provisioning.selection",
    "provisioning.snapshot",
)
_MAKERS = ("ctl.compiled.build", "ctl.compiled.expand", "sip.facts")


def modules() -> list[str]:
    """The names of all that is compiled, sorted."""
    core = (f"sip.{path.stem}" for path in (ROOT / "sip").glob("*.py") if path.stem not in _LEFT_OUT)
    return sorted([*core, *_FURTHER])


def source(name: str) -> Path:
    """The file of a module."""
    return ROOT / Path(*name.split(".")).with_suffix(".py")


def digest() -> str:
    """What tells these sources, and how they are compiled, from all others; in hex."""
    known = hashlib.sha256(LIBRARY.name.encode())
    for name in (*_MAKERS, *modules()):
        known.update(b"\0" + name.encode() + b"\0" + source(name).read_bytes())
    return known.hexdigest()


def fresh() -> bool:
    """Whether there is a library, and it is of the sources as they are now."""
    try:
        return LIBRARY.exists() and STAMP.read_text() == digest()
    except OSError:
        return False
