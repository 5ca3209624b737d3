# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an embedded PostgreSQL cluster: how they are laid out, made, opened and cleared after a crash.

DIRECTORY/            ours
    lock              held by the process that supervises the server
    postgresql.log    what the server writes to standard error
    data/             PostgreSQL's, mode 0700
    socket/           PostgreSQL's, mode 0700: whoever can enter is trusted, nobody else can connect
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from provisioning.binaries import Binaries
from provisioning.errors import DatabaseUnavailable
from provisioning.osuser import OsUser

DATABASE = "voxdp"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
SOCKET_PATH_LIMIT = 107  # bytes of a Unix socket address, unix(7)
LOG_LIMIT = 1 << 20
INITDB_SECONDS = 120
POLL_SECONDS = 0.01

# Small and safe: signalling keeps its own copy of what it needs, so a handful of connections suffices.
# Errors are logged without detail and statement, for these show rows, and rows hold credentials.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "120",
    "shared_buffers": "16MB",
    "max_wal_size": "128MB",
    "min_wal_size": "16MB",
    "max_worker_processes": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "autovacuum_max_workers": "1",
    "huge_pages": "off",
    "jit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The directory of one cluster."""

    directory: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's own directory."""
        return self.directory / "data"

    @property
    def socket(self) -> Path:
        """The directory of the Unix socket."""
        return self.directory / "socket"

    @property
    def log(self) -> Path:
        """What the server writes to standard error."""
        return self.directory / "postgresql.log"

    @property
    def conninfo(self) -> str:
        """How libpq connects to it."""
        host = str(self.socket).replace("\\", "\\\\").replace("'", "\\'")
        return f"host='{host}' user={DATABASE} dbname={DATABASE}"

    def major(self) -> int | None:
        """Return the major version that made the cluster, None where there is none yet."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def make_directory(self) -> None:
        """Make the outermost directory if it is missing, and raise where it cannot serve."""
        if len(os.fsencode(self.socket)) + len("/.s.PGSQL.5432") > SOCKET_PATH_LIMIT:
            raise DatabaseUnavailable(
                f"{self.socket} is too long for a Unix socket: choose a shorter database.directory"
            )
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir(mode=0o711, exist_ok=True)

    def prepare(self, binaries: Binaries, user: OsUser) -> None:
        """Make the cluster unless it is there, then see that nothing keeps it from being started."""
        user.require_reach(self.directory)
        if self.major() is None:
            self._create(binaries, user)
        elif (owner := self.data.stat().st_uid) != user.uid:
            raise DatabaseUnavailable(
                f"{self.data} belongs to user id {owner}, not to {user.name}: correct database.os_user, "
                f"or run: chown -R {user.name} {self.data} {self.socket}"
            )
        user.own_directory(self.socket)
        self.stop_leftover()

    def server_command(self, binaries: Binaries, user: OsUser) -> list[str]:
        """Return the command of the server; it ends with the thread that starts it."""
        quoted = str(self.socket).replace('"', '""')
        settings = SETTINGS | {"unix_socket_directories": f'"{quoted}"'}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return user.command([binaries.program("postgres"), "-D", str(self.data), *options], death_signal="INT")

    def ready(self, pid: int) -> bool:
        """True once the server with this process id accepts connections."""
        lines = self._pid_lines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def stop_leftover(self, limit: float = 15.0) -> None:
        """End a server that outlived its supervisor, and remove what a dead one left that would mislead us.

        Raises DatabaseUnavailable if it does not end within `limit` seconds.
        """
        lines = self._pid_lines()
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        if not self._is_our_server(pid):
            if Path(f"/proc/{pid}").exists():  # the number went to another program, which stays
                (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        started = time.monotonic()
        for ending, patience in ((signal.SIGINT, limit * 2 / 3), (signal.SIGQUIT, limit)):
            self._end(pid, ending, started + patience)
        if self._is_our_server(pid):
            raise DatabaseUnavailable(f"an old server with process id {pid} does not end: run: kill -9 {pid}")

    def _end(self, pid: int, ending: signal.Signals, deadline: float) -> None:
        if self._is_our_server(pid):
            os.kill(pid, ending)
        while self._is_our_server(pid) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _is_our_server(self, pid: int) -> bool:
        """True if the process lives and works in our data directory, as PostgreSQL's server does."""
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self.data.resolve()
        except OSError:
            return False

    def _pid_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _create(self, binaries: Binaries, user: OsUser) -> None:
        """Make the cluster beside its place and rename it, so that a crash leaves none rather than half of one."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        user.own_directory(draft)
        options = ["-U", DATABASE, "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"]
        options += ["--wal-segsize=4", "--no-instructions", "--no-sync"]  # synced below, all at once
        self._run(user.command([binaries.program("initdb"), "-D", str(draft), *options]))
        single = [binaries.program("postgres"), "--single", "-D", str(draft), "-c", "log_checkpoints=off"]
        self._run(user.command([*single, "postgres"]), f"CREATE DATABASE {DATABASE} STRATEGY = file_copy\n")
        self._run(["/usr/bin/sync", "-f", str(draft)])
        draft.rename(self.data)

    def _run(self, command: list[str], text: str = "") -> None:
        """Run one of the programs that make a cluster; `text` is its standard input."""
        try:
            done = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                timeout=INITDB_SECONDS,
                cwd=self.directory,
                env=ENVIRONMENT,
            )
        except subprocess.TimeoutExpired:
            raise DatabaseUnavailable(f"making {self.data} took too long: is the disk stalled?") from None
        if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            raise DatabaseUnavailable(f"{self.data} cannot be made: {telling_line(done.stderr)}")


def telling_line(output: str) -> str:
    """Return the line of PostgreSQL's messages that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for mark in ("FATAL:", "PANIC:", "ERROR:", "error:"):
        for line in reversed(lines):
            if mark in line:
                return line.partition(mark)[2].strip()
    return lines[-1] if lines else "no message"
