# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.bench.registrar DIRECTORY USERS ALGORITHM`: the controller's signalling with its journal, no media.

Users are those of a snapshot that nothing keeps fresh, for the database is not what is measured; all else is what
`voxdp run` composes. It prints the port that it serves.
"""

import secrets
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import uvloop

from ctl.config import Config
from ctl.journal import Journal, keep_synced
from ctl.observe.metrics import Meters
from ctl.seat import collect_rarely
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.signalling.conductor import Conductor
from ctl.signalling.core import make_core, stream_limits
from ctl.signalling.directory import Directory
from ctl.signalling.records import Records
from ctl.signalling.section import SipSection
from ctl.signalling.transports import Transports
from provisioning.journal import CdrJournal
from provisioning.snapshot import Account, Snapshot
from sip.digest import ha1
from sip.effects import Address

REALM, PASSWORD = "example.org", "secret"
ANY = Address("127.0.0.1", 0)


def main(directory: str, users: str, algorithm: str) -> None:
    uvloop.run(serve(Path(directory), int(users), algorithm))


async def serve(directory: Path, users: int, algorithm: str) -> None:
    limits: Any = {"requests_per_source": 0, "amplification": 0}
    sip = SipSection(domain=REALM, algorithms=cast(Any, (algorithm,)), limits=limits)
    config = Config(sip=sip)
    core = make_core(config, b"k" * 32, lambda peer: transports.addresses[0])
    journal, _ = Journal.open(directory / "live", time.time() - time.monotonic())
    keeper: Any = SimpleNamespace(ready=True, current=Snapshot.of(REALM, accounts(users)))
    nothing: Any = None
    sessions = MediaSessions(
        Ports((), 20000, 20999, secrets.randbelow), nothing, Programmer(nothing), DataPlane({}, frozenset())
    )
    conductor = Conductor(
        core,
        lambda effect: transports.send(effect),
        sessions,
        Directory(keeper),
        journal,
        Records(CdrJournal(directory / "cdr")),
        Meters(),
    )
    transports = Transports(conductor, stream_limits(config), None)
    await transports.open([ANY])
    collect_rarely()
    print(transports.addresses[0].port, flush=True)
    await keep_synced(journal)


def accounts(count: int) -> list[Account]:
    return [account(name) for name in names(count)]


def account(name: str) -> Account:
    hashes = (ha1(each, name, REALM, PASSWORD) for each in ("MD5", "SHA-256"))
    return Account(REALM, name, True, *hashes)


def names(count: int) -> list[str]:
    return [f"user{number}" for number in range(count)]


if __name__ == "__main__":
    main(*sys.argv[1:])
