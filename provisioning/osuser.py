# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs as another operating system user, for PostgreSQL refuses to be root.

setpriv does it (util-linux, on every Debian): it changes user and groups, and only then asks the kernel for a
signal at the parent's death, since a change of user clears that request.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from provisioning.errors import DatabaseUnavailable

SETPRIV = "/usr/bin/setpriv"


@dataclass(frozen=True, slots=True)
class OsUser:
    """The user that the database runs as: `name`, or we ourselves where we are not root."""

    name: str
    uid: int
    gid: int
    changes: bool
    """True when programs must be started with another identity than ours."""

    def command(self, arguments: list[str], *, death_signal: str = "clear") -> list[str]:
        """Return `arguments` preceded by what makes them run as this user.

        death_signal: name without SIG of the signal sent when the *thread* that starts the program ends.
        """
        prefix = [SETPRIV, "--no-new-privs", "--pdeathsig", death_signal]
        if self.changes:
            prefix += [f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--inh-caps=-all"]
        return [*prefix, *arguments]

    def own_directory(self, directory: Path) -> None:
        """Make `directory` this user's own and closed to all others; it may exist already."""
        directory.mkdir(mode=0o700, exist_ok=True)
        if self.changes:
            os.chown(directory, self.uid, self.gid)
        directory.chmod(0o700)

    def require_reach(self, directory: Path) -> None:
        """Raise DatabaseUnavailable if this user cannot enter `directory`; modes are never changed for it."""
        if not self.changes or self._enters(directory):
            return
        closed = next((d for d in [*reversed(directory.parents), directory] if not self._enters(d)), directory)
        raise DatabaseUnavailable(
            f"user {self.name} cannot enter {closed}, which holds the database: "
            f"choose another database.directory, or run: chmod o+x {closed}"
        )

    def _enters(self, directory: Path) -> bool:
        command = self.command(["/usr/bin/test", "-x", str(directory)])
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0


def database_user(name: str) -> OsUser:
    """Return the user to run the database as; only root can choose, so for others it is always themselves.

    Raises DatabaseUnavailable when the user does not exist or is root.
    """
    if os.geteuid() != 0:
        return OsUser(str(os.geteuid()), os.geteuid(), os.getegid(), changes=False)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise DatabaseUnavailable(
            f"user {name} does not exist: set database.os_user to one that does, or run: "
            f"adduser --system --group --no-create-home {name}"
        ) from None
    if entry.pw_uid == 0:
        raise DatabaseUnavailable(f"PostgreSQL does not run as {name}: set database.os_user to another user")
    return OsUser(name, entry.pw_uid, entry.pw_gid, changes=True)
