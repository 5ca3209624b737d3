# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's control socket: SOCK_SEQPACKET in the file system, mode 0600, one request per packet.

Whoever holds the lock beside it owns it, so that a socket file left by a dead engine can be told from one in
use, and two engines that start together do not both think it stale.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from media.flows import MESSAGE_BYTES, EngineError

CLIENTS = 32
BACKLOG = 64
LOCK_SUFFIX = ".lock"
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SocketLock:
    """The right to listen at a path, held until `release`. Raises EngineError "running" or "system"."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + LOCK_SUFFIX)
        while not self._take():
            pass

    def _take(self) -> bool:
        """False: the owner released the lock between our opening its file and locking it."""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EngineError("system", f"{self.path}: {error.strerror}; is its directory ours?") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._file), os.stat(self.path)):
                return True
        except BlockingIOError:
            os.close(self._file)
            raise EngineError("running", f"another engine has {self.path}; stop it, or use another --socket") from None
        except FileNotFoundError:
            pass
        os.close(self._file)
        return False

    def release(self) -> None:
        """Let the next engine have the path. A file that is no longer ours to remove does no harm: nobody locks it."""
        with suppress(OSError):
            self.path.unlink()
        os.close(self._file)


class ControlSocket:
    """Listens at a path and gives `answer`, to be set before `wait`, every message of every client, in one thread.

    A client of another user (but root), one that sends too much or does not read its replies is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.answer: Callable[[bytes], bytes] = bytes
        self._lock = SocketLock(path)
        try:
            self._listener = listen(path)
        except OSError as error:
            self._lock.release()
            raise EngineError("system", f"{path}: {error.strerror or error}; is its directory ours?") from None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._clients = 0

    def watch(self, descriptor: int, ready: Callable[[], object]) -> None:
        """Call `ready` whenever the descriptor can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, ready)

    def wait(self, timeout: float) -> None:
        """Serve whatever comes within `timeout` seconds."""
        for key, _ in self._selector.select(timeout):
            key.data()

    def close(self) -> None:
        """Cut every client off and remove the socket's file."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._lock.release()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # gone already, or no descriptor left for it: it will time out
        if self._clients >= CLIENTS or peer_user(client) not in (0, os.geteuid()):
            client.close()
            return
        client.setblocking(False)
        self._clients += 1
        self._selector.register(client, selectors.EVENT_READ, lambda: self._serve(client))

    def _serve(self, client: socket.socket) -> None:
        try:
            message = client.recv(MESSAGE_BYTES + 1)
            if 0 < len(message) <= MESSAGE_BYTES:
                client.send(self.answer(message))
                return
        except BlockingIOError:
            pass  # replies pile up unread
        except OSError:
            pass  # the client is gone
        self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        client.close()
        self._clients -= 1


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, whose file nobody else could open even for a moment."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def peer_user(client: socket.socket) -> int:
    """The uid that connected."""
    return peer_credentials(client)[1]


def peer_credentials(connected: socket.socket) -> tuple[int, int]:
    """Process id and uid of the other end."""
    pid, uid, _ = CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return pid, uid
