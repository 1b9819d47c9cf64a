"""What the original knew of session files, before there were several processors.

Its one table had a row for each file, all of ``verification``. They are taken over, and the table
is dropped. Where there is none, there is nothing to do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LEGACY", "adopt_legacy"]

#: The original's table.
LEGACY: Final = "session_extraction_state"


def adopt_legacy(connection: Connection) -> int:
    """Take the rows over that no row of ``verification`` stands for yet; gives how many."""
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table(LEGACY):
        return 0
    rows = connection.execute(sa.text(f"SELECT * FROM {LEGACY}")).mappings().all()
    adopted = sum(_adopt(connection, dict(row)) for row in rows)
    connection.execute(sa.text(f"DROP TABLE {LEGACY}"))
    return adopted


def _adopt(connection: Connection, row: dict[str, Any]) -> int:
    import sqlalchemy as sa

    insert = sa.text(
        "INSERT INTO session_processor_state (processor_name, session_file, username, "
        "processed_at, items_extracted, file_hash, position, stamp) VALUES ('verification', "
        ":key, :username, :at, :items, :hash, NULL, '') "
        "ON CONFLICT (processor_name, session_file) DO NOTHING"
    ).bindparams(sa.bindparam("at", type_=sa.DateTime(timezone=True)))
    values = {
        "key": row["session_file"],
        "username": row.get("username") or row["session_file"].partition("/")[0],
        "at": _moment(row.get("processed_at")),
        "items": row.get("items_extracted") or 0,
        "hash": row.get("file_hash"),
    }
    return connection.execute(insert, values).rowcount


def _moment(value: Any) -> datetime:
    """Text or a moment, in UTC where it says no zone."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        found = datetime.fromtimestamp(0, UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
