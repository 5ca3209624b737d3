# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections, and the one way in which the rest of this room asks PostgreSQL anything.

A module such as `users` holds functions that return a `Question`: the SQL, its parameters and how to read the
answer. The command line puts it with `ask` on a plain connection, the daemon with `ask_async` on one of the pool,
so every statement exists once.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, LiteralString, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.sql import Composed
from psycopg_pool import AsyncConnectionPool

from provisioning.errors import DatabaseUnavailable

Answer = TypeVar("Answer")
Rows = list[dict[str, Any]]
AsyncPool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]

ASK_AFTER_SECONDS = 0.1
_checked: WeakKeyDictionary[psycopg.AsyncConnection[DictRow], float] = WeakKeyDictionary()

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """One statement with bound parameters; `answer` turns its rows into the result, or raises."""

    sql: LiteralString | Composed
    parameters: Mapping[str, object]
    answer: Callable[[Rows], Answer]


def connect(conninfo: str) -> psycopg.Connection[DictRow]:
    """Return a connection, each statement a transaction of its own. Raises DatabaseUnavailable."""
    try:
        return psycopg.connect(conninfo, autocommit=True, row_factory=dict_row, **options())
    except psycopg.OperationalError as error:
        raise unavailable(error) from error


def make_pool(conninfo: str, *, size: int = 4) -> AsyncPool:
    """Return a pool that is still closed: `async with` it, or open() and close() it.

    It opens at once even while PostgreSQL is away, and connects when that is back.
    """
    keywords = {"autocommit": True, "row_factory": dict_row, **options()}
    return AsyncConnectionPool(
        conninfo,
        kwargs=keywords,
        connection_class=psycopg.AsyncConnection[DictRow],
        min_size=1,
        max_size=size,
        timeout=CONNECT_SECONDS,
        max_waiting=1000,
        reconnect_timeout=4,  # the pause between attempts doubles until then, and begins anew
        check=_check,
        name="voxdp",
        open=False,
    )


async def _check(connection: psycopg.AsyncConnection[DictRow]) -> None:
    """Raise OperationalError if the server has closed the connection.

    Under load that is seen without asking: a server has nothing to say on a connection that waits in the pool, but that
    it ends. One that has waited for longer is asked.
    """
    now = time.monotonic()
    before, _checked[connection] = _checked.get(connection, 0.0), now
    if now - before > ASK_AFTER_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
        return
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await connection.close()  # else the pool takes it back: as far as it knows, all is well
        raise psycopg.OperationalError("the server has ended the connection")


def ask(connection: psycopg.Connection[DictRow], question: Question[Answer]) -> Answer:
    """Put the question and return its answer. Raises DatabaseUnavailable, and what the answer raises."""
    try:
        cursor = connection.execute(question.sql, question.parameters)
        rows = cursor.fetchall() if cursor.description else []
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
    return question.answer(rows)


async def ask_async(pool: AsyncPool, question: Question[Answer]) -> Answer:
    """As `ask`, on a connection of the pool."""
    try:
        async with pool.connection() as connection:
            cursor = await connection.execute(question.sql, question.parameters)
            rows = await cursor.fetchall() if cursor.description else []
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
    return question.answer(rows)


def options() -> dict[str, Any]:
    """Return the limits that every connection has: no wait of ours on PostgreSQL is without an end."""
    limits = f"-c statement_timeout={STATEMENT_SECONDS}s -c idle_in_transaction_session_timeout=60s"
    return {
        "connect_timeout": CONNECT_SECONDS,
        "options": limits,
        "application_name": "voxdp",
        "keepalives_idle": 10,
        "tcp_user_timeout": 20_000,
    }


def unavailable(error: psycopg.Error) -> DatabaseUnavailable:
    """Return our error for libpq's, in one line: its first, for those behind it only guess."""
    lines = str(error).strip().splitlines()
    said = lines[0].strip() if lines else type(error).__name__
    if isinstance(error, psycopg.errors.DiskFull):
        return DatabaseUnavailable(f"PostgreSQL cannot write ({said}): make room on its disk")
    return DatabaseUnavailable(
        f"PostgreSQL does not answer ({said}): start it, by voxdp run if it is its own, or correct database.url"
    )
