# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals every secret in the database with the key in use: those from before there was one, and after a new key."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from provisioning.database import connect, unavailable
from provisioning.vault import SEALED, Vault


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of secrets, and the columns that name the row it belongs to."""

    table: str
    column: str
    key: tuple[str, ...]

    def owner(self, *key: object) -> str:
        """Return what a secret of this column belongs to, given the row's key."""
        return f"{self.table}.{self.column}:{'/'.join(map(str, key))}"


HA1_MD5 = SealedColumn("users", "ha1_md5", ("realm", "username"))
HA1_SHA256 = SealedColumn("users", "ha1_sha256", ("realm", "username"))
TRUNK_PASSWORD = SealedColumn("trunks", "password", ("tenant_id", "name"))
WEBHOOK_SECRET = SealedColumn("webhooks", "secret", ("tenant_id", "name"))
TOTP_SECRET = SealedColumn("accounts", "totp_secret", ("username",))
SIGNING_KEY = SealedColumn("signing_keys", "private_key", ("kid",))
COLUMNS = (HA1_MD5, HA1_SHA256, TRUNK_PASSWORD, WEBHOOK_SECRET, TOTP_SECRET, SIGNING_KEY)


def seal_all(conninfo: str, vault: Vault) -> int:
    """Seal with the key in use what is not; return how many secrets that were.

    Safe beside writers: a secret that changes meanwhile was sealed by whoever changed it.
    Raises DatabaseUnavailable, and VaultError for a secret whose key is gone.
    """
    try:
        with connect(conninfo) as connection:
            connection.execute("SET statement_timeout = 0")
            return sum(_seal_column(connection, vault, column) for column in COLUMNS)
    except psycopg.OperationalError as error:
        raise unavailable(error) from error


def _seal_column(connection: psycopg.Connection[DictRow], vault: Vault, column: SealedColumn) -> int:
    names = sql.SQL(", ").join(map(sql.Identifier, column.key))
    secret, table = sql.Identifier(column.column), sql.Identifier(column.table)
    read = sql.SQL("SELECT {names}, {secret} AS secret FROM {table} WHERE {secret} IS NOT NULL").format(
        names=names, secret=secret, table=table
    )
    where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in column.key)
    write = sql.SQL("UPDATE {table} SET {secret} = %s WHERE {where} AND {secret} = %s").format(
        table=table, secret=secret, where=where
    )
    changes = []
    for row in connection.execute(read).fetchall():
        if vault.is_current(row["secret"]):
            continue
        key = [row[name] for name in column.key]
        owner = column.owner(*key)
        plain = vault.open(row["secret"], owner) if SEALED.fullmatch(row["secret"]) else row["secret"]
        changes.append([vault.seal(plain, owner), *key, row["secret"]])
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(write, changes)
    return len(changes)
