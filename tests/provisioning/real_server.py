# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what PostgreSQL keeps, on a server that is not ours: `python -m tests.provisioning.real_server [TEST…]`.

It is reached by TCP and TLS, with a password. Exit status and output are those of pytest.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from provisioning.binaries import find_binaries
from tests.ctl.certificates import Authority

ROOT = Path(__file__).parents[2]
TESTS = [f"tests/provisioning/test_{name}.py" for name in
         ("acd_store", "credentials", "migrate", "plain_owner", "records", "registrations", "store")]  # fmt: skip
TESTS += [f"tests/api/test_{name}.py" for name in ("access", "oidc", "rest")]
"""All that ask the database and no clock."""


@contextmanager
def real_server() -> Iterator[str]:
    """A PostgreSQL as an operator has one; yields the conninfo of a database `voxdp` of the user `voxdp`."""
    program = find_binaries(None, None).program
    with tempfile.TemporaryDirectory(prefix="voxdp-server-") as directory, socket.socket() as free:
        place, password = Path(directory), secrets.token_hex(16)
        place.chmod(0o755)
        certificate, key = Authority(place).issue("server", "localhost")
        word = place / "password"
        word.write_text(password)
        for path in (key, word):
            subprocess.run(["chown", "postgres", path], check=True)
            path.chmod(0o600)
        (place / "data").mkdir()
        subprocess.run(["chown", "postgres", place / "data"], check=True)
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        subprocess.run([*as_owner, program("initdb"), "-D", place / "data", "-U", "voxdp", f"--pwfile={word}",
                        "-A", "scram-sha-256", "--no-sync", "--locale=C.UTF-8"],
                       check=True, cwd=place, stdout=subprocess.DEVNULL)  # fmt: skip
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "ssl": "on",
                    "ssl_cert_file": certificate, "ssl_key_file": key, "fsync": "off"}  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        conninfo = (
            f"host=localhost hostaddr=127.0.0.1 port={port} user=voxdp password={password}"
            f" sslmode=verify-full sslrootcert={place / 'authority.pem'} dbname=voxdp"
        )
        log = (place / "log").open("wb")
        server = subprocess.Popen([*as_owner, program("postgres"), "-D", place / "data", *options], stderr=log)
        try:
            with _connected(conninfo.replace("dbname=voxdp", "dbname=postgres")) as connection:
                connection.execute("CREATE DATABASE voxdp")
            yield conninfo
        finally:
            server.terminate()
            server.wait(60)
            log.close()


@contextmanager
def _connected(conninfo: str) -> Iterator[psycopg.Connection]:
    """A connection, once the server accepts one."""
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = psycopg.connect(conninfo, autocommit=True)
            break
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with connection:
        yield connection


def main() -> int:
    with real_server() as conninfo:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"TEST_DATABASE": conninfo}).returncode


if __name__ == "__main__":
    sys.exit(main())
