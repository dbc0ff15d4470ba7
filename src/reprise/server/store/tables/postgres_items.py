"""Changes of items in PostgreSQL: one row for the last change of each item, also of a deletion."""

import json
from collections.abc import Mapping

from reprise.server.store.postgres_connection import PostgresDatabase
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import ItemChange

# Updating the counter locks its row until the commit, so versions become visible in order.
PUT_ITEM = """
WITH counted AS (UPDATE reprise.meta SET value = (value::bigint + 1)::text WHERE name = 'items' RETURNING value::bigint)
INSERT INTO reprise.items (digest, version, tenant, item_id, body)
    SELECT %s, counted.value, %s, %s, %s::json FROM counted
    ON CONFLICT (digest) DO UPDATE SET version = excluded.version, body = excluded.body RETURNING version
"""
# The row stays as a record of the deletion, with the body `null`. The counter is locked first, as in `PUT_ITEM`.
DELETE_ITEM = """
WITH counted AS (UPDATE reprise.meta SET value = (value::bigint + 1)::text WHERE name = 'items' RETURNING value::bigint)
UPDATE reprise.items AS i SET version = counted.value, body = 'null' FROM counted
    WHERE i.digest = %s AND i.body::text <> 'null' RETURNING version
"""


def put_item(
    database: PostgresDatabase, hasher: KeyedHasher, tenant: str, item_id: str, values: Mapping[str, object]
) -> int:
    """See `EventStore`."""
    body = json.dumps(values, ensure_ascii=False, allow_nan=False)
    # repeating this after a lost connection only increases the version once more
    ((version,),) = database.rows(PUT_ITEM, (hasher.item(tenant, item_id), tenant, item_id, body))
    return int(version)


def delete_item(database: PostgresDatabase, hasher: KeyedHasher, tenant: str, item_id: str) -> int | None:
    """See `EventStore`."""
    rows = database.rows(DELETE_ITEM, (hasher.item(tenant, item_id),))
    return int(rows[0][0]) if rows else None


def items_since(database: PostgresDatabase, version: int) -> list[ItemChange]:
    """See `EventStore`."""
    query = "SELECT version, tenant, item_id, body FROM reprise.items WHERE version > %s ORDER BY version"
    return [ItemChange(*row) for row in database.rows(query, (version,))]
