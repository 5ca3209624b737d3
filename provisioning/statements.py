# SPDX-License-Identifier: GPL-3.0-or-later
"""The statements that every kind of object needs, made from its description; values are bound, names are quoted."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal, Placeholder

from provisioning.resources import Child, Resource


def select(resource: Resource, *, lock: bool = False) -> Composed:
    """One object by %(key)s."""
    suffix = SQL(" FOR UPDATE OF t" if lock else "")
    return Composed([_shown(resource), SQL(" WHERE "), _is_it(resource), suffix])


def page(resource: Resource) -> Composed:
    """At most %(limit)s objects behind %(after)s, in the order of their keys."""
    where = SQL(" WHERE {mine} AND t.{key} > %(after)s ORDER BY t.{key} LIMIT %(limit)s").format(
        mine=_mine(resource), key=Identifier(resource.key)
    )
    return Composed([_shown(resource), where])


def insert(resource: Resource, columns: Iterable[str]) -> Composed:
    """A new object; its children apart."""
    names = [*(["tenant_id"] if resource.scoped else []), *(["realm"] if resource.realm else []), *columns]
    names = list(dict.fromkeys(names))
    return SQL("INSERT INTO {table} ({names}) VALUES ({values})").format(
        table=Identifier(resource.table),
        names=SQL(", ").join(map(Identifier, names)),
        values=SQL(", ").join(map(Placeholder, names)),
    )


def update(resource: Resource, columns: Iterable[str]) -> Composed:
    """Other values for an object that is locked; its children apart."""
    changes = [SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in columns]
    changes.append(SQL("version = t.version + 1, updated_at = now()"))  # type: ignore[arg-type] # a list of both kinds
    return SQL("UPDATE {table} AS t SET {changes} WHERE {it}").format(
        table=Identifier(resource.table), changes=SQL(", ").join(changes), it=_is_it(resource)
    )


def delete(resource: Resource) -> Composed:
    """Remove an object, and with it its children."""
    return SQL("DELETE FROM {table} AS t WHERE {it}").format(table=Identifier(resource.table), it=_is_it(resource))


def clear_child(child: Child) -> Composed:
    """Remove every entry of a list."""
    return SQL("DELETE FROM {} WHERE tenant_id = %(tenant_id)s AND parent = %(key)s").format(Identifier(child.table))


def insert_child(child: Child) -> Composed:
    """Add one entry to a list."""
    names = ["tenant_id", "parent", "position", *(["realm"] if child.realm else []), *child.columns]
    return SQL("INSERT INTO {table} ({names}) VALUES ({values})").format(
        table=Identifier(child.table),
        names=SQL(", ").join(map(Identifier, names)),
        values=SQL(", ").join(map(Placeholder, names)),
    )


def _shown(resource: Resource) -> Composed:
    parts: list[Composable] = [SQL("t.{}").format(Identifier(name)) for name in resource.columns]
    parts += [_entries(child) for child in resource.children]
    parts.append(SQL("t.version, t.created_at, t.updated_at"))
    return SQL("SELECT {parts} FROM {table} AS t").format(parts=SQL(", ").join(parts), table=Identifier(resource.table))


def _entries(child: Child) -> Composed:
    pairs = SQL(", ").join(SQL("{}, c.{}").format(Literal(name), Identifier(name)) for name in child.columns)
    return SQL(
        "(SELECT coalesce(json_agg(json_build_object({pairs}) ORDER BY c.position), '[]') FROM {table} AS c"
        " WHERE c.tenant_id = t.tenant_id AND c.parent = t.name) AS {field}"
    ).format(pairs=pairs, table=Identifier(child.table), field=Identifier(child.field))


def _is_it(resource: Resource) -> Composed:
    return SQL("{mine} AND t.{key} = %(key)s").format(mine=_mine(resource), key=Identifier(resource.key))


def _mine(resource: Resource) -> Composed:
    """Row-level security says the same, and lets nothing else pass; here it is what finds the index."""
    conditions: list[Composable] = [SQL("true")]
    if resource.scoped:
        conditions.append(SQL("t.tenant_id = %(tenant_id)s"))
    if resource.realm and resource.key == "username":
        conditions.append(SQL("t.realm = %(realm)s"))
    return SQL(" AND ").join(conditions)
