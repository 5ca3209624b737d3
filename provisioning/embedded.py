# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervises an embedded PostgreSQL, so that a single host needs no database administrator.

The server is a child in the foreground, reached by a private Unix socket only. It ends when we end, even by
SIGKILL, and is started again when it ends by itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from provisioning.binaries import find_binaries
from provisioning.cluster import ENVIRONMENT, LOG_LIMIT, POLL_SECONDS, Cluster, telling_line
from provisioning.errors import DatabaseUnavailable
from provisioning.osuser import OsUser, database_user

START_SECONDS = 60.0  # crash recovery included
ATTEMPTS = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
GENTLE_SECONDS, FIRM_SECONDS = 10.0, 5.0

log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """One cluster in `directory`, made on the first start.

    `async with EmbeddedPostgres(directory) as conninfo:` or start() and stop(). To be started in the main
    thread, for the kernel ends the server with the thread that started it.
    os_user: user to run it as where we are root. binaries: directory of `postgres`, where not Debian's.
    """

    def __init__(self, directory: Path, *, os_user: str = "postgres", binaries: Path | None = None) -> None:
        self.cluster = Cluster(directory.absolute())
        self._os_user = os_user
        self._configured = binaries
        self._command: list[str] = []
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def conninfo(self) -> str:
        """How libpq connects to the server, whether it runs or not."""
        return self.cluster.conninfo

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while it does not run."""
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self) -> str:
        """Start the server, wait until it accepts connections and return the conninfo; harmless if it runs.

        Raises DatabaseUnavailable, with the remedy, when that is impossible.
        """
        if self._watch:
            return self.conninfo
        assert threading.current_thread() is threading.main_thread(), "the server would end with this thread"
        self.claim()
        try:
            user = database_user(self._os_user)
            await asyncio.to_thread(self._prepare, user)
            await self._launch_patiently()
        except OSError as error:
            await self.stop()
            raise self._closed(error) from error
        except BaseException:
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._keep_running(), name="postgresql supervisor")
        return self.conninfo

    def claim(self) -> None:
        """Take the directory, and hold it until `stop`; harmless if it is held. Raises DatabaseUnavailable."""
        if self._lock:
            return
        try:
            self.cluster.make_directory()
            self._take_lock()
        except OSError as error:
            raise self._closed(error) from error

    def _closed(self, error: OSError) -> DatabaseUnavailable:
        remedy = f"give it to user id {os.geteuid()}, or choose another database.directory"
        why = error.strerror or error
        return DatabaseUnavailable(f"the database in {self.cluster.directory} cannot be opened ({why}): {remedy}")

    async def stop(self) -> None:
        """End the server: its clients are sent away, what was committed is on disk. Harmless if not started."""
        if self._watch:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await self._end_child()
        if self._lock:
            self._lock.close()
            self._lock = None

    def _prepare(self, user: OsUser) -> None:
        binaries = find_binaries(self._configured, self.cluster.major())
        self.cluster.prepare(binaries, user)
        self._command = self.cluster.server_command(binaries, user)

    def _take_lock(self) -> None:
        """Hold the cluster's lock as long as we live; the kernel frees it when we die."""
        lock = open(self.cluster.directory / "lock", "a+", encoding="ascii")  # noqa: SIM115 - held until stop()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
            raise DatabaseUnavailable(
                f"the database in {self.cluster.directory} is already run by process {holder}: "
                f'stop that one, or connect to its server with database.url = "{self.conninfo}"'
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    async def _launch_patiently(self) -> None:
        """Launch, again if need be: clients of a killed server may hold its memory for a moment more."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._launch()
                return
            except DatabaseUnavailable:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(FIRST_PAUSE * attempt)

    async def _launch(self) -> None:
        """Start the server and return when it accepts connections."""
        self._spawn()
        child = self._child
        assert child
        deadline = time.monotonic() + START_SECONDS
        while not self.cluster.ready(child.pid):
            if child.poll() is not None:
                said = self.cluster.log.read_text(errors="replace")[-4000:]
                raise DatabaseUnavailable(f"PostgreSQL does not start: {telling_line(said)}")
            if time.monotonic() > deadline:
                await self._end_child()
                raise DatabaseUnavailable(f"PostgreSQL is not ready yet: read {self.cluster.log}, try again")
            await asyncio.sleep(POLL_SECONDS)

    def _spawn(self) -> None:
        with suppress(FileNotFoundError):
            if self.cluster.log.stat().st_size > LOG_LIMIT:
                self.cluster.log.unlink()
        self.cluster.log.touch(mode=0o600)
        with self.cluster.log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.cluster.directory,
                env=ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for us; we end the server when we no longer need it
            )

    async def _keep_running(self) -> None:
        """Start the server again whenever it ends without being asked to."""
        pause = FIRST_PAUSE
        while True:
            if self._child:
                await _ended(self._child)
                log.warning("PostgreSQL ended with status %s, starting it again", self._child.returncode)
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self.cluster.stop_leftover)
                await self._launch()
                pause = FIRST_PAUSE
            except (DatabaseUnavailable, OSError) as error:
                log.error("%s", error)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if not child:
            return
        for ending, patience in ((signal.SIGINT, GENTLE_SECONDS), (signal.SIGQUIT, FIRM_SECONDS)):
            if child.poll() is None:
                child.send_signal(ending)
                with suppress(TimeoutError):
                    await asyncio.wait_for(_ended(child), patience)
        if child.poll() is None:
            child.kill()
            await _ended(child)


async def _ended(child: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended; its returncode is then set."""
    if child.poll() is not None:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    descriptor = os.pidfd_open(child.pid)
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    child.wait()
